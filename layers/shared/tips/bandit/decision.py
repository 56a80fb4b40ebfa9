"""A decision: one candidate drawn from a policy's distribution, with all that is needed to replay it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tips.bandit.policy import Distribution, Policy
from tips.bandit.statistics import Posterior, Statistics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tips.features.vectors import Features, Situation


def draw(propensity: NDArray[np.float64], decision_id: str) -> int:
    """Return the index drawn from `propensity`: (k,), by a number in [0, 1) that `decision_id` alone determines."""
    digest = hashlib.sha256(decision_id.encode()).digest()
    uniform = (int.from_bytes(digest[:8], "big") >> 11) / 2**53
    cumulative = np.cumsum(propensity)
    return int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one policy made of a request: its distribution and the vector of the candidate that was shown."""

    policy: str
    policy_version: str
    schema_hash: str
    names: tuple[str, ...]
    parameters: Mapping[str, float]
    distribution: Distribution
    vector: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Decision:
    """One decision as it is remembered. `candidates` are dictionaries without content, in request order.

    `epoch` is the user's learning epoch, None when the table could not be read.
    """

    user_id: str
    decision_id: str
    candidates: Sequence[Mapping[str, Any]]
    situation: Situation
    chosen: int
    policy: str
    evaluations: Mapping[str, Evaluation]
    epoch: int | None
    degraded: bool
    deferred: bool = False
    context: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tip_id(self) -> str:
        tip_id: str = self.candidates[self.chosen]["id"]
        return tip_id

    @property
    def active(self) -> Evaluation:
        """The evaluation of the policy that made the decision."""
        return self.evaluations[self.policy]

    @property
    def explored(self) -> bool:
        """Whether the candidate shown is not one that the policy held best."""
        score = self.active.distribution.score
        return bool(score[self.chosen] < score.max())


def choose(
    policy: Policy,
    statistics: Statistics,
    situation: Situation,
    candidates: Sequence[Features],
    decision_id: str,
) -> tuple[int, Evaluation, Posterior, NDArray[np.float64]]:
    """Draw a candidate. Returns its index, the evaluation, the posterior used and X: (k, d)."""
    X = policy.schema.encode(situation, candidates)
    posterior = Posterior.from_statistics(statistics)
    distribution = policy.distribution(X, posterior)
    chosen = draw(distribution.propensity, decision_id)
    evaluation = Evaluation(
        policy.name,
        policy.version,
        policy.schema.hash,
        policy.schema.names,
        policy.parameters,
        distribution,
        X[chosen],
    )
    return chosen, evaluation, posterior, X
