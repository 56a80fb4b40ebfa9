"""One record into the table: validate, then do what its subject, or the table's own stream, asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from tips import telemetry
from tips.contracts.common import microseconds
from tips.contracts.events import (
    PAYLOADS,
    SUBJECT_PREFIXES,
    Envelope,
    Payload,
    RewardFailed,
    TaskSynced,
    TipFeedback,
    TipServed,
    TokenExpired,
)
from tips.errors import BadRecord
from tips.ingest.records import Record, parse_json
from tips.ingest.stream import ended_wait
from tips.state import reactions, signals, waits

if TYPE_CHECKING:
    from tips.state.table import Table
    from tips.state.teaching import LearningRules


def process(table: Table, record: Record, rules: LearningRules, deadline_ms: float) -> str:
    """Carry out a record and return what came of it, a metric's name.

    Raises `BadRecord` when it can never be carried out, `TableUnavailable` when it could not be carried out now.
    """
    if record.fault is not None:
        raise BadRecord(record.fault)
    if record.in_order:
        wait = ended_wait(parse_json(record.data))
        if wait is None:
            return "StreamRecordIgnored"
        learned = waits.end(table, wait.user_id, wait.decision_id, rules, deadline_ms)
        return "DefaultRewardLearned" if learned else "DefaultRewardNotLearned"
    model = PAYLOADS.get(record.subject)
    if model is None:
        if record.subject.startswith(SUBJECT_PREFIXES):
            telemetry.logger.info(
                "unknown subject", extra={"record": record.identifier, "subject": record.subject[:128]}
            )
            return "EventUnknownSubject"
        raise BadRecord("subject: is under neither signals. nor feedback.")
    envelope, payload = _parse(record.data, model)
    return _carry_out(table, envelope, payload, rules, deadline_ms)


def _parse(data: bytes, model: type[Payload]) -> tuple[Envelope, Payload]:
    try:
        envelope = Envelope.model_validate(parse_json(data))
    except ValidationError as error:
        raise BadRecord(_reason(error)) from None
    try:
        return envelope, model.model_validate(envelope.payload)
    except ValidationError as error:
        raise BadRecord("payload." + _reason(error)) from None


def _reason(error: ValidationError) -> str:
    """Name the field and what would be right, never the value."""
    first = error.errors(include_input=False, include_url=False)[0]
    place = [str(part) for part in first["loc"]] or [str(first.get("ctx", {}).get("field", "event"))]
    return f"{'.'.join(place)}: {first['msg']}"


def _carry_out(table: Table, envelope: Envelope, payload: Payload, rules: LearningRules, deadline_ms: float) -> str:
    match payload:
        case TaskSynced():
            latest = signals.task_synced(
                table,
                payload.user_id,
                payload.source,
                payload.task_count,
                microseconds(payload.synced_at),
                deadline_ms,
            )
            return "TaskSynced" if latest else "TaskSyncedOutOfDate"
        case TokenExpired():
            at_us = microseconds(envelope.occurred_at)
            latest = signals.token_expired(table, payload.user_id, payload.source, at_us, deadline_ms)
            return "TokenExpired" if latest else "TokenExpiredOutOfDate"
        case TipServed():
            served = waits.tip_served(
                table,
                payload.user_id,
                payload.tip_id,
                payload.decision_id,
                microseconds(payload.shown_at),
                rules,
                deadline_ms,
            )
            return "TipServed" if served.applied else "TipServedNoChange"
        case TipFeedback() | RewardFailed():
            outcome = reactions.apply(table, _report(envelope, payload), rules, deadline_ms)
            return outcome.metric


def _report(envelope: Envelope, payload: TipFeedback | RewardFailed) -> reactions.Report:
    return reactions.Report(
        user_id=payload.user_id,
        decision_id=payload.decision_id,
        tip_id=payload.tip_id,
        event_id=envelope.event_id,
        action=payload.action,
        dwell_ms=payload.dwell_ms,
        reward=payload.reward if isinstance(payload, RewardFailed) else None,
        occurred_at=microseconds(envelope.occurred_at),
    )
