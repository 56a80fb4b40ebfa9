"""What recorded events would do: they go through the code that `consume` runs, over a table that keeps nothing."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from offline.event_archive import Recorded
from offline.event_overlay import Key, OverlayTable
from offline.event_sending import ORIGIN, TOO_LARGE
from tips.errors import BadRecord, DecisionUnreadable, LearningUnreadable, TableUnavailable
from tips.ingest.handover import MAX_BATCH_BYTES, Message, batch_event
from tips.ingest.letters import letter_of
from tips.ingest.process import change_of, process_batch
from tips.ingest.records import Record, records_of
from tips.state import dead_letters, keys
from tips.state.decision_codec import read_decision
from tips.state.learning import pack_statistics, read_learning
from tips.state.profiles import read_profile

if TYPE_CHECKING:
    from tips.state.table import Item, Table
    from tips.state.teaching import LearningRules

Changes = dict[Key, tuple["Item | None", "Item | None"]]
"""Items by key, before and after; None: not there."""
_DEADLINE_MS = 10_000.0
"""Of one event: people run commands from anywhere, over slow lines."""
_NOT_APPLIED = "RewardNotApplied_"
BAD = "bad record"
FAILURE = "failure"
NOTHING_NEW = "nothing new"
COUNTED = "counted in the profile"
_OUTCOMES = {
    "TipServed": "tip shown",
    "TipServedNoChange": NOTHING_NEW,
    "EventUnknownSubject": "other event",
    "TaskSynced": "remembered",
    "TokenExpired": "remembered",
    "TaskSyncedOutOfDate": NOTHING_NEW,
    "TokenExpiredOutOfDate": NOTHING_NEW,
}
_ITEMS = {
    ("U", "L"): "learning",
    ("U", "D"): "decision",
    ("U", "W"): "reward wait",
    ("U", "E"): "event mark",
    ("U", "S"): "source",
    ("G", "A"): "learning of prompts",
    ("G", "P"): "profile",
    ("G", "X"): "shown text",
    ("C", "PROMPTS"): "prompt counts",
    ("C", "SHOWN"): "prompt showing",
    ("C", "DLQ"): "note of a bad record",
}
"""Names of what events write: in a person's partitions by the sort key's first part, in shared ones by their own."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one event would do. detail: what it would teach, that it counts all the same, or why it cannot be read."""

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


@dataclass(frozen=True, slots=True)
class FeatureChange:
    """A stored profile feature of a person, before and after; None: not known."""

    user_id: str
    name: str
    before: float | None
    after: float | None


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
        if isinstance(result, BadRecord):
            dead_letters.note(self.table, letter_of(record, result.reason), _DEADLINE_MS)
        changes = _different(self.table.last_changes())
        lessons = [_lesson(key, *change) for key, change in changes.items()]
        outcome, detail = _told(result, [one for one in lessons if one is not None])
        if not detail and any(sk == keys.PROFILE for _, sk in changes):
            outcome, detail = (COUNTED, "") if outcome == NOTHING_NEW else (outcome, COUNTED)
        return Prediction(event.place, event.subject, _user_of(record), outcome, detail)

    def movements(self) -> list[Movement]:
        """Return what all events so far would make of what is learned, for each person and schema that moved."""
        found = []
        for key, (before, after) in _different(self.table.changes()).items():
            if key[1] not in (keys.LEARNING, keys.ARMS):
                continue
            there, here = read_learning(before).schemas, read_learning(after).schemas
            for digest, one in here.items():
                old, new = there.get(digest), one.statistics
                # With prompt versions' learning lies the line on preferences, which may be all that changes.
                if old is not None and pack_statistics(old) == pack_statistics(one):
                    continue
                pulls = (0 if old is None else old.statistics.pulls, new.pulls)
                reward = (0.0 if old is None else old.statistics.cumulative_reward, new.cumulative_reward)
                found.append(Movement(str(_place(key)[0]), one.schema_name, pulls, reward))
        return sorted(found, key=lambda one: (one.user_id, one.schema))

    def features(self) -> list[FeatureChange]:
        """Return the profile features that all events so far would change, for each person."""
        found = []
        for key, items in self.table.changes().items():
            if key[1] != keys.PROFILE:
                continue
            before, after = (read_profile(_live(item)).features() for item in items)
            for name in sorted({*before, *after}):
                values = [None if one is None else one.value for one in (before.get(name), after.get(name))]
                if values[0] != values[1]:
                    found.append(FeatureChange(str(_place(key)[0]), name, values[0], values[1]))
        return sorted(found, key=lambda one: (one.user_id, one.name))

    def written(self) -> dict[str | None, Counter[str]]:
        """Return how many items of which kind all events so far would change: of each person, and of nobody (None)."""
        found: defaultdict[str | None, Counter[str]] = defaultdict(Counter)
        for key in _different(self.table.changes()):
            user_id, kind = _place(key)
            found[user_id][kind] += 1
        return dict(found)


def _different(changes: Changes) -> Changes:
    """Return the changes without those that leave an item as it was."""
    return {key: (before, after) for key, (before, after) in changes.items() if before != after}


def _place(key: Key) -> tuple[str | None, str]:
    """Return whose an item is, None for nobody's, and its kind."""
    role, _, of = key[0].partition("#")
    shared = role == "C"
    kind = _ITEMS.get((role, (of if shared else key[1]).partition("#")[0]), "other item")
    return (None if shared else of), kind


def _live(item: Item | None) -> Item | None:
    """Return the item as readers see it, who do not see one that has expired."""
    return None if item is None or ("ttl" in item and int(item["ttl"]["N"]) <= time.time()) else item


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
