"""What recorded events would do: they go through the code that `consume` runs, over a table that keeps nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from offline.event_archive import Recorded
from offline.event_overlay import OverlayTable
from offline.event_sending import ORIGIN, TOO_LARGE
from tips.errors import BadRecord, DecisionUnreadable, LearningUnreadable, TableUnavailable
from tips.ingest.handover import MAX_BATCH_BYTES, Message, batch_event
from tips.ingest.process import change_of, process_batch
from tips.ingest.records import Record, records_of
from tips.state import keys
from tips.state.decision_codec import read_decision
from tips.state.learning import read_learning

if TYPE_CHECKING:
    from tips.state.table import Item, Table
    from tips.state.teaching import LearningRules

_DEADLINE_MS = 10_000.0
"""Of one event: people run commands from anywhere, over slow lines."""
_NOT_APPLIED = "RewardNotApplied_"
BAD = "bad record"
FAILURE = "failure"
_OUTCOMES = {
    "TipServed": "tip shown",
    "TipServedNoChange": "nothing new",
    "EventUnknownSubject": "other event",
    "TaskSynced": "other event",
    "TokenExpired": "other event",
    "TaskSyncedOutOfDate": "nothing new",
    "TokenExpiredOutOfDate": "nothing new",
}


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one event would do. detail: what it would teach, or why it could not be read."""

    place: str
    subject: str
    user_id: str | None
    outcome: str
    detail: str = ""

    @property
    def failed(self) -> bool:
        return self.outcome in (BAD, FAILURE)


@dataclass(frozen=True, slots=True)
class Movement:
    """What is learned of a person under one feature schema, before and after: pulls and cumulative reward."""

    user_id: str
    schema: str
    pulls: tuple[int, int]
    reward: tuple[float, float]


@dataclass
class DryRun:
    """Takes events one after the other, each after all before it."""

    table: OverlayTable
    rules: LearningRules
    outcomes: Counter[str] = field(default_factory=Counter)

    def predict(self, events: Iterable[Recorded]) -> Iterator[Prediction]:
        """Yield what each event would do; raises `TableUnavailable` when the table cannot be read."""
        for number, event in enumerate(events, 1):
            prediction = self._predicted(number, event)
            self.outcomes[prediction.outcome] += 1
            yield prediction

    def _predicted(self, number: int, event: Recorded) -> Prediction:
        message = Message(event.subject, number, event.data, event.timestamp, headers=event.headers)
        if message.size > MAX_BATCH_BYTES:
            return Prediction(event.place, event.subject, None, FAILURE, TOO_LARGE)
        # As consume would read it.
        (record,) = records_of(batch_event(ORIGIN, ORIGIN, [message]))
        result = _processed(self.table, record, self.rules)
        lessons = [_lesson(key, *change) for key, change in self.table.last_changes().items()]
        outcome, detail = _told(result, [one for one in lessons if one is not None])
        return Prediction(event.place, event.subject, _user_of(record), outcome, detail)

    def movements(self) -> list[Movement]:
        """Return what all events so far would make of what is learned, for each person and schema that moved."""
        found = []
        for (pk, sk), (before, after) in self.table.changes().items():
            if sk != keys.LEARNING:
                continue
            there, here = read_learning(before).schemas, read_learning(after).schemas
            for digest, one in here.items():
                old, new = there.get(digest), one.statistics
                pulls = (0 if old is None else old.statistics.pulls, new.pulls)
                reward = (0.0 if old is None else old.statistics.cumulative_reward, new.cumulative_reward)
                found.append(Movement(pk.removeprefix(keys.user("")), one.schema_name, pulls, reward))
        return sorted(found, key=lambda one: (one.user_id, one.schema))


def _processed(table: Table, record: Record, rules: LearningRules) -> str | Exception:
    """Return the metric's name that says what came of a record, or why it failed."""
    (result,) = process_batch(table, [record], rules, _DEADLINE_MS)
    return result


def _user_of(record: Record) -> str | None:
    try:
        change = change_of(record)
    except BadRecord:
        return None
    return None if isinstance(change, str) else change.user_id


def _told(result: str | Exception, lessons: list[tuple[str, float | None, float]]) -> tuple[str, str]:
    """Return an outcome and its detail. lessons: the decision, what it had taught, what it teaches."""
    match result:
        case BadRecord():
            return BAD, result.reason
        case LearningUnreadable() | DecisionUnreadable():
            return FAILURE, result.message
        case TableUnavailable() | Exception():
            raise result
        case "RewardApplied":
            for decision_id, had, teaches in lessons:
                if had is None:
                    return "learned", f"{teaches:g}, decision {decision_id}"
                return "revised", f"{had:g} -> {teaches:g}, decision {decision_id}"
            return "learned", ""
    if result.startswith(_NOT_APPLIED):
        return result.removeprefix(_NOT_APPLIED).replace("_", " "), ""
    return _OUTCOMES.get(result, "other event"), ""


def _lesson(key: tuple[str, str], before: Item | None, after: Item | None) -> tuple[str, float | None, float] | None:
    """Return what a written decision had taught and teaches now; None for anything else."""
    _, sk = key
    if not sk.startswith(keys.DECISION_PREFIX) or before is None or after is None:
        return None
    had, teaches = read_decision(before).reactions.learned, read_decision(after).reactions.learned
    if teaches is None or had == teaches:
        return None
    return sk.removeprefix(keys.DECISION_PREFIX), had, teaches
