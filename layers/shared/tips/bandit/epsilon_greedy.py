"""Epsilon-greedy: the best estimate with probability 1 - epsilon, else any candidate, uniformly.

propensity = epsilon / k + (1 - epsilon) * [best], the greedy mass shared equally by exact ties, so every candidate
keeps at least epsilon / k and the log supports off-policy evaluation.
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
class EpsilonGreedy(Policy):
    epsilon: float = 0.10

    @property
    def parameters(self) -> Mapping[str, float]:
        return {"epsilon": self.epsilon}

    def index(self, mean: NDArray[np.float64], width: NDArray[np.float64]) -> NDArray[np.float64]:
        return mean

    def probabilities(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.epsilon / len(score) + (1 - self.epsilon) * uniform_over_best(score)
