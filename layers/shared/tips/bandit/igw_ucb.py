"""Inverse-gap weighting over upper confidence bounds: LinUCB's choices with an exact probability for every candidate.

score = mean + alpha * width; gamma = c * sqrt(k * observations), observations >= 1 counting the prior's strength;
propensity = (1 - min_explore) * inverse gap weighting of the scores + min_explore / k.

Every candidate keeps at least min_explore / k, so the log supports off-policy evaluation of any other policy, while
clear differences are exploited almost as LinUCB does. Sources: Li et al. 2010 (arXiv:1003.0146) for the score,
Foster & Rakhlin 2020 (arXiv:2002.04926) for the weighting; their regret bounds are for weighted means and for a
deterministic maximum of bounds, and are not claimed for the combination.

See also: `squarecb` for weighted means, `linucb` when no probabilities are wanted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tips.bandit.policy import Distribution, Parameters, Policy, inverse_gap_weighting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class InverseGapUCB(Policy):
    """Inverse-gap weighting over upper confidence bounds, with a floor under every probability."""

    alpha: float = 0.3
    c: float = 300.0
    min_explore: float = 0.02

    def parameters(self, k: int, observations: float) -> Parameters:
        return {
            "alpha": self.alpha,
            "gamma": self.c * math.sqrt(k * observations),
            "min_explore": self.min_explore,
        }

    def replay(self, mean: NDArray[np.float64], width: NDArray[np.float64], parameters: Parameters) -> Distribution:
        score = mean + parameters["alpha"] * width
        propensity = inverse_gap_weighting(score, parameters["gamma"], parameters["min_explore"])
        return Distribution(mean, width, score, propensity)
