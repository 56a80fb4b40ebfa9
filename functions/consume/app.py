"""Consume: learn from events that arrive as JetStream batches or SQS messages, and from the reward waits whose end the
table's stream tells; answers with the records that failed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from tips import telemetry
from tips.errors import BadRecord, TableUnavailable
from tips.ingest.process import process
from tips.ingest.records import Record, records_of
from tips.settings import Settings
from tips.state import dead_letters
from tips.state.table import Table
from tips.state.teaching import LearningRules

_settings = Settings.from_env()
_table = Table(_settings, timeout_ms=_settings.table_deadline_ms / 2)
_rules = LearningRules.from_settings(_settings)
# What one record may take: retries until the deadline, one call that began just before it, and the answer.
_RESERVE_MS = 2 * _settings.table_deadline_ms


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Return the partial batch response; raises on an event that it cannot acknowledge record by record."""
    try:
        failures = _failures(records_of(event), context)
    finally:
        telemetry.flush()
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in failures]}


def _failures(records: Sequence[Record], context: Any) -> list[str]:
    """Process the records; of a stream only up to the first failure, because Lambda starts again from there."""
    failures: list[str] = []
    for record in records:
        if not _done(record, context):
            failures.append(record.identifier)
            if record.in_order:
                break
    return failures


def _done(record: Record, context: Any) -> bool:
    """Whether the record needs no further delivery."""
    if context.get_remaining_time_in_millis() < _RESERVE_MS:
        telemetry.count("EventOutOfTime")
        return False
    started = time.monotonic()
    try:
        return _processed(record)
    except TableUnavailable:
        telemetry.count("EventFailed")
        telemetry.logger.warning(
            "record failed",
            extra={"record": record.identifier, "ms": round((time.monotonic() - started) * 1000)},
        )
    except Exception:
        # A fault of ours in one record must not hold up its neighbours.
        telemetry.log_unforeseen("record failed", record=record.identifier)
    return False


def _processed(record: Record) -> bool:
    """Whether the record is done; raises what may be better at the next delivery."""
    try:
        telemetry.count(process(_table, record, _rules, _settings.table_deadline_ms))
    except BadRecord as fault:
        return _given_up(record, fault.reason)
    except TableUnavailable:
        raise
    except Exception as fault:
        if not record.in_order:
            raise
        # As a failure, it would keep everybody of its shard waiting, until the stream lets go of them all.
        telemetry.log_unforeseen("record given up", record=record.identifier)
        _store_dead_letter(record, type(fault).__name__)
    return True


def _given_up(record: Record, reason: str) -> bool:
    """A bad record fails until it was delivered often enough, in a stream once; then it is a dead letter and done."""
    telemetry.count("EventInvalid")
    telemetry.logger.warning(
        "bad record",
        extra={"record": record.identifier, "num_delivered": record.num_delivered, "reason": reason},
    )
    if record.num_delivered < _settings.nats_max_deliver and not record.in_order:
        return False
    _store_dead_letter(record, reason)
    return True


def _store_dead_letter(record: Record, reason: str) -> None:
    letter = dead_letters.DeadLetter(
        record.origin,
        record.identifier,
        record.subject,
        reason,
        record.data,
        record.headers,
        record.num_delivered,
    )
    dead_letters.store(_table, letter, _settings.table_deadline_ms)
    telemetry.count("EventDeadLettered")
