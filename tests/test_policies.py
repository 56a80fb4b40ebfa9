"""Policies: exact probabilities, ties, a draw that the decision id alone determines, replay, explanation."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ulid import ULID

from tests.deciding import choose, replayed
from tips.bandit.decision import draw
from tips.bandit.explanation import explain
from tips.bandit.policy import Policy
from tips.bandit.posterior import form_posterior
from tips.bandit.registry import POLICIES, policy_named
from tips.bandit.statistics import Statistics
from tips.errors import InvalidField
from tips.features.vectors import Candidate, Situation

ALL = list(POLICIES.values())
scores = st.lists(st.floats(-2, 2), min_size=1, max_size=200)


@pytest.mark.parametrize("policy", ALL, ids=lambda policy: policy.name)
@given(scores)
def test_probabilities_are_a_distribution(policy: Policy, means: list[float]) -> None:
    mean = np.array(means)
    distribution = replayed(policy, means, np.ones_like(mean).tolist())
    assert distribution.propensity.shape == mean.shape
    assert (distribution.propensity >= 0).all()
    assert math.fsum(distribution.propensity) == pytest.approx(1, abs=1e-12)


def test_epsilon_greedy_by_hand() -> None:
    policy = policy_named("egreedy-v2")
    propensity = replayed(policy, [0.1, 0.7, 0.7, -0.2], [1.0] * 4).propensity
    np.testing.assert_allclose(propensity, [0.025, 0.475, 0.475, 0.025], atol=1e-15)


def test_linucb_by_hand() -> None:
    distribution = replayed(policy_named("linucb"), [0.5, 0.2, 0.4], [0.1, 0.5, 0.2])
    np.testing.assert_allclose(distribution.score, [0.6, 0.7, 0.6], atol=1e-15)
    np.testing.assert_array_equal(distribution.propensity, [0, 1, 0])


@pytest.mark.parametrize("policy", ALL, ids=lambda policy: policy.name)
def test_a_single_candidate_is_certain(policy: Policy) -> None:
    assert replayed(policy, [-0.3], [0.5]).propensity.tolist() == [1.0]


@pytest.mark.parametrize("policy", ALL, ids=lambda policy: policy.name)
@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 3)), min_size=2, max_size=40), st.floats(1, 1e6), st.data())
def test_order_changes_nothing_and_equal_candidates_are_equally_likely(
    policy: Policy, rows: list[tuple[float, float]], observations: float, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(rows))))
    means, widths = zip(*rows, strict=True)
    one = replayed(policy, means, widths, observations).propensity
    other = replayed(policy, [means[i] for i in order], [widths[i] for i in order], observations).propensity
    np.testing.assert_allclose(other, one[list(order)], atol=1e-12)
    doubled = replayed(policy, [*means, means[0]], [*widths, widths[0]], observations).propensity
    assert doubled[0] == pytest.approx(doubled[-1], abs=1e-12)


@pytest.mark.parametrize("policy", ALL, ids=lambda policy: policy.name)
@pytest.mark.parametrize("width", [0.0, 1.0])
def test_candidates_that_are_all_alike_are_all_equally_likely(policy: Policy, width: float) -> None:
    propensity = replayed(policy, [0.3] * 200, [width] * 200, 50.0).propensity
    np.testing.assert_allclose(propensity, 1 / 200, atol=1e-12)


@pytest.mark.parametrize("policy", ALL, ids=lambda policy: policy.name)
def test_an_ill_conditioned_posterior_and_zero_vectors_still_give_a_distribution(policy: Policy) -> None:
    d = policy.schema.dimension
    x = np.ones(d)
    x[0] = 1 - 1e-9
    statistics = Statistics(1e12 * np.outer(x, x), 1e12 * x, 1e12)
    X = np.stack([x, np.zeros(d), x, -x])
    distribution, _ = policy.distribution(X, form_posterior(statistics))
    assert math.fsum(distribution.propensity) == pytest.approx(1, abs=1e-12)
    assert distribution.propensity[0] == distribution.propensity[2]
    assert (distribution.mean[1], distribution.width[1]) == (0.0, 0.0)
    assert distribution.score[0] > distribution.score[1] > distribution.score[3]


def test_inverse_gap_weighting_by_hand() -> None:
    policy = policy_named("squarecb")
    # gamma = 10 sqrt(3 * 12) = 60: 1 / (3 + 60 * 0.5), 1 / (3 + 60 * 1), and the rest.
    propensity = replayed(policy, [0.5, 1.0, 0.0], [9.0] * 3, 12.0).propensity
    np.testing.assert_allclose(propensity, [1 / 33, 1 - 1 / 33 - 1 / 63, 1 / 63], atol=1e-15)
    # The two best share what the third leaves.
    propensity = replayed(policy, [1.0, 1.0, 0.0], [9.0] * 3, 12.0).propensity
    np.testing.assert_allclose(propensity, [31 / 63, 31 / 63, 1 / 63], atol=1e-15)


def test_igw_ucb_by_hand() -> None:
    policy = policy_named("igw-ucb")
    distribution = replayed(policy, [0.5, 0.2, 0.1], [0.0, 2.0, 1.0], 3.0)
    np.testing.assert_allclose(distribution.score, [0.5, 0.8, 0.4], atol=1e-15)
    gamma = 300 * math.sqrt(3 * 3)
    first, third = 1 / (3 + gamma * 0.3), 1 / (3 + gamma * 0.4)
    expected = 0.98 * np.array([first, 1 - first - third, third]) + 0.02 / 3
    np.testing.assert_allclose(distribution.propensity, expected, atol=1e-15)


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 5)), min_size=1, max_size=200), st.floats(1, 1e9))
def test_igw_ucb_leaves_every_candidate_its_share(rows: list[tuple[float, float]], observations: float) -> None:
    means, widths = zip(*rows, strict=True)
    assert replayed(policy_named("igw-ucb"), means, widths, observations).propensity.min() >= 0.02 / len(rows)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0.01, 2)), min_size=2, max_size=12), st.integers(0, 2**32 - 1))
def test_lints_probabilities_are_those_of_independent_draws(rows: list[tuple[float, float]], seed: int) -> None:
    means, widths = (np.array(column) for column in zip(*rows, strict=True))
    draws = np.random.default_rng(seed).normal(means, 0.5 * widths, size=(20_000, len(rows)))
    observed = np.bincount(draws.argmax(axis=1), minlength=len(rows)) / 20_000
    propensity = replayed(policy_named("lints"), means.tolist(), widths.tolist()).propensity
    np.testing.assert_allclose(propensity, observed, atol=0.02)


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(0.01, 2), st.floats(0.01, 2))
def test_lints_of_two_is_the_closed_form(m1: float, m2: float, w1: float, w2: float) -> None:
    deviation = 0.5 * math.hypot(w1, w2)
    expected = 0.5 * math.erfc(-(m1 - m2) / deviation / math.sqrt(2))
    assert replayed(policy_named("lints"), [m1, m2], [w1, w2]).propensity[0] == pytest.approx(expected, abs=1e-4)


def test_lints_is_right_with_one_uncertain_among_many_certain() -> None:
    rng = np.random.default_rng(1)
    mean, width = rng.normal(0, 0.02, 200), np.full(200, 0.004)
    mean[0], width[0] = 0.0, 2.0
    draws = rng.normal(mean, 0.5 * width, size=(40_000, 200)).argmax(axis=1)
    propensity = replayed(policy_named("lints"), mean.tolist(), width.tolist()).propensity
    np.testing.assert_allclose(propensity, np.bincount(draws, minlength=200) / 40_000, atol=0.01)


def test_lints_without_uncertainty_is_greedy() -> None:
    policy = policy_named("lints")
    assert replayed(policy, [0.5, 0.3, 0.5], [0.0] * 3).propensity.tolist() == [0.5, 0.0, 0.5]
    certain_best = replayed(policy, [0.5, 0.0, 0.2], [0.0, 1.0, 0.0]).propensity
    np.testing.assert_allclose(certain_best, [0.841345, 0.158655, 0.0], atol=1e-4)


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
    with pytest.raises(InvalidField, match="egreedy-v1, egreedy-v2, igw-ucb, lints, linucb, squarecb") as caught:
        policy_named("thompson")
    assert caught.value.field == "policy"


@pytest.mark.parametrize("policy", ALL, ids=lambda policy: policy.name)
def test_contributions_add_up_to_the_score(policy: Policy) -> None:
    rng = np.random.default_rng(7)
    statistics = Statistics.empty(policy.schema.dimension)
    for _ in range(30):
        x = rng.uniform(-1, 1, policy.schema.dimension)
        statistics = statistics.learn(x, 0, None, float(rng.uniform(-1, 1)))
    candidates = [{"is_overdue": bool(i % 2), "task_age_days": i, "priority": 1 + i % 4} for i in range(20)]
    chosen, evaluation, posterior, X = choose(policy, statistics, Situation(9, 2), candidates, str(ULID()))
    explanation = explain(evaluation, posterior, X, chosen, known=True)
    assert math.fsum(explanation.contributions.values()) == pytest.approx(
        evaluation.distribution.score[chosen], abs=1e-12
    )
    assert ("optimism" in explanation.contributions) == (policy.name in ("linucb", "igw-ucb"))


def test_sentences_say_what_set_the_tip_apart() -> None:
    policy = policy_named("linucb")
    overdue, fresh = {"is_overdue": True}, {"is_overdue": False}
    statistics = Statistics.empty(5)
    for candidate, reward in [(overdue, 1.0), (fresh, -1.0)] * 40:
        (x,) = policy.schema.encode(Situation(), [Candidate(candidate)])
        statistics = statistics.learn(x, 0, None, reward)

    def sentence(candidates: list[dict[str, bool]], learned: Statistics) -> str:
        chosen, evaluation, posterior, X = choose(policy, learned, Situation(), candidates, "any")
        return explain(evaluation, posterior, X, chosen, known=learned.weight > 0).sentence

    assert sentence([fresh, overdue, fresh], statistics).startswith("Overdue")
    assert sentence([overdue], statistics) == "It is the only candidate."
    assert "by chance" in sentence([overdue, overdue], Statistics.empty(5))
    assert "tell the most" in sentence([fresh, overdue], Statistics.empty(5))
