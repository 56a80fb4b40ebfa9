"""Records that can never be processed, kept with their bytes and the reason until somebody has looked at them.

A letter's id is a hash of where the record came from, which one it is, and its bytes: a record that is given up again,
on whatever day, is the same letter. Its first item, the head, holds all that is known of it and the first of its parts;
a record that is bad but not yet given up has a head that says no more than when it was first delivered.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from tips.errors import ConditionNotMet
from tips.state import keys
from tips.state.table import retrying

if TYPE_CHECKING:
    from tips.state.table import Item, Table

PART_BYTES = 300_000
"""DynamoDB's items end at 400 KB; a longer record is kept in parts."""
MAX_HEADER_BYTES = 10_000
_MAX_TEXT = 1024
_PAGE = 200
_HEAD = ("origin", "identifier", "subject", "reason", "num_delivered", "timestamp", "size", "parts")
_TIMES = ("first_delivered_at", "last_delivered_at", "stored_at", "replayed_at")
_EXPIRED = "#ttl <= :now"
_WITHOUT_DATA = ("pk", "sk", "ttl", *_HEAD, *_TIMES)


class LetterDamaged(Exception):
    """The parts of a letter are not the bytes that were stored; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record given up. `origin` names the stream or queue, `identifier` the record in it."""

    origin: str
    identifier: str
    subject: str
    reason: str
    data: bytes
    headers: Mapping[str, Any]
    num_delivered: int
    first_delivered_at: float | None = None
    """Seconds since 1970, where the queue says it itself."""
    timestamp: str | None = None
    """When the stream took the record, as the stream says it."""

    @property
    def letter_id(self) -> str:
        # A stream made anew counts from 1 again: the bytes keep its letters apart from the old one's.
        return hashlib.sha256(repr((self.origin, self.identifier)).encode() + self.data).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Stored:
    """A letter in the table, without its bytes and headers. Times are ISO 8601; size: bytes of the record."""

    letter_id: str
    origin: str
    identifier: str
    subject: str
    reason: str
    num_delivered: int
    timestamp: str | None
    size: int
    parts: int
    first_delivered_at: str
    last_delivered_at: str
    stored_at: str
    replayed_at: str | None


def note(table: Table, letter: DeadLetter, deadline_ms: float) -> None:
    """Remember when a bad record was first delivered that is not given up yet. Raises `TableUnavailable`."""
    if letter.first_delivered_at is not None:
        return  # it will be told again
    now = datetime.now(UTC)
    once = {"first_delivered_at": _time(now), "ttl": _ttl(now)}
    retrying(table, deadline_ms, lambda bounded, _: _update(bounded, letter.letter_id, {}, once))


def store(table: Table, letter: DeadLetter, deadline_ms: float) -> None:
    """Store a dead letter; of one that is stored, change what its last delivery says. Raises `TableUnavailable`."""
    now = datetime.now(UTC)
    letter_id = letter.letter_id
    parts = [letter.data[start : start + PART_BYTES] for start in range(0, len(letter.data), PART_BYTES)] or [b""]
    headers, dropped = _kept(letter.headers)
    last = {
        "reason": _text(letter.reason),
        "num_delivered": {"N": str(letter.num_delivered)},
        "last_delivered_at": _time(now),
    }
    whole = {
        **last,
        "origin": _text(letter.origin),
        "identifier": _text(letter.identifier),
        "subject": _text(letter.subject),
        "timestamp": _text(letter.timestamp or ""),
        "headers": {"S": headers},
        "headers_dropped": {"N": str(dropped)},
        "stored_at": _time(now),
        "size": {"N": str(len(letter.data))},
        "digest": {"S": _digest(letter.data)},
        "parts": {"N": str(len(parts))},
        "data": {"B": parts[0]},
        "ttl": _ttl(now),
    }
    at = letter.first_delivered_at
    first = {"first_delivered_at": _time(now if at is None else datetime.fromtimestamp(at, UTC))}
    left = list(range(len(parts) - 1, 0, -1))

    def attempt(bounded: Table, _: bool) -> None:
        while left:
            pk, sk = keys.dead_letter_part(letter_id, left[0])
            bounded.put({"pk": {"S": pk}, "sk": {"S": sk}, "ttl": _ttl(now), "data": {"B": parts[left[0]]}})
            del left[0]
        # The head goes last: where it says that it is stored, all parts are.
        try:
            _update(bounded, letter_id, whole, first, f"attribute_not_exists(stored_at) OR {_EXPIRED}", now)
        except ConditionNotMet:
            _update(bounded, letter_id, last, {}, "attribute_exists(stored_at)")

    retrying(table, deadline_ms, attempt)


def letters(table: Table) -> Iterator[Stored]:
    """Yield all letters by descending id, page by page, without their bytes. Raises `TableUnavailable`."""
    for shard in reversed(keys.DEAD_LETTER_SHARDS):
        yield from _under(table, shard)


def find(table: Table, prefix: str, limit: int) -> list[Stored]:
    """Return up to `limit` letters whose id begins with `prefix`, which is not empty. Raises `TableUnavailable`."""
    return list(islice(_under(table, prefix), limit))


def read(table: Table, stored: Stored) -> tuple[DeadLetter, int] | None:
    """Return a letter with its bytes and how many headers were too long to keep; None when it is gone.

    Raises `LetterDamaged`, `TableUnavailable`.
    """
    item = table.get(*keys.dead_letter(stored.letter_id))
    if item is None or "stored_at" not in item:
        return None
    head = _stored(item)
    data = bytearray(item["data"]["B"])
    for number in range(1, head.parts):
        part = table.get(*keys.dead_letter_part(head.letter_id, number))
        if part is None:
            raise LetterDamaged(f"part {number + 1} of {head.parts} is missing")
        data += part["data"]["B"]
    if len(data) != head.size or _digest(data) != item["digest"]["S"]:
        raise LetterDamaged("its bytes are not those that were stored")
    letter = DeadLetter(
        head.origin,
        head.identifier,
        head.subject,
        head.reason,
        bytes(data),
        json.loads(item["headers"]["S"]),
        head.num_delivered,
        datetime.fromisoformat(head.first_delivered_at).timestamp(),
        head.timestamp,
    )
    return letter, int(item["headers_dropped"]["N"])


def mark_replayed(table: Table, stored: Stored, deadline_ms: float) -> bool:
    """Mark a letter as replayed; False when it was given up again since `stored` was read, or is gone.

    Raises `TableUnavailable`.
    """
    values = {":at": _time(datetime.now(UTC)), ":last": {"S": stored.last_delivered_at}}

    def attempt(bounded: Table, _: bool) -> bool:
        try:
            bounded.update(
                *keys.dead_letter(stored.letter_id),
                "SET replayed_at = :at",
                values,
                ConditionExpression="last_delivered_at = :last",
            )
        except ConditionNotMet:
            return False
        return True

    return retrying(table, deadline_ms, attempt)


def drop(table: Table, stored: Stored, deadline_ms: float) -> None:
    """Delete a letter; what an interrupted call left is deleted by another.

    deadline_ms: of each of its items. Raises `TableUnavailable`.
    """
    parts = [keys.dead_letter_part(stored.letter_id, number) for number in range(1, stored.parts)]
    # The head goes last: without it, nobody would know of parts that are left.
    for key in (*parts, keys.dead_letter(stored.letter_id)):
        retrying(table, deadline_ms, lambda bounded, _, key=key: bounded.delete(*key))  # type: ignore[misc]


def _under(table: Table, prefix: str) -> Iterator[Stored]:
    pk, _ = keys.dead_letter(prefix)
    found = table.query(pk, prefix, f"{prefix}~", limit=1_000_000_000, page=_PAGE, attributes=_WITHOUT_DATA)
    return (_stored(item) for item in found if "stored_at" in item)


def _stored(item: Item) -> Stored:
    def text(name: str) -> str | None:
        value: str | None = item.get(name, {}).get("S")
        return value or None

    return Stored(
        letter_id=item["sk"]["S"].partition("#")[0],
        origin=item["origin"]["S"],
        identifier=item["identifier"]["S"],
        subject=item["subject"]["S"],
        reason=item["reason"]["S"],
        num_delivered=int(item["num_delivered"]["N"]),
        timestamp=text("timestamp"),
        size=int(item["size"]["N"]),
        parts=int(item["parts"]["N"]),
        first_delivered_at=item["first_delivered_at"]["S"],
        last_delivered_at=item["last_delivered_at"]["S"],
        stored_at=item["stored_at"]["S"],
        replayed_at=text("replayed_at"),
    )


def _update(
    table: Table,
    letter_id: str,
    each: Mapping[str, Item],
    once: Mapping[str, Item],
    condition: str | None = None,
    now: datetime | None = None,
) -> None:
    """Set the attributes `each` of a letter's head, and those of `once` that it does not have yet.

    now: of a letter that is stored anew; whatever was done to an expired one counts no more.
    """
    sets = [f"#{name} = :{name}" for name in each]
    sets += [f"#{name} = if_not_exists(#{name}, :{name})" for name in once]
    values = {f":{name}": value for name, value in {**each, **once}.items()}
    options: dict[str, Any] = {"ExpressionAttributeNames": {f"#{name}": name for name in (*each, *once)}}
    expression = f"SET {', '.join(sets)}"
    if condition is not None:
        options["ConditionExpression"] = condition
    if now is not None:
        values[":now"] = {"N": str(int(now.timestamp()))}
        expression += " REMOVE replayed_at"
    table.update(*keys.dead_letter(letter_id), expression, values, **options)


def _kept(headers: Mapping[str, Any]) -> tuple[str, int]:
    """Return as JSON the headers that there is room for, and how many were left out."""
    kept: dict[str, Any] = {}
    room = MAX_HEADER_BYTES
    for name, value in headers.items():
        try:
            size = len(json.dumps({name: value}))
        except RecursionError:
            size = MAX_HEADER_BYTES + 1
        if size <= room:
            kept[name] = value
            room -= size
    return json.dumps(kept), len(headers) - len(kept)


def _time(at: datetime) -> Item:
    return {"S": at.isoformat(timespec="microseconds")}


def _ttl(now: datetime) -> Item:
    return {"N": str(int(now.timestamp()) + keys.DEAD_LETTER_TTL_SEC)}


def _text(text: str) -> Item:
    """Return as much as is kept of a text, as a table takes it: JSON may hold half of a surrogate pair."""
    return {"S": text[:_MAX_TEXT].encode("utf-8", "replace").decode()}


def _digest(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()
