"""The belief about a person's weights: population prior and own statistics together, formed when it is needed.

Without a prior it is ridge regression: precision = identity + xx, mean = precision^-1 rx (Li et al. 2010,
arXiv:1003.0146, section 3.1). With one, each component k of the prior says that the weights are
Normal(m_k, noise * P_k^-1), P_k = diag(strength_k), so that the population counts as much as so many observations of
the person's own, feature by feature:

    A_k = P_k + xx,   b_k = P_k m_k + rx,   mean_k = A_k^-1 b_k
    log responsibility_k = log share_k + (log|P_k| - log|A_k| + (b_k^T A_k^-1 b_k - m_k^T P_k m_k) / noise) / 2

The mixture is summarised by its mean and its covariance, both exact. Widths are in units of the noise, as LinUCB's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from tips.bandit.prior import RIDGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tips.bandit.prior import Prior
    from tips.bandit.statistics import Statistics


@dataclass(frozen=True, eq=False)
class Posterior:
    """mean: (d,) and covariance: (d, d), symmetric to the last bit, of the weights.

    observations: reactions it is worth, the prior's strength (at least 1) and the person's own together.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    observations: float

    def predict(self, X: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean (k,) and width (k,) = sqrt(x^T covariance x) of the reward for the rows of X: (k, d)."""
        # einsum, not BLAS: equal rows must get equal results to the last bit, or ties would break.
        means = np.einsum("ij,j->i", X, self.mean)
        variances = np.einsum("ij,ij->i", np.einsum("ij,jk->ik", X, self.covariance), X)
        return means, np.sqrt(np.maximum(variances, 0.0))


def form_posterior(statistics: Statistics, prior: Prior | None = None) -> Posterior:
    """Return the posterior. statistics: as of now (`Statistics.as_of`); prior: of the same schema, None for ridge."""
    if prior is None:
        covariance = _inverse(ridge(len(statistics.rx)) + statistics.xx)
        mean = np.einsum("ij,j->i", covariance, statistics.rx)
        return Posterior(mean, covariance, 1.0 + statistics.weight)
    precision = prior.precision + statistics.xx
    shift = prior.shift + statistics.rx
    covariances = _inverse(precision)
    means = np.einsum("kij,kj->ki", covariances, shift)
    if len(means) == 1:
        return Posterior(means[0], covariances[0], max(1.0, float(prior.observations[0])) + statistics.weight)
    evidence = prior.log_determinant - np.linalg.slogdet(precision)[1]
    evidence += ((means * shift).sum(axis=1) - prior.energy) / prior.noise
    logits = np.log(prior.share) + evidence / 2
    responsibility = np.exp(logits - logits.max())
    responsibility /= responsibility.sum()
    mean = responsibility @ means
    apart = means - mean
    covariance = np.einsum("k,kij->ij", responsibility, covariances)
    covariance += np.einsum("k,ki,kj->ij", responsibility, apart, apart) / prior.noise
    worth = max(1.0, float(responsibility @ prior.observations))
    return Posterior(mean, (covariance + covariance.T) / 2, worth + statistics.weight)


def _inverse(precision: NDArray[np.float64]) -> NDArray[np.float64]:
    inverse = np.linalg.inv(precision)
    return (inverse + inverse.swapaxes(-1, -2)) / 2


@cache
def ridge(dimension: int) -> NDArray[np.float64]:
    """Return the precision without a prior, (d, d). Not to be written to."""
    return RIDGE * np.eye(dimension)
