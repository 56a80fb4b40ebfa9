"""Descriptive intervals for off-policy estimates, each for one look at one set of logs.

They say how much an estimate would vary if these people were drawn again; neither may be looked at until it pleases,
nor decide whether a policy is promoted: that is what `confidence_sequence` is for.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from offline.experiments.estimators import ESTIMATORS, Averages, Rounds, columns

Array = NDArray[np.float64]
Interval = tuple[float, float]

RESAMPLES = 1000
_AT_ONCE = 4_000_000
"""Counts of resampled people that are held in memory."""


def resampled_averages(terms: Array, people: NDArray[np.int64], resamples: int, seed: int) -> Array:
    """Return averages of terms: (n, m) over rounds of resampled people, (resamples, m).

    people: (n,), 0..c-1, whose round each is. People are drawn, with replacement and with all of their rounds: the
    rounds of one person depend on each other, and intervals that take them for independent are too narrow.
    """
    count = int(people.max()) + 1
    sums = np.stack([np.bincount(people, weights=column, minlength=count) for column in terms.T], axis=1)
    sums = np.column_stack((sums, np.bincount(people, minlength=count)))
    generator = np.random.default_rng(seed)
    part = max(1, _AT_ONCE // count)
    drawn = []
    for start in range(0, resamples, part):
        size = min(part, resamples - start)
        times = generator.multinomial(count, np.full(count, 1.0 / count), size=size)
        drawn.append(times @ sums)
    totals = np.concatenate(drawn)
    averages: Array = totals[:, :-1] / totals[:, -1:]
    return averages


def bootstrap(
    rounds: Rounds,
    people: NDArray[np.int64],
    shrinkage: float,
    *,
    alpha: float = 0.05,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return a percentile interval for each estimator, from resampled people. people: (n,), 0..c-1."""
    drawn = resampled_averages(columns(rounds, shrinkage), people, resamples, seed)
    of = Averages(*drawn.T)
    return {name: percentiles(estimator(of), alpha) for name, estimator in ESTIMATORS.items()}


def percentiles(values: Array, alpha: float) -> Interval:
    """Return the interval that holds all but alpha of the values; a resample without any weight says nothing."""
    known = values[np.isfinite(values)]
    if not len(known):
        return -math.inf, math.inf
    low, high = np.quantile(known, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def empirical_bernstein(terms: Array, low: float, high: float, alpha: float = 0.05) -> Interval:
    """Return an interval for the mean of independent terms: (n,) that lie in low..high; n is at least 2.

    Not asymptotic: mean -+ (sqrt(2 V log(2 / d) / n) + 7 (high - low) log(2 / d) / (3 (n - 1))) with d = alpha / 2
    and V the sample variance. Raises `ValueError` for a term outside of the range.
    Source: Maurer & Pontil 2009 (arXiv:0907.3740), theorem 4, for either side.
    """
    rounding = 1e-9 * (1.0 + abs(low) + abs(high))
    if (terms < low - rounding).any() or (terms > high + rounding).any():
        raise ValueError(f"terms must lie in {low:g}..{high:g}")
    n = len(terms)
    log = math.log(4.0 / alpha)
    radius = math.sqrt(2.0 * float(terms.var(ddof=1)) * log / n) + 7.0 * (high - low) * log / (3.0 * (n - 1))
    mean = float(terms.mean())
    return mean - radius, mean + radius
