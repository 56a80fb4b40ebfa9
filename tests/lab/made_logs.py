"""Exports made up for tests: their decisions follow rules that a test knows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ulid import ULID

from offline.feature_store.schema import SCHEMAS
from tips.features.profile_schema import PROFILE_FEATURES

START = datetime(2026, 3, 2, tzinfo=UTC)
WAIT = timedelta(hours=24)
Row = dict[str, Any]


def write_export(
    folder: Path,
    decisions: Iterable[Row],
    *,
    profiles: Iterable[Row] = (),
    generations: Iterable[Row] = (),
    audit: Iterable[Row] = (),
    exported_at: datetime | None = None,
) -> Path:
    """Write the rows as an export; columns that they leave out are null."""
    tables = {"decisions": decisions, "profiles": profiles, "generations": generations, "audit": audit}
    rows = {name: list(given) for name, given in tables.items()}
    for name, listed in rows.items():
        place = folder / name / "dt=2026-03-02" if name in ("decisions", "generations") else folder / name
        place.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(listed, SCHEMAS[name]), place / "part-0.parquet")
    last = max((row["decided_at"] for row in rows["decisions"]), default=START)
    manifest = {
        "exported_at": (exported_at or last + 2 * WAIT).isoformat(),
        "as_of": (exported_at or last + 2 * WAIT).isoformat(),
        "source": "made up",
        "data_hash": "0" * 64,
        "decisions": len(rows["decisions"]),
        "people": len({row["user_id"] for row in rows["decisions"]}),
        "erased_left_out": 0,
        "unreadable": 0,
        "default_reward": 0.0,
        "format": 1,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def made_decisions(
    seed: int,
    *,
    people: int = 40,
    days: int = 28,
    each_day: float = 1.5,
    change: Callable[[Row, float], Mapping[str, Any]] = lambda row, day: {},
) -> list[Row]:
    """Return decisions of people with habits of their own, whose rewards are what the policy predicts, plus noise.

    change: of a row and the day it lies on, what is to be different.
    """
    chance = np.random.default_rng(seed)
    rows: list[Row] = []
    for person in range(people):
        habits = {"completion_rate_30d": chance.beta(3, 4), "tip_volume_30d": float(chance.poisson(30))}
        habits |= {"dismiss_rate_30d": (1 - habits["completion_rate_30d"]) * 0.7}
        for _ in range(chance.poisson(days * each_day)):
            day = float(chance.uniform(0, days))
            rows.append(_row(chance, f"person-{person}", habits, day, change))
    return sorted(rows, key=lambda row: str(row["decision_id"]))


def _row(
    chance: np.random.Generator,
    user_id: str,
    habits: Mapping[str, float],
    day: float,
    change: Callable[[Row, float], Mapping[str, Any]],
) -> Row:
    at = (START + timedelta(days=day)).replace(microsecond=0)
    overdue = [float(value) for value in chance.random(4) < 0.3]
    means = np.array([0.3 * value - 0.2 + 0.4 * habits["completion_rate_30d"] for value in overdue])
    propensity = np.full(4, 0.1)
    propensity[int(means.argmax())] = 0.7
    chosen = int(chance.choice(4, p=propensity))
    kinds = [str(kind) for kind in chance.choice(["task", "advice", "reminder"], 4)]
    candidates = [
        {
            "id": f"c{place}",
            "kind": kind,
            "source": "llm" if kind == "advice" else "todoist",
            "prompt_version": str(chance.choice(["v1", "v2-mentor"])) if kind == "advice" else None,
            "model": "local/template" if kind == "advice" else None,
            "generation_id": "01K0000000000000000000000" + str(place) if kind == "advice" else None,
            "features": [("is_overdue", overdue[place]), ("priority", float(chance.integers(1, 5)))],
            "booleans": ["is_overdue"],
        }
        for place, kind in enumerate(kinds)
    ]
    reacted = bool(chance.random() < 0.8)
    reward = float(np.clip(means[chosen] + chance.normal(0, 0.3), -1, 1))
    delay = float(np.minimum(chance.lognormal(6, 1.5), 86_000))
    evaluation = {
        "policy": "igw-ucb",
        "policy_version": "1",
        "schema_hash": "0123456789abcdef",
        "role": "active",
        "parameters": [("gamma", 1.0)],
        "names": ["bias", "is_overdue", "completion"],
        "vector": [1.0, overdue[chosen], 2 * habits["completion_rate_30d"] - 1],
        "mean": means.tolist(),
        "width": [0.1] * 4,
        "score": (means + 0.1).tolist(),
        "propensity": propensity.tolist(),
    }
    row: Row = {
        "user_id": user_id,
        "decision_id": str(ULID.from_timestamp(at.timestamp() + float(chance.random()))),
        "decided_at": at,
        "tip_id": f"c{chosen}",
        "chosen": chosen,
        "candidate_count": 4,
        "policy": "igw-ucb",
        "policy_version": "1",
        "schema_hash": "0123456789abcdef",
        "propensity": float(propensity[chosen]),
        "score": float(means[chosen] + 0.1),
        "explored": chosen != int(means.argmax()),
        "degraded": False,
        "deferred": False,
        "took_ms": float(chance.lognormal(0.5, 0.4)),
        "hour_of_day": float(at.hour),
        "day_of_week": float(at.weekday()),
        "task_count": int(chance.poisson(6)),
        **habits,
        "profile_sources": [(one.name, "stored" if one.name in habits else "fallback") for one in PROFILE_FEATURES],
        "experiments": [],
        **{name: candidates[chosen][name] for name in ("kind", "source", "prompt_version", "model", "generation_id")},
        "candidates": candidates,
        "evaluations": [evaluation],
        "wait_began_at": at,
        "wait_ends_at": at + WAIT,
        "reward": reward,
        "reward_source": "reaction",
        "action": "done" if reward > 0 else "dismiss",
        "reacted_at": at + timedelta(seconds=delay),
        "reward_delay_sec": delay,
    }
    if not reacted:
        # Nobody reacts to a tip for no reason: the default, which is what an average tip brings here.
        row |= dict.fromkeys(("action", "reacted_at", "reward_delay_sec"))
        row |= {"reward_source": "default"}
    return row | dict(change(row, day))


def made_profiles(decisions: Iterable[Row], lag: timedelta = timedelta(0)) -> list[Row]:
    """Return a profile per person, last computed so long after the person's last reaction."""
    last: dict[str, datetime] = {}
    for row in decisions:
        if row["reacted_at"] is not None:
            last[row["user_id"]] = max(row["reacted_at"], last.get(row["user_id"], row["reacted_at"]))
    return [
        {"user_id": user_id, "event_timestamp": at + lag, "completion_rate_30d": 0.4, "reactions_at": at + lag}
        for user_id, at in sorted(last.items())
    ]
