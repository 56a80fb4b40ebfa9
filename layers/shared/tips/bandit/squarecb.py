"""SquareCB: inverse-gap weighting over estimated means.

score = mean; propensity = inverse gap weighting with gamma = c * sqrt(k * observations)
(Foster & Rakhlin 2020, arXiv:2002.04926, algorithm 1, with the schedule for an unknown number of rounds).

See also: `igw_ucb`, which weights optimistic scores instead of means and so also goes where little is known.
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
class SquareCB(Policy):
    """Inverse-gap weighting over means."""

    c: float = 10.0

    def parameters(self, k: int, observations: float) -> Parameters:
        return {"gamma": self.c * math.sqrt(k * observations)}

    def replay(self, mean: NDArray[np.float64], width: NDArray[np.float64], parameters: Parameters) -> Distribution:
        return Distribution(mean, width, mean, inverse_gap_weighting(mean, parameters["gamma"]))
