"""Forgetting is exact: neither order, nor repetition, nor how a stream is split changes what is left."""

from __future__ import annotations

import math
import random
import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devstack.events import envelope, jetstream_batch
from tests import reference
from tests.deciding import remember
from tips.bandit import forgetting
from tips.bandit.statistics import Statistics
from tips.features.crossed_v3 import CROSSED_V3
from tips.state import learning
from tips.state.table import Table

DAY = 86_400_000_000
NOW = 20_000 * DAY


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[tuple[int, list[float], list[float]]]]:
    """A half-life, and decisions: time, vector, the rewards it was given one after the other."""
    half_life = draw(st.sampled_from([DAY // 24, DAY, 7 * DAY, 30 * DAY, 12_345_678_901]))
    number = st.floats(-1, 1)
    decision = st.tuples(
        st.integers(NOW - 400 * DAY, NOW),
        st.lists(number, min_size=3, max_size=3),
        st.lists(number, min_size=1, max_size=3),
    )
    return half_life, draw(st.lists(decision, min_size=1, max_size=12))


@given(histories(), st.data())
def test_any_order_equals_one_ordered_pass(
    case: tuple[int, list[tuple[int, list[float], list[float]]]], data: st.DataObject
) -> None:
    half_life, decisions = case
    # Every change of reward is a step of its decision; decisions are interleaved at will.
    steps = data.draw(st.permutations([number for number, (*_, rewards) in enumerate(decisions) for _ in rewards]))
    statistics = Statistics.empty(3).with_half_life(half_life, NOW)
    told = [0] * len(decisions)
    for number in steps:
        at, x, rewards = decisions[number]
        step = told[number]
        old = rewards[step - 1] if step else None
        statistics = statistics.learn(np.array(x), at, old, rewards[step])
        told[number] += 1
    left = statistics.as_of(NOW)
    weights = [2.0 ** ((at - NOW) / half_life) for at, *_ in decisions]
    weighed = list(zip(weights, decisions, strict=True))
    for i in range(3):
        assert left.rx[i] == pytest.approx(math.fsum(w * r[-1] * x[i] for w, (_, x, r) in weighed), abs=1e-9)
        for j in range(3):
            assert left.xx[i, j] == pytest.approx(math.fsum(w * x[i] * x[j] for w, (_, x, _) in weighed), abs=1e-9)
    assert left.weight == pytest.approx(math.fsum(weights), abs=1e-9)
    assert left.rr == pytest.approx(math.fsum(w * r[-1] ** 2 for w, (*_, r) in weighed), abs=1e-9)
    assert (left.pulls, left.pulls_without_decision) == (len(decisions), 0)
    assert left.cumulative_reward == pytest.approx(math.fsum(r[-1] for *_, r in decisions), abs=1e-9)


@given(histories())
def test_what_is_taken_out_again_leaves_nothing(case: tuple[int, list[tuple[int, list[float], list[float]]]]) -> None:
    half_life, decisions = case
    statistics = Statistics.empty(3).with_half_life(half_life, NOW)
    for at, x, rewards in decisions:
        statistics = statistics.learn(np.array(x), at, None, rewards[0])
    for at, x, rewards in reversed(decisions):
        statistics = statistics.learn(np.array(x), at, rewards[0], None)
    left = statistics.as_of(NOW)
    assert np.abs(left.xx).max() < 1e-9
    assert np.abs(left.rx).max() < 1e-9
    assert abs(left.weight) < 1e-9
    assert left.pulls == 0


@given(st.integers(0, 2 * NOW), st.integers(0, 64), st.sampled_from([1, DAY, 12_345_678_901]))
def test_a_weight_is_the_same_float_but_for_its_power_of_two(at: int, moves: int, half_life: int) -> None:
    landmark = forgetting.landmark_for(at, half_life)
    later = landmark + moves * half_life
    moved = forgetting.weight(at, later, half_life)
    assert moved == forgetting.weight(at, landmark, half_life) * forgetting.moved(landmark, later, half_life)
    assert 1.0 <= forgetting.weight(at, landmark, half_life) <= 2.0


def test_without_a_half_life_nothing_is_forgotten() -> None:
    x = np.array([1.0, 2.0])
    statistics = Statistics.empty(2).learn(x, 0, None, 0.5).learn(x, NOW, None, 0.5)
    assert statistics.as_of(2 * NOW).weight == 2.0
    assert forgetting.half_life_us(math.inf) == 0


def test_one_half_life_later_it_counts_half() -> None:
    x = np.array([1.0, 2.0])
    statistics = Statistics.empty(2).with_half_life(10 * DAY, NOW - 100 * DAY).learn(x, NOW, None, 0.5)
    np.testing.assert_allclose(statistics.as_of(NOW).xx, np.outer(x, x), rtol=1e-14)
    np.testing.assert_allclose(statistics.as_of(NOW + 10 * DAY).xx, np.outer(x, x) / 2, rtol=1e-14)
    assert statistics.as_of(NOW + 10 * DAY).pulls == 1


@pytest.mark.parametrize(("before", "after"), [(0, 10 * DAY), (10 * DAY, 0), (10 * DAY, 3 * DAY)])
def test_another_half_life_keeps_what_there_is_and_decays_it_from_then_on(before: int, after: int) -> None:
    x = np.array([1.0, 0.0])
    old = Statistics.empty(2).with_half_life(before, NOW).learn(x, NOW - 20 * DAY, None, 1.0)
    worth = old.as_of(NOW).weight
    changed = old.with_half_life(after, NOW).learn(x, NOW, None, 1.0)
    assert changed.as_of(NOW).weight == pytest.approx(worth + 1, rel=1e-12)
    later = changed.as_of(NOW + 30 * DAY).weight
    assert later == pytest.approx((worth + 1) * (2.0 ** (-30 * DAY / after) if after else 1), rel=1e-12)


CANDIDATES: list[dict[str, Any]] = [
    {"id": "a", "kind": "task", "source": "todoist", "features": {"is_overdue": True, "priority": 4}},
    {"id": "b", "kind": "advice", "source": "llm", "prompt_version": "v1"},
]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_a_stream_of_events_in_any_order_leaves_the_sums_of_one_ordered_pass(
    load_function: Callable[..., Any], table: Any, client: Table, seed: int
) -> None:
    """Reactions permuted, repeated, split over batches: an id again, a revision before its original, months apart."""
    rng = random.Random(seed)
    consume = load_function("consume", HALF_LIFE_DAYS="9")
    user = str(uuid.uuid4())
    now_us = time.time_ns() // 1000
    counted: list[tuple[int, dict[str, Any], dict[str, Any], float]] = []
    events = []
    for _ in range(6):
        at = now_us - rng.randrange(80 * DAY) - DAY
        context = {"hour_of_day": rng.randrange(24), "day_of_week": rng.randrange(7)}
        decision = remember(client, user, at, CANDIDATES, context=context)
        reactions = []
        for number in range(rng.randint(1, 3)):
            occurred = at // 1000 * 1000 + rng.randrange(DAY)
            reward = round(rng.uniform(-1, 1), 3)
            event_id = f"{decision.decision_id}-{number}"
            reactions.append((occurred, event_id, reward))
            payload = {
                "user_id": user,
                "tip_id": decision.tip_id,
                "decision_id": decision.decision_id,
                "reward": reward,
            }
            moment = f"{np.datetime64(occurred, 'us')}Z"
            events.append(("signals.tip.reward_failed", envelope(payload, event_id=event_id, occurred_at=moment)))
        shown = next(one for one in CANDIDATES if one["id"] == decision.tip_id)
        counted.append((at // 1000 * 1000, shown, context, max(reactions)[2]))
    deliveries = events + rng.sample(events, k=len(events) // 2)
    rng.shuffle(deliveries)
    while deliveries:
        size = rng.randint(1, len(deliveries))
        batch, deliveries = deliveries[:size], deliveries[size:]
        assert consume.invoke(jetstream_batch(batch)) == {"batchItemFailures": []}
    left = learning.read(client, user).statistics(CROSSED_V3).as_of(now_us)
    weights = [2.0 ** ((at - now_us) / (9 * DAY)) for at, *_ in counted]
    vectors = [reference.crossed(shown, context, {}) for _, shown, context, _ in counted]
    for i in range(CROSSED_V3.dimension):
        rx = math.fsum(w * row[3] * x[i] for w, row, x in zip(weights, counted, vectors, strict=True))
        assert left.rx[i] == pytest.approx(rx, abs=1e-9)
        for j in range(CROSSED_V3.dimension):
            xx = math.fsum(w * x[i] * x[j] for w, x in zip(weights, vectors, strict=True))
            assert left.xx[i, j] == pytest.approx(xx, abs=1e-9)
    assert left.pulls == len(counted)
