"""Policies: exact probabilities, ties, a draw that the decision id alone determines, replay, explanation."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ulid import ULID

from tips.bandit.decision import choose, draw
from tips.bandit.explanation import explain
from tips.bandit.policy import Policy
from tips.bandit.registry import POLICIES, policy_named
from tips.bandit.statistics import Statistics
from tips.errors import InvalidField
from tips.features.vectors import Situation

ALL = list(POLICIES.values())
scores = st.lists(st.floats(-2, 2), min_size=1, max_size=200)


@pytest.mark.parametrize("policy", ALL, ids=lambda policy: policy.name)
@given(scores)
def test_probabilities_are_a_distribution(policy: Policy, means: list[float]) -> None:
    mean = np.array(means)
    distribution = policy.replay(mean, np.ones_like(mean))
    assert distribution.propensity.shape == mean.shape
    assert (distribution.propensity >= 0).all()
    assert math.fsum(distribution.propensity) == pytest.approx(1, abs=1e-12)


def test_epsilon_greedy_by_hand() -> None:
    policy = policy_named("egreedy-v2")
    propensity = policy.replay(np.array([0.1, 0.7, 0.7, -0.2]), np.ones(4)).propensity
    np.testing.assert_allclose(propensity, [0.025, 0.475, 0.475, 0.025], atol=1e-15)


def test_linucb_by_hand() -> None:
    distribution = policy_named("linucb").replay(np.array([0.5, 0.2, 0.4]), np.array([0.1, 0.5, 0.2]))
    np.testing.assert_allclose(distribution.score, [0.6, 0.7, 0.6], atol=1e-15)
    np.testing.assert_array_equal(distribution.propensity, [0, 1, 0])


@pytest.mark.parametrize("policy", ALL, ids=lambda policy: policy.name)
def test_a_single_candidate_is_certain(policy: Policy) -> None:
    assert policy.replay(np.array([-0.3]), np.array([0.5])).propensity.tolist() == [1.0]


def test_the_draw_follows_the_propensities() -> None:
    propensity = np.array([0.5, 0.0, 0.3, 0.2])
    n = 20_000
    counts = Counter(draw(propensity, f"decision-{i}") for i in range(n))
    assert counts[1] == 0
    for index, p in enumerate(propensity):
        # Five standard deviations: deterministic ids, so this passes always or never.
        assert counts[index] == pytest.approx(n * p, abs=5 * math.sqrt(n * p * (1 - p)) + 1e-9)


def test_the_draw_depends_on_the_decision_id_alone() -> None:
    propensity = np.full(50, 0.02)
    decision_id = str(ULID())
    assert {draw(propensity, decision_id) for _ in range(10)} == {draw(propensity, decision_id)}
    # Pinned: a logged decision must be replayable by every later version.
    assert draw(propensity, "01ARZ3NDEKTSV4RRFFQ69G5FAV") == 27


@given(st.lists(st.integers(0, 5), min_size=1, max_size=50).filter(any), st.text(min_size=1))
def test_a_candidate_of_probability_zero_is_never_drawn(weights: list[int], decision_id: str) -> None:
    propensity = np.array(weights) / sum(weights)
    assert propensity[draw(propensity, "x" + decision_id.encode("utf-8", "ignore").hex())] > 0


def test_an_unknown_policy_names_the_known() -> None:
    with pytest.raises(InvalidField, match="egreedy-v1, egreedy-v2, linucb") as caught:
        policy_named("thompson")
    assert caught.value.field == "policy"


@pytest.mark.parametrize("policy", ALL, ids=lambda policy: policy.name)
def test_contributions_add_up_to_the_score(policy: Policy) -> None:
    rng = np.random.default_rng(7)
    statistics = Statistics.empty(policy.schema.dimension)
    for _ in range(30):
        statistics = statistics.observe(rng.uniform(-1, 1, policy.schema.dimension), float(rng.uniform(-1, 1)))
    candidates = [{"is_overdue": bool(i % 2), "task_age_days": i, "priority": 1 + i % 4} for i in range(20)]
    chosen, evaluation, posterior, X = choose(policy, statistics, Situation(9, 2), candidates, str(ULID()))
    explanation = explain(evaluation, posterior, X, chosen, statistics.pulls)
    assert math.fsum(explanation.contributions.values()) == pytest.approx(
        evaluation.distribution.score[chosen], abs=1e-12
    )
    assert ("optimism" in explanation.contributions) == (policy.name == "linucb")


def test_sentences_say_what_set_the_tip_apart() -> None:
    policy = policy_named("linucb")
    overdue, fresh = {"is_overdue": True}, {"is_overdue": False}
    statistics = Statistics.empty(5)
    for candidate, reward in [(overdue, 1.0), (fresh, -1.0)] * 40:
        (x,) = policy.schema.encode(Situation(), [candidate])
        statistics = statistics.observe(x, reward)

    def sentence(candidates: list[dict[str, bool]], learned: Statistics) -> str:
        chosen, evaluation, posterior, X = choose(policy, learned, Situation(), candidates, "any")
        return explain(evaluation, posterior, X, chosen, learned.pulls).sentence

    assert sentence([fresh, overdue, fresh], statistics).startswith("It is overdue")
    assert sentence([overdue], statistics) == "It is the only candidate."
    assert "by chance" in sentence([overdue, overdue], Statistics.empty(5))
    assert "tell the most" in sentence([fresh, overdue], Statistics.empty(5))
