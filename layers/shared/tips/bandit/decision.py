"""A decision: one candidate drawn from a policy's distribution, with all that is needed to replay it."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tips.bandit.policy import Distribution, Parameters, Policy
    from tips.features.vectors import Situation


def draw(propensity: NDArray[np.float64], decision_id: str) -> int:
    """Return the index drawn from `propensity`: (k,), by a number in [0, 1) that `decision_id` alone determines."""
    digest = hashlib.sha256(decision_id.encode()).digest()
    uniform = (int.from_bytes(digest[:8], "big") >> 11) / 2**53
    cumulative = list(accumulate(propensity.tolist()))
    drawn = bisect_right(cumulative, uniform * cumulative[-1])
    # Where rounding carries past the end, the last candidate that can be drawn at all.
    return drawn if drawn < len(cumulative) else int(np.flatnonzero(propensity)[-1])


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one policy made of a request: its distribution and the vector of the candidate that was shown.

    prior: version of the population prior behind it, None without one.
    """

    policy: str
    policy_version: str
    schema_hash: str
    names: tuple[str, ...]
    parameters: Parameters
    distribution: Distribution
    vector: NDArray[np.float64]
    prior: str | None = None


@dataclass(frozen=True, eq=False)
class Decision:
    """One decision as it is remembered. `candidates`: dictionaries without content, in request order; None: not given.

    policy: the one that chose; `evaluations` holds it and the shadows. epoch: the user's learning epoch, None when the
    table could not be read. experiments: arm by experiment. reward_wait_us: how long a reaction is in time.
    profile_sources: where each profile feature came from: the request, what is stored, or nowhere. took_us:
    microseconds from the request to the choice, reading included; None where it was not measured.
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
    reward_wait_us: int
    deferred: bool = False
    experiments: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    profile_sources: Mapping[str, str] = field(default_factory=dict)
    took_us: int | None = None

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
        score = self.active.distribution.score.tolist()
        return bool(score[self.chosen] < max(score))


def replay(
    policy: Policy, decision_id: str, mean: Sequence[float], width: Sequence[float], parameters: Parameters
) -> tuple[int, Distribution]:
    """Return choice and distribution again from what a decision's log holds, bit for bit.

    mean, width: (k,), as the policy that chose saw the candidates; parameters: as logged.
    """
    distribution = policy.replay(np.array(mean, dtype=np.float64), np.array(width, dtype=np.float64), parameters)
    return draw(distribution.propensity, decision_id), distribution
