"""From a record to its dead letter, and back to an event in the shape in which the record once came."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tips.ingest.records import (
    JETSTREAM_SOURCE,
    NO_BASE64,
    NO_DATA,
    NO_OBJECT,
    SQS_SOURCE,
)
from tips.state.dead_letters import DeadLetter

if TYPE_CHECKING:
    from tips.ingest.records import Record

_TABLE = "table/"
"""How a DynamoDB stream is named; no JetStream stream's name has a slash."""


def letter_of(record: Record, reason: str) -> DeadLetter:
    """Return the letter that a record becomes which is given up."""
    return DeadLetter(
        record.origin,
        record.identifier,
        record.subject,
        reason,
        record.data,
        record.headers,
        record.num_delivered,
        record.first_delivered_at,
        record.timestamp,
    )


def together(letter: DeadLetter) -> str | None:
    """Name what letters of one event have in common; None for a letter that is an event by itself."""
    if letter.origin.startswith(_TABLE):
        return None
    return SQS_SOURCE if _is_of_queue(letter) else f"{JETSTREAM_SOURCE}/{letter.origin}"


def event_of(letters: Sequence[DeadLetter]) -> dict[str, Any]:
    """Return the event that hands letters to `consume` as at their first delivery.

    They have `together` in common and no identifier twice. Each keeps its own, so that a record which fails again is
    the same letter. Raises `ValueError` on a letter whose bytes are not what its reason says.
    """
    first = letters[0]
    if together(first) is None:
        return {"Records": [json.loads(first.data)]}
    if _is_of_queue(first):
        return {"Records": [_message(one) for one in letters]}
    records = [_record(one) for one in letters]
    return {"source": JETSTREAM_SOURCE, "stream": first.origin, "consumer": "replay", "records": records}


def _is_of_queue(letter: DeadLetter) -> bool:
    return not letter.identifier.isdecimal()  # a message's id is a UUID, a record's place in a stream a number


def _message(letter: DeadLetter) -> dict[str, Any]:
    whole = letter.reason == NO_OBJECT
    return {
        "eventSource": SQS_SOURCE,
        "eventSourceARN": f"arn:aws:sqs:::{letter.origin}",
        "messageId": letter.identifier,
        "body": letter.data.decode("utf-8", "surrogatepass") if whole else json.dumps(_record(letter)),
    }


def _record(letter: DeadLetter) -> dict[str, Any]:
    if letter.reason == NO_DATA:
        record: dict[str, Any] = json.loads(letter.data)
        return record
    as_text = letter.reason == NO_BASE64
    return {
        "subject": letter.subject,
        "stream_seq": letter.identifier,
        "num_delivered": 1,
        "headers": dict(letter.headers),
        "data": letter.data.decode("utf-8", "surrogatepass") if as_text else base64.b64encode(letter.data).decode(),
        **({} if letter.timestamp is None else {"timestamp": letter.timestamp}),
    }
