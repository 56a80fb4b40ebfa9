"""What is stored comes back to the last bit, and stays small."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ulid import ULID

from tests.deciding import choose
from tips.bandit.decision import Decision, Evaluation, replay
from tips.bandit.learning import SchemaLearning, UserLearning
from tips.bandit.registry import POLICIES, policy_named
from tips.bandit.rewards import Reaction, ReactionLog
from tips.bandit.statistics import Statistics
from tips.features.vectors import Candidate, Situation
from tips.state import keys
from tips.state.decision_codec import decision_item, reactions_value, read_decision
from tips.state.keys import decided_at_us, last_ulid_at, tip
from tips.state.learning import (
    learning_item,
    pack_statistics,
    read_learning,
    unpack_statistics,
)


def statistics(d: int, seed: int, half_life: int = 0) -> Statistics:
    rng = np.random.default_rng(seed)
    learned = Statistics.empty(d).with_half_life(half_life, 10**15)
    for _ in range(4):
        x, reward, without = rng.normal(size=d), float(rng.normal()), bool(rng.integers(2))
        learned = learned.learn(x, 10**15, None, reward, without_decision=without)
    return learned


@given(st.integers(1, 32), st.integers(0, 2**32 - 1), st.integers(0, 2**52), st.sampled_from([0, 86_400_000_000]))
def test_learning_round_trip(d: int, seed: int, at: int, half_life: int) -> None:
    names = tuple(f"name-{i}" for i in range(d))
    came_along = ((3, frozenset(names[::2])), (8, frozenset(names[::3])))
    learned = SchemaLearning(statistics(d, seed, half_life), "some-schema", names, at, came_along)
    learning = UserLearning(3, 2, at, {"0123456789abcdef": learned})
    back = read_learning(learning_item(keys.learning("someone"), learning))
    again = back.schemas["0123456789abcdef"]
    np.testing.assert_array_equal(again.statistics.xx, learned.statistics.xx)
    np.testing.assert_array_equal(again.statistics.rx, learned.statistics.rx)
    for field in dataclasses.fields(Statistics)[2:]:
        assert getattr(again.statistics, field.name) == getattr(learned.statistics, field.name)
    assert (again.schema_name, again.names, again.updated_at) == ("some-schema", names, at)
    assert again.came_along == came_along
    assert (back.revision, back.epoch, back.epoch_at) == (3, 2, at)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:7],
        lambda data: data[:-8],
        lambda data: b"\x09" + data[1:],
        lambda data: data[:80] + bytes(8) + data[88:],
        lambda data: data[:-8] + b"\xff" * 8,
    ],
)
def test_damaged_statistics_are_refused(damage: object) -> None:
    names = tuple("abcde")
    data = pack_statistics(SchemaLearning(statistics(5, 1), "some-schema", names, 0))
    with pytest.raises(ValueError, match="statistics"):
        unpack_statistics(damage(data))  # type: ignore[operator]


def decision(
    k: int, features: int, seed: int = 0, policies: Sequence[str] = ("igw-ucb",), **fields: object
) -> Decision:
    rng = random.Random(seed)
    names = [f"feature_{i:02d}" for i in range(features)]
    candidates = [
        {
            "id": f"todoist-{rng.getrandbits(64):x}",
            "kind": "task",
            "features": {"is_overdue": rng.random() < 0.5, **{name: rng.random() for name in names[1:]}},
        }
        for _ in range(k)
    ]
    decision_id = str(ULID())
    situation = Situation(9.0, 2.0, {"completion_rate_30d": rng.random(), "preferred_hour": None})
    rows: list[Any] = [candidate["features"] for candidate in candidates]
    evaluations: dict[str, Evaluation] = {}
    chosen = -1
    for name in policies:
        policy = policy_named(name)
        learned = statistics(policy.schema.dimension, seed)
        drawn, evaluation, _, X = choose(policy, learned, situation, rows, decision_id)
        chosen = drawn if chosen < 0 else chosen  # the first one's; the others are shadows
        evaluations[name] = dataclasses.replace(evaluation, vector=X[chosen])
    return Decision(
        user_id="someone",
        decision_id=decision_id,
        candidates=candidates,
        situation=situation,
        chosen=chosen,
        policy=policies[0],
        evaluations=evaluations,
        epoch=4,
        degraded=False,
        reward_wait_us=5,
        **fields,  # type: ignore[arg-type]
    )


@settings(max_examples=25)
@given(st.integers(1, 200), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_decision_round_trip(k: int, features: int, seed: int) -> None:
    policies = ("igw-ucb", "squarecb", "egreedy-v2")
    fields: dict[str, Any] = {
        "context": {"timezone": "Europe/Berlin"},
        "experiments": {"voices": "v1"},
        "took_us": 4321,
    }
    original = decision(k, features, seed, policies, deferred=True, **fields)
    back = read_decision(decision_item(original)).decision
    plain = ("user_id", "decision_id", "candidates", "situation", "chosen", "policy", "epoch", "degraded", "deferred")
    for name in (*plain, "reward_wait_us", "experiments", "context", "took_us"):
        assert getattr(back, name) == getattr(original, name)
    assert list(back.evaluations) == list(policies)
    for policy, seen in back.evaluations.items():
        logged = original.evaluations[policy]
        for name in ("mean", "width", "score", "propensity"):
            np.testing.assert_array_equal(getattr(seen.distribution, name), getattr(logged.distribution, name))
        np.testing.assert_array_equal(seen.vector, logged.vector)
        for name in ("policy", "policy_version", "schema_hash", "names", "parameters", "prior"):
            assert getattr(seen, name) == getattr(logged, name)


def test_a_decision_lives_for_90_days() -> None:
    original = decision(1, 1)
    decided_sec = decided_at_us(original.decision_id) // 1_000_000
    assert int(decision_item(original)["ttl"]["N"]) - decided_sec == 90 * 86_400


@pytest.mark.parametrize("name", POLICIES)
def test_a_remembered_decision_can_be_replayed(name: str) -> None:
    back = read_decision(decision_item(decision(50, 3, policies=(name,)))).decision
    logged = back.active
    seen = logged.distribution
    chosen, replayed = replay(
        policy_named(name), back.decision_id, seen.mean.tolist(), seen.width.tolist(), logged.parameters
    )
    assert chosen == back.chosen
    np.testing.assert_array_equal(replayed.propensity, seen.propensity)
    np.testing.assert_array_equal(replayed.score, seen.score)


def stored_bytes(item: Any) -> int:
    """An item's size as DynamoDB counts it, nearly: names and values."""
    if isinstance(item, dict):
        return sum(len(name) + stored_bytes(value) for name, value in item.items())
    return len(item) if isinstance(item, bytes | str) else len(json.dumps(item))


@pytest.mark.parametrize(("k", "limit"), [(1, 4096), (10, 4096), (50, 25 * 1024), (200, 100 * 1024)])
@pytest.mark.parametrize("policies", [("igw-ucb",), ("igw-ucb", "egreedy-v2"), ("igw-ucb", "egreedy-v2", "lints")])
def test_decisions_stay_small_at_the_limits_of_a_request(k: int, limit: int, policies: tuple[str, ...]) -> None:
    # 32 features of full precision for each candidate: nothing that could be compressed away.
    assert stored_bytes(decision_item(decision(k, 32, policies=policies))) <= limit


def test_all_features_of_an_ordinary_request_are_kept() -> None:
    original = decision(10, 32)
    assert read_decision(decision_item(original)).decision.candidates == original.candidates


def test_of_a_decision_too_large_what_policies_use_is_kept() -> None:
    large = decision(200, 4)
    rng = random.Random(1)
    for number, candidate in enumerate(large.candidates):
        candidate["features"].update({f"{rng.getrandbits(250):x}": rng.random() for _ in range(28)})
        candidate["features"]["priority"] = 1.0 + number % 4
    item = decision_item(large)
    assert stored_bytes(item) <= 100 * 1024
    back = read_decision(item).decision
    assert [one["id"] for one in back.candidates] == [one["id"] for one in large.candidates]
    assert all(one["features"].keys() == {"is_overdue", "priority"} for one in back.candidates)
    assert back.candidates[2]["features"] == {
        name: large.candidates[2]["features"][name] for name in ("is_overdue", "priority")
    }
    assert back.context["only_known_features_kept"] is True
    assert back.chosen == large.chosen
    for policy in POLICIES.values():
        full = policy.schema.encode(large.situation, [Candidate.from_log(one) for one in large.candidates])
        kept_only = policy.schema.encode(back.situation, [Candidate.from_log(one) for one in back.candidates])
        np.testing.assert_array_equal(kept_only, full)


@given(st.floats(-1, 1), st.integers(0, 2**52), st.text(min_size=1), st.lists(st.text(min_size=1), max_size=16))
def test_reactions_round_trip(reward: float, at: int, event_id: str, event_ids: list[str]) -> None:
    others = tuple(Reaction(-reward, at, one) for one in event_ids)
    log = ReactionLog(
        (Reaction(reward, at, event_id, "done", 17), *others), wait_over=True, learned=reward, learned_in=at
    )
    item = {**decision_item(decision(1, 0)), "reactions": reactions_value(log)}
    assert read_decision(item).reactions == log


def test_keys_order_decisions_by_time_and_separate_tips() -> None:
    earlier, later = ULID.from_timestamp(1_000_000.001), ULID.from_timestamp(1_000_000.002)
    assert str(earlier) < last_ulid_at(decided_at_us(str(earlier))) < str(later)
    assert last_ulid_at(-5) < str(earlier)
    # "a" and "a#b" must not share a range of the index.
    assert not tip("a#b", str(earlier)).startswith(tip("a", ""))
