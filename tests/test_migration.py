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
from tests.requests import CANDIDATES, CONTEXT, PROFILE, score_request, stats
from tips.bandit import registry
from tips.bandit.learning import KEPT_US, Logged, SchemaLearning, Shown, UserLearning, taught
from tips.bandit.policy import Policy
from tips.bandit.statistics import Statistics, map_statistics, map_vector
from tips.features.crossed_v3 import CROSSED_V3
from tips.features.vectors import EGREEDY_V1, EGREEDY_V2, LINUCB, Candidate, Schema, Situation
from tips.state import learning, reactions
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
        monkeypatch.setitem(registry.POLICIES, "egreedy-v2", policy)  # type: ignore[arg-type]
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
    assert (new.pulls, new.cumulative_reward) == (2, pytest.approx(-0.5))
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
        logged = {CROSSED_V3.hash: Logged("crossed-v3", CROSSED_V3.names, np.ones(32))}
        shown = Shown(Situation(), Candidate(), logged, (CROSSED_V3,))
        return taught(known, shown, now, None, 0.5, None, 0, now)

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
    for number, (schema, counted) in enumerate(((EGREEDY_V1, 1), (EGREEDY_V2, 2), (CROSSED_V3, 1))):
        statistics = known.statistics(schema)
        assert statistics.pulls == counted
        assert statistics.weight == len(rewards)
        x = np.array(_reference(schema, CANDIDATES[0]))
        # What came before the schema was there reached it by name, all the rest as it would have seen it itself.
        before = [name in {*EGREEDY_V1.names, *(EGREEDY_V2.names if number > 1 else ())} for name in schema.names]
        expected = sum(reward * (x if place >= number else x * before) for place, (_, reward) in enumerate(rewards))
        np.testing.assert_allclose(statistics.rx, expected, atol=1e-12)


@pytest.mark.parametrize("shadows", [[], ["egreedy-v1"], ["linucb", "egreedy-v2"]])
@pytest.mark.parametrize("then", ["linucb", "egreedy-v2", "igw-ucb"])
def test_a_revision_after_a_schema_has_begun_cancels_what_came_along(
    client: Table, shadows: list[str], then: str
) -> None:
    """One decision learned before, and revised after, a policy on another schema decided for the first time."""
    now_us = time.time_ns() // 1000
    context = {"hour_of_day": 9, "day_of_week": 6}
    first = remember(client, "anna", now_us - 10**7, CANDIDATES, policies=["squarecb", *shadows], context=context)
    second = remember(client, "anna", now_us - 5 * 10**6, CANDIDATES, policies=[then], context=context)

    def tell(decision: Any, event_id: str, reward: float) -> UserLearning:
        report = Report("anna", decision.decision_id, event_id=event_id, reward=reward)
        assert reactions.apply(client, report, LearningRules(), 5000).applied
        return learning.read(client, "anna")

    tell(first, "a", 1.0)
    once = tell(second, "b", 0.5)
    tell(first, "c", -0.7)
    known = tell(first, "d", 1.0)
    for digest, one in once.schemas.items():
        np.testing.assert_allclose(known.schemas[digest].statistics.rx, one.statistics.rx, atol=1e-12)
        np.testing.assert_allclose(known.schemas[digest].statistics.xx, one.statistics.xx, atol=1e-12)
    none = tell(first, "e", 0.0)
    new = registry.POLICIES[then].schema
    np.testing.assert_allclose(none.statistics(new).rx, 0.5 * second.evaluations[then].vector, atol=1e-12)


def test_a_schema_begins_with_the_statistics_that_share_most_with_it(score: Any, client: Table) -> None:
    decide_and_tell(score, "egreedy-v1", 0.5)
    decide_and_tell(score, "igw-ucb", -0.25)
    linucb = learning.read(client, "anna").statistics(LINUCB)
    hour = [LINUCB.names.index(name) for name in ("hour_sin", "hour_cos")]
    np.testing.assert_allclose(linucb.rx[hour], 0.25 * np.array(_reference(LINUCB, CANDIDATES[0]))[hour], atol=1e-12)
    assert linucb.weight == 2
