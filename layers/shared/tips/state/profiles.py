"""A person's profile counts in the table. They lie where `generate` may read them as well."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from tips import telemetry
from tips.features.profile_counters import KEPT_SEC, CountedReaction, ProfileCounters, ReactionsOfDay
from tips.state import keys

if TYPE_CHECKING:
    from tips.bandit.rewards import Reaction
    from tips.state.table import Item, Table

_US = 1_000_000


def read(table: Table, user_id: str) -> ProfileCounters:
    """Return what is stored of a person; raises `TableUnavailable`."""
    return read_profile(table.get(*keys.profile(user_id)))


def read_profile(item: Item | None) -> ProfileCounters:
    """Return what the item holds. One that is damaged counts as none: what it held is no more than a summary."""
    if item is None:
        return ProfileCounters()
    try:
        return ProfileCounters(
            {int(day): _counts_of(*counts) for day, counts in json.loads(item["reactions"]["S"]).items()},
            {int(day): int(count) for day, count in json.loads(item["served"]["S"]).items()},
            int(item["reactions_at"]["N"]),
            int(item["served_at"]["N"]),
        )
    except (LookupError, TypeError, ValueError, AttributeError):
        telemetry.count("ProfileUnreadable")
        return ProfileCounters()


def _counts_of(
    n: int, done: int, dismissed: int, dwells: int, dwell_ms: int, by_hour: dict[str, int]
) -> ReactionsOfDay:
    done_by_hour = {int(hour): int(count) for hour, count in by_hour.items()}
    return ReactionsOfDay(int(n), int(done), int(dismissed), int(dwells), int(dwell_ms), done_by_hour)


def counted(reaction: Reaction | None) -> CountedReaction | None:
    """Return what the counts hold of a decision whose reaction this is; one without an action is in none."""
    if reaction is None or reaction.action is None:
        return None
    return CountedReaction.at(reaction.occurred_at, reaction.action, reaction.dwell_ms)


def counted_value(counted: CountedReaction) -> Item:
    """Return what the counts hold of a decision, or of a reaction to none, as an attribute of its item."""
    return {"S": json.dumps([counted.day, counted.hour, counted.action, counted.dwell_ms])}


def read_counted(item: Item) -> CountedReaction | None:
    """Inverse of `counted_value`, from the item's attribute `counted`; raises `ValueError` or `TypeError`."""
    if "counted" not in item:
        return None
    day, hour, action, dwell_ms = json.loads(item["counted"]["S"])
    return CountedReaction(int(day), int(hour), str(action), None if dwell_ms is None else int(dwell_ms))


def write(user_id: str, item: Item | None, counters: ProfileCounters) -> dict[str, Any]:
    """Return the transaction's part that replaces what was read as `item`, on condition that it is still so."""
    updated_at = max(counters.reactions_at, counters.shown_at)
    pk, sk = keys.profile(user_id)
    new = {
        "pk": {"S": pk},
        "sk": {"S": sk},
        "rev": {"N": str(_revision(item) + 1)},
        "reactions": {"S": json.dumps({day: _numbers(one) for day, one in sorted(counters.reactions.items())})},
        "served": {"S": json.dumps(dict(sorted(counters.shown.items())))},
        "reactions_at": {"N": str(counters.reactions_at)},
        "served_at": {"N": str(counters.shown_at)},
        "ttl": {"N": str(updated_at // _US + KEPT_SEC)},
    }
    if item is not None and "rev" in item:
        return {
            "Put": {
                "Item": new,
                "ConditionExpression": "rev = :rev",
                "ExpressionAttributeValues": {":rev": item["rev"]},
            }
        }
    # An item that has expired, which no reader sees, gives way, and so does one without a revision, which is damaged.
    return {
        "Put": {
            "Item": new,
            "ConditionExpression": "attribute_not_exists(rev) OR #ttl <= :now",
            "ExpressionAttributeNames": {"#ttl": "ttl"},
            "ExpressionAttributeValues": {":now": {"N": str(int(time.time()))}},
        }
    }


def _revision(item: Item | None) -> int:
    try:
        return 0 if item is None else int(item["rev"]["N"])
    except (LookupError, TypeError, ValueError):
        return 0


def _numbers(one: ReactionsOfDay) -> list[Any]:
    return [
        one.reactions,
        one.done,
        one.dismissed,
        one.with_dwell,
        one.dwell_ms,
        dict(sorted(one.done_by_hour.items())),
    ]
