"""Linear Thompson sampling: each candidate with the probability that it is the best one, under the posterior.

Each candidate's reward is drawn from its own posterior, independently: Normal(mean, (scale * width)^2), so that
propensity_i = integral of density_i(r) * product over j != i of cdf_j(r) dr
(Agrawal & Goyal 2013, arXiv:1209.3352, with marginals in place of one joint draw of the weights). For three or more
candidates there is no closed form; the integral is taken on a grid, not by Monte Carlo, the result is scaled to sum to
1, and the candidate is drawn from exactly that. A candidate without uncertainty has all its mass at its mean.

See also: `igw_ucb` when the log must support off-policy evaluation; here the probability of a clearly worse candidate
is next to zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tips.bandit.policy import Distribution, Parameters, Policy, normalised, uniform_over_best

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SPAN = 8.0
"""Standard deviations either side of a mean that the grid covers."""
_CERTAIN = 1e-9
"""A deviation below it is a point: no reward is known that well."""
_NODES = 2048
"""Nodes of the grid at first, shared among the candidates: each has them where its own mass is."""
_FINENESS = 256
"""No cell is to hold more than one part in so many of the largest variable's probability."""
_REFINEMENTS = 2
_TABLE = np.linspace(-_SPAN, _SPAN, 4097)
_NORMAL_CDF = np.array([0.5 * math.erfc(-z / math.sqrt(2.0)) for z in _TABLE])
"""Linear interpolation in it is within 1e-6 of the normal distribution function."""


@dataclass(frozen=True, kw_only=True)
class LinTS(Policy):
    """Thompson sampling; `scale` multiplies the posterior's standard deviations."""

    scale: float = 0.5

    def parameters(self, k: int, observations: float) -> Parameters:
        return {"scale": self.scale}

    def replay(self, mean: NDArray[np.float64], width: NDArray[np.float64], parameters: Parameters) -> Distribution:
        return Distribution(mean, width, mean, probability_of_best(mean, parameters["scale"] * width))


def probability_of_best(mean: NDArray[np.float64], deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p: (k,), the probability of each of k independent normal variables to be the largest.

    mean, deviation: (k,); a deviation of zero is a point, and equal points share their probability.
    """
    deviation = np.where(deviation < _CERTAIN, 0.0, deviation)
    # Below the largest lower end nobody can be the best: the grid begins there.
    low = (mean - _SPAN * deviation).max()
    nodes = mean[:, None] + deviation[:, None] * np.linspace(-_SPAN, _SPAN, max(9, _NODES // len(mean)))
    if not nodes.max() > low:
        return uniform_over_best(mean)
    # The first cell is as narrow as can be: it is where a point's mass lies.
    grid = np.unique(np.append(nodes[nodes >= low], (low, np.nextafter(low, np.inf))))
    cdf = _cdf(grid, mean, deviation, low)
    for _ in range(_REFINEMENTS):
        # Cells in which the distribution of the largest moves much are split; the first one, a point's, cannot be.
        moved = np.diff(cdf.prod(axis=0))
        moved[0] = 0.0
        parts = np.minimum(np.ceil(moved * _FINENESS), 64).astype(int)
        coarse = np.flatnonzero(parts > 1)
        if len(coarse) == 0:
            break
        between = [np.linspace(grid[cell], grid[cell + 1], parts[cell] + 1)[1:-1] for cell in coarse]
        added = np.concatenate(between)
        order = np.argsort(np.append(grid, added))
        cdf = np.concatenate((cdf, _cdf(added, mean, deviation, low)), axis=1)[:, order]
        grid = np.append(grid, added)[order]
    mass = np.diff(cdf, axis=1)
    # A cell's own mass is taken to be in the middle of the cell.
    below = (cdf[:, 1:] + cdf[:, :-1]) / 2
    others = np.divide(below.prod(axis=0), below, out=np.zeros_like(below), where=below > 0)
    return normalised((mass * others).sum(axis=1))


def _cdf(
    grid: NDArray[np.float64], mean: NDArray[np.float64], deviation: NDArray[np.float64], low: float
) -> NDArray[np.float64]:
    """Return the distribution functions: (k, nodes)."""
    points = deviation == 0
    cdf: NDArray[np.float64] = np.interp(
        (grid - mean[:, None]) / np.where(points, 1.0, deviation)[:, None], _TABLE, _NORMAL_CDF
    )
    # No point is above the grid's beginning.
    cdf[points] = (mean[points, None] < low) | (grid > low)
    return cdf
