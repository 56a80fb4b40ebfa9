"""What is stored comes back to the last bit, and stays small."""

from __future__ import annotations

import dataclasses
import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ulid import ULID

from tips.bandit.decision import Decision, choose
from tips.bandit.registry import POLICIES, policy_named
from tips.bandit.rewards import Reaction, ReactionLog
from tips.bandit.statistics import Statistics
from tips.errors import LearningUnreadable
from tips.features.vectors import Situation
from tips.state.decision_codec import decision_item, reactions_value, read_decision
from tips.state.keys import decided_at_us, last_ulid_at, tip
from tips.state.learning import (
    PolicyLearning,
    UserLearning,
    learning_item,
    pack_statistics,
    read_learning,
    unpack_statistics,
)


def statistics(d: int, seed: int) -> Statistics:
    rng = np.random.default_rng(seed)
    learned = Statistics.empty(d)
    for _ in range(4):
        learned = learned.observe(rng.normal(size=d), float(rng.normal()), without_decision=bool(rng.integers(2)))
    return learned


@given(st.integers(1, 32), st.integers(0, 2**32 - 1), st.integers(0, 2**52))
def test_learning_round_trip(d: int, seed: int, at: int) -> None:
    learned = PolicyLearning(statistics(d, seed), "0123456789abcdef", at)
    learning = UserLearning(3, 2, at, {"egreedy-v2": learned})
    back = read_learning(learning_item("someone", learning))
    again = back.policies["egreedy-v2"]
    np.testing.assert_array_equal(again.statistics.xx, learned.statistics.xx)
    np.testing.assert_array_equal(again.statistics.rx, learned.statistics.rx)
    assert again.statistics.pulls == learned.statistics.pulls
    assert again.statistics.pulls_without_decision == learned.statistics.pulls_without_decision
    assert again.statistics.cumulative_reward == learned.statistics.cumulative_reward
    assert (again.schema_hash, again.updated_at) == (learned.schema_hash, at)
    assert (back.revision, back.epoch, back.epoch_at) == (3, 2, at)


@pytest.mark.parametrize("damage", [lambda data: data[:7], lambda data: data[:-8], lambda data: b"\x09" + data[1:]])
def test_damaged_statistics_are_refused(damage: object) -> None:
    data = pack_statistics(PolicyLearning(statistics(5, 1), "0123456789abcdef", 0))
    with pytest.raises(ValueError, match="statistics"):
        unpack_statistics(damage(data))  # type: ignore[operator]


def test_statistics_of_another_schema_are_never_taken_for_this_one() -> None:
    learning = UserLearning(1, 0, 0, {"linucb": PolicyLearning(statistics(5, 1), "0123456789abcdef", 0)})
    with pytest.raises(LearningUnreadable, match="schema"):
        learning.statistics("linucb", "fedcba9876543210", 5)


def decision(k: int, features: int, seed: int = 0, **fields: object) -> Decision:
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
    policy = policy_named("egreedy-v2")
    decision_id = str(ULID())
    situation = Situation(9.0, 2.0, {"completion_rate_30d": rng.random(), "preferred_hour": None})
    rows = [candidate["features"] for candidate in candidates]
    chosen, evaluation, _, _ = choose(policy, statistics(12, seed), situation, rows, decision_id)  # type: ignore[arg-type]
    return Decision(
        user_id="someone",
        decision_id=decision_id,
        candidates=candidates,
        situation=situation,
        chosen=chosen,
        policy=policy.name,
        evaluations={policy.name: evaluation},
        epoch=4,
        degraded=False,
        **fields,  # type: ignore[arg-type]
    )


@settings(max_examples=25)
@given(st.integers(1, 200), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_decision_round_trip(k: int, features: int, seed: int) -> None:
    original = decision(k, features, seed, deferred=True, context={"timezone": "Europe/Berlin"})
    back = read_decision(decision_item(original)).decision
    for name in ("user_id", "decision_id", "candidates", "situation", "chosen", "epoch", "deferred", "context"):
        assert getattr(back, name) == getattr(original, name)
    for name in ("mean", "width", "score", "propensity"):
        np.testing.assert_array_equal(
            getattr(back.active.distribution, name), getattr(original.active.distribution, name)
        )
    np.testing.assert_array_equal(back.active.vector, original.active.vector)
    assert back.active.names == original.active.names


def test_a_decision_lives_for_90_days() -> None:
    original = decision(1, 1)
    decided_sec = decided_at_us(original.decision_id) // 1_000_000
    assert int(decision_item(original)["ttl"]["N"]) - decided_sec == 90 * 86_400


def test_a_remembered_decision_can_be_replayed() -> None:
    back = read_decision(decision_item(decision(50, 3))).decision
    logged = back.active
    # The constants may have changed since; the log says what they were.
    policy = dataclasses.replace(policy_named("egreedy-v2"), epsilon=0.5)  # type: ignore[call-arg]
    assert policy.with_parameters(logged.parameters) == policy_named("egreedy-v2")
    replayed = policy.with_parameters(logged.parameters).replay(logged.distribution.mean, logged.distribution.width)
    np.testing.assert_array_equal(replayed.propensity, logged.distribution.propensity)
    np.testing.assert_array_equal(replayed.score, logged.distribution.score)


def stored_bytes(item: Any) -> int:
    """An item's size as DynamoDB counts it, nearly: names and values."""
    if isinstance(item, dict):
        return sum(len(name) + stored_bytes(value) for name, value in item.items())
    return len(item) if isinstance(item, bytes | str) else len(json.dumps(item))


@pytest.mark.parametrize(("k", "limit"), [(10, 4096), (200, 100 * 1024)])
def test_decisions_stay_small_at_the_limits_of_a_request(k: int, limit: int) -> None:
    # 32 features of full precision for each candidate: nothing that could be compressed away.
    assert stored_bytes(decision_item(decision(k, 32))) <= limit


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
        full = policy.schema.encode(large.situation, [one["features"] for one in large.candidates])
        kept_only = policy.schema.encode(back.situation, [one["features"] for one in back.candidates])
        np.testing.assert_array_equal(kept_only, full)


@given(st.floats(-1, 1), st.integers(0, 2**52), st.text(min_size=1), st.lists(st.text(min_size=1), max_size=16))
def test_reactions_round_trip(reward: float, at: int, event_id: str, event_ids: list[str]) -> None:
    log = ReactionLog(Reaction(reward, at, event_id, "done", 17), -reward, tuple(event_ids))
    item = {**decision_item(decision(1, 0)), "reactions": reactions_value(log)}
    assert read_decision(item).reactions == log


def test_keys_order_decisions_by_time_and_separate_tips() -> None:
    earlier, later = ULID.from_timestamp(1_000_000.001), ULID.from_timestamp(1_000_000.002)
    assert str(earlier) < last_ulid_at(decided_at_us(str(earlier))) < str(later)
    assert last_ulid_at(-5) < str(earlier)
    # "a" and "a#b" must not share a range of the index.
    assert not tip("a#b", str(earlier)).startswith(tip("a", ""))
