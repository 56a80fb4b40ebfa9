"""Learning from reactions: one decision teaches once, under any crash, redelivery, order or race.

A reaction and its effect on the sums are one transaction (`teaching.py`). An event with an id of its own leaves a mark
in the same transaction, so that it is one reaction in whatever form it comes again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from tips.bandit.learning import Lesson, Logged, UserLearning, taught
from tips.bandit.registry import policy_named, present_schemas
from tips.bandit.rewards import Reaction, derived_event_id, reward_of
from tips.features.vectors import Candidate, Situation
from tips.state import decisions, keys, teaching
from tips.state.arms import Arms, read_arms
from tips.state.decision_codec import RememberedDecision, read_decision
from tips.state.learning import read_learning, write
from tips.state.table import retrying
from tips.state.tombstones import not_erased

if TYPE_CHECKING:
    from tips.contracts.common import Action
    from tips.state.table import Table
    from tips.state.teaching import LearningRules

_CONTEXT = ("hour_of_day", "day_of_week")

Reason = Literal[
    "duplicate", "superseded", "late", "same_reward", "older_epoch", "unknown_decision", "tip_not_shown", "erased"
]


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether what is learned moved, and if not, why."""

    applied: bool
    reason: Reason | None = None

    @property
    def metric(self) -> str:
        return "RewardApplied" if self.applied else f"RewardNotApplied_{self.reason}"


def apply(table: Table, report: Report, rules: LearningRules, deadline_ms: float) -> Outcome:
    """Learn from a reaction at most once.

    Raises `TableUnavailable` at the deadline, with nothing half-written, and `LearningUnreadable`.
    """
    now_us = time.time_ns() // 1000  # once: a retry must not mean another time, and so another decision
    return retrying(
        table, deadline_ms, lambda bounded, ambiguous: _Attempt(bounded, report, rules, now_us, ambiguous).outcome()
    )


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One read of what is remembered and the transaction that follows from it."""

    table: Table
    report: Report
    rules: LearningRules
    now_us: int
    ambiguous: bool

    def outcome(self) -> Outcome:
        report = self.report
        decision_id = report.decision_id
        wanted = [keys.LEARNING]
        if report.event_id is not None:
            wanted.append(keys.event(report.event_id))
        if decision_id is not None:
            wanted.append(keys.decision(decision_id))
        also = [keys.tombstone(report.user_id), keys.arms(report.user_id)]
        erased, arms_item, *items = self.table.get_all([*also, *((self._pk, sk) for sk in wanted)])
        if erased is not None:
            return Outcome(False, "erased")
        found = dict(zip(wanted, items, strict=True))
        if report.event_id is not None and (told := found[keys.event(report.event_id)]) is not None:
            return self._told_before(bool(told["moved"]["BOOL"]))
        learning = read_learning(found[keys.LEARNING])
        if decision_id is not None:
            item = found[keys.decision(decision_id)]
        else:
            decision_id = self._decision_that_showed_the_tip()
            if decision_id is None:
                return self._learn_features(learning)
            item = self.table.get(self._pk, keys.decision(decision_id))
        if item is None:
            return Outcome(False, "unknown_decision")
        remembered = read_decision(item)
        if report.tip_id is not None and report.tip_id != remembered.decision.tip_id:
            return Outcome(False, "tip_not_shown")
        arms = read_arms(self.table, remembered.decision, arms_item)
        return self._learn_decision(remembered, learning, arms)

    @property
    def _pk(self) -> str:
        return keys.user(self.report.user_id)

    @property
    def _event_id(self) -> str:
        """The reaction's own id, else a hash of what is said of it."""
        report = self.report
        if report.event_id is not None:
            return report.event_id
        subject = report.decision_id or report.tip_id or ""
        return derived_event_id(report.user_id, subject, report.action, report.reward, report.dwell_ms)

    @property
    def _at_us(self) -> int:
        """When the reaction occurred: no later than its arrival."""
        occurred_at = self.report.occurred_at
        return self.now_us if occurred_at is None else min(occurred_at, self.now_us)

    def _decision_that_showed_the_tip(self) -> str | None:
        if self.report.tip_id is None:
            raise ValueError("a reaction needs a decision_id or a tip_id")
        return decisions.newest_that_showed(self.table, self.report.user_id, self.report.tip_id, self._at_us)

    def _told_before(self, moved: bool) -> Outcome:
        # After a write that reported a fault, what is found told already is this call's own doing.
        by_this_call = self.ambiguous and moved
        return Outcome(by_this_call, None if by_this_call else "duplicate")

    def _learn_decision(self, remembered: RememberedDecision, learning: UserLearning, arms: Arms | None) -> Outcome:
        reaction = Reaction(
            reward=self.report.value,
            occurred_at=max(self._at_us, keys.decided_at_us(remembered.decision_id)),
            event_id=self._event_id,
            action=self.report.action,
            dwell_ms=self.report.dwell_ms,
        )
        if remembered.reactions.knows(reaction.event_id):
            counted = remembered.reactions.counted(remembered.wait_ends_at)
            known_to_count = counted is not None and counted.event_id == reaction.event_id
            return self._told_before(known_to_count and remembered.reactions.learned is not None)
        after = remembered
        if remembered.decision.deferred:
            # Whoever reacts has seen the tip.
            after = replace(
                after, activated_at=min(remembered.activated_at or reaction.occurred_at, reaction.occurred_at)
            )
        after = replace(after, reactions=remembered.reactions.with_reaction(reaction, after.wait_ends_at))
        writes, moves = teaching.change(remembered, after, learning, arms, self.rules, self.now_us)
        if self.report.event_id is not None:
            writes.append(self._mark(moves))
        self.table.transact(writes)
        if after.wait_ends_at is not None and reaction.occurred_at > after.wait_ends_at:
            return Outcome(False, "late")
        if after.reactions.counted(after.wait_ends_at) != reaction:
            return Outcome(False, "superseded")
        if moves:
            return Outcome(True)
        return Outcome(False, "same_reward" if teaching.belongs(remembered, learning) else "older_epoch")

    def _learn_features(self, learning: UserLearning) -> Outcome:
        """Learn from features that came with the reward, because no decision is remembered that showed the tip."""
        report = self.report
        if report.features is None or report.policy is None:
            return Outcome(False, "unknown_decision")
        if report.event_id is None and self.table.get(self._pk, keys.event(self._event_id)) is not None:
            return self._told_before(moved=True)
        if report.occurred_at is not None and report.occurred_at < learning.epoch_at:
            return Outcome(False, "older_epoch")
        policy = policy_named(report.policy)
        schema = policy.schema
        hour, day = (report.features.get(name) for name in _CONTEXT)
        (vector,) = schema.encode(Situation(hour, day, report.features), [Candidate(report.features)])
        lesson = Lesson(
            at=self._at_us,
            logged={schema.hash: Logged(schema.names, vector)},
            counted=(schema,),
            new=report.value,
            without_decision=True,
        )
        learning = taught(learning, lesson, self.rules.half_life, self.now_us, present_schemas())
        writes = [self._mark(moved=True), write(keys.learning(report.user_id), learning), not_erased(report.user_id)]
        self.table.transact(writes)
        return Outcome(True)

    def _mark(self, moved: bool) -> dict[str, Any]:
        """Return the transaction's part that remembers the event for 35 days, on condition that it is not known."""
        now_sec = self.now_us // 1_000_000
        return {
            "Put": {
                "Item": {
                    "pk": {"S": self._pk},
                    "sk": {"S": keys.event(self._event_id)},
                    "ttl": {"N": str(now_sec + keys.EVENT_TTL_SEC)},
                    "moved": {"BOOL": moved},
                },
                # TTL removes an item days after it has expired.
                "ConditionExpression": "attribute_not_exists(pk) OR #ttl <= :now",
                "ExpressionAttributeNames": {"#ttl": "ttl"},
                "ExpressionAttributeValues": {":now": {"N": str(now_sec)}},
            }
        }
