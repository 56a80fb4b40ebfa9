"""Learning from reactions: one decision teaches once, under any crash, redelivery, order or race.

A reaction and its effect on the sums are one transaction: the decision's item remembers the reaction on condition
that nobody has written it since it was read, and the learning item changes on the same condition.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tips.bandit.registry import policy_named
from tips.bandit.rewards import Reaction, ReactionLog, Verdict, derived_event_id, reward_of
from tips.bandit.statistics import Statistics
from tips.features.vectors import Situation
from tips.state import decisions, keys
from tips.state.decision_codec import RememberedDecision, reactions_value, read_decision
from tips.state.learning import UserLearning, read_learning, with_statistics, write
from tips.state.table import retrying

if TYPE_CHECKING:
    from tips.contracts.common import Action
    from tips.state.table import Table

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


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether what is learned moved, and if not, why."""

    applied: bool
    reason: str | None = None


def apply(table: Table, report: Report, deadline_ms: float) -> Outcome:
    """Learn from a reaction at most once; raises `TableUnavailable` at the deadline, with nothing half-written."""
    return retrying(deadline_ms, lambda ambiguous: _attempt(table, report, ambiguous))


def _attempt(table: Table, report: Report, ambiguous: bool) -> Outcome:
    now_us = time.time_ns() // 1000
    at_us = now_us if report.occurred_at is None else min(report.occurred_at, now_us)
    pk = keys.user(report.user_id)
    decision_id, mark = report.decision_id, None
    if decision_id is None:
        if report.tip_id is None:
            raise ValueError("a reaction needs a decision_id or a tip_id")
        # Told again, it means the decision it meant first, although the tip may have been shown again since.
        told = None if report.event_id is None else table.get(pk, keys.event(report.event_id))
        if told is None:
            decision_id = decisions.newest_that_showed(table, report.user_id, report.tip_id, at_us)
            if decision_id is None:
                return _apply_features(table, report, now_us, ambiguous)
            if report.event_id is not None:
                mark = _mark(report.user_id, report.event_id, now_us, decision_id)
        elif "decision_id" in told:
            decision_id = told["decision_id"]["S"]
        else:
            return _already_told(ambiguous)
    item, learned = table.get_all([(pk, keys.decision(decision_id)), (pk, keys.LEARNING)])
    if item is None:
        return Outcome(False, "unknown_decision")
    remembered = read_decision(item)
    if report.tip_id is not None and report.tip_id != remembered.decision.tip_id:
        return Outcome(False, "tip_not_shown")
    reaction = Reaction(
        reward=report.value,
        occurred_at=max(at_us, keys.decided_at_us(decision_id)),
        event_id=report.event_id or _derived_id(report),
        action=report.action,
        dwell_ms=report.dwell_ms,
    )
    return _apply_to_decision(table, remembered, read_learning(learned), reaction, now_us, ambiguous, mark)


def _apply_to_decision(
    table: Table,
    remembered: RememberedDecision,
    learning: UserLearning,
    reaction: Reaction,
    now_us: int,
    ambiguous: bool,
    mark: dict[str, Any] | None,
) -> Outcome:
    log = remembered.reactions
    verdict = log.judge(reaction)
    if verdict is Verdict.DUPLICATE:
        return _already_told(ambiguous and log.learned)
    counts = verdict is Verdict.COUNTS
    this_epoch = learning.has_decision(remembered)
    moves = counts and this_epoch and not (log.learned and log.counted and log.counted.reward == reaction.reward)
    writes = [_decision_write(remembered, log.record(reaction, counts=counts, learned=this_epoch))]
    if moves:
        user_id = remembered.decision.user_id
        writes.append(write(user_id, _taught(learning, remembered, reaction.reward, now_us)))
    if mark is not None:
        writes.append(mark)
    table.transact(writes)
    if moves:
        return Outcome(True)
    if not counts:
        return Outcome(False, "superseded")
    return Outcome(False, "same_reward" if this_epoch else "older_epoch")


def _taught(learning: UserLearning, remembered: RememberedDecision, reward: float, now_us: int) -> UserLearning:
    """Return the learning with the decision's vectors observed, or their reward revised, for every policy it logged."""
    log = remembered.reactions
    for evaluation in remembered.decision.evaluations.values():
        vector = evaluation.vector
        statistics = learning.statistics(evaluation.policy, evaluation.schema_hash, len(vector))
        if log.learned and log.counted is not None:
            statistics = statistics.revise(vector, log.counted.reward, reward)
        else:
            statistics = statistics.observe(vector, reward)
        learning = with_statistics(learning, evaluation.policy, evaluation.schema_hash, statistics, now_us)
    return learning


def _decision_write(remembered: RememberedDecision, log: ReactionLog) -> dict[str, Any]:
    return {
        "Update": {
            "Key": {
                "pk": {"S": keys.user(remembered.decision.user_id)},
                "sk": {"S": keys.decision(remembered.decision_id)},
            },
            "UpdateExpression": "SET reactions = :reactions, rev = :next",
            "ConditionExpression": "rev = :rev",
            "ExpressionAttributeValues": {
                ":reactions": reactions_value(log),
                ":rev": {"N": str(remembered.revision)},
                ":next": {"N": str(remembered.revision + 1)},
            },
        }
    }


def _apply_features(table: Table, report: Report, now_us: int, ambiguous: bool) -> Outcome:
    """Learn from features that came with the reward, because no decision is remembered that showed the tip."""
    if report.features is None or report.policy is None:
        return Outcome(False, "unknown_decision")
    pk = keys.user(report.user_id)
    event_id = report.event_id or _derived_id(report)
    seen, learned = table.get_all([(pk, keys.event(event_id)), (pk, keys.LEARNING)])
    if seen is not None:
        return _already_told(ambiguous)
    learning = read_learning(learned)
    if report.occurred_at is not None and report.occurred_at < learning.epoch_at:
        return Outcome(False, "older_epoch")
    policy = policy_named(report.policy)
    schema = policy.schema
    hour, day = (report.features.get(name) for name in _CONTEXT)
    (vector,) = schema.encode(Situation(hour, day, report.features), [report.features])
    statistics: Statistics = learning.statistics(policy.name, schema.hash, schema.dimension)
    statistics = statistics.observe(vector, report.value, without_decision=True)
    learning = with_statistics(learning, policy.name, schema.hash, statistics, now_us)
    mark = _mark(report.user_id, event_id, now_us)
    table.transact([mark, write(report.user_id, learning)])
    return Outcome(True)


def _already_told(by_this_call: bool) -> Outcome:
    """After a write that reported a fault, what is found told already is most likely this call's own doing."""
    return Outcome(by_this_call, None if by_this_call else "duplicate")


def _mark(user_id: str, event_id: str, now_us: int, decision_id: str | None = None) -> dict[str, Any]:
    """Return the transaction's part that remembers an event for 35 days, on condition that it is not known."""
    now_sec = now_us // 1_000_000
    item = {
        "pk": {"S": keys.user(user_id)},
        "sk": {"S": keys.event(event_id)},
        "ttl": {"N": str(now_sec + keys.EVENT_TTL_SEC)},
    }
    if decision_id is not None:
        item["decision_id"] = {"S": decision_id}
    return {
        "Put": {
            "Item": item,
            # TTL removes an item days after it has expired.
            "ConditionExpression": "attribute_not_exists(pk) OR #ttl <= :now",
            "ExpressionAttributeNames": {"#ttl": "ttl"},
            "ExpressionAttributeValues": {":now": {"N": str(now_sec)}},
        }
    }


def _derived_id(report: Report) -> str:
    subject = report.decision_id or report.tip_id or ""
    return derived_event_id(report.user_id, subject, report.action, report.reward, report.dwell_ms)
