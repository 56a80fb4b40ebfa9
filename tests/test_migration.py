"""What was learned goes from one schema to another by name: exactly for what both share, and never lost."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import reference
from tests.deciding import remember
from tests.requests import CANDIDATES, CONTEXT, PROFILE, connect, score_request, stats
from tips.bandit import registry
from tips.bandit.forgetting import half_life_us
from tips.bandit.learning import KEPT_US, Lesson, Logged, SchemaLearning, UserLearning, taught
from tips.bandit.policy import Policy
from tips.bandit.statistics import Statistics, map_statistics, map_vector
from tips.features.crossed_v3 import CROSSED_V3
from tips.features.vectors import EGREEDY_V1, EGREEDY_V2, LINUCB, Encoder, Schema
from tips.state import keys, learning, reactions
from tips.state.reactions import Report
from tips.state.table import Table
from tips.state.teaching import LearningRules

REORDERED = Schema("egreedy-v2", tuple(reversed(EGREEDY_V2.encoders)))
DROPPED = Schema("egreedy-v2", EGREEDY_V2.encoders[2:9])
SCHEMAS = [LINUCB, EGREEDY_V1, EGREEDY_V2, CROSSED_V3, REORDERED, DROPPED]


def observed(rows: Sequence[np.ndarray[Any, Any]], d: int) -> Statistics:
    statistics = Statistics.empty(d)
    for number, row in enumerate(rows):
        statistics = statistics.learn(row, 0, None, 0.1 * number)
    return statistics


@given(st.sampled_from(SCHEMAS), st.sampled_from(SCHEMAS), st.integers(0, 2**32 - 1))
def test_mapped_sums_are_the_sums_of_mapped_vectors(old: Schema, new: Schema, seed: int) -> None:
    rows = list(np.random.default_rng(seed).normal(size=(5, old.dimension)))
    mapped = map_statistics(observed(rows, old.dimension), old.names, new.names)
    direct = observed([map_vector(row, old.names, new.names) for row in rows], new.dimension)
    np.testing.assert_array_equal(mapped.xx, direct.xx)
    np.testing.assert_array_equal(mapped.rx, direct.rx)
    assert (mapped.weight, mapped.rr, mapped.pulls) == (direct.weight, direct.rr, direct.pulls)


@given(st.sampled_from(SCHEMAS), st.sampled_from(SCHEMAS), st.integers(0, 2**32 - 1))
def test_there_and_back_keeps_what_both_share(old: Schema, new: Schema, seed: int) -> None:
    statistics = observed(list(np.random.default_rng(seed).normal(size=(5, old.dimension))), old.dimension)
    back = map_statistics(map_statistics(statistics, old.names, new.names), new.names, old.names)
    shared = [place for place, name in enumerate(old.names) if name in new.names]
    np.testing.assert_array_equal(back.xx[np.ix_(shared, shared)], statistics.xx[np.ix_(shared, shared)])
    np.testing.assert_array_equal(back.rx[shared], statistics.rx[shared])
    others = [place for place in range(old.dimension) if place not in shared]
    assert not back.xx[others].any()
    assert not back.rx[others].any()


def test_what_the_schemas_share() -> None:
    assert set(EGREEDY_V1.names) < set(EGREEDY_V2.names)
    assert set(EGREEDY_V2.names) & set(CROSSED_V3.names) == {"is_overdue", "task_age", "priority"}
    assert CROSSED_V3.dimension <= 32


@pytest.mark.parametrize(
    ("first", "then"),
    [("egreedy-v1", "egreedy-v2"), ("egreedy-v2", "igw-ucb"), ("igw-ucb", "egreedy-v1"), ("egreedy-v2", "linucb")],
)
def test_a_policy_on_another_schema_goes_on_from_what_was_learned(score: Any, first: str, then: str) -> None:
    by_id = {candidate["id"]: candidate for candidate in CANDIDATES}
    taught = []
    for number in range(12):
        body = score.call("POST", "/score", score_request(policy=first)).json
        reward = round(random.Random(number).uniform(-1, 1), 2)
        score.call("POST", "/reward", {"user_id": "anna", "decision_id": body["decision_id"], "reward": reward})
        taught.append((by_id[body["tip_id"]], reward))
    old, new = registry.POLICIES[first].schema, registry.POLICIES[then].schema
    mapped = [(_by_name(_reference(old, one), old, new), reward) for one, reward in taught]
    body = score.call("POST", "/score", score_request(policy=then)).json
    logged = score.call("GET", f"/decisions/{body['decision_id']}", query={"user_id": "anna"}).json
    means = logged["evaluations"][then]["mean"]
    assert any(abs(mean) > 1e-3 for mean in means)
    for candidate, mean in zip(CANDIDATES, means, strict=True):
        expected, _ = reference.predict(mapped, _reference(new, candidate))
        assert mean == pytest.approx(expected, abs=1e-9)


def _reference(schema: Schema, candidate: dict[str, Any]) -> list[float]:
    if schema is CROSSED_V3:
        return reference.crossed(candidate, CONTEXT, PROFILE)
    return reference.vector(schema.name, candidate["features"], CONTEXT, PROFILE)


def _by_name(x: list[float], old: Schema, new: Schema) -> list[float]:
    known = dict(zip(old.names, x, strict=True))
    return [known.get(name, 0.0) for name in new.names]


def test_counts_are_of_the_schema_itself_and_going_back_finds_everything(score: Any) -> None:
    for path, times in (("/score/egreedy", 3), ("/score/egreedy/v2", 2)):
        for _ in range(times):
            body = score.call("POST", path, score_request()).json
            score.call("POST", "/reward", {"user_id": "anna", "decision_id": body["decision_id"], "reward": 0.5})
    assert stats(score, "/stats/egreedy/anna") == (3, 1.5)
    assert stats(score, "/stats/egreedy/v2/anna") == (2, 1.0)
    assert stats(score) == (0, 0.0)


@pytest.fixture
def next_version(monkeypatch: pytest.MonkeyPatch) -> Any:
    """egreedy-v2's schema as a later release has it: reordered, one component dropped, one new."""

    def install(schema: Schema) -> Policy:
        policy = dataclasses.replace(registry.POLICIES["egreedy-v2"], schema=schema)
        monkeypatch.setitem(registry.POLICIES, "egreedy-v2", policy)
        return policy

    return install


@pytest.mark.parametrize("changed", [REORDERED, DROPPED], ids=["reordered", "dropped"])
def test_a_new_version_of_a_schema_takes_over_lazily_and_the_old_one_is_kept(
    client: Table, next_version: Any, changed: Schema
) -> None:
    """In flight: one decision learned before the change and revised after it, one decided before and told after."""
    now_us = time.time_ns() // 1000
    before, between = (
        remember(client, "anna", now_us - 10_000_000 * n, CANDIDATES, policies=["egreedy-v2"]) for n in (2, 1)
    )

    def tell(decision: Any, event_id: str, reward: float) -> None:
        report = Report("anna", decision.decision_id, event_id=event_id, reward=reward)
        assert reactions.apply(client, report, LearningRules(), 5000).applied

    tell(before, "a", 1.0)
    next_version(changed)
    tell(between, "b", 0.5)
    tell(before, "c", -1.0)
    known = learning.read(client, "anna")
    new = known.statistics(changed)
    vectors = [map_vector(one.active.vector, EGREEDY_V2.names, changed.names) for one in (before, between)]
    np.testing.assert_allclose(new.xx, sum(np.outer(x, x) for x in vectors), atol=1e-12)
    np.testing.assert_allclose(new.rx, -vectors[0] + 0.5 * vectors[1], atol=1e-12)
    assert new.pulls == 2
    assert new.cumulative_reward == pytest.approx(-0.5)
    next_version(EGREEDY_V2)  # the release is taken back
    old = learning.read(client, "anna").statistics(EGREEDY_V2)
    np.testing.assert_allclose(old.rx, -before.active.vector + 0.5 * between.active.vector, atol=1e-12)
    assert old.pulls == 2


def test_a_retired_schema_is_kept_for_90_days_and_those_in_use_for_ever() -> None:
    now = 10**16
    long_ago = now - KEPT_US - 1
    retired = Schema("egreedy-v2", EGREEDY_V2.encoders[:3])

    def block(schema: Schema, at: int) -> tuple[str, SchemaLearning]:
        return schema.hash, SchemaLearning(Statistics.empty(schema.dimension), schema.name, schema.names, at)

    def after(known: UserLearning) -> UserLearning:
        logged = {CROSSED_V3.hash: Logged(CROSSED_V3.names, np.ones(32))}
        return taught(known, Lesson(now, logged, (CROSSED_V3,), 0.5), 0, now, registry.present_schemas())

    known = UserLearning(schemas=dict([block(retired, long_ago), block(EGREEDY_V2, long_ago)]))
    assert after(known).schemas.keys() == {EGREEDY_V2.hash, CROSSED_V3.hash}
    known = UserLearning(schemas=dict([block(retired, long_ago + 2)]))
    assert retired.hash in after(known).schemas


def decide_and_tell(score: Any, policy: str, reward: float) -> None:
    only = score_request(candidates=CANDIDATES[:1], policy=policy)
    body = score.call("POST", "/score", only).json
    score.call("POST", "/reward", {"user_id": "anna", "decision_id": body["decision_id"], "reward": reward})


def test_a_policy_that_comes_back_has_missed_nothing(score: Any, client: Table) -> None:
    rewards = [("egreedy-v1", 0.5), ("egreedy-v2", -1.0), ("igw-ucb", 0.25), ("egreedy-v2", -0.5)]
    for policy, reward in rewards:
        decide_and_tell(score, policy, reward)
    known = learning.read(client, "anna")
    for schema, counted in ((EGREEDY_V1, 1), (EGREEDY_V2, 2), (CROSSED_V3, 1)):
        statistics = known.statistics(schema)
        assert statistics.pulls == counted
        assert statistics.weight == len(rewards)
        expected = np.zeros(schema.dimension)
        for policy, reward in rewards:
            old = registry.POLICIES[policy].schema
            expected += reward * np.array(_by_name(_reference(old, CANDIDATES[0]), old, schema))
        np.testing.assert_allclose(statistics.rx, expected, atol=1e-12)


@pytest.mark.parametrize("shadows", [[], ["egreedy-v1"], ["linucb", "egreedy-v2"]])
@pytest.mark.parametrize(
    "then",
    [["linucb"], ["egreedy-v2"], ["igw-ucb"], ["egreedy-v1", "egreedy-v2"], ["linucb", "egreedy-v1", "egreedy-v2"]],
)
def test_a_revision_after_schemas_have_begun_cancels_what_came_along(
    client: Table, shadows: list[str], then: list[str]
) -> None:
    """One decision learned before, and revised after, policies on other schemas decided for the first time."""
    now_us = time.time_ns() // 1000
    context = {"hour_of_day": 9, "day_of_week": 6}
    first = remember(client, "anna", now_us - 10**7, CANDIDATES, policies=["squarecb", *shadows], context=context)

    def tell(decision: Any, event_id: str, reward: float) -> UserLearning:
        report = Report("anna", decision.decision_id, event_id=event_id, reward=reward)
        assert reactions.apply(client, report, LearningRules(), 5000).applied
        return learning.read(client, "anna")

    tell(first, "a", 1.0)
    others = []
    for number, policy in enumerate(then):
        one = remember(client, "anna", now_us - 10**6 * (5 - number), CANDIDATES, policies=[policy], context=context)
        others.append(one)
        once = tell(one, f"b{number}", 0.5)
    tell(first, "c", -0.7)
    known = tell(first, "d", 1.0)
    for digest, before in once.schemas.items():
        np.testing.assert_allclose(known.schemas[digest].statistics.rx, before.statistics.rx, atol=1e-12)
        np.testing.assert_allclose(known.schemas[digest].statistics.xx, before.statistics.xx, atol=1e-12)
    none = tell(first, "e", 0.0)
    for policy in then:
        schema = registry.POLICIES[policy].schema
        expected = np.zeros(schema.dimension)
        for one in others:
            logged = one.active
            expected += 0.5 * map_vector(logged.vector, logged.names, schema.names)
        np.testing.assert_allclose(none.statistics(schema).rx, expected, atol=1e-12)


def test_another_worker_may_let_a_schema_begin_between_read_and_write(client: Table, table: Any) -> None:
    """The revision of the item orders what was learned before what; clocks differ."""
    now_us = time.time_ns() // 1000
    context = {"hour_of_day": 9}
    first, other = (
        remember(client, "anna", now_us - 10**7, CANDIDATES, policies=[policy], context=context)
        for policy in ("egreedy-v2", "egreedy-v1")
    )

    def tell(on: Table, decision: Any, event_id: str, reward: float) -> None:
        report = Report("anna", decision.decision_id, event_id=event_id, reward=reward)
        assert reactions.apply(on, report, LearningRules(), 5000).applied

    class Overtaken(Table):
        def transact(self, writes: Any) -> None:
            if waiting:
                waiting.pop()()
            super().transact(writes)

    waiting = [lambda: tell(client, other, "b", 0.5)]
    overtaken = connect(table)
    overtaken.__class__ = Overtaken
    tell(overtaken, first, "a", 1.0)
    tell(client, first, "c", -1.0)
    expected = 0.5 * other.active.vector - map_vector(first.active.vector, EGREEDY_V2.names, EGREEDY_V1.names)
    np.testing.assert_allclose(learning.read(client, "anna").statistics(EGREEDY_V1).rx, expected, atol=1e-12)


@pytest.mark.parametrize("half_lives", [(1.0, float("inf")), (float("inf"), 1.0), (30.0, 2.0)])
def test_another_half_life_leaves_old_decisions_small(client: Table, half_lives: tuple[float, float]) -> None:
    now_us = time.time_ns() // 1000
    old, young = (remember(client, "anna", now_us - days * 86_400_000_000, CANDIDATES) for days in (30, 0))
    for days, decision in zip(half_lives, (young, old), strict=True):
        rules = LearningRules(half_life=half_life_us(days))
        at = keys.decided_at_us(decision.decision_id)
        report = Report("anna", decision.decision_id, reward=1.0, occurred_at=at)
        assert reactions.apply(client, report, rules, 5000).applied
    left = learning.read(client, "anna").statistics(CROSSED_V3).as_of(now_us)
    then = half_lives[1]
    assert left.weight == pytest.approx(1 + 2 ** (-30 / then), rel=0.01)


def test_a_schema_begins_with_the_statistics_that_share_most_with_it(score: Any, client: Table) -> None:
    decide_and_tell(score, "egreedy-v1", 0.5)
    decide_and_tell(score, "igw-ucb", -0.25)
    linucb = learning.read(client, "anna").statistics(LINUCB)
    hour = [LINUCB.names.index(name) for name in ("hour_sin", "hour_cos")]
    np.testing.assert_allclose(linucb.rx[hour], 0.5 * np.array(_reference(LINUCB, CANDIDATES[0]))[hour], atol=1e-12)
    assert linucb.weight == 2


def test_what_did_not_come_along_is_not_revised() -> None:
    """Learned under `a`, which shares more with the third schema than with the one that it came there through."""
    first, second, third = (
        Schema(name, tuple(Encoder(part, part) for part in parts))
        for name, parts in (("first", "abc"), ("second", "ade"), ("third", "abde"))
    )

    def lesson(schema: Schema, **fields: Any) -> Lesson:
        logged = {schema.hash: Logged(schema.names, np.ones(schema.dimension))}
        return Lesson(0, logged, (schema,), **{"new": 0.0, **fields})

    known = UserLearning()
    for schema, reward in ((first, 1.0), (second, 0.0), (third, 0.0)):
        known = taught(known, lesson(schema, new=reward), 0, 0, registry.present_schemas())
        known = dataclasses.replace(known, revision=known.revision + 1)
    np.testing.assert_array_equal(known.statistics(third).rx, [1, 0, 0, 0])
    known = taught(known, lesson(first, old=1.0, new=-1.0, learned_in=1), 0, 0, registry.present_schemas())
    np.testing.assert_array_equal(known.statistics(third).rx, [-1, 0, 0, 0])
    np.testing.assert_array_equal(known.statistics(first).rx, [-1, -1, -1])
