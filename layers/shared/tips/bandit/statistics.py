"""Sufficient statistics of a linear reward model, kept without the prior, and the posterior formed from them.

Because only sums are stored, a new prior, a revised reward and another schema are plain arithmetic on sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Statistics:
    """Sums over one person's learned reactions under one policy.

    xx: (d, d) float64, sum of x x^T; rx: (d,) float64, sum of reward * x. The counts are never decayed:
    `pulls` reactions learned, of them `pulls_without_decision` by features alone, `cumulative_reward` their sum.
    """

    xx: NDArray[np.float64]
    rx: NDArray[np.float64]
    pulls: int = 0
    pulls_without_decision: int = 0
    cumulative_reward: float = 0.0

    @classmethod
    def empty(cls, dimension: int) -> Self:
        return cls(np.zeros((dimension, dimension)), np.zeros(dimension))

    def observe(self, x: NDArray[np.float64], reward: float, *, without_decision: bool = False) -> Statistics:
        """Return the statistics with one more reaction. x: (d,)."""
        return Statistics(
            self.xx + np.outer(x, x),
            self.rx + reward * x,
            self.pulls + 1,
            self.pulls_without_decision + without_decision,
            self.cumulative_reward + reward,
        )

    def revise(self, x: NDArray[np.float64], old_reward: float, new_reward: float) -> Statistics:
        """Return the statistics as if an observed reaction had had another reward. x: (d,)."""
        difference = new_reward - old_reward
        return Statistics(
            self.xx,
            self.rx + difference * x,
            self.pulls,
            self.pulls_without_decision,
            self.cumulative_reward + difference,
        )


@dataclass(frozen=True, eq=False)
class Posterior:
    """Gaussian over the weights: precision = prior precision + xx, mean = covariance @ rx.

    precision: (d, d) float64. The prior is ridge: `ridge` times the identity, zero mean.
    Source: Li et al. 2010 (arXiv:1003.0146), section 3.1, with lambda for the identity's weight.
    """

    precision: NDArray[np.float64]
    shift: NDArray[np.float64]

    @classmethod
    def from_statistics(cls, statistics: Statistics, ridge: float = 1.0) -> Self:
        return cls(statistics.xx + ridge * np.eye(len(statistics.rx)), statistics.rx)

    @cached_property
    def covariance(self) -> NDArray[np.float64]:
        """(d, d); symmetric to the last bit, so that x^T C y = y^T C x."""
        inverse = np.linalg.inv(self.precision)
        return (inverse + inverse.T) / 2

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """(d,): the ridge estimate of the weights."""
        return self.covariance @ self.shift

    def predict(self, X: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean (k,) and width (k,) = sqrt(x^T covariance x) of the reward for the rows of X: (k, d)."""
        # einsum and row sums, not BLAS: equal rows must get equal results to the last bit, or ties would break.
        means = (X * self.mean).sum(axis=1)
        variances = (np.einsum("ij,jk->ik", X, self.covariance) * X).sum(axis=1)
        return means, np.sqrt(np.maximum(variances, 0.0))
