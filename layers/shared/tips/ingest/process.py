"""Records into the table: each is read and validated, and those of one person are carried out together."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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
from tips.state.changes import Change, Outcome, carry_out, read_ahead

if TYPE_CHECKING:
    from tips.state.person import Known
    from tips.state.table import Table
    from tips.state.teaching import LearningRules

PEOPLE_AT_ONCE = 4
"""How many people's records are worked on at the same time; more would wait for the processor and not for the table."""


def process_batch(
    table: Table,
    records: Sequence[Record],
    rules: LearningRules,
    deadline_ms: float,
    stop_at: float = math.inf,
) -> list[str | Exception]:
    """Carry out records. Returns for each, in their order, a metric's name that says what came of it, or why it failed.

    `BadRecord` stands for one that can never be carried out, `TableUnavailable` for one that could not be now.
    deadline_ms: of each transaction with its retries; stop_at: the time (of `time.monotonic`) after which none begins.
    """
    results: list[str | Exception] = [""] * len(records)
    people: defaultdict[str, list[tuple[int, Change]]] = defaultdict(list)
    for place, record in enumerate(records):
        try:
            change = change_of(record)
        except Exception as fault:
            results[place] = fault
            continue
        if isinstance(change, str):
            results[place] = change
        else:
            people[change.user_id].append((place, change))

    def carry_out_all(numbered: Sequence[tuple[int, Change]], known: Known | None = None) -> None:
        outcomes = carry_out(table, [change for _, change in numbered], rules, deadline_ms, stop_at, known)
        for (place, change), outcome in zip(numbered, outcomes, strict=True):
            results[place] = outcome if isinstance(outcome, Exception) else _metric(change, outcome)

    everybody = list(people.values())
    if len(everybody) == 1:
        carry_out_all(everybody[0])
    elif everybody:
        with ThreadPoolExecutor(min(PEOPLE_AT_ONCE, len(everybody))) as threads:
            begun = []
            for places, known in read_ahead(table, [[one for _, one in each] for each in everybody], stop_at):
                begun += [threads.submit(carry_out_all, everybody[place], known) for place in places]
        for one in begun:
            one.result()
    return results


def change_of(record: Record) -> Change | str:
    """Return what a record asks for, or the name of the metric when it asks for nothing; raises `BadRecord`."""
    if record.fault is not None:
        raise BadRecord(record.fault)
    if record.in_order:
        wait = ended_wait(parse_json(record.data))
        return "StreamRecordIgnored" if wait is None else waits.WaitOver(wait.user_id, wait.decision_id)
    model = PAYLOADS.get(record.subject)
    if model is None:
        if record.subject.startswith(SUBJECT_PREFIXES):
            telemetry.logger.info(
                "unknown subject", extra={"record": record.identifier, "subject": record.subject[:128]}
            )
            return "EventUnknownSubject"
        raise BadRecord("subject: is under neither signals. nor feedback.")
    return _change(*_parse(record.data, model))


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


def _change(envelope: Envelope, payload: Payload) -> Change:
    match payload:
        case TaskSynced():
            at_us = microseconds(payload.synced_at)
            return signals.TaskSynced(payload.user_id, payload.source, payload.task_count, at_us)
        case TokenExpired():
            return signals.TokenExpired(payload.user_id, payload.source, microseconds(envelope.occurred_at))
        case TipServed():
            shown_at = microseconds(payload.shown_at)
            return waits.Served(payload.user_id, payload.tip_id, shown_at, payload.decision_id, envelope.event_id)
        case TipFeedback() | RewardFailed():
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


def _metric(change: Change, outcome: Outcome) -> str:
    match change:
        case signals.TaskSynced():
            return "TaskSynced" if outcome.applied else "TaskSyncedOutOfDate"
        case signals.TokenExpired():
            return "TokenExpired" if outcome.applied else "TokenExpiredOutOfDate"
        case waits.Served():
            return "TipServed" if outcome.applied else "TipServedNoChange"
        case waits.WaitOver():
            return "DefaultRewardLearned" if outcome.moved else "DefaultRewardNotLearned"
        case _:
            return outcome.metric
