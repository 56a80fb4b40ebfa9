"""When a decision's reward wait begins and ends: as its tip is shown, and as the table's TTL says that time is up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tips.state import decisions, keys, teaching
from tips.state.arms import read_arms
from tips.state.decision_codec import RememberedDecision, read_decision
from tips.state.learning import read_learning
from tips.state.reactions import Outcome
from tips.state.table import retrying

if TYPE_CHECKING:
    from tips.state.table import Table
    from tips.state.teaching import LearningRules


def activate(table: Table, user_id: str, decision_id: str, rules: LearningRules, deadline_ms: float) -> Outcome:
    """Begin the wait of a deferred decision now; one that has begun is left as it is. Raises `TableUnavailable`."""
    now_us = time.time_ns() // 1000

    def activated(remembered: RememberedDecision) -> RememberedDecision:
        began_at = _earlier(remembered.activated_at, now_us)
        return replace(remembered, activated_at=began_at) if remembered.decision.deferred else remembered

    return _change(table, user_id, decision_id, activated, rules, deadline_ms)[0]


def tip_served(
    table: Table,
    user_id: str,
    tip_id: str,
    decision_id: str | None,
    shown_at_us: int,
    rules: LearningRules,
    deadline_ms: float,
) -> Outcome:
    """Remember when a decision's tip was first shown, which begins the wait of a deferred one.

    A tip is shown no earlier than it was decided, and no later than somebody says so. Without `decision_id` it is the
    person's newest decision for the tip. Raises `TableUnavailable`.
    """
    shown_at_us = min(shown_at_us, time.time_ns() // 1000)

    def served(remembered: RememberedDecision) -> RememberedDecision:
        if remembered.decision.tip_id != tip_id:
            return remembered
        at_us = max(shown_at_us, keys.decided_at_us(remembered.decision_id))
        shown = replace(remembered, shown_at=_earlier(remembered.shown_at, at_us))
        if not remembered.decision.deferred:
            return shown
        return replace(shown, activated_at=_earlier(remembered.activated_at, at_us))

    if decision_id is None:
        decision_id = decisions.newest_that_showed(table, user_id, tip_id, shown_at_us)
        if decision_id is None:
            return Outcome(False, "unknown_decision")
    return _change(table, user_id, decision_id, served, rules, deadline_ms)[0]


def end(table: Table, user_id: str, decision_id: str, rules: LearningRules, deadline_ms: float) -> bool:
    """Learn the default reward unless a reaction counts. Returns whether it was learned.

    Raises `TableUnavailable` and `LearningUnreadable`.
    """

    def over(remembered: RememberedDecision) -> RememberedDecision:
        log = remembered.reactions
        if not remembered.decision.deferred and log.counted(remembered.wait_ends_at) is not None:
            return remembered  # nothing that may still arrive can make the default count
        return replace(remembered, reactions=replace(log, wait_over=True))

    return _change(table, user_id, decision_id, over, rules, deadline_ms)[1]


def _earlier(known: int | None, at_us: int) -> int:
    return at_us if known is None else min(known, at_us)


def _change(
    table: Table,
    user_id: str,
    decision_id: str,
    change: Callable[[RememberedDecision], RememberedDecision],
    rules: LearningRules,
    deadline_ms: float,
) -> tuple[Outcome, bool]:
    """Carry out a change of what is known of a decision. Returns whether it changed anything, and whether the sums."""
    now_us = time.time_ns() // 1000
    wanted = [
        keys.tombstone(user_id),
        keys.learning(user_id),
        (keys.user(user_id), keys.decision(decision_id)),
        keys.arms(user_id),
    ]
    moved_before = False

    def attempt(bounded: Table, ambiguous: bool) -> tuple[Outcome, bool]:
        nonlocal moved_before
        erased, learned, item, known_arms = bounded.get_all(wanted)
        if erased is not None:
            return Outcome(False, "erased"), False
        if item is None:
            return Outcome(False, "unknown_decision"), False
        before = read_decision(item)
        after = change(before)
        if _known(after) == _known(before):
            # After a write that reported a fault, what is found changed already is this call's own doing.
            return Outcome(ambiguous, None if ambiguous else "duplicate"), ambiguous and moved_before
        arms = read_arms(bounded, before.decision, known_arms)
        writes, moved_before = teaching.change(before, after, read_learning(learned), arms, rules, now_us)
        bounded.transact(writes)
        return Outcome(True), moved_before

    return retrying(table, deadline_ms, attempt)


def _known(remembered: RememberedDecision) -> tuple[object, ...]:
    return remembered.reactions, remembered.shown_at, remembered.activated_at
