"""Consume: learn from events that arrive as JetStream batches or SQS messages, and from the reward waits whose end the
table's stream tells; answers with the records that failed."""

from __future__ import annotations

from tips import start

# isort: split
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tips import telemetry
from tips.errors import BadRecord, OutOfTime, TableUnavailable
from tips.ingest.letters import letter_of
from tips.ingest.process import PEOPLE_AT_ONCE, process_batch
from tips.ingest.records import Record, records_of
from tips.settings import Settings
from tips.state import dead_letters
from tips.state.table import Table
from tips.state.teaching import LearningRules

_settings = Settings.from_env()
_table = Table(_settings, timeout_ms=_settings.table_deadline_ms / 2)
_rules = LearningRules.from_settings(_settings)
# What one transaction may take: retries until the deadline, one call that began just before it, and the answer.
_RESERVE_MS = 2 * _settings.table_deadline_ms


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Return the partial batch response; raises on an event that it cannot acknowledge record by record."""
    try:
        failures = _failures(records_of(event), context)
    finally:
        telemetry.flush()
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in failures]}


def _failures(records: Sequence[Record], context: Any) -> list[str]:
    """Process the records; of a stream only the first failure counts, because Lambda starts again from there."""
    # Twice the reserve: the last transaction may begin just before it stops, and bad records come after them all.
    stop_at = time.monotonic() + (context.get_remaining_time_in_millis() - 2 * _RESERVE_MS) / 1000
    results = process_batch(_table, records, _rules, _settings.table_deadline_ms, stop_at)
    faults: list[tuple[Record, Exception]] = []
    for record, result in zip(records, results, strict=True):
        if isinstance(result, str):
            telemetry.count(result)
        else:
            faults.append((record, result))
    if not faults:
        return []
    with ThreadPoolExecutor(PEOPLE_AT_ONCE) as threads:  # bad ones have the table to wait for as well
        done = list(threads.map(lambda fault: _done(fault[0], fault[1], context), faults))
    failures = [record.identifier for (record, _), one in zip(faults, done, strict=True) if not one]
    return failures[:1] if faults[0][0].in_order else failures


def _done(record: Record, fault: Exception, context: Any) -> bool:
    """Whether a record that could not be carried out needs no further delivery."""
    try:
        if isinstance(fault, BadRecord):
            return _given_up(record, fault.reason, context)
        if isinstance(fault, TableUnavailable) or not record.in_order:
            raise fault
        # As a failure, it would keep everybody of its shard waiting, until the stream lets go of them all.
        telemetry.log_unforeseen("record given up", fault, record=record.identifier)
        _in_time(context)
        dead_letters.store(_table, letter_of(record, type(fault).__name__), _settings.table_deadline_ms)
        telemetry.count("EventDeadLettered")
        return True
    except OutOfTime:
        telemetry.count("EventOutOfTime")
    except TableUnavailable:
        telemetry.count("EventFailed")
        telemetry.logger.warning("record failed", extra={"record": record.identifier})
    except Exception as unforeseen:
        # A fault of ours in one record must not hold up its neighbours.
        telemetry.log_unforeseen("record failed", unforeseen, record=record.identifier)
    return False


def _given_up(record: Record, reason: str, context: Any) -> bool:
    """A bad record fails until it was delivered often enough, in a stream once; then it is a dead letter and done.

    Raises `TableUnavailable`.
    """
    telemetry.count("EventInvalid")
    telemetry.logger.warning(
        "bad record",
        extra={"record": record.identifier, "num_delivered": record.num_delivered, "reason": reason},
    )
    _in_time(context)
    letter, deadline_ms = letter_of(record, reason), _settings.table_deadline_ms
    if record.num_delivered < _settings.nats_max_deliver and not record.in_order:
        dead_letters.note(_table, letter, deadline_ms)
        return False
    dead_letters.store(_table, letter, deadline_ms)
    telemetry.count("EventDeadLettered")
    return True


def _in_time(context: Any) -> None:
    if context.get_remaining_time_in_millis() < _RESERVE_MS:
        raise OutOfTime


start.finished()
