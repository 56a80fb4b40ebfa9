"""What was learned of everybody, read from the table: for training, never for serving."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from offline.command import BadInput
from tips.bandit.statistics import Statistics, map_statistics
from tips.errors import LearningUnreadable
from tips.features.prompt_arms import SCHEMA_NAME
from tips.state import keys
from tips.state.learning import read_learning
from tips.state.table import retrying

if TYPE_CHECKING:
    from tips.features.vectors import Schema
    from tips.state.table import Item, Table

MIN_PEOPLE = 10
MIN_OBSERVATIONS = 100
"""Less says nothing of how much people differ."""
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
            people = [item["pk"]["S"].removeprefix(place[0]) for item in batch]
            for item, erased in zip(batch, are_erased(table, people, deadline_ms), strict=True):
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


def refuse_too_little(people: Sequence[Statistics], schema: str) -> None:
    """Raise `BadInput` where so little was learned that a prior would say nothing."""
    observations = sum(one.weight for one in people)
    if len(people) < MIN_PEOPLE or observations < MIN_OBSERVATIONS:
        raise BadInput(
            f"too little was learned under {schema}: {observations:.0f} reactions of {len(people)} "
            f"people, and it takes {MIN_OBSERVATIONS} of {MIN_PEOPLE}"
        )


def are_erased(table: Table, user_ids: Sequence[str], deadline_ms: float) -> list[bool]:
    """Return for each person whether he or she has been erased; deadline_ms: of each request.

    Raises `TableUnavailable`.
    """
    answers: list[bool] = []
    for start in range(0, len(user_ids), _BATCH):
        tombstones = [keys.tombstone(user_id) for user_id in user_ids[start : start + _BATCH]]
        answers += [tombstone is not None for tombstone in _all(table, tombstones, deadline_ms)]
    return answers


def _all(table: Table, wanted: Sequence[tuple[str, str]], deadline_ms: float) -> list[Item | None]:
    return retrying(table, deadline_ms, lambda bounded, _: bounded.get_all(wanted))


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


def _under(schema: Schema, item: Item) -> Statistics | None:
    """Return the statistics under the schema. What another schema learned is not taken: it knew other features."""
    own = read_learning(item).counted(schema)
    return None if own is None else map_statistics(own.statistics, own.names, schema.names)
