"""What an export holds: its folders, and the columns of their Parquet files."""

from __future__ import annotations

import pyarrow as pa

from tips.features.profile_schema import PROFILE_FEATURES

FORMAT = 1
MANIFEST = "manifest.json"

_TEXT, _NUMBER, _WHOLE, _YES = pa.string(), pa.float64(), pa.int64(), pa.bool_()
_TIME = pa.timestamp("us", tz="UTC")
_TEXTS = pa.map_(_TEXT, _TEXT)
_NUMBERS = pa.map_(_TEXT, _NUMBER)

PROFILE_NAMES = tuple(feature.name for feature in PROFILE_FEATURES)
OF_CANDIDATE = ("kind", "source", "prompt_version", "model", "generation_id")
"""What a decision remembers of a candidate beside its id and features; each may be null."""

CANDIDATE = pa.struct(
    [
        ("id", _TEXT),
        *((name, _TEXT) for name in OF_CANDIDATE),
        ("features", _NUMBERS),
        ("booleans", pa.list_(_TEXT)),
    ]
)
EVALUATION = pa.struct(
    [
        ("policy", _TEXT),
        ("policy_version", _TEXT),
        ("schema_hash", _TEXT),
        ("prior", _TEXT),
        ("role", _TEXT),
        ("parameters", _NUMBERS),
        ("names", pa.list_(_TEXT)),
        ("vector", pa.list_(_NUMBER)),
        *((name, pa.list_(_NUMBER)) for name in ("mean", "width", "score", "propensity")),
    ]
)

DECISIONS = pa.schema(
    [
        ("user_id", _TEXT),
        ("decision_id", _TEXT),
        ("decided_at", _TIME),
        ("tip_id", _TEXT),
        ("chosen", pa.int32()),
        ("candidate_count", pa.int32()),
        *((name, _TEXT) for name in ("policy", "policy_version", "schema_hash", "prior")),
        ("propensity", _NUMBER),
        ("score", _NUMBER),
        ("explored", _YES),
        ("degraded", _YES),
        ("deferred", _YES),
        ("epoch", _WHOLE),
        ("took_ms", _NUMBER),
        ("hour_of_day", _NUMBER),
        ("day_of_week", _NUMBER),
        ("timezone", _TEXT),
        ("task_count", pa.int32()),
        *((name, _NUMBER) for name in PROFILE_NAMES),
        ("profile_sources", _TEXTS),
        ("profile_other", _NUMBERS),
        ("experiments", _TEXTS),
        *((name, _TEXT) for name in OF_CANDIDATE),
        ("candidates", pa.list_(CANDIDATE)),
        ("evaluations", pa.list_(EVALUATION)),
        *((name, _TIME) for name in ("shown_at", "activated_at", "wait_began_at", "wait_ends_at")),
        ("reward", _NUMBER),
        ("reward_source", _TEXT),
        ("action", _TEXT),
        ("dwell_ms", _WHOLE),
        ("reacted_at", _TIME),
        ("reward_delay_sec", _NUMBER),
        ("reward_event_id", _TEXT),
        ("late_reward", _NUMBER),
        ("late_action", _TEXT),
        ("late_at", _TIME),
        ("learned_reward", _NUMBER),
    ]
)

STATISTICS = pa.schema(
    [
        ("user_id", _TEXT),
        ("schema", _TEXT),
        ("schema_hash", _TEXT),
        ("names", pa.list_(_TEXT)),
        ("pulls", _WHOLE),
        ("weight", _NUMBER),
        ("updated_at", _TIME),
        ("data", pa.binary()),
    ]
)

PEOPLE = pa.schema([("user_id", _TEXT), ("epoch", _WHOLE), ("epoch_began_at", _TIME)])

PROFILES = pa.schema(
    [
        ("user_id", _TEXT),
        ("event_timestamp", _TIME),
        *((name, _NUMBER) for name in PROFILE_NAMES),
        ("reactions_at", _TIME),
        ("shown_at", _TIME),
    ]
)

GENERATIONS = pa.schema(
    [
        ("user_id", _TEXT),
        ("generation_id", _TEXT),
        ("generated_at", _TIME),
        ("model", _TEXT),
        ("prompt_version", _TEXT),
        ("policy", _TEXT),
        ("policy_version", _TEXT),
        ("prior", _TEXT),
        ("propensity", _NUMBER),
        ("versions", pa.list_(_TEXT)),
        ("propensities", pa.list_(_NUMBER)),
        ("prompt_tokens", _WHOLE),
        ("completion_tokens", _WHOLE),
        ("cost_usd", _NUMBER),
        ("attempts", _WHOLE),
        ("took_ms", _NUMBER),
    ]
)

AUDIT = pa.schema(
    [
        ("at", _TIME),
        *((name, _TEXT) for name in ("actor", "command", "reason", "kind", "schema", "before", "after")),
    ]
)

SCHEMAS: dict[str, pa.Schema] = {
    "decisions": DECISIONS,
    "statistics": STATISTICS,
    "people": PEOPLE,
    "profiles": PROFILES,
    "generations": GENERATIONS,
    "audit": AUDIT,
}
SORTED_BY: dict[str, tuple[str, ...]] = {
    "decisions": ("decision_id", "user_id"),
    "statistics": ("user_id", "schema_hash"),
    "people": ("user_id",),
    "profiles": ("user_id",),
    "generations": ("generation_id", "user_id"),
    "audit": ("at", "kind", "schema"),
}
BY_DAY = frozenset({"decisions", "generations"})
"""Those in a folder per UTC day, `dt=YYYY-MM-DD`, of when they were made."""
