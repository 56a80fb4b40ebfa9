"""What a policy would have made of logged decisions: replayed in time order, from the rewards that had arrived by then.

The arithmetic is the service's own: a person's statistics, the posterior from them and a prior, the policy's
distribution. A reward is learned at the reaction, a default one when the wait is over; a raised epoch forgets what was
learned before; a decision that was taken blindly (degraded) is taken blindly here too. As far as the logs tell: of a
reaction only the one that counts in the end is known, and when the reset of a person was asked for only to the next
decision.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from offline.feature_store.logs import LoggedDecision, logged_decisions
from tips.bandit.posterior import form_posterior
from tips.bandit.statistics import Statistics

if TYPE_CHECKING:
    import polars as pl

    from tips.bandit.forgetting import Microseconds
    from tips.bandit.policy import Policy
    from tips.bandit.prior import Prior

Array = NDArray[np.float64]


@dataclass(eq=False)
class _Person:
    """What is learned of a person in the epoch that began, for us, with the decision at `since`."""

    statistics: Statistics
    epoch: int | None = None
    since: Microseconds = 0


@dataclass(eq=False)
class _Learning:
    """Everybody's statistics, and the rewards that are on their way."""

    dimension: int
    half_life: Microseconds
    people: dict[str, _Person] = field(default_factory=dict)
    coming: list[tuple[Microseconds, int, str, int | None, Microseconds, Array, float]] = field(default_factory=list)

    def person(self, user_id: str) -> _Person:
        if user_id not in self.people:
            self.people[user_id] = _Person(Statistics.empty(self.dimension))
        return self.people[user_id]

    def learn_until(self, now: Microseconds) -> None:
        while self.coming and self.coming[0][0] <= now:
            arrived_at, _, user_id, epoch, decided_at, x, reward = heapq.heappop(self.coming)
            person = self.person(user_id)
            # One that was taken blindly is placed by its time, as the service does.
            belongs = decided_at >= person.since if epoch is None else person.epoch in (None, epoch)
            if belongs:
                own = person.statistics.with_half_life(self.half_life, arrived_at)
                person.statistics = own.learn(x, decided_at, None, reward)

    def begin(self, user_id: str, epoch: int | None, decided_at: Microseconds) -> _Person:
        """Return the person as of a decision; a higher epoch than before starts from nothing."""
        person = self.person(user_id)
        if epoch is not None and epoch != person.epoch:
            if person.epoch is not None:
                person.statistics, person.since = Statistics.empty(self.dimension), decided_at
            person.epoch = epoch
        return person


def recomputed(
    frame: pl.DataFrame, policy: Policy, *, prior: Prior | None = None, half_life: Microseconds = 0
) -> Iterator[Array]:
    """Yield the policy's distribution over the candidates of each row, (k,), in the order of the frame.

    frame: an export's decisions in time order, all of them: those that are not judged teach too. prior: for the
    policy's schema, trained on none of the rows that are judged. half_life: microseconds, 0 for no forgetting.
    Raises `ValueError` where rows are out of order.
    """
    learning = _Learning(policy.schema.dimension, half_life)
    last = 0
    rows = zip(logged_decisions(frame), frame["epoch"], frame["degraded"], strict=True)
    for number, (decision, epoch, degraded) in enumerate(rows):
        if decision.decided_at_us < last:
            raise ValueError("decisions must be in time order")
        last = decision.decided_at_us
        learning.learn_until(last)
        person = learning.begin(decision.user_id, epoch, last)
        X = policy.schema.encode(decision.situation, decision.candidates)
        statistics = Statistics.empty(policy.schema.dimension) if degraded else person.statistics.as_of(last)
        yield policy.distribution(X, form_posterior(statistics, prior))[0].propensity
        known_at = arrived_at(decision)
        if decision.reward is not None and known_at is not None:
            lesson = (known_at, number, decision.user_id, epoch, last, X[decision.chosen], decision.reward)
            heapq.heappush(learning.coming, lesson)


def arrived_at(decision: LoggedDecision) -> Microseconds | None:
    """Return when a decision's reward was known: at the reaction that counts, else when the wait was over."""
    return decision.reacted_at_us if decision.reward_source == "reaction" else decision.wait_ends_at_us
