"""LinUCB: the highest optimistic estimate wins.

score = mean + alpha * width (Li et al. 2010, arXiv:1003.0146, algorithm 1, one model shared by all candidates).

See also: `igw_ucb` when decisions must support off-policy evaluation; LinUCB is deterministic but for ties, so its
log says nothing about the candidates it did not choose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tips.bandit.policy import Distribution, Parameters, Policy, uniform_over_best

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class LinUCB(Policy):
    """The highest upper confidence bound, `alpha` standard deviations above the mean."""

    alpha: float = 1.0

    def parameters(self, k: int, observations: float) -> Parameters:
        return {"alpha": self.alpha}

    def replay(self, mean: NDArray[np.float64], width: NDArray[np.float64], parameters: Parameters) -> Distribution:
        score = mean + parameters["alpha"] * width
        return Distribution(mean, width, score, uniform_over_best(score))
