"""What every policy has in common: a schema, a score per candidate, and an exact distribution over candidates."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tips.bandit.posterior import Posterior
    from tips.features.vectors import Schema

Parameters = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Distribution:
    """How a policy sees k candidates: four (k,) float64 arrays; `propensity` sums to 1.

    `mean` and `width` (one posterior standard deviation) are of the reward; `score` is the policy's index.
    """

    mean: NDArray[np.float64]
    width: NDArray[np.float64]
    score: NDArray[np.float64]
    propensity: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Policy(ABC):
    """A rule that turns means and widths into a distribution; free of state and of randomness."""

    name: str
    schema: Schema
    version: str = "1"

    @abstractmethod
    def parameters(self, k: int, observations: float) -> Parameters:
        """Return the numbers that, with means and widths, determine the distribution over k candidates.

        observations: how many reactions the posterior is worth, the prior's strength included; at least 1.
        """

    @abstractmethod
    def replay(self, mean: NDArray[np.float64], width: NDArray[np.float64], parameters: Parameters) -> Distribution:
        """Return the distribution for means and widths, (k,) each; from logged ones the same again, bit for bit."""

    def distribution(self, X: NDArray[np.float64], posterior: Posterior) -> tuple[Distribution, Parameters]:
        """Return the distribution over the rows of X: (k, d), and the parameters that it came from."""
        parameters = self.parameters(len(X), posterior.observations)
        return self.replay(*posterior.predict(X), parameters), parameters


def normalised(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights: (k,) scaled to sum to 1. The sum is exactly rounded, so that no processor sums otherwise."""
    return weights / math.fsum(weights)


def uniform_over_best(score: NDArray[np.float64], epsilon: float = 0.0) -> NDArray[np.float64]:
    """Return the greedy distribution: all mass on the highest score, shared equally by exact ties. score: (k,).

    epsilon: share of the probability that is spread over all alike.
    """
    # Lists, because for so few numbers several operations on arrays take longer.
    scores = score.tolist()
    best = max(scores)
    spread = epsilon / len(scores)
    share = spread + (1.0 - epsilon) * (1.0 / scores.count(best))
    return np.array([share if one == best else spread for one in scores])


def inverse_gap_weighting(score: NDArray[np.float64], gamma: float, epsilon: float = 0.0) -> NDArray[np.float64]:
    """Return p: (k,) = 1 / (k + gamma * gap) for all but the best, which takes the rest; exact ties share it.

    score: (k,); gap: how far a score is below the best one. Every p is at least 1 / (k + gamma * largest gap).
    epsilon: share of the probability that is spread over all alike.
    Source: Abe & Long 1999; Foster & Rakhlin 2020 (arXiv:2002.04926), algorithm 1.
    """
    scores = score.tolist()
    best, k = max(scores), len(scores)
    gaps = [best - one for one in scores]
    propensity = [1.0 / (k + gamma * gap) for gap in gaps]
    rest = 1.0 - math.fsum(p for p, gap in zip(propensity, gaps, strict=True) if gap)
    share = rest / gaps.count(0.0)
    spread, weighted = epsilon / k, 1.0 - epsilon
    return np.array([weighted * (p if gap else share) + spread for p, gap in zip(propensity, gaps, strict=True)])
