"""Learning from reactions: one decision teaches once, under any crash, redelivery, order or race.

A reaction and all that follows from it are one transaction (`person.py`). An event with an id of its own leaves a mark
in the same transaction, so that it is one reaction in whatever form it comes again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tips.bandit.learning import Lesson, Logged
from tips.bandit.registry import policy_named
from tips.bandit.rewards import Reaction, derived_event_id, reward_of
from tips.features.vectors import Candidate, Situation
from tips.state import keys, profiles, teaching
from tips.state.changes import DUPLICATE, Outcome, carry_out_one
from tips.state.marks import Mark
from tips.state.person import Needs

if TYPE_CHECKING:
    from tips.contracts.common import Action
    from tips.features.profile_counters import CountedReaction
    from tips.state.decision_codec import RememberedDecision
    from tips.state.person import Person
    from tips.state.table import Table
    from tips.state.teaching import LearningRules

_CONTEXT = ("hour_of_day", "day_of_week")


@dataclass(frozen=True, slots=True)
class Report:
    """What somebody says of a person's reaction, by HTTP or by event. occurred_at: microseconds since 1970.

    `policy` and `features` matter only when no decision is remembered: then that policy learns from those features.
    """

    user_id: str
    decision_id: str | None = None
    tip_id: str | None = None
    event_id: str | None = None
    action: Action | None = None
    dwell_ms: int | None = None
    reward: float | None = None
    occurred_at: int | None = None
    features: Mapping[str, float | bool | None] | None = None
    policy: str | None = None

    @property
    def value(self) -> float:
        """The reward: explicit, else by the action; raises `ValueError` when there is neither."""
        if self.reward is not None:
            return self.reward
        if self.action is None:
            raise ValueError("a reaction needs an action or a reward")
        return reward_of(self.action, self.dwell_ms)

    def needs(self, now_us: int) -> Needs:
        if self.decision_id is None and self.tip_id is None:
            raise ValueError("a reaction needs a decision_id or a tip_id")
        mark = keys.event(self._event_id)
        if self.decision_id is not None:
            return Needs(self.decision_id, mark=mark)
        return Needs(None, (self.tip_id, self._at_us(now_us)) if self.tip_id else None, (mark,))

    def carry_out(self, person: Person) -> Outcome:
        """Raises `LearningUnreadable` and `DecisionUnreadable`."""
        told = person.told(keys.event(self._event_id))
        is_told = told is not None and told.counted is None
        # Without an id of its own a reaction is known by what is said of it, which may be said of two decisions.
        if is_told and self.event_id is not None:
            return DUPLICATE
        remembered = person.decision(self.needs(person.now_us))
        if remembered is None:
            return DUPLICATE if is_told else self._without_decision(person, told)
        if self.tip_id is not None and self.tip_id != remembered.decision.tip_id:
            return Outcome(False, "tip_not_shown")
        return self._learn_decision(person, remembered, None if told is None else told.counted)

    @property
    def _event_id(self) -> str:
        """The reaction's own id, else a hash of what is said of it."""
        if self.event_id is not None:
            return self.event_id
        subject = self.decision_id or self.tip_id or ""
        return derived_event_id(self.user_id, subject, self.action, self.reward, self.dwell_ms)

    def _at_us(self, now_us: int) -> int:
        """When the reaction occurred: no later than its arrival."""
        return now_us if self.occurred_at is None else min(self.occurred_at, now_us)

    def _reaction(self, at_us: int) -> Reaction:
        return Reaction(self.value, at_us, self._event_id, self.action, self.dwell_ms)

    def _learn_decision(self, person: Person, remembered: RememberedDecision, apart: CountedReaction | None) -> Outcome:
        """apart: what is counted of the reaction by itself, from when it was told and found no decision."""
        reaction = self._reaction(max(self._at_us(person.now_us), keys.decided_at_us(remembered.decision_id)))
        if remembered.reactions.knows(reaction.event_id):
            return DUPLICATE
        after = remembered
        if remembered.decision.deferred:
            # Whoever reacts has seen the tip.
            seen_at = min(remembered.activated_at or reaction.occurred_at, reaction.occurred_at)
            after = replace(after, activated_at=seen_at)
        after = replace(after, reactions=remembered.reactions.with_reaction(reaction, after.wait_ends_at))
        belongs = teaching.belongs(remembered, person.learning)
        moves = person.settle(remembered, after, apart)
        if self.event_id is not None or apart is not None:
            person.mark(keys.event(reaction.event_id), Mark())
        if after.wait_ends_at is not None and reaction.occurred_at > after.wait_ends_at:
            return Outcome(False, "late")
        if after.reactions.counted(after.wait_ends_at) != reaction:
            return Outcome(False, "superseded")
        if moves:
            return Outcome(True, moved=True)
        return Outcome(False, "same_reward" if belongs else "older_epoch")

    def _without_decision(self, person: Person, told: Mark | None) -> Outcome:
        """Learn from features that came along, if no decision was named; else there is nothing to learn from.

        Of the person's habits the reaction tells as much as any other; each is counted by itself.
        """
        at_us = self._at_us(person.now_us)
        mark = keys.event(self._event_id)
        counted = profiles.counted(self._reaction(at_us)) if told is None else None
        learns = self.decision_id is None and self.features is not None and self.policy is not None
        older = learns and self.occurred_at is not None and self.occurred_at < person.learning.epoch_at
        if learns and not older:
            person.learn_apart(self._lesson(at_us), counted)
            person.mark(mark, Mark())
            return Outcome(True, moved=True)
        if counted is not None:
            person.learn_apart(None, counted)
            person.mark(mark, Mark(counted))
        return Outcome(False, "older_epoch" if older else "unknown_decision")

    def _lesson(self, at_us: int) -> Lesson:
        if self.features is None or self.policy is None:
            raise ValueError("there are no features to learn from")
        schema = policy_named(self.policy).schema
        hour, day = (self.features.get(name) for name in _CONTEXT)
        (vector,) = schema.encode(Situation(hour, day, self.features), [Candidate(self.features)])
        return Lesson(
            at=at_us,
            logged={schema.hash: Logged(schema.names, vector)},
            counted=(schema,),
            new=self.value,
            without_decision=True,
        )


def apply(table: Table, report: Report, rules: LearningRules, deadline_ms: float) -> Outcome:
    """Learn from a reaction at most once.

    Raises `TableUnavailable` at the deadline, with nothing half-written, `LearningUnreadable`, `DecisionUnreadable`.
    """
    return carry_out_one(table, report, rules, deadline_ms)
