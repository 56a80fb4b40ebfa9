"""What was learned of everybody, read from the table: for training, never for serving."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tips.bandit.statistics import Statistics, map_statistics
from tips.errors import LearningUnreadable
from tips.features.prompt_arms import SCHEMA_NAME
from tips.state import keys
from tips.state.learning import read_learning
from tips.state.table import retrying

if TYPE_CHECKING:
    from tips.features.vectors import Schema
    from tips.state.table import Item, Table

_BATCH = 100
"""What DynamoDB reads at once."""


_TIPS = (keys.user(""), keys.LEARNING)
_PROMPT_ARMS = (keys.generation(""), keys.ARMS)
"""Where items of learning lie: how their partition keys begin, and their sort key."""


@dataclass
class Learned:
    """Statistics of all people who reacted, as of one moment; how many people were left out, and why."""

    people: list[Statistics] = field(default_factory=list)
    erased: int = 0
    unreadable: int = 0


def scan_learning(table: Table, schema: Schema, now_us: int, deadline_ms: float) -> Learned:
    """Read what was learned under a schema, or an earlier version of it, of everybody who was not erased.

    now_us: microseconds since 1970; deadline_ms: of each page. Raises `TableUnavailable`.
    """
    learned = Learned()
    place = _PROMPT_ARMS if schema.name == SCHEMA_NAME else _TIPS
    for items in _pages(table, place, deadline_ms):
        for start in range(0, len(items), _BATCH):
            batch = items[start : start + _BATCH]
            for item, erased in zip(batch, _erased(table, place, batch, deadline_ms), strict=True):
                if erased:
                    learned.erased += 1
                    continue
                try:
                    statistics = _under(schema, item)
                except LearningUnreadable:
                    learned.unreadable += 1
                    continue
                if statistics is not None and statistics.weight > 0:
                    learned.people.append(statistics.as_of(now_us))
    return learned


def _pages(table: Table, place: tuple[str, str], deadline_ms: float) -> Iterator[Sequence[Item]]:
    """Yield learning items, page by page. A filter saves what is sent, not what is read: the whole table is."""
    arguments: dict[str, Any] = {
        "FilterExpression": "sk = :learning AND begins_with(pk, :user)",
        "ExpressionAttributeValues": {":learning": {"S": place[1]}, ":user": {"S": place[0]}},
    }
    while True:
        # Functions have no need of a scan, and their roles no right to one, so it is no method of theirs.
        answer = retrying(table, deadline_ms, lambda bounded, _: bounded._call("scan", **arguments))
        yield answer["Items"]
        if "LastEvaluatedKey" not in answer:
            return
        arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _erased(table: Table, place: tuple[str, str], items: Sequence[Item], deadline_ms: float) -> list[bool]:
    tombstones = [keys.tombstone(item["pk"]["S"].removeprefix(place[0])) for item in items]
    found = retrying(table, deadline_ms, lambda bounded, _: bounded.get_all(tombstones))
    return [tombstone is not None for tombstone in found]


def _under(schema: Schema, item: Item) -> Statistics | None:
    """Return the statistics under the schema. What another schema learned is not taken: it knew other features."""
    own = read_learning(item).counted(schema)
    return None if own is None else map_statistics(own.statistics, own.names, schema.names)
