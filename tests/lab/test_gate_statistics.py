"""What the gate promises of its statistics: seldom a false alarm however often one looks, and a true gain is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench import ope_adaptive
from bench.ope_adaptive import EQUAL, GAIN, Scenario, belief, course, false_alarms, found_after, igw_ucb
from tips.bandit.posterior import form_posterior
from tips.bandit.prior import Prior
from tips.bandit.registry import POLICIES
from tips.bandit.statistics import Statistics


@pytest.mark.parametrize("with_prior", [False, True])
def test_simulated_policies_are_ours(with_prior: bool) -> None:
    """Means, widths and probabilities are those of `tips.bandit` for a schema with one feature per tip."""
    generator = np.random.default_rng(0)
    k, strength = 5, 5.0 if with_prior else 1.0
    population = np.linspace(-0.3, 0.3, k) if with_prior else np.zeros(k)
    names = tuple(f"tip {one}" for one in range(k))
    for _ in range(50):
        pulls = generator.integers(0, 4, k).astype(float)
        total = pulls * generator.uniform(-1, 1, k)
        prior = Prior(names, np.ones(1), np.full((1, k), strength), population[None], 0.5) if with_prior else None
        posterior = form_posterior(Statistics(np.diag(pulls), total, float(pulls.sum())), prior)
        expected, _ = POLICIES["igw-ucb"].distribution(np.eye(k), posterior)
        assert igw_ucb(*belief(pulls, total, population, strength)) == pytest.approx(expected.propensity, abs=1e-12)


def test_simulated_epsilon_greedy_is_ours() -> None:
    mean = np.array([0.1, 0.5, 0.5, -0.2])
    policy = POLICIES["egreedy-v2"]
    expected = policy.replay(mean, np.ones(4), policy.parameters(4, 1.0)).propensity
    assert ope_adaptive.epsilon_greedy(mean) == pytest.approx(expected, abs=1e-12)


def alarms(scenario: Scenario, runs: int) -> tuple[float, float]:
    """Return the shares of runs in which the sequence, and a t-interval, ever find a difference that is not there."""
    of = course(scenario, runs, seed=1)
    assert np.abs(of.gain).max() < 1e-12
    assert of.deviation[:, -1].mean() > 3  # weights are heavy: the policies differ much
    assert len(of.times) == scenario.decisions // 100
    return false_alarms((of.lows, of.highs), of.gain), false_alarms(of.naive(), of.gain)


def test_false_alarms_are_few_where_policies_differ_and_bring_the_same() -> None:
    sequence, naive = alarms(replace(EQUAL[0], decisions=5000), 200)
    assert sequence <= 0.05 < naive


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", EQUAL, ids=lambda one: one.said)
def test_a_thousand_runs_without_difference_raise_at_most_five_per_cent_false_alarms(scenario: Scenario) -> None:
    sequence, naive = alarms(scenario, ope_adaptive.RUNS_EQUAL)
    assert sequence <= 0.05 < naive


def found(scenario: Scenario, runs: int) -> float:
    of = course(scenario, runs, seed=2)
    assert of.gain[:, -1].mean() == pytest.approx(0.1, abs=0.005)
    # And the gain, which falls as the active policy learns, is covered all the while.
    assert false_alarms((of.lows, of.highs), of.gain) <= 0.05
    return float((found_after(of.lows, of.times) <= scenario.decisions).mean())


def test_a_gain_of_a_tenth_is_found_in_most_runs() -> None:
    assert found(GAIN[0], 40) >= 0.8


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", GAIN, ids=lambda one: one.said)
def test_a_gain_of_a_tenth_is_found_in_four_runs_of_five(scenario: Scenario) -> None:
    assert found(scenario, ope_adaptive.RUNS_GAIN) >= 0.8


def test_a_gain_is_found_when_it_is_first_seen() -> None:
    lows = np.array([[-0.1, 0.01, -0.2], [-0.1, -0.1, -0.1]])
    assert found_after(lows, np.array([100, 200, 300])).tolist() == [200, np.inf]
