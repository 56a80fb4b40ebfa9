"""LinUCB: the highest optimistic estimate wins.

score = mean + alpha * width (Li et al. 2010, arXiv:1003.0146, algorithm 1, one model shared by all candidates).

See also: `epsilon_greedy` when decisions must support off-policy evaluation; LinUCB is deterministic but for ties,
so its log says nothing about the candidates it did not choose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tips.bandit.policy import Policy, uniform_over_best

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class LinUCB(Policy):
    alpha: float = 1.0

    @property
    def parameters(self) -> Mapping[str, float]:
        return {"alpha": self.alpha}

    def index(self, mean: NDArray[np.float64], width: NDArray[np.float64]) -> NDArray[np.float64]:
        return mean + self.alpha * width

    def probabilities(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        return uniform_over_best(score)
