"""Off-policy estimators: identities, bounds, and agreement with definitions written out in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from offline.experiments.estimators import (
    ESTIMATORS,
    SHRINKAGES,
    Rounds,
    averages,
    estimates,
    tuned_shrinkage,
)
from offline.experiments.intervals import bootstrap, empirical_bernstein, resampled_averages

Array = NDArray[np.float64]

COIN = np.array([-1.0, 1.0])
_UNIT = st.floats(-1, 1)
_ROW = st.tuples(_UNIT, st.floats(0, 500).map(lambda w: round(w, 6)), _UNIT, _UNIT)
ROUNDS = st.lists(_ROW, min_size=2, max_size=30).map(lambda rows: Rounds(*np.array(rows, dtype=np.float64).T))
WEIGHTED = ROUNDS.filter(lambda rounds: bool(rounds.weight.sum() > 0.01))


def rounds_with(rounds: Rounds, **changed: Array) -> Rounds:
    arrays = {name: getattr(rounds, name) for name in ("reward", "weight", "predicted", "value")}
    return Rounds(**(arrays | changed))


def plainly(rounds: Rounds, shrinkage: float) -> dict[str, float]:
    """The definitions, one round at a time, each sum exactly rounded."""
    rows = list(
        zip(*(getattr(rounds, name).tolist() for name in ("reward", "weight", "predicted", "value")), strict=True)
    )
    n = len(rows)

    def mean(term: Callable[[float, float, float, float], float]) -> float:
        return math.fsum(term(*row) for row in rows) / n

    def shrunk(w: float) -> float:
        return w if math.isinf(shrinkage) else shrinkage * w / (shrinkage + w * w)

    weight = mean(lambda r, w, q, v: w)
    direct = mean(lambda r, w, q, v: v)
    return {
        "ips": mean(lambda r, w, q, v: w * r),
        "snips": mean(lambda r, w, q, v: w * r) / weight,
        "dm": direct,
        "dr": mean(lambda r, w, q, v: v + w * (r - q)),
        "sndr": direct + mean(lambda r, w, q, v: w * (r - q)) / weight,
        "dros": mean(lambda r, w, q, v: v + shrunk(w) * (r - q)),
    }


@given(WEIGHTED, st.sampled_from([0.5, *SHRINKAGES]))
def test_estimates_are_the_definitions(rounds: Rounds, shrinkage: float) -> None:
    expected = plainly(rounds, shrinkage)
    got = estimates(rounds, shrinkage)
    assert list(got) == list(ESTIMATORS)
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name


@given(ROUNDS)
def test_on_its_own_policy_ips_and_snips_are_the_mean_reward(rounds: Rounds) -> None:
    own = rounds_with(rounds, weight=np.ones(len(rounds)))
    got = estimates(own, math.inf)
    assert got["ips"] == pytest.approx(rounds.reward.mean(), abs=1e-12)
    assert got["snips"] == pytest.approx(rounds.reward.mean(), abs=1e-12)
    # The model's error is taken out: what it expects of the action taken is what it expects of the policy.
    of_action = estimates(rounds_with(own, value=own.predicted), math.inf)
    assert of_action["dr"] == pytest.approx(rounds.reward.mean(), abs=1e-12)
    assert of_action["sndr"] == pytest.approx(rounds.reward.mean(), abs=1e-12)


@given(WEIGHTED)
def test_snips_lies_among_the_rewards(rounds: Rounds) -> None:
    low, high = rounds.reward.min(), rounds.reward.max()
    assert low - 1e-9 <= estimates(rounds, 1.0)["snips"] <= high + 1e-9


@given(ROUNDS)
def test_without_a_model_dr_is_ips_and_sndr_is_snips(rounds: Rounds) -> None:
    nothing = np.zeros(len(rounds))
    got = estimates(rounds_with(rounds, predicted=nothing, value=nothing), math.inf)
    assert got["dr"] == pytest.approx(got["ips"], abs=1e-12)
    assert got["sndr"] == pytest.approx(got["snips"], abs=1e-12, nan_ok=True)
    assert got["dm"] == 0


@given(ROUNDS)
def test_shrinkage_leads_from_dm_to_dr(rounds: Rounds) -> None:
    assert estimates(rounds, 0.0)["dros"] == pytest.approx(estimates(rounds, 0.0)["dm"], abs=1e-12)
    assert estimates(rounds, 1e-9)["dros"] == pytest.approx(estimates(rounds, 0.0)["dm"], abs=1e-4)
    got = estimates(rounds, math.inf)
    assert got["dros"] == pytest.approx(got["dr"], abs=1e-12)
    assert estimates(rounds, 1e15)["dros"] == pytest.approx(got["dr"], abs=1e-6)


@given(WEIGHTED, st.floats(-3, 3))
def test_a_shift_of_all_rewards_shifts_self_normalised_and_modelled_values(rounds: Rounds, by: float) -> None:
    before = estimates(rounds, 100.0)
    shifted = rounds_with(rounds, reward=rounds.reward + by, predicted=rounds.predicted + by, value=rounds.value + by)
    after = estimates(shifted, 100.0)
    for name in ("snips", "dm", "dr", "sndr", "dros"):
        assert after[name] == pytest.approx(before[name] + by, abs=1e-8), name
    # With inverse weights alone a shift is multiplied by the mean weight: that is their weakness.
    assert after["ips"] == pytest.approx(before["ips"] + by * rounds.weight.mean(), abs=1e-7)


@given(ROUNDS)
def test_with_a_perfect_model_dr_is_dm_whatever_the_weights(rounds: Rounds) -> None:
    got = estimates(rounds_with(rounds, predicted=rounds.reward), 10.0)
    assert got["dr"] == got["dm"] == got["dros"]


@pytest.mark.parametrize(
    "bad",
    [
        {"weight": np.array([1.0, -0.1])},
        {"weight": np.array([1.0])},
        {"reward": np.array([math.nan, 0.0])},
        {"value": np.array([math.inf, 0.0])},
    ],
)
def test_rounds_that_make_no_sense_are_refused(bad: dict[str, Array]) -> None:
    good = Rounds(*np.zeros((4, 2)))
    with pytest.raises(ValueError, match="must be"):
        rounds_with(good, **bad)


def test_tuning_shrinks_where_weights_are_heavy_and_the_model_is_right_and_not_where_it_is_wrong() -> None:
    generator = np.random.default_rng(0)
    n = 2000
    weight = np.where(generator.random(n) < 0.01, 100.0, 0.0)
    reward = generator.choice(COIN, n)
    nothing = np.zeros(n)
    right = Rounds(reward, weight, nothing, nothing)
    assert tuned_shrinkage(right) == SHRINKAGES[0]
    wrong = Rounds(np.ones(n), weight, nothing, nothing)
    assert tuned_shrinkage(wrong) > 1000


def test_people_are_resampled_with_all_of_their_rounds() -> None:
    """Where a person's rounds are all alike, an interval that takes them for independent is far too narrow."""
    generator = np.random.default_rng(1)
    people = np.repeat(np.arange(30), 40)
    reward = generator.choice(COIN, 30)[people]
    ones, nothing = np.ones(len(people)), np.zeros(len(people))
    low, high = bootstrap(Rounds(reward, ones, nothing, nothing), people, 1.0)["ips"]
    assert 0.5 < high - low < 1.0  # 30 coins: 4 / sqrt(30)
    alone = bootstrap(Rounds(reward, ones, nothing, nothing), np.arange(len(people)), 1.0)["ips"]
    assert alone[1] - alone[0] < 0.15


def test_a_bootstrap_is_the_same_every_time_and_lies_round_the_estimate() -> None:
    generator = np.random.default_rng(2)
    n = 400
    rounds = Rounds(generator.uniform(-1, 1, n), generator.exponential(1, n), *generator.uniform(-1, 1, (2, n)))
    people = generator.integers(0, 50, n)
    first = bootstrap(rounds, people, 50.0)
    assert first == bootstrap(rounds, people, 50.0)
    for name, value in estimates(rounds, 50.0).items():
        assert first[name][0] < value < first[name][1], name
    assert first != bootstrap(rounds, people, 50.0, seed=1)


def test_averages_of_resamples_vary_as_means_do() -> None:
    terms = np.random.default_rng(3).normal(size=(1000, 1))
    drawn = resampled_averages(terms, np.arange(1000), 500, 0)
    assert drawn.shape == (500, 1)
    assert drawn.std() == pytest.approx(1 / math.sqrt(1000), rel=0.15)


def test_bernstein_covers_the_mean_of_a_skewed_variable() -> None:
    generator = np.random.default_rng(4)
    draws = 20.0 * (generator.random((400, 300)) < 0.05)
    missed = [not low <= 1.0 <= high for low, high in (empirical_bernstein(row, 0.0, 20.0) for row in draws)]
    assert np.mean(missed) <= 0.05


def test_bernstein_is_its_formula() -> None:
    terms = np.array([0.0, 1.0, 0.5, 0.25])
    low, high = empirical_bernstein(terms, 0.0, 1.0, alpha=0.1)
    log = math.log(40)
    radius = math.sqrt(2 * terms.var(ddof=1) * log / 4) + 7 * log / 9
    assert (low, high) == pytest.approx((terms.mean() - radius, terms.mean() + radius))
    with pytest.raises(ValueError, match=r"0\.\.0\.5"):
        empirical_bernstein(terms, 0.0, 0.5)


def test_averages_are_named() -> None:
    of = averages(Rounds(np.array([1.0]), np.array([2.0]), np.array([0.5]), np.array([0.25])), 2.0)
    assert [float(one) for one in (of.weight, of.weighted_reward, of.value, of.weighted_residual)] == [2, 2, 0.25, 1]
    assert of.shrunk_residual == pytest.approx(2 * 2 / 6 * 0.5)
