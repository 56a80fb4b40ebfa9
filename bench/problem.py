"""A bandit problem with known payoffs, and one pass of a learner over it: progressive validation.

Each round is predicted before it is learned from, and the learner is told the reward of what it chose and of nothing
else (Bietti, Agarwal & Langford 2021, arXiv:1802.04064, section 4).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Configuration = Mapping[str, float | str]


@dataclass(frozen=True, eq=False)
class Problem:
    """n rounds with the same k arms in each.

    contexts: (n, d); payoff: (n, k), what choosing an arm gives, about 0..1; cost: (n, k), what is reported of the
    choice; the result of a pass is the sum of its costs divided by `unit`.
    """

    name: str
    seed: int
    contexts: NDArray[np.float64]
    payoff: NDArray[np.float64]
    cost: NDArray[np.float64]
    unit: float

    def reveal(self, t: int, arm: int) -> float:
        """Return the payoff of one arm in round t: all that a learner ever gets to know of it."""
        return float(self.payoff[t, arm])


class Learner(Protocol):
    def choose(self, context: NDArray[np.float64], decision_id: str) -> tuple[int, NDArray[np.float64] | None]:
        """Return the arm for context: (d,), and the probability of each arm, (k,), if the learner knows it."""

    def learn(self, context: NDArray[np.float64], arm: int, reward: float) -> None:
        """Take the reward of the arm just chosen for this context."""


@dataclass(frozen=True)
class Pass:
    """smallest: the smallest probability that any arm had in any round; None where the learner gives none."""

    result: float
    smallest: float | None
    rounds: int
    seconds: float


def lowest_reward(configuration: Configuration) -> float:
    """Return what a payoff of 0 is worth to the learner, 0 or -1; a payoff of 1 is worth 1."""
    return float(configuration.get("low", 0.0))


def play(problem: Problem, learner: Learner, low: float = 0.0) -> Pass:
    """Let the learner go once through all rounds. low: see `lowest_reward`."""
    begun = time.perf_counter()
    total, smallest = 0.0, np.inf
    for t, context in enumerate(problem.contexts):
        arm, probabilities = learner.choose(context, f"{problem.name}/{problem.seed}/{t}")
        if probabilities is not None:
            smallest = min(smallest, float(probabilities.min()))
        learner.learn(context, arm, low + (1.0 - low) * problem.reveal(t, arm))
        total += float(problem.cost[t, arm])
    seconds = time.perf_counter() - begun
    return Pass(total / problem.unit, smallest if np.isfinite(smallest) else None, len(problem.contexts), seconds)
