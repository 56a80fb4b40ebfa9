"""What every policy has in common: a schema, a score per candidate, and an exact distribution over candidates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tips.bandit.statistics import Posterior
    from tips.features.vectors import Schema


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

    @property
    @abstractmethod
    def parameters(self) -> Mapping[str, float]:
        """The numbers that, with means and widths, determine the distribution."""

    def with_parameters(self, parameters: Mapping[str, float]) -> Self:
        """Return the policy as it was when these parameters were logged."""
        return replace(self, **parameters)  # type: ignore[arg-type]

    @abstractmethod
    def index(self, mean: NDArray[np.float64], width: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the score of each candidate. All arrays: (k,)."""

    @abstractmethod
    def probabilities(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the exact probability of each candidate. score: (k,)."""

    def distribution(self, X: NDArray[np.float64], posterior: Posterior) -> Distribution:
        """Return the distribution over the rows of X: (k, d)."""
        return self.replay(*posterior.predict(X))

    def replay(self, mean: NDArray[np.float64], width: NDArray[np.float64]) -> Distribution:
        """Return the distribution again from logged means and widths, bit for bit."""
        score = self.index(mean, width)
        return Distribution(mean, width, score, self.probabilities(score))


def uniform_over_best(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the greedy distribution: all mass on the highest score, shared equally by exact ties. score: (k,)."""
    best: NDArray[np.float64] = (score == score.max()).astype(np.float64)
    return best / best.sum()
