"""What events other than reactions leave in the table: the latest known of each source, in whatever order they come."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tips.state import keys
from tips.state.changes import Outcome
from tips.state.person import Needs

if TYPE_CHECKING:
    from tips.state.person import Person

_SYNC_TTL_SEC = 90 * keys.DAY_SEC
UNNAMED_SOURCE = "unnamed"


@dataclass(frozen=True, slots=True)
class TaskSynced:
    """The tasks of a source were read. synced_at: microseconds since 1970."""

    user_id: str
    source: str | None
    task_count: int
    synced_at: int

    def needs(self, now_us: int) -> Needs:
        return Needs(items=(keys.source_sync(self.source or UNNAMED_SOURCE),))

    def carry_out(self, person: Person) -> Outcome:
        """Remember the task count, unless a later sync is known."""
        return _unless_later(
            person,
            keys.source_sync(self.source or UNNAMED_SOURCE),
            "synced_at",
            self.synced_at,
            {"task_count": {"N": str(self.task_count)}},
        )


@dataclass(frozen=True, slots=True)
class TokenExpired:
    """A source can no longer be read. expired_at: microseconds since 1970."""

    user_id: str
    source: str
    expired_at: int

    def needs(self, now_us: int) -> Needs:
        return Needs(items=(keys.source_sync(self.source),))

    def carry_out(self, person: Person) -> Outcome:
        """Remember when, unless a later expiry is known."""
        return _unless_later(person, keys.source_sync(self.source), "token_expired_at", self.expired_at, {})


def _unless_later(person: Person, sk: str, clock: str, at_us: int, also: dict[str, Any]) -> Outcome:
    known = person.item(sk)
    if known is not None and clock in known and int(known[clock]["N"]) >= at_us:
        return Outcome(False, "out_of_date")
    expires_at = {"N": str(int(time.time()) + _SYNC_TTL_SEC)}
    person.advance(sk, clock, {clock: {"N": str(at_us)}, "ttl": expires_at, **also})
    return Outcome(True)
