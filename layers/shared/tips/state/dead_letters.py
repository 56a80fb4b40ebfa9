"""Records that can never be processed, kept with their bytes and the reason until somebody has looked at them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from tips.state import keys
from tips.state.table import retrying

if TYPE_CHECKING:
    from tips.state.table import Item, Table

PART_BYTES = 300_000
"""DynamoDB's items end at 400 KB; a longer record is kept in parts."""


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


def store(table: Table, letter: DeadLetter, deadline_ms: float) -> None:
    """Store a dead letter; storing it again replaces it. Raises `TableUnavailable`."""
    now = datetime.now(UTC)
    parts = [letter.data[start : start + PART_BYTES] for start in range(0, len(letter.data), PART_BYTES)] or [b""]
    head = {
        "subject": {"S": letter.subject[:256]},
        "reason": {"S": letter.reason},
        "headers": {"S": json.dumps(letter.headers)[:10_000]},
        "num_delivered": {"N": str(letter.num_delivered)},
        "stored_at": {"S": now.isoformat()},
        "parts": {"N": str(len(parts))},
    }
    # The head goes last: where it is, all parts are.
    for number in reversed(range(len(parts))):
        item = {
            "pk": {"S": keys.dead_letter_day(now)},
            "sk": {"S": f"{letter.origin[:256]}#{letter.identifier[:256]}#{number:04d}"},
            "ttl": {"N": str(int(now.timestamp()) + keys.DEAD_LETTER_TTL_SEC)},
            "data": {"B": parts[number]},
            **(head if number == 0 else {}),
        }
        retrying(deadline_ms, partial(_put, table, item))


def _put(table: Table, item: Item, _: bool) -> None:
    table.put(item)
