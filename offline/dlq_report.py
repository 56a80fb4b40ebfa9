"""How dead letters are shown: whatever they hold, it moves no cursor and rings no bell."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from offline.command import aligned
from tips.state.dead_letters import DeadLetter, Stored

SHORT_ID = 12
MOST = 1000
"""Letters of one list; so many are held in memory, however many there are."""
_COLUMN = 60
_SHOWN_BYTES = 2000


@dataclass(frozen=True)
class Wanted:
    """Which letters a command is about. since: ISO 8601, of the last delivery; before: of storing."""

    subject: str = ""
    reason: str = ""
    since: str = ""
    before: str = ""
    replayed: bool | None = None
    """Whether they were replayed; None: no matter."""

    def has(self, letter: Stored) -> bool:
        return (
            letter.subject.startswith(self.subject)
            and self.reason.casefold() in letter.reason.casefold()
            and self.since <= letter.last_delivered_at
            and (not self.before or letter.stored_at < self.before)
            and self.replayed in (None, letter.replayed_at is not None)
        )


@dataclass
class Listing:
    """The newest of the letters that are wanted; `short` is how many digits tell all ids apart."""

    newest: Sequence[Stored] = ()
    total: int = 0
    short: int = SHORT_ID

    @classmethod
    def of(cls, letters: Iterable[Stored], wanted: Wanted) -> Listing:
        """letters: in the order of their ids."""
        listing = cls()
        listing.newest = heapq.nlargest(MOST, listing._wanted(letters, wanted), key=lambda one: one.stored_at)
        return listing

    def _wanted(self, letters: Iterable[Stored], wanted: Wanted) -> Iterator[Stored]:
        before = ""
        for letter in letters:
            while before[: self.short] == letter.letter_id[: self.short]:
                self.short += 1
            before = letter.letter_id
            if wanted.has(letter):
                self.total += 1
                yield letter

    def lines(self, with_replayed: bool) -> list[str]:
        if not self.total:
            return ["no dead letters"]
        names = ("id", "stored", "subject", "record", "deliveries", "first", "last", "bytes", "replayed", "reason")
        rows = [names, *(self._row(one) for one in self.newest)]
        if not with_replayed:
            rows = [(*row[:-2], row[-1]) for row in rows]
        lines = aligned(rows).splitlines()
        if self.total > len(self.newest):
            lines.append(f"and {self.total - len(self.newest)} older ones; --days, --subject and --reason choose")
        return lines

    def _row(self, letter: Stored) -> tuple[str, ...]:
        return (
            letter.letter_id[: self.short],
            minute(letter.stored_at),
            _short(letter.subject),
            _short(f"{letter.origin}:{letter.identifier}"),
            str(letter.num_delivered),
            minute(letter.first_delivered_at),
            minute(letter.last_delivered_at),
            str(letter.size),
            minute(letter.replayed_at) if letter.replayed_at else "",
            printable(letter.reason),
        )

    def document(self) -> str:
        """The list as JSON, with whole ids."""
        document = {"letters": [asdict(one) for one in self.newest], "total": self.total}
        return json.dumps(document, indent=2)


def shown(stored: Stored, letter: DeadLetter, headers_dropped: int) -> list[str]:
    """Return the lines that show a letter, its bytes up to 2000 and escaped."""
    rows = [
        ("id", stored.letter_id),
        ("subject", printable(stored.subject)),
        ("record", printable(f"{stored.origin}:{stored.identifier}")),
        ("reason", printable(stored.reason)),
        *([("in the stream since", printable(stored.timestamp))] if stored.timestamp else []),
        ("first delivered", stored.first_delivered_at),
        ("last delivered", stored.last_delivered_at),
        ("deliveries", str(stored.num_delivered)),
        ("stored", stored.stored_at),
        ("replayed", stored.replayed_at or "never"),
        *(("header", printable(f"{name}: {_value(value)}")) for name, value in letter.headers.items()),
        *([("header", f"({headers_dropped} more were too long to keep)")] if headers_dropped else []),
        ("bytes", str(stored.size)),
        ("data", _beginning(letter.data)),
    ]
    return aligned(rows).splitlines()


def printable(text: str) -> str:
    """Return a text with everything escaped that a terminal might obey."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _short(text: str) -> str:
    """Return what fits into a column; `show` has the whole."""
    return printable(text if len(text) <= _COLUMN else f"{text[: _COLUMN - 1]}…")


def minute(at: str) -> str:
    return f"{datetime.fromisoformat(at).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _beginning(data: bytes) -> str:
    text = printable(data[:_SHOWN_BYTES].decode("utf-8", "backslashreplace"))
    left = len(data) - _SHOWN_BYTES
    return f"{text} ... ({left} more bytes)" if left > 0 else text
