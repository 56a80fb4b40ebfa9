"""What an export says of each item: decisions to the last bit, what they taught, what was learned of people."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline.command import BadInput
from offline.feature_store.logs import Logs, logged_decisions
from tests.lab.exports import HOUR_US, NOW, US, Item, Items, decision, decision_id_at, exported, written
from tips.bandit.decision import Decision, Evaluation
from tips.bandit.learning import LoggedSchema, SchemaLearning, UserLearning
from tips.bandit.policy import Distribution
from tips.bandit.rewards import Reaction, ReactionLog
from tips.bandit.statistics import Statistics
from tips.features.crossed_v3 import CROSSED_V3
from tips.features.profile_counters import CountedReaction, ProfileCounters
from tips.features.prompt_arms import prompt_schema
from tips.features.vectors import Candidate, Situation
from tips.state import keys, profiles
from tips.state.decision_codec import RememberedDecision, decision_item, reactions_value
from tips.state.generations import Generation, Spent, generation_item
from tips.state.learning import learning_item, unpack_statistics

NOW_US = round(NOW.timestamp() * US)
floats = st.floats(allow_nan=False, allow_infinity=False)
names = st.text("abcdefgh_", min_size=1, max_size=8)


@st.composite
def decisions(draw: st.DrawFn) -> Decision:
    """Decisions as they could be logged, with floats of every kind."""

    def arrays(length: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array(draw(st.lists(floats, min_size=length, max_size=length)), dtype=np.float64)

    k = draw(st.integers(1, 5))
    features = st.dictionaries(names, floats | st.booleans(), max_size=4)
    categories = st.none() | names
    candidates = []
    for number in range(k):
        one: dict[str, Any] = {"id": f"tip-{number}", "features": draw(features)}
        one |= {name: draw(categories) for name in ("kind", "source", "prompt_version", "model", "generation_id")}
        candidates.append({name: value for name, value in one.items() if value is not None})
    profile = draw(
        st.dictionaries(names | st.sampled_from(["preferred_hour", "tip_volume_30d"]), floats | st.none(), max_size=4)
    )
    evaluations = {}
    for name in draw(st.lists(names, min_size=1, max_size=3, unique=True)):
        d = draw(st.integers(1, 6))
        evaluations[name] = Evaluation(
            name,
            "1",
            f"hash-{name}",
            tuple(f"{name}{place}" for place in range(d)),
            draw(st.dictionaries(names, floats, max_size=2)),
            Distribution(*(arrays(k) for _ in range(4))),
            arrays(d),
            draw(st.none() | names),
        )
    return decision(
        candidates=candidates,
        situation=Situation(draw(st.none() | floats), draw(st.none() | floats), profile),
        chosen=draw(st.integers(0, k - 1)),
        policy=draw(st.sampled_from(sorted(evaluations))),
        evaluations=evaluations,
        profile_sources=dict.fromkeys(profile, "request"),
    )


def bits(array: Any) -> bytes:
    return np.asarray(array, dtype=np.float64).tobytes()


@settings(max_examples=30)
@given(decisions())
def test_a_decision_survives_to_the_last_bit(made: Decision) -> None:
    with tempfile.TemporaryDirectory() as folder:
        logs = exported([decision_item(made)], Path(folder, "export"))
        (read,) = logged_decisions(logs.decisions)
        (row,) = logs.decisions.rows(named=True)
    assert (read.decision_id, read.user_id, read.chosen) == (made.decision_id, made.user_id, made.chosen)
    assert read.decided_at_us == keys.decided_at_us(made.decision_id)
    assert read.situation == made.situation
    assert list(map(repr, read.situation.profile.values())) == [
        repr(made.situation.profile[name]) for name in read.situation.profile
    ]
    assert list(map(repr, read.candidates)) == [repr(Candidate.from_log(one)) for one in made.candidates]
    assert [one["id"] for one in row["candidates"]] == [one["id"] for one in made.candidates]
    assert read.active == made.policy
    assert list(read.evaluations) == list(made.evaluations)
    for name, before in made.evaluations.items():
        after, seen = read.evaluations[name], before.distribution
        assert (after.policy, after.policy_version, after.schema_hash) == (name, "1", before.schema_hash)
        assert (after.names, after.parameters, after.prior) == (before.names, before.parameters, before.prior)
        for now, then in (
            (after.vector, before.vector),
            (after.mean, seen.mean),
            (after.width, seen.width),
            (after.score, seen.score),
            (after.propensity, seen.propensity),
        ):
            assert bits(now) == bits(then)
    assert bits(row["propensity"]) == bits(made.active.distribution.propensity[made.chosen])
    assert [one["role"] for one in row["evaluations"]] == [
        "active" if name == made.policy else "shadow" for name in made.evaluations
    ]


def test_a_row_says_what_the_decision_saw(tmp_path: Path) -> None:
    made = decision()
    (row,) = exported([decision_item(made)], tmp_path / "export").decisions.rows(named=True)
    expected = {
        "user_id": "anna",
        "decision_id": made.decision_id,
        "tip_id": "walk",
        "chosen": 1,
        "candidate_count": 3,
        "policy": "igw-ucb",
        "policy_version": "1",
        "schema_hash": CROSSED_V3.hash,
        "prior": "01J000000000000000000PR10R",
        "propensity": 1 / 3,
        "explored": True,
        "degraded": False,
        "deferred": False,
        "epoch": 3,
        "took_ms": 1.234,
        "hour_of_day": 9.0,
        "timezone": "Europe/Berlin",
        "task_count": 5,
        "completion_rate_30d": 1 / 3,
        "dismiss_rate_30d": None,
        "mean_dwell_ms_30d": None,
        "preferred_hour": 20.5,
        "profile_sources": {"completion_rate_30d": "request", "mean_dwell_ms_30d": "request"},
        "profile_other": {"mood": 0.7},
        "experiments": {"tone": "warm"},
        "kind": "advice",
        "source": "llm",
        "prompt_version": "v2-mentor",
        "model": "local/template",
        "generation_id": made.candidates[1]["generation_id"],
        "shown_at": None,
    }
    assert {name: row[name] for name in expected} == expected
    assert row["candidates"][0]["booleans"] == ["is_overdue"]
    assert row["wait_ends_at"] - row["wait_began_at"] == timedelta(hours=24)
    assert row["wait_began_at"] == row["decided_at"]


def reacted(made: Decision, *reactions: Reaction, activated_at: int | None = None, **log: Any) -> Item:
    item = decision_item(made) | {"reactions": reactions_value(ReactionLog(reactions, **log))}
    return item if activated_at is None else item | {"activated_at": {"N": str(activated_at)}}


TAUGHT = ("reward", "reward_source", "action", "dwell_ms", "reward_event_id", "late_reward", "late_action")
DECIDED_US = NOW_US - 30 * HOUR_US


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        pytest.param(
            reacted(
                decision(at_us=DECIDED_US),
                Reaction(0.1, DECIDED_US + 2 * HOUR_US, "e1", "snooze"),
                Reaction(1.0, DECIDED_US + 3 * HOUR_US, "e2", "done", 20_000),
                Reaction(-1.0, DECIDED_US + 25 * HOUR_US, "e3", "dismiss"),
                learned=1.0,
            ),
            (1.0, "reaction", "done", 20_000, "e2", -1.0, "dismiss"),
            id="the latest in time counts, and a later one is kept apart",
        ),
        pytest.param(
            reacted(decision(at_us=DECIDED_US), Reaction(0.5, DECIDED_US + 25 * HOUR_US, "e", None)),
            (-0.25, "default", None, None, None, 0.5, None),
            id="nothing in time: the default, before TTL has said that the wait is over",
        ),
        pytest.param(decision_item(decision()), (None,) * 7, id="still open"),
        pytest.param(
            decision_item(decision(at_us=DECIDED_US, deferred=True)), (None,) * 7, id="deferred and never shown"
        ),
        pytest.param(
            reacted(decision(at_us=DECIDED_US, deferred=True), activated_at=DECIDED_US + HOUR_US),
            (-0.25, "default", None, None, None, None, None),
            id="deferred and shown",
        ),
        pytest.param(
            reacted(decision(), wait_over=True),
            (-0.25, "default", None, None, None, None, None),
            id="the table says that the wait is over",
        ),
    ],
)
def test_what_a_decision_taught(item: Item, expected: tuple[Any, ...], tmp_path: Path) -> None:
    written(Items([item]), tmp_path / "export", default_reward=-0.25)
    (row,) = Logs.read(tmp_path / "export").decisions.rows(named=True)
    assert tuple(row[name] for name in TAUGHT) == expected


def test_a_reactions_delay_is_counted_from_when_the_tip_was_shown(tmp_path: Path) -> None:
    made = decision(at_us=DECIDED_US, deferred=True)
    reaction = Reaction(1.0, DECIDED_US + 3 * HOUR_US, "e", "done")
    item = reacted(made, reaction, activated_at=DECIDED_US + HOUR_US, learned=1.0)
    (row,) = exported([item], tmp_path / "export").decisions.rows(named=True)
    assert row["reward_delay_sec"] == 2 * 3600
    assert row["learned_reward"] == 1.0
    assert row["reacted_at"] - row["decided_at"] == timedelta(hours=3)


def learned(schema: Any, pulls: int) -> SchemaLearning:
    statistics = replace(Statistics.empty(schema.dimension), pulls=pulls, weight=float(pulls))
    return SchemaLearning(statistics, schema.name, schema.names, NOW_US)


def test_what_was_learned_is_a_row_for_each_person_and_schema(tmp_path: Path) -> None:
    prompts = prompt_schema(("v1", "v2-mentor"))
    items = [
        learning_item(keys.learning("ben"), UserLearning(1, schemas={CROSSED_V3.hash: learned(CROSSED_V3, 3)})),
        learning_item(keys.arms("anna"), UserLearning(1, schemas={prompts.hash: learned(prompts, 2)})),
    ]
    statistics = exported(items, tmp_path / "export").statistics
    rows = statistics.select("user_id", "schema", "schema_hash", "pulls").rows()
    assert rows == [("anna", prompts.name, prompts.hash, 2), ("ben", CROSSED_V3.name, CROSSED_V3.hash, 3)]
    assert unpack_statistics(statistics["data"][1]).names == tuple(statistics["names"][1])


def test_a_profile_is_what_is_stored_online(tmp_path: Path) -> None:
    counters = ProfileCounters().with_shown(NOW_US - HOUR_US, NOW_US - HOUR_US)
    counters = counters.with_reaction(None, CountedReaction.at(NOW_US, "done", 1000), NOW_US)
    nothing_but_shown = ProfileCounters().with_shown(NOW_US, NOW_US)
    items = [
        profiles.write(user, None, one)["Put"]["Item"] for user, one in (("a", counters), ("b", nothing_but_shown))
    ]
    one, other = exported(items, tmp_path / "export").profiles.rows(named=True)
    assert {name: one[name] for name in counters.features()} == {
        name: feature.value for name, feature in counters.features().items()
    }
    assert one["event_timestamp"] == one["reactions_at"] > one["shown_at"]
    assert other["tip_volume_30d"] == 1
    assert other["completion_rate_30d"] is None
    assert other["reactions_at"] is None


def test_generations_and_changes_are_there(tmp_path: Path) -> None:
    schema = prompt_schema(("v1", "v2-mentor"))
    generation = Generation(
        user_id="anna",
        generation_id=decision_id_at(NOW_US),
        version="v2-mentor",
        versions=("v1", "v2-mentor"),
        propensity=(0.25, 0.75),
        policy="lints",
        schema=LoggedSchema(schema.name, schema.names, schema.hash),
        vector=(0.0,) * schema.dimension,
        context={},
        model="local/template",
        spent=Spent(100, 50, None, 2, 12.5),
    )
    changes = [
        {"command": "promote", "before": "{}", "after": '{"active_policy": "lints"}'},
        {"command": "prior activate", "before": "", "after": "01J"},
    ]
    trails = [keys.AUDIT, f"{keys.AUDIT}#PRIOR#crossed-v3"]
    items = [
        {
            "pk": {"S": trail},
            "sk": {"S": decision_id_at(NOW_US, number)},
            "at": {"S": (NOW + timedelta(seconds=number)).isoformat(timespec="milliseconds")},
            "actor": {"S": "ops"},
            "reason": {"S": "because"},
            **{name: {"S": text} for name, text in one.items()},
        }
        for number, (trail, one) in enumerate(zip(trails, changes, strict=True))
    ]
    logs = exported([generation_item(generation), *items], tmp_path / "export")
    (row,) = logs.generations.rows(named=True)
    assert (row["prompt_version"], row["propensity"], row["propensities"]) == ("v2-mentor", 0.75, [0.25, 0.75])
    spent = ("prompt_tokens", "completion_tokens", "cost_usd", "attempts", "took_ms")
    assert [row[name] for name in spent] == [100, 50, None, 2, 12.5]
    told = logs.audit.select("actor", "command", "reason", "kind", "schema", "before", "after").rows()
    assert told == [
        ("ops", "promote", "because", "configuration", None, "{}", '{"active_policy": "lints"}'),
        ("ops", "prior activate", "because", "prior", "crossed-v3", "", "01J"),
    ]


def test_expired_and_unreadable_items_and_those_of_other_kinds_are_no_rows(tmp_path: Path) -> None:
    good = decision_item(decision())
    gone = decision_item(decision("ben")) | {"ttl": {"N": str(NOW_US // US)}}
    damaged = decision_item(decision("carl")) | {"doc": {"B": good["doc"]["B"][:-9]}}
    of_another_type = decision_item(decision("dora", experiments={"tone": 1}))
    wait = {"pk": {"S": "U#anna"}, "sk": {"S": keys.wait(decision().decision_id)}}
    logs = exported([damaged, gone, of_another_type, wait, good], tmp_path / "export")
    assert logs.decisions["user_id"].to_list() == ["anna"]
    assert logs.manifest["unreadable"] == 2
    assert (logs.manifest["decisions"], logs.manifest["people"]) == (1, 1)


def test_of_nothing_there_is_an_export_all_the_same(tmp_path: Path) -> None:
    logs = exported([], tmp_path / "export")
    tables = (logs.decisions, logs.statistics, logs.profiles, logs.generations, logs.audit)
    assert [len(one) for one in tables] == [0] * 5
    assert list(logged_decisions(logs.decisions)) == []


def test_a_folder_per_utc_day_each_sorted(tmp_path: Path) -> None:
    midnight = NOW_US - NOW_US % (24 * HOUR_US)
    offsets = (5000, 1000, 8000, -1000, 3000, 2000, -24 * HOUR_US)
    ids = [decision_id_at(midnight + offset) for offset in offsets]
    exported([decision_item(decision(decision_id=one)) for one in ids], tmp_path / "export")
    days = sorted((tmp_path / "export" / "decisions").iterdir())
    assert [day.name for day in days] == [f"dt={(NOW - timedelta(days=back)).date().isoformat()}" for back in (1, 0)]
    read = duckdb.read_parquet(f"{days[1]}/*.parquet").project("decision_id").fetchall()
    assert [one for (one,) in read] == [decision_id_at(midnight + offset) for offset in sorted(offsets)[2:]]


def test_what_is_no_export_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"--logs: .* is no export"):
        Logs.read(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 2}))
    with pytest.raises(BadInput, match="format 2"):
        Logs.read(tmp_path)


def test_the_codec_knows_no_more_than_the_export() -> None:
    """A new field of a decision is a new column, or a reason not to be one."""
    left_out = {"reward_wait_us", "context", "situation"}  # by the wait's end, timezone and count, and the features
    of_item = {"decision", "reactions", "revision", "counted"}
    assert set(Decision.__dataclass_fields__) - left_out == {
        "user_id", "decision_id", "candidates", "chosen", "policy", "evaluations", "epoch", "degraded", "deferred",
        "experiments", "profile_sources", "took_us",
    }  # fmt: skip
    assert set(RememberedDecision.__dataclass_fields__) - of_item == {"shown_at", "activated_at"}
