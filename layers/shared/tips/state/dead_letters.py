"""Records that can never be processed, kept with their bytes and the reason until somebody has looked at them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tips.state import keys
from tips.state.table import retrying

if TYPE_CHECKING:
    from tips.state.table import Table

PART_BYTES = 300_000
"""DynamoDB's items end at 400 KB; a longer record is kept in parts."""
MAX_HEADER_BYTES = 10_000


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
    """Store a dead letter; storing it again on the same day replaces it. Raises `TableUnavailable`."""
    now = datetime.now(UTC)
    parts = [letter.data[start : start + PART_BYTES] for start in range(0, len(letter.data), PART_BYTES)] or [b""]
    headers = json.dumps(letter.headers)
    head = {
        "origin": {"S": _storable(letter.origin)},
        "identifier": {"S": _storable(letter.identifier)},
        "subject": {"S": _storable(letter.subject)},
        "reason": {"S": _storable(letter.reason)},
        "headers": {"S": headers if len(headers) <= MAX_HEADER_BYTES else '{"dropped": "too long"}'},
        "num_delivered": {"N": str(letter.num_delivered)},
        "stored_at": {"S": now.isoformat()},
        "parts": {"N": str(len(parts))},
    }
    # A stream made anew counts from 1 again: the digest keeps its letters apart from the old one's.
    digest = hashlib.sha256(repr((letter.origin, letter.identifier)).encode() + letter.data).hexdigest()[:32]
    # The head goes last: where it is, all parts are.
    items = [
        {
            "pk": {"S": keys.dead_letter_day(now)},
            "sk": {"S": f"{digest}#{number:04d}"},
            "ttl": {"N": str(int(now.timestamp()) + keys.DEAD_LETTER_TTL_SEC)},
            "data": {"B": part},
            **(head if number == 0 else {}),
        }
        for number, part in reversed(list(enumerate(parts)))
    ]

    def attempt(bounded: Table, _: bool) -> None:
        while items:
            bounded.put(items[0])
            del items[0]

    retrying(table, deadline_ms, attempt)


def _storable(text: str) -> str:
    """Return at most 256 characters that a table takes: JSON may hold half of a surrogate pair."""
    return text[:256].encode("utf-8", "replace").decode()
