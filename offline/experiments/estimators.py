"""Off-policy estimators: what a policy would have earned, from the logs of another.

Of round i, with b the policy that chose and p the one that is judged: reward r_i, weight w_i = p(a_i|x_i) / b(a_i|x_i),
predicted q(x_i, a_i) and value q(x_i, p) = sum over a of p(a|x_i) q(x_i, a). Only these four numbers are needed, so
rounds may have any number of candidates. Every estimator is a function of averages over the rounds: the same function
gives the estimate and, from averages over resampled rounds, its bootstrap distribution.

Definitions and names are those of the Open Bandit Pipeline (Saito et al. 2021, arXiv:2008.07146), which is the referee.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SHRINKAGES = (10.0, 50.0, 100.0, 500.0, 1000.0, 5000.0, 10000.0, math.inf)
"""Candidates for lambda, as in the Open Bandit Pipeline's examples."""
_SLOPE = math.sqrt(6) - 1


@dataclass(frozen=True, eq=False)
class Rounds:
    """Four (n,) arrays: reward, weight = p(a|x) / b(a|x) and predicted = q(x, a) of the action taken, value = q(x, p).

    Raises `ValueError` where they are not equally long, not finite, or a weight is negative.
    """

    reward: Array
    weight: Array
    predicted: Array
    value: Array

    def __post_init__(self) -> None:
        arrays = [getattr(self, one.name) for one in fields(self)]
        if any(one.shape != self.reward.shape or one.ndim != 1 for one in arrays) or not len(self.reward):
            raise ValueError("reward, weight, predicted and value must be equally long and not empty")
        if not all(np.isfinite(one).all() for one in arrays) or (self.weight < 0).any():
            raise ValueError("reward, weight, predicted and value must be finite, weights not negative")

    def __len__(self) -> int:
        return len(self.reward)

    def shrunk(self, shrinkage: float) -> Array:
        """Return the weights lambda w / (lambda + w^2), (n,): all of w as lambda grows, nothing as it vanishes."""
        if math.isinf(shrinkage):
            return self.weight
        if shrinkage == 0:
            return np.zeros_like(self.weight)
        shrunk: Array = shrinkage * self.weight / (shrinkage + self.weight**2)
        return shrunk


@dataclass(frozen=True, eq=False)
class Averages:
    """Averages over rounds: a number each, or (m,) arrays for m resamples.

    weighted_reward: of w r; weighted_residual: of w (r - q); shrunk_residual: the same with shrunk weights.
    """

    weight: Array
    weighted_reward: Array
    value: Array
    weighted_residual: Array
    shrunk_residual: Array


def doubly_robust_terms(rounds: Rounds) -> Array:
    """Return (n,): what each round adds to the doubly robust estimate, which is the mean of these."""
    terms: Array = rounds.value + rounds.weight * (rounds.reward - rounds.predicted)
    return terms


def columns(rounds: Rounds, shrinkage: float) -> Array:
    """Return what is averaged, (n, 5), in the order of `Averages`. shrinkage: lambda, for the shrunk weights."""
    residual = rounds.reward - rounds.predicted
    return np.stack(
        (
            rounds.weight,
            rounds.weight * rounds.reward,
            rounds.value,
            rounds.weight * residual,
            rounds.shrunk(shrinkage) * residual,
        ),
        axis=1,
    )


def averages(rounds: Rounds, shrinkage: float) -> Averages:
    return Averages(*columns(rounds, shrinkage).mean(axis=0))


def inverse_probability_weighting(of: Averages) -> Array:
    """IPS: mean of w r. Unbiased; its variance grows with the weights (Horvitz & Thompson 1952)."""
    return of.weighted_reward


def self_normalized_inverse_probability_weighting(of: Averages) -> Array:
    """SNIPS: mean of w r over mean of w. Within the rewards' range, consistent (Swaminathan & Joachims 2015).

    It is 0 / 0, not a number, where no round has any weight.
    """
    return _ratio(of.weighted_reward, of.weight)


def direct_method(of: Averages) -> Array:
    """DM: mean of q(x, p). No better than the reward model (Beygelzimer & Langford 2009, arXiv:0812.4044)."""
    return of.value


def doubly_robust(of: Averages) -> Array:
    """DR: mean of q(x, p) + w (r - q). Unbiased, with less variance the better q is (Dudik et al. 2014)."""
    return of.value + of.weighted_residual


def self_normalized_doubly_robust(of: Averages) -> Array:
    """SNDR: mean of q(x, p) plus mean of w (r - q) over mean of w (Kallus & Uehara 2019, arXiv:1906.03735)."""
    return of.value + _ratio(of.weighted_residual, of.weight)


def doubly_robust_with_shrinkage(of: Averages) -> Array:
    """DRos: as DR with weights lambda w / (lambda + w^2), "optimistic shrinkage" (Su et al. 2020, arXiv:1907.09623).

    It is DM for lambda = 0 and DR for lambda = infinity; in between, some bias for less variance.
    """
    return of.value + of.shrunk_residual


ESTIMATORS: Mapping[str, Callable[[Averages], Array]] = {
    "ips": inverse_probability_weighting,
    "snips": self_normalized_inverse_probability_weighting,
    "dm": direct_method,
    "dr": doubly_robust,
    "sndr": self_normalized_doubly_robust,
    "dros": doubly_robust_with_shrinkage,
}


def estimates(rounds: Rounds, shrinkage: float) -> dict[str, float]:
    """Return each estimator's value by its short name."""
    of = averages(rounds, shrinkage)
    return {name: float(estimator(of)) for name, estimator in ESTIMATORS.items()}


def tuned_shrinkage(rounds: Rounds, candidates: Sequence[float] = SHRINKAGES, delta: float = 0.1) -> float:
    """Return the lambda for `doubly_robust_with_shrinkage` that SLOPE chooses from the rounds; needs two of them.

    From the widest interval to the narrowest, it goes on as long as each estimate agrees with all those before, so that
    what is left of bias is no more than the noise. delta: one minus the one-sided level of the intervals (Student's t).
    Source: Su, Srinath & Krishnamurthy 2020 (arXiv:2002.07729), as improved by Tucker & Lee 2021 (SLOPE++).
    """
    from scipy import stats

    n = len(rounds)
    residual = rounds.reward - rounds.predicted
    terms = [rounds.value + rounds.shrunk(one) * residual for one in candidates]
    centres = np.array([one.mean() for one in terms])
    quantile = float(stats.t(n - 1).ppf(1.0 - delta))
    # The half-width as it comes out of a subtraction, so that what differs by rounding alone is ordered as the
    # referee orders it.
    widths = np.array([one.mean() - (one.mean() - math.sqrt(one.var() / (n - 1)) * quantile) for one in terms])
    order: list[int] = np.argsort(widths)[::-1].tolist()
    for place, index in enumerate(order[1:], start=1):
        before = order[:place]
        if (np.abs(centres[before] - centres[index]) > widths[index] + _SLOPE * widths[before]).any():
            return candidates[order[place - 1]]
    return candidates[order[-1]]


def _ratio(numerator: Array, denominator: Array) -> Array:
    # A resample may hold no round with any weight.
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.true_divide(numerator, denominator)
