"""Epsilon-greedy: the best estimate with probability 1 - epsilon, else any candidate, uniformly.

propensity = epsilon / k + (1 - epsilon) * [best], the greedy mass shared equally by exact ties, so every candidate
keeps at least epsilon / k and the log supports off-policy evaluation.

See also: `igw_ucb`, which explores less where the difference is clear and more where nothing is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tips.bandit.policy import Distribution, Parameters, Policy, uniform_over_best

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class EpsilonGreedy(Policy):
    """The best mean, and with probability `epsilon` any candidate."""

    epsilon: float = 0.10

    def parameters(self, k: int, observations: float) -> Parameters:
        return {"epsilon": self.epsilon}

    def replay(self, mean: NDArray[np.float64], width: NDArray[np.float64], parameters: Parameters) -> Distribution:
        return Distribution(mean, width, mean, uniform_over_best(mean, parameters["epsilon"]))
