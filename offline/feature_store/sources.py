"""Where items of an export come from: a live table, or what DynamoDB exported of one to a folder or to S3."""

from __future__ import annotations

import base64
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

from offline.command import BadInput
from tips.state import keys
from tips.state.table import retrying

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from offline.feature_store.point_in_time import PointInTimeExport
    from tips.state.table import Item, Table

_BATCH = 100
"""What DynamoDB reads at once."""
_US = 1_000_000
SCANNED = "table "
"""How the name of a source begins that is a live table."""


class Source(Protocol):
    """Items of a table as of one moment."""

    @property
    def name(self) -> str:
        """What the export's manifest says it was made from."""

    @property
    def as_of_us(self) -> int:
        """When the table was as it is read, microseconds since 1970."""

    @property
    def expected(self) -> int | None:
        """How many items there are, where that is known."""

    def items(self) -> Iterator[Item]:
        """Yield the items, binary values as bytes, in no order; others than an export needs may be left out."""

    def erased(self, user_ids: Sequence[str]) -> AbstractSet[str]:
        """Return who of these has been erased. Asked once all items were read: somebody may be erased meanwhile."""


def stored(item: Item) -> Item:
    """Return an item with binary values as bytes, as clients give them; an export has them as base64 text.

    Raises `ValueError` where a binary value is no base64.
    """
    return {name: _value(value) for name, value in item.items()}


def _value(value: dict[str, Any]) -> dict[str, Any]:
    ((kind, content),) = value.items()
    if kind == "B":
        return {kind: _bytes(content)}
    if kind == "BS":
        return {kind: [_bytes(one) for one in content]}
    if kind == "M":
        return {kind: stored(content)}
    if kind == "L":
        return {kind: [_value(one) for one in content]}
    return value


def _bytes(content: str | bytes) -> bytes:
    return content if isinstance(content, bytes) else base64.b64decode(content, validate=True)


class LiveTable:
    """A table as it is now, read by a scan. deadline_ms: of each page."""

    def __init__(self, table: Table, deadline_ms: float) -> None:
        self._table = table
        self._deadline_ms = deadline_ms
        self.name = f"{SCANNED}{table.name}"
        self.as_of_us = time.time_ns() // 1000
        self.expected: int | None = None

    def items(self) -> Iterator[Item]:
        """Raises `TableUnavailable`. A filter saves what is sent, not what is read: the whole table is."""
        arguments: dict[str, Any] = {
            "FilterExpression": "(begins_with(pk, :user) AND (begins_with(sk, :decision) OR sk = :learning))"
            " OR (begins_with(pk, :generation) AND (begins_with(sk, :generated) OR sk IN (:arms, :profile)))"
            " OR begins_with(pk, :audit)",
            "ExpressionAttributeValues": {
                ":user": {"S": keys.user("")},
                ":decision": {"S": keys.DECISION_PREFIX},
                ":learning": {"S": keys.LEARNING},
                ":generation": {"S": keys.generation("")},
                ":generated": {"S": keys.generated("")},
                ":arms": {"S": keys.ARMS},
                ":profile": {"S": keys.PROFILE},
                ":audit": {"S": keys.AUDIT},
            },
        }
        while True:
            # Functions have no need of a scan, and their roles no right to one, so it is no method of theirs.
            answer = retrying(self._table, self._deadline_ms, lambda bounded, _: bounded._call("scan", **arguments))
            yield from map(stored, answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def erased(self, user_ids: Sequence[str]) -> AbstractSet[str]:
        found: set[str] = set()
        for start in range(0, len(user_ids), _BATCH):
            batch = user_ids[start : start + _BATCH]
            tombstones = [keys.tombstone(user_id) for user_id in batch]
            answer = retrying(self._table, self._deadline_ms, _reading(tombstones))
            found.update(user_id for user_id, item in zip(batch, answer, strict=True) if item is not None)
        return found


def _reading(wanted: list[tuple[str, str]]) -> Callable[[Table, bool], list[Item | None]]:
    return lambda bounded, _: bounded.get_all(wanted)


class ExportedTable:
    """A table as DynamoDB exported it: in full, and then the changes of windows that follow one another.

    live: the table itself, if it is to be asked who was erased since. now_us: microseconds since 1970.
    Raises `BadInput` where the exports do not make one whole, or are so old that nobody knows any more who was erased.
    """

    def __init__(self, exports: Sequence[PointInTimeExport], live: LiveTable | None, now_us: int) -> None:
        whole, *changes = exports
        if whole.incremental:
            raise BadInput(f"--from: {whole} is incremental: name the full export that it goes on from before it")
        reached_us = whole.to_us
        for change in changes:
            if not change.incremental:
                raise BadInput(f"--from: {change} is a full export: name it first, or alone")
            if change.from_us > reached_us:
                raise BadInput(f"--from: between {change} and the export before it, changes are missing")
            reached_us = max(reached_us, change.to_us)
        if now_us - reached_us > keys.TOMBSTONE_TTL_SEC * _US:
            days = keys.TOMBSTONE_TTL_SEC // keys.DAY_SEC
            raise BadInput(f"--from: {exports[-1]} is over {days} days old: who was erased since is not known any more")
        self._whole, self._changes, self._live = whole, changes, live
        self._tombstones: set[str] = set()
        self.name = ", ".join(map(str, exports))
        self.as_of_us = reached_us
        self.expected: int | None = sum(one.item_count for one in exports)

    def items(self) -> Iterator[Item]:
        """Raises `BadInput` that names a file that is missing, short or damaged."""
        with closing(_Overlay()) as overlay:
            for change in self._changes:
                overlay.add(change)
            for record in self._whole.records():
                if not overlay.covers(record["Item"]):
                    yield from self._seen(record["Item"])
            for item in overlay.items():
                yield from self._seen(item)

    def _seen(self, item: Item) -> Iterator[Item]:
        pk, sk = item["pk"]["S"], item["sk"]["S"]
        if sk == keys.ERASED and int(item["ttl"]["N"]) > self.as_of_us // _US:
            self._tombstones.add(pk)
        yield stored(item)

    def erased(self, user_ids: Sequence[str]) -> AbstractSet[str]:
        here = {user_id for user_id in user_ids if keys.tombstone(user_id)[0] in self._tombstones}
        return here if self._live is None else here | self._live.erased(user_ids)


class _Overlay:
    """The last state of what changed after the full export, on disk: there may be more than memory holds."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # a temporary file, removed when it is closed
        self._database.execute(
            "CREATE TABLE change (pk TEXT, sk TEXT, at INTEGER, item TEXT, PRIMARY KEY (pk, sk)) WITHOUT ROWID"
        )

    def add(self, export: PointInTimeExport) -> None:
        self._database.executemany(
            "INSERT INTO change VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET at = excluded.at, item = excluded.item WHERE excluded.at >= at",
            map(_change, export.records()),
        )

    def covers(self, item: Item) -> bool:
        key = (item["pk"]["S"], item["sk"]["S"])
        return self._database.execute("SELECT 1 FROM change WHERE pk = ? AND sk = ?", key).fetchone() is not None

    def items(self) -> Iterator[Item]:
        for (text,) in self._database.execute("SELECT item FROM change WHERE item IS NOT NULL"):
            yield json.loads(text)

    def close(self) -> None:
        self._database.close()


def _change(record: dict[str, Any]) -> tuple[str, str, int, str | None]:
    """Return key, time of the write and item; a record without a new image is a removal."""
    written_at, image = record["Metadata"]["WriteTimestampMicros"], record.get("NewImage")
    at = int(written_at["N"] if isinstance(written_at, dict) else written_at)
    return record["Keys"]["pk"]["S"], record["Keys"]["sk"]["S"], at, None if image is None else json.dumps(image)
