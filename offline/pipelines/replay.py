"""What a policy's belief was worth at each logged decision, formed from what had arrived by then and from no more.

A person's decisions are gone through in the order of time. Each is judged by the sums of those of his or her earlier
decisions whose rewards had arrived before it (a reaction when it occurred, a default when the wait ended), with a prior
that the person had no part in. Means and widths do not depend on a policy's parameters: one replay serves them all.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import polars as pl

from offline.experiments.recompute import arrived_at
from offline.feature_store.logs import LoggedDecision, logged_decisions, shown_by_reaction
from tips.bandit.posterior import form_posterior
from tips.bandit.statistics import Statistics

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tips.bandit.policy import Distribution, Policy
    from tips.bandit.prior import Prior
    from tips.features.vectors import Schema


@dataclass(frozen=True, eq=False)
class Seen:
    """A logged decision as a policy on the schema would have seen it, and the reward that came of it.

    mean, width: (k,), of the candidates' rewards; observations: what the belief was worth; known: of these, how many
    rewards of the person's own had arrived.
    """

    decision: LoggedDecision
    reward: float
    mean: NDArray[np.float64]
    width: NDArray[np.float64]
    observations: float
    known: float

    @property
    def shown_with(self) -> float:
        """The probability with which the candidate was shown that was shown."""
        one = self.decision
        return float(one.evaluations[one.active].propensity[one.chosen])

    def distribution(self, policy: Policy) -> Distribution:
        """Return what the policy, which must be on the schema, would have made of it."""
        return policy.replay(self.mean, self.width, policy.parameters(len(self.mean), self.observations))


def replay(frame: pl.DataFrame, schema: Schema, priors: Mapping[str, Prior | None], judged_until_us: int) -> list[Seen]:
    """Return the decisions that can be judged, person by person in order of time.

    frame: of an export's columns. priors: by person, each one that the person had no part in; who has none is left out.
    judged_until_us: decisions whose wait ended after it are not judged, whether or not a reaction came: those with one
    would be the quick ones.
    Nor are deferred ones that are known to be shown by their reaction alone, and those of a policy that gave some tip
    no probability. All teach.
    """
    found: list[Seen] = []
    for (name,), rows in frame.sort("decided_at", "decision_id").group_by("user_id", maintain_order=True):
        if str(name) in priors:
            found += _replayed(rows, schema, priors[str(name)], judged_until_us)
    return found


def _replayed(rows: pl.DataFrame, schema: Schema, prior: Prior | None, judged_until_us: int) -> list[Seen]:
    found: list[Seen] = []
    statistics = Statistics.empty(schema.dimension)
    order = count()
    on_its_way: list[tuple[int, int, LoggedDecision, NDArray[np.float64]]] = []
    nothing = Statistics.empty(schema.dimension)
    by_reaction = rows.select(shown_by_reaction()).to_series()
    for one, degraded, doubtful in zip(logged_decisions(rows), rows["degraded"], by_reaction, strict=True):
        while on_its_way and on_its_way[0][0] <= one.decided_at_us:
            _, _, earlier, x = heapq.heappop(on_its_way)
            statistics = statistics.learn(x, earlier.decided_at_us, None, earlier.reward)
        X = schema.encode(one.situation, one.candidates)
        posterior = form_posterior(nothing if degraded else statistics, prior)
        if one.reward is None:
            continue
        if (arrives := arrived_at(one)) is not None:
            heapq.heappush(on_its_way, (arrives, next(order), one, X[one.chosen]))
        if doubtful or one.wait_ends_at_us is None or one.wait_ends_at_us > judged_until_us:
            continue
        if one.evaluations[one.active].propensity.min() <= 0.0:
            continue  # others cannot be judged by what one decided that shows some tips never
        mean, width = posterior.predict(X)
        found.append(Seen(one, one.reward, mean, width, posterior.observations, statistics.weight))
    return found
