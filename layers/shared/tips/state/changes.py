"""Changes of what is kept of one person: as many as fit are carried out together, in one read and one transaction.

A change that cannot be carried out for reasons of its own (what it is about is damaged) fails alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Literal, Protocol

from tips import telemetry
from tips.errors import OutOfTime, TableUnavailable
from tips.state.person import READ_AT_ONCE, Known, Needs, Person, keys_of
from tips.state.table import retrying

if TYPE_CHECKING:
    from tips.state.table import Item, Table
    from tips.state.teaching import LearningRules

AT_ONCE = 40
"""Changes in one read, which takes 100 keys."""
_TIPS_AT_ONCE = 8
"""Tips whose decisions are looked for in one read; each is a query."""

Reason = Literal[
    "duplicate",
    "superseded",
    "late",
    "same_reward",
    "older_epoch",
    "unknown_decision",
    "tip_not_shown",
    "out_of_date",
    "erased",
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a change changed what it is there for, and if not, why. moved: whether it moved what is learned."""

    applied: bool
    reason: Reason | None = None
    moved: bool = field(default=False, compare=False)

    @property
    def metric(self) -> str:
        """What a reaction's outcome counts as."""
        return "RewardApplied" if self.applied else f"RewardNotApplied_{self.reason}"


DUPLICATE = Outcome(False, "duplicate")


class Change(Protocol):
    """Something that happened to one person."""

    @property
    def user_id(self) -> str: ...

    def needs(self, now_us: int) -> Needs:
        """Return what has to be known. now_us: the time of the call, microseconds since 1970."""

    def carry_out(self, person: Person) -> Outcome:
        """Change the person's state in memory; what it raises, it raises before it has changed anything."""


def carry_out(
    table: Table,
    changes: Sequence[Change],
    rules: LearningRules,
    deadline_ms: float,
    stop_at: float = math.inf,
    known: Known | None = None,
) -> list[Outcome | Exception]:
    """Carry out changes of one person, in their order. Returns for each what came of it, or why it failed.

    deadline_ms: of each transaction with its retries. stop_at: the time (of `time.monotonic`) after which none begins.
    known: what was read ahead, for the first attempt.
    """
    now_us = time.time_ns() // 1000  # once: a retry must not mean another time, and so another decision
    results: list[Outcome | Exception] = []
    at_once = AT_ONCE
    while rest := changes[len(results) :]:
        if time.monotonic() >= stop_at:
            return [*results, *[OutOfTime()] * len(rest)]
        some = rest[:at_once]
        try:
            results += _carried_out(table, some, rules, now_us, deadline_ms, known or {})
            at_once = min(4 * at_once, AT_ONCE)
        except Exception as fault:
            if len(some) > 1:
                # One of them may make a transaction that can never be carried out, or all of them one that is too
                # large for the time. Alone, the first will tell whether it is the table.
                at_once = 1
            elif isinstance(fault, TableUnavailable) and not fault.malformed:
                return [*results, *[fault] * len(rest)]
            else:
                results.append(fault)
        known = None  # what was read ahead may be out of date by now
    return results


def read_ahead(
    table: Table, people: Sequence[Sequence[Change]], stop_at: float = math.inf
) -> Iterator[tuple[list[int], Known]]:
    """Yield places of people with what their first attempts will ask for: as many at once as one request takes.

    It is no more than saved requests: from the first fault on, whatever it is, everybody is left to read alone, where
    that fails nobody else.
    """
    now_us = time.time_ns() // 1000
    bounded: Table | None = table.until(stop_at)
    places: list[int] = []
    wanted: list[tuple[str, str]] = []
    for place, changes in enumerate(people):
        needs = [change.needs(now_us) for change in changes[:AT_ONCE]]
        # A decision that is looked for by its tip is found later, and may be of a later epoch than what is read now.
        alone = any(one.shown_tip is not None for one in needs)
        own = [] if alone else list(dict.fromkeys(keys_of(changes[0].user_id, needs)))
        if places and len(wanted) + len(own) > READ_AT_ONCE:
            known = _read(bounded, wanted)
            yield places, known or {}
            places, wanted, bounded = [], [], bounded if known is not None else None
        places.append(place)
        wanted += own
    yield places, _read(bounded, wanted) or {}


def _read(table: Table | None, wanted: Sequence[tuple[str, str]]) -> Known | None:
    """Return the items under these keys; None where that fails, or there is no table to read."""
    if table is None:
        return None
    known: dict[tuple[str, str], Item | None] = {}
    try:
        for start in range(0, len(wanted), READ_AT_ONCE):
            some = wanted[start : start + READ_AT_ONCE]
            known.update(zip(some, table.get_all(some), strict=True))
    except Exception as fault:
        telemetry.logger.warning("read ahead failed", extra={"fault": type(fault).__name__})
        return None
    return known


def carry_out_one(table: Table, change: Change, rules: LearningRules, deadline_ms: float) -> Outcome:
    """Carry out one change.

    Raises `TableUnavailable` at the deadline, with nothing half-written, `LearningUnreadable`, `DecisionUnreadable`.
    """
    (result,) = carry_out(table, [change], rules, deadline_ms)
    if isinstance(result, Exception):
        raise result
    return result


def _carried_out(
    table: Table, changes: Sequence[Change], rules: LearningRules, now_us: int, deadline_ms: float, known: Known
) -> list[Outcome | Exception]:
    """Carry out the first of these changes, as many as fit into one read and one transaction."""
    user_id = changes[0].user_id
    needs = list(_within(_TIPS_AT_ONCE, [change.needs(now_us) for change in changes]))
    unheard: list[Outcome | Exception] = []
    again = False

    def attempt(bounded: Table, ambiguous: bool) -> list[Outcome | Exception]:
        nonlocal unheard, again
        if again:
            person = Person(bounded, user_id, [one.with_mark() for one in needs], rules, now_us)
        else:
            again = True
            person = Person(bounded, user_id, needs, rules, now_us, known)
        if person.erased:
            return [Outcome(False, "erased")] * len(needs)
        results: list[Outcome | Exception] = []
        for change in changes[: len(needs)]:
            if results and not person.has_room:
                break
            try:
                results.append(change.carry_out(person))
            except Exception as fault:
                results.append(fault)
        if ambiguous:
            results = [_heard(*pair) for pair in zip_longest(results, unheard[: len(results)])]
        unheard = results
        if writes := person.writes():
            bounded.transact(writes)
        return results

    return retrying(table, deadline_ms, attempt)


def _within(tips: int, needs: Sequence[Needs]) -> Iterator[Needs]:
    """Yield the first of these that look for no more than so many tips: each takes a query."""
    asked = set()
    for one in needs:
        asked |= {one.shown_tip} - {None}
        if len(asked) > tips:
            return
        yield one


def _heard(result: Outcome | Exception, before: Outcome | Exception | None) -> Outcome | Exception:
    """Return what came of a change, when an attempt before may have been carried out although it reported a fault.

    What is found told, or known, then is that attempt's doing.
    """
    if isinstance(before, Outcome) and isinstance(result, Outcome) and before.applied and not result.applied:
        return before
    return result
