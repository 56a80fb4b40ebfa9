"""The three shapes in which events arrive, as one list of records."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tips.errors import BadRecord

JETSTREAM_SOURCE = "nats.jetstream"
SQS_SOURCE = "aws:sqs"
STREAM_SOURCE = "aws:dynamodb"
_MANY = 1_000_000_000
"""Deliveries are counted no further: a table's numbers have 38 digits."""

NO_OBJECT = "body: is not a JSON object"
NO_SUBJECT = "subject: is missing"
NO_BASE64 = "data: is not base64"
NO_DATA = "data: is missing"

_LAST_TIME_MS = 253_402_300_799_000


@dataclass(frozen=True, slots=True)
class Record:
    """One event as it arrived. `fault` says why it cannot be read at all; then `data` holds all bytes there are."""

    identifier: str
    origin: str
    subject: str
    num_delivered: int
    data: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)
    fault: str | None = None
    in_order: bool = False
    """Of the table's own stream: it stops at a failure, all that follows comes again, and nobody counts how often."""
    timestamp: str | None = None
    """When the stream took it, as the stream says it."""
    first_delivered_at: float | None = None
    """Seconds since 1970; SQS says it, JetStream does not."""


def records_of(event: object) -> list[Record]:
    """Return the records of a JetStream batch, an SQS event or an event of the table's stream.

    Raises `ValueError` when the event has another shape or a record has no usable identifier: an empty failure list
    would then acknowledge what was never read.
    """
    if not isinstance(event, dict):
        raise ValueError("the event is not an object")
    if event.get("source") == JETSTREAM_SOURCE and isinstance(event.get("records"), list):
        origin = event.get("stream")
        return [_jetstream_record(origin if isinstance(origin, str) else "", one) for one in event["records"]]
    records = event.get("Records")
    if isinstance(records, list) and records:
        if all(_is_from(SQS_SOURCE, one) for one in records):
            return [_sqs_record(one) for one in records]
        if all(_is_from(STREAM_SOURCE, one) for one in records):
            return [_stream_record(one) for one in records]
    raise ValueError("the event is neither a JetStream batch nor one of SQS or of a DynamoDB stream")


def _is_from(source: str, record: object) -> bool:
    return isinstance(record, dict) and record.get("eventSource") == source


def _jetstream_record(origin: str, record: object) -> Record:
    if not isinstance(record, dict):
        raise ValueError("a JetStream record is not an object")
    sequence = record.get("stream_seq")
    if isinstance(sequence, bool) or not isinstance(sequence, int | str) or not str(sequence).isdecimal():
        raise ValueError("a JetStream record has no usable stream_seq")
    return _record(str(sequence), origin, record, deliveries=1)


def _sqs_record(message: dict[str, Any]) -> Record:
    identifier = message.get("messageId")
    if not isinstance(identifier, str) or not identifier:
        raise ValueError("an SQS record has no usable messageId")
    origin = str(message.get("eventSourceARN", SQS_SOURCE)).rsplit(":", 1)[-1]
    attributes = message.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    deliveries = _count(attributes.get("ApproximateReceiveCount"))
    first = _seconds(attributes.get("ApproximateFirstReceiveTimestamp"))
    body = message.get("body")
    try:
        record = json.loads(body) if isinstance(body, str) else None
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raw = (body if isinstance(body, str) else "").encode("utf-8", "surrogatepass")
        return Record(identifier, origin, "", deliveries, raw, fault=NO_OBJECT, first_delivered_at=first)
    return _record(identifier, origin, record, deliveries, first)


def _stream_record(record: dict[str, Any]) -> Record:
    change = record.get("dynamodb")
    identifier = change.get("SequenceNumber") if isinstance(change, dict) else None
    if not isinstance(identifier, str) or not identifier.isdecimal():
        raise ValueError("a record of a DynamoDB stream has no usable SequenceNumber")
    origin = str(record.get("eventSourceARN", STREAM_SOURCE)).split(":", 5)[-1]
    subject = str(record.get("eventName", ""))
    return Record(identifier, origin, subject, 1, json.dumps(record).encode(), in_order=True)


def _record(
    identifier: str, origin: str, record: dict[str, Any], deliveries: int, first_delivered_at: float | None = None
) -> Record:
    """`deliveries`: as the queue counted them; the stream may have counted more before."""
    subject = record.get("subject")
    deliveries = max(deliveries, _count(record.get("num_delivered")))
    headers = record.get("headers")
    text = record.get("data")
    fault = None
    if not isinstance(subject, str) or not subject:
        fault, subject = NO_SUBJECT, ""
    if isinstance(text, str):
        try:
            data = base64.b64decode(text, validate=True)
        except ValueError:
            fault, data = NO_BASE64, text.encode("utf-8", "surrogatepass")
    else:
        # What differs from one delivery to the next would make each a dead letter of its own.
        kept = {name: value for name, value in record.items() if name not in ("num_delivered", "consumer_seq")}
        fault, data = NO_DATA, json.dumps(kept).encode()
    timestamp = record.get("timestamp")
    return Record(
        identifier,
        origin,
        subject,
        deliveries,
        data,
        headers if isinstance(headers, dict) else {},
        fault,
        timestamp=timestamp if isinstance(timestamp, str) else None,
        first_delivered_at=first_delivered_at,
    )


def _count(value: object) -> int:
    """Return a count of deliveries, 1 where there is none: a record of unknown age is tried again."""
    try:
        return min(max(1, int(value)), _MANY)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError, OverflowError):
        return 1


def _seconds(milliseconds: object) -> float | None:
    """Return a time in seconds since 1970, None where there is none."""
    try:
        value = int(milliseconds)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        return None
    return value / 1000 if 0 < value <= _LAST_TIME_MS else None


def parse_json(data: bytes) -> object:
    """Return the JSON value; raises `BadRecord`."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise BadRecord("data: is not JSON") from None
