"""When a decision's reward wait begins and ends: as its tip is shown, and as the table's TTL says that time is up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tips.state import keys
from tips.state.changes import DUPLICATE, Outcome
from tips.state.marks import Mark
from tips.state.person import Needs

if TYPE_CHECKING:
    from tips.state.decision_codec import RememberedDecision
    from tips.state.person import Person


@dataclass(frozen=True, slots=True)
class Activated:
    """A deferred decision was shown now, which begins its wait; one that has begun is left as it is."""

    user_id: str
    decision_id: str

    def needs(self, now_us: int) -> Needs:
        return Needs(decision_id=self.decision_id)

    def carry_out(self, person: Person) -> Outcome:
        """Raises `LearningUnreadable` and `DecisionUnreadable`."""
        remembered = person.decision(Needs(decision_id=self.decision_id))
        if remembered is None:
            return Outcome(False, "unknown_decision")
        after = remembered
        if remembered.decision.deferred:
            after = replace(after, activated_at=_earlier(remembered.activated_at, person.now_us))
        return _settled(person, remembered, after)


@dataclass(frozen=True, slots=True)
class Served:
    """A tip was shown, which begins the wait of a deferred decision. shown_at: microseconds since 1970.

    A tip is shown no earlier than it was decided, and no later than somebody says so. Without `decision_id` it is the
    person's newest decision for the tip. Each event is counted once in the profile, whatever is known of its decision.
    """

    user_id: str
    tip_id: str
    shown_at: int
    decision_id: str | None = None
    event_id: str | None = None

    def needs(self, now_us: int) -> Needs:
        shown_tip = (self.tip_id, self._shown_at(now_us)) if self.decision_id is None else None
        return Needs(self.decision_id, shown_tip, () if self.event_id is None else (keys.showing(self.event_id),))

    def carry_out(self, person: Person) -> Outcome:
        """Raises `LearningUnreadable` and `DecisionUnreadable`."""
        shown_at = self._shown_at(person.now_us)
        remembered = person.decision(self.needs(person.now_us))
        outcome = Outcome(False, "unknown_decision")
        if remembered is not None:
            outcome = _settled(person, remembered, self._shown(remembered, shown_at))
        if self.event_id is not None and person.told(mark := keys.showing(self.event_id)) is None:
            person.count_shown(shown_at)
            person.mark(mark, Mark())
        return outcome

    def _shown_at(self, now_us: int) -> int:
        return min(self.shown_at, now_us)

    def _shown(self, remembered: RememberedDecision, shown_at: int) -> RememberedDecision:
        if remembered.decision.tip_id != self.tip_id:
            return remembered
        at_us = max(shown_at, keys.decided_at_us(remembered.decision_id))
        shown = replace(remembered, shown_at=_earlier(remembered.shown_at, at_us))
        if not remembered.decision.deferred:
            return shown
        return replace(shown, activated_at=_earlier(remembered.activated_at, at_us))


@dataclass(frozen=True, slots=True)
class WaitOver:
    """A decision had its time for a reaction: it teaches the default reward unless one counts."""

    user_id: str
    decision_id: str

    def needs(self, now_us: int) -> Needs:
        return Needs(decision_id=self.decision_id)

    def carry_out(self, person: Person) -> Outcome:
        """Raises `LearningUnreadable` and `DecisionUnreadable`."""
        remembered = person.decision(Needs(decision_id=self.decision_id))
        if remembered is None:
            return Outcome(False, "unknown_decision")
        log = remembered.reactions
        if not remembered.decision.deferred and log.counted(remembered.wait_ends_at) is not None:
            return DUPLICATE  # nothing that may still arrive can make the default count
        return _settled(person, remembered, replace(remembered, reactions=replace(log, wait_over=True)))


def _earlier(known: int | None, at_us: int) -> int:
    return at_us if known is None else min(known, at_us)


def _settled(person: Person, before: RememberedDecision, after: RememberedDecision) -> Outcome:
    if _known(after) == _known(before):
        return DUPLICATE
    return Outcome(True, moved=person.settle(before, after))


def _known(remembered: RememberedDecision) -> tuple[object, ...]:
    return remembered.reactions, remembered.shown_at, remembered.activated_at
