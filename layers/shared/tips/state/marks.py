"""Small items of a person: marks of events that were told, and what is known latest of each of their sources."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tips.state import keys

if TYPE_CHECKING:
    from tips.state.table import Item


def advanced(user_id: str, sk: str, clocks: Iterable[str], attributes: Item) -> dict[str, Any]:
    """Return the part that sets attributes, on condition that no clock of theirs was set later."""
    conditions = [f"attribute_not_exists(#{clock}) OR #{clock} < :{clock}" for clock in sorted(clocks)]
    # DynamoDB refuses parentheses that are not needed.
    not_later = conditions[0] if len(conditions) == 1 else " AND ".join(f"({one})" for one in conditions)
    return {
        "Update": {
            "Key": {"pk": {"S": keys.user(user_id)}, "sk": {"S": sk}},
            "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in attributes),
            # TTL removes an item days after it has expired.
            "ConditionExpression": f"{not_later} OR #ttl <= :now",
            "ExpressionAttributeNames": {"#ttl": "ttl", **{f"#{name}": name for name in attributes}},
            "ExpressionAttributeValues": {
                ":now": {"N": str(int(time.time()))},
                **{f":{name}": value for name, value in attributes.items()},
            },
        }
    }


def mark(user_id: str, event_id: str, moved: bool, now_us: int) -> dict[str, Any]:
    """Return the part that remembers an event for 35 days, on condition that it is not known."""
    now_sec = now_us // 1_000_000
    return {
        "Put": {
            "Item": {
                "pk": {"S": keys.user(user_id)},
                "sk": {"S": keys.event(event_id)},
                "ttl": {"N": str(now_sec + keys.EVENT_TTL_SEC)},
                "moved": {"BOOL": moved},
            },
            # TTL removes an item days after it has expired.
            "ConditionExpression": "attribute_not_exists(pk) OR #ttl <= :now",
            "ExpressionAttributeNames": {"#ttl": "ttl"},
            "ExpressionAttributeValues": {":now": {"N": str(now_sec)}},
        }
    }
