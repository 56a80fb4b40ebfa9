"""Diagnostics, the sample-ratio check and the reward model of off-policy evaluation."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench import ope
from bench.ope_tables import markdown
from offline.experiments.diagnostics import effective_sample_size, overlap, propensity_test
from offline.experiments.reward_model import cross_fitted, fold_of, past_only
from offline.experiments.sample_ratio import sample_ratio


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=50))
def test_an_effective_sample_is_no_larger_than_the_sample(weights: list[float]) -> None:
    size = effective_sample_size(np.array(weights))
    assert 1 - 1e-9 <= size <= len(weights) + 1e-9
    assert effective_sample_size(np.ones(len(weights))) == pytest.approx(len(weights))


def test_no_weight_is_no_sample() -> None:
    assert effective_sample_size(np.zeros(3)) == 0


def test_overlap_tells_how_much_was_hardly_shown() -> None:
    logged = np.array([0.995, 0.005, 0.5, 0.5])
    judged = np.array([0.2, 0.8, 0.5, 0.5])
    weight = np.array([0.2 / 0.995, 1.0])
    found = overlap(weight, np.array([0, 1]), np.array([0, 2]), logged, judged)
    assert found.support_below == {"0.001": 0.0, "0.01": pytest.approx(0.4), "0.05": pytest.approx(0.4)}
    assert found.max_weight == 1
    assert found.mean_weight == pytest.approx(weight.mean())
    assert not found.propensities_doubtful


def weights(seed: int, n: int, mistake: float = 1.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights of n draws, and the largest that each could be; mistake: factor on the logged probabilities."""
    generator = np.random.default_rng(seed)
    b = generator.dirichlet(np.full(5, 0.3), n) * 0.95 + 0.01
    p = generator.dirichlet(np.full(5, 0.3), n)
    drawn = (b.cumsum(axis=1) < generator.random((n, 1))).sum(axis=1).clip(0, 4)
    rows = np.arange(n)
    return p[rows, drawn] / (mistake * b[rows, drawn]), (p / b).max(axis=1) / mistake


def test_right_probabilities_are_seldom_doubted_and_wrong_ones_are_caught() -> None:
    doubted = [propensity_test(*weights(seed, 500)) < 0.05 for seed in range(200)]
    assert np.mean(doubted) <= 0.05
    assert propensity_test(*weights(0, 3000, mistake=1.5)) < 0.001
    assert propensity_test(*weights(0, 3000, mistake=0.5)) < 0.001


def test_people_are_counted_once_and_shares_are_compared() -> None:
    seen = [(f"p{one}", "a" if one % 2 else "b") for one in range(100)] * 3
    fair = sample_ratio("tone", seen, {"a": 0.3, "b": 0.3})
    assert fair.people == {"a": 50, "b": 50}
    assert fair.p_value == pytest.approx(1.0)
    assert "as configured" in fair.sentence
    unfair = sample_ratio("tone", seen, {"a": 0.2, "b": 0.6})
    chi_square = (50 - 25) ** 2 / 25 + (50 - 75) ** 2 / 75
    assert unfair.p_value == pytest.approx(math.erfc(math.sqrt(chi_square / 2)), rel=1e-9)
    assert "MISMATCH" in unfair.sentence


def test_people_in_several_arms_are_told_apart() -> None:
    found = sample_ratio("tone", [("one", "a"), ("one", "b"), ("two", "a")], {"a": 0.5, "b": 0.5})
    assert (found.people, found.several_arms, found.p_value) == ({"a": 1, "b": 0}, 1, None)
    assert "1 more were seen in several arms" in found.sentence
    assert "too few to tell" in found.sentence


def test_an_arm_without_a_share_is_refused() -> None:
    with pytest.raises(ValueError, match="no arm 'c'"):
        sample_ratio("tone", [("one", "c")], {"a": 1.0})


def test_nobody_is_predicted_by_a_fit_to_their_own_rewards() -> None:
    generator = np.random.default_rng(0)
    X, reward = generator.normal(size=(60, 3)), generator.uniform(-1, 1, 60)
    users = [f"person-{one % 12}" for one in range(60)]
    fits = cross_fitted(X, reward, users)
    mine = np.array([user == users[0] for user in users])
    changed = cross_fitted(X, np.where(mine, -reward, reward), users)
    assert np.array_equal(fits.predict(X[:1], 0), changed.predict(X[:1], 0))
    stranger = next(row for row, user in enumerate(users) if fold_of(user) != fold_of(users[0]))
    assert not np.array_equal(fits.predict(X[:1], stranger), changed.predict(X[:1], stranger))


def test_the_past_is_what_was_known_when_a_block_began() -> None:
    generator = np.random.default_rng(1)
    n = 50
    X, reward = generator.normal(size=(n, 2)), generator.uniform(-1, 1, n)
    decided_at = np.arange(n) * 10
    known_at = decided_at + generator.integers(1, 200, n)
    fits = past_only(X, reward, decided_at, known_at, block=10)
    for row in (0, 9, 10, 37, 49):
        known = known_at < decided_at[row // 10 * 10]
        expected = np.linalg.solve(X[known].T @ X[known] + np.eye(2), reward[known] @ X[known])
        assert fits.coefficients[fits.of_row[row]] == pytest.approx(expected, abs=1e-12)


def test_expectations_stay_among_the_rewards() -> None:
    X = np.array([[100.0], [-100.0]])
    fits = cross_fitted(np.ones((20, 1)), np.ones(20), [f"person-{one}" for one in range(20)])
    assert fits.predict(X, 0).tolist() == [1.0, -1.0]


def test_the_figures_that_are_kept_are_those_that_were_measured_and_promised() -> None:
    kept = json.loads((ope.HERE / "ope.json").read_text())
    assert (ope.HERE / "ope.md").read_text() == markdown(kept)
    assert not kept["quick"]
    for experiment, one in kept["reproduced"].items():
        assert one["runs"] == ope.RUNS
        assert one["largest_difference"] < ope.AGREEMENT
        for row in one["rows"]:
            mean, deviation = ope.PUBLISHED[experiment][row["estimator"]]
            assert abs(row["ours"] - mean) <= 2 * deviation / math.sqrt(ope.RUNS), row["estimator"]
    assert all(one["runs"] == 1000 and one["sequence"] <= 0.05 for one in kept["sequence"]["equal"])
    assert all(one["runs"] == 200 and one["found"]["sequence"] >= 0.8 for one in kept["sequence"]["gain"])
