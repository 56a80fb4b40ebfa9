"""Small items of a person: marks of events that were told, and what is known latest of each of their sources."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tips.state import keys
from tips.state.profiles import counted_value, read_counted

if TYPE_CHECKING:
    from tips.features.profile_counters import CountedReaction
    from tips.state.table import Item

_LIVE = "attribute_not_exists(pk) OR #ttl <= :now"
"""TTL removes an item days after it has expired."""


@dataclass(frozen=True, slots=True)
class Mark:
    """An event was told.

    counted: what the profile's counts hold of it by itself, a reaction that found no decision and nothing else to learn
    from. Should it be told again in a form that does, it is learned then, and counts with its decision.
    """

    counted: CountedReaction | None = None


def read_mark(item: Item | None) -> Mark | None:
    try:
        return None if item is None else Mark(read_counted(item))
    except (ValueError, TypeError, LookupError):
        return Mark()


def mark_write(user_id: str, sk: str, before: Mark | None, mark: Mark, now_us: int) -> dict[str, Any]:
    """Return the part that remembers an event for 35 days, on condition that it is still known as `before`."""
    now_sec = now_us // 1_000_000
    item = {
        "pk": {"S": keys.user(user_id)},
        "sk": {"S": sk},
        "ttl": {"N": str(now_sec + keys.EVENT_TTL_SEC)},
        **({} if mark.counted is None else {"counted": counted_value(mark.counted)}),
    }
    if before is not None:
        return {"Put": {"Item": item, "ConditionExpression": "attribute_exists(counted)"}}
    return {
        "Put": {
            "Item": item,
            "ConditionExpression": _LIVE,
            "ExpressionAttributeNames": {"#ttl": "ttl"},
            "ExpressionAttributeValues": {":now": {"N": str(now_sec)}},
        }
    }


def advanced_write(
    user_id: str, sk: str, before: Item | None, clocks: Iterable[str], attributes: Item
) -> dict[str, Any]:
    """Return the part that sets attributes of the item read as `before`, unless a clock of theirs was set later."""
    key = {"pk": {"S": keys.user(user_id)}, "sk": {"S": sk}}
    if before is None:  # what has expired does not come back
        return {
            "Put": {
                "Item": {**key, **attributes},
                "ConditionExpression": _LIVE,
                "ExpressionAttributeNames": {"#ttl": "ttl"},
                "ExpressionAttributeValues": {":now": {"N": str(int(time.time()))}},
            }
        }
    conditions = [f"attribute_not_exists(#{clock}) OR #{clock} < :{clock}" for clock in sorted(clocks)]
    # DynamoDB refuses parentheses that are not needed.
    not_later = conditions[0] if len(conditions) == 1 else " AND ".join(f"({one})" for one in conditions)
    return {
        "Update": {
            "Key": key,
            "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in attributes),
            "ConditionExpression": not_later,
            "ExpressionAttributeNames": {f"#{name}": name for name in attributes},
            "ExpressionAttributeValues": {f":{name}": value for name, value in attributes.items()},
        }
    }
