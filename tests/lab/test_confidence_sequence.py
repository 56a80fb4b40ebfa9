"""The confidence sequence: what it covers, at all times, and what it must not depend on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from offline.experiments.confidence_sequence import LAMBDAS, confidence_sequence, increments

Array = NDArray[np.float64]


def logs(seed: int, n: int, k: int = 4) -> dict[str, Any]:
    """Decisions of n rounds with k candidates and heavy weights, as the sequence takes them."""
    generator = np.random.default_rng(seed)
    logged = generator.dirichlet(np.full(k, 0.3), n) * 0.95 + 0.05 / k
    challenger = generator.dirichlet(np.full(k, 0.3), n)
    means = generator.uniform(-0.5, 0.5, (n, k))
    shown = (logged.cumsum(axis=1) < generator.random((n, 1))).sum(axis=1).clip(0, k - 1)
    starts = np.arange(n) * k
    reward = np.where(generator.random(n) < (1 + means[np.arange(n), shown]) / 2, 1.0, -1.0)
    return {
        "reward": reward,
        "shown": starts + shown,
        "starts": starts,
        "logged": logged.ravel(),
        "gained": (challenger - logged).ravel(),
        "q": generator.uniform(-1, 1, n * k),
        "truth": ((challenger - logged) * means).sum(axis=1),
    }


def sequence_of(given: dict[str, Any], **options: Any) -> Any:
    return confidence_sequence(**{name: one for name, one in given.items() if name != "truth"}, **options)


def one_decision(b: Array, gained: Array, q: Array, rewards: Array) -> list[tuple[Array, Array]]:
    """Growth and expectation, (m,) each, for each candidate drawn and each reward."""
    starts = np.array([0])
    outcomes = []
    for place in range(len(b)):
        for reward in rewards:
            added = increments(np.array([reward]), np.array([place]), starts, b, gained, q)
            outcomes.append((added.growth[0], added.expected[0]))
    return outcomes


@given(st.integers(0, 10**6), st.integers(2, 6), st.sampled_from([1.0, -1.0]))
def test_products_have_at_most_the_expectation_of_one_at_the_true_gain(seed: int, k: int, side: float) -> None:
    """The supermartingale itself, exactly: over every candidate that may be drawn and every reward."""
    generator = np.random.default_rng(seed)
    b = generator.dirichlet(np.full(k, 0.1)) * 0.98 + 0.02 / k
    gained = side * (generator.dirichlet(np.full(k, 0.1)) - b)
    q = generator.uniform(-1, 1, k)
    good = generator.random(k)  # the probability of the reward 1, else it is -1
    gain = float(gained @ (2 * good - 1))
    outcomes = one_decision(b, gained, q, np.array([1.0, -1.0]))
    chances = np.stack((b * good, b * (1 - good)), axis=1).ravel()
    lambdas = np.array(LAMBDAS)
    worth = sum(
        chance * np.exp(growth - lambdas * (gain - expected))
        for chance, (growth, expected) in zip(chances, outcomes, strict=True)
    )
    assert np.all(worth <= 1 + 1e-12)
    # No product may lose everything, and the model's part must not change what is expected.
    assert all(np.isfinite(growth).all() for growth, _ in outcomes)
    means = sum(
        chance * (np.expm1(growth) / lambdas + expected)
        for chance, (growth, expected) in zip(chances, outcomes, strict=True)
    )
    assert means == pytest.approx(np.full(len(lambdas), gain), abs=1e-9)


def test_what_is_found_early_stays_when_more_decisions_come() -> None:
    whole = logs(0, 1000)
    part = {name: one[:2000] if name in ("logged", "gained", "q") else one[:500] for name, one in whole.items()}
    early, late = sequence_of(part), sequence_of(whole)
    assert early.times.tolist() == [100, 200, 300, 400, 500]
    assert late.lows[:5] == pytest.approx(early.lows, abs=1e-12)
    assert late.highs[:5] == pytest.approx(early.highs, abs=1e-12)


def test_both_sides_are_mirrored() -> None:
    given = logs(1, 600)
    forth = sequence_of(given)
    back = sequence_of({**given, "gained": -given["gained"]})
    assert back.lows == pytest.approx(-forth.highs, abs=1e-12)
    assert back.highs == pytest.approx(-forth.lows, abs=1e-12)


def test_the_last_decision_is_always_looked_at() -> None:
    assert sequence_of(logs(2, 250)).times.tolist() == [100, 200, 250]
    assert sequence_of(logs(2, 30)).times.tolist() == [30]


def test_it_covers_a_gain_that_differs_from_decision_to_decision() -> None:
    missed = 0
    for seed in range(60):
        given = logs(seed, 800)
        found = sequence_of(given)
        truth = np.cumsum(given["truth"])[found.times - 1] / found.times
        missed += int(((found.lows > truth) | (found.highs < truth)).any())
    assert missed <= 3


def test_equal_policies_are_found_equal_at_once_and_bounds_get_closer() -> None:
    given = logs(3, 400)
    same = sequence_of({**given, "gained": np.zeros_like(given["gained"])})
    assert np.all(same.lows <= 0)
    assert np.all(same.highs >= 0)
    assert np.all(np.diff(same.lows) > 0)
    assert -0.05 < same.lows[-1] <= 0.0


def test_a_better_model_makes_it_narrower() -> None:
    generator = np.random.default_rng(4)
    n, k = 3000, 3
    logged = np.full((n, k), 1 / k)
    means = np.tile([0.8, 0.0, -0.8], (n, 1))
    gained = np.tile([1.0, 0.0, 0.0], (n, 1)) - logged
    shown = generator.integers(0, k, n)
    starts = np.arange(n) * k
    reward = means[np.arange(n), shown]
    flat = {"shown": starts + shown, "starts": starts, "logged": logged.ravel(), "gained": gained.ravel()}
    blind = confidence_sequence(reward, q=np.zeros(n * k), **flat)
    knowing = confidence_sequence(reward, q=means.ravel(), **flat)
    assert knowing.lows[-1] > blind.lows[-1] > 0.7
    assert knowing.highs[-1] < blind.highs[-1]


def test_at_either_bound_half_of_the_error_is_spent() -> None:
    """There the mixture of products is exactly 2 / alpha."""
    given = logs(5, 500)
    found = sequence_of(given, alpha=0.1)
    lambdas = np.array(LAMBDAS)
    for side, bound in ((1.0, found.lows[-1]), (-1.0, -found.highs[-1])):
        reward, shown, starts, logged = (given[name] for name in ("reward", "shown", "starts", "logged"))
        added = increments(reward, shown, starts, logged, side * given["gained"], given["q"])
        products = np.exp(added.growth.sum(axis=0) - lambdas * (500 * bound - added.expected.sum(axis=0)))
        assert products.mean() == pytest.approx(20, rel=1e-6)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"reward": np.full(100, 1.5)}, r"-1\.\.1"),
        ({"q": np.full(400, -1.5)}, r"-1\.\.1"),
        ({"logged": np.zeros(400)}, "no probability"),
    ],
)
def test_what_breaks_an_assumption_is_refused(changed: dict[str, Array], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sequence_of({**logs(6, 100), **changed})


def test_a_candidate_that_neither_policy_shows_may_have_no_probability() -> None:
    given = {
        "reward": np.array([1.0]),
        "shown": np.array([0]),
        "starts": np.array([0]),
        "logged": np.array([1.0, 0.0]),
        "gained": np.array([0.0, 0.0]),
        "q": np.array([0.5, 0.5]),
    }
    assert math.isfinite(sequence_of(given).lows[0])
