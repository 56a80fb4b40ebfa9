"""The product's own policies in a setting where every arm has weights of its own (LinUCB's disjoint model).

An arm is a candidate whose vector is the context in that arm's block and zero elsewhere. The covariance of such
vectors is block-diagonal, so it is kept block by block and brought up to date by Sherman and Morrison's formula;
`tests/test_bench_learning.py` holds it against `tips.bandit.posterior`. Distribution and draw are the product's.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np

from tips.bandit.decision import draw
from tips.bandit.epsilon_greedy import EpsilonGreedy
from tips.bandit.policy import Distribution, Policy
from tips.bandit.registry import POLICIES
from tips.features.vectors import EGREEDY_V2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.problem import Configuration

NAMES = {"egreedy": EpsilonGreedy(name="egreedy", schema=EGREEDY_V2)}


class DisjointBandit:
    """Ridge regression per arm under one of the product's policies.

    covariance: (k, d, d) and weights: (k, d) of the posterior. Contexts are divided by sqrt(ridge), which is the same
    as a ridge other than the product's 1.
    """

    def __init__(self, policy: Policy, arms: int, dimension: int, ridge: float = 1.0) -> None:
        self.policy = policy
        self.scale = 1.0 / np.sqrt(ridge)
        self.covariance = np.tile(np.eye(dimension), (arms, 1, 1))
        self.weights = np.zeros((arms, dimension))
        self.observations = 1.0
        self._spread = np.zeros((arms, dimension))
        self._last = Distribution(*np.zeros((4, arms)))

    def distribution(self, context: NDArray[np.float64]) -> Distribution:
        """Return the policy's distribution over the arms for context: (d,)."""
        x = self.scale * context
        self._spread = self.covariance @ x
        width = np.sqrt(np.maximum(self._spread @ x, 0.0))
        parameters = self.policy.parameters(len(self.weights), self.observations)
        return self.policy.replay(self.weights @ x, width, parameters)

    def choose(self, context: NDArray[np.float64], decision_id: str) -> tuple[int, NDArray[np.float64]]:
        self._last = self.distribution(context)
        return draw(self._last.propensity, decision_id), self._last.propensity

    def learn(self, context: NDArray[np.float64], arm: int, reward: float) -> None:
        spread = self._spread[arm]
        gain = spread / (1.0 + float(self._last.width[arm]) ** 2)
        self.covariance[arm] -= np.outer(gain, spread)
        self.weights[arm] += gain * (reward - float(self._last.mean[arm]))
        self.observations += 1.0


def policy_with(name: str, configuration: Configuration) -> Policy:
    """Return the policy as the product ships it, but for what the configuration sets."""
    policy = NAMES.get(name) or POLICIES[name]
    own = {field.name for field in fields(policy)}
    return replace(policy, **{key: value for key, value in configuration.items() if key in own})  # type: ignore[arg-type]


def make(name: str, configuration: Configuration, arms: int, dimension: int) -> DisjointBandit:
    return DisjointBandit(policy_with(name, configuration), arms, dimension, float(configuration.get("ridge", 1.0)))
