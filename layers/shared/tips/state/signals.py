"""What events other than reactions leave in the table: each one conditional write, safe to repeat in any order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tips.errors import ConditionNotMet
from tips.state import keys
from tips.state.table import retrying
from tips.state.tombstones import not_erased

if TYPE_CHECKING:
    from tips.state.table import Table

_SYNC_TTL_SEC = 90 * keys.DAY_SEC
UNNAMED_SOURCE = "unnamed"


def task_synced(
    table: Table, user_id: str, source: str | None, task_count: int, synced_at_us: int, deadline_ms: float
) -> bool:
    """Remember a source's task count, unless a later sync is known. Returns whether this was the latest."""
    return _unless_later(
        table,
        user_id,
        keys.source_sync(source or UNNAMED_SOURCE),
        "synced_at",
        synced_at_us,
        {"task_count": {"N": str(task_count)}},
        deadline_ms,
    )


def token_expired(table: Table, user_id: str, source: str, expired_at_us: int, deadline_ms: float) -> bool:
    """Remember that a source can no longer be read, unless a later expiry is known. Returns whether it was."""
    return _unless_later(table, user_id, keys.source_sync(source), "token_expired_at", expired_at_us, {}, deadline_ms)


def _unless_later(
    table: Table, user_id: str, sk: str, clock: str, at_us: int, also: dict[str, Any], deadline_ms: float
) -> bool:
    """Write unless something later is known, or the person has been erased."""
    attributes = {clock: {"N": str(at_us)}, "ttl": {"N": str(int(time.time()) + _SYNC_TTL_SEC)}, **also}
    update = {
        "Key": {"pk": {"S": keys.user(user_id)}, "sk": {"S": sk}},
        "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in attributes),
        "ConditionExpression": f"attribute_not_exists(#{clock}) OR #{clock} < :{clock}",
        "ExpressionAttributeValues": {f":{name}": value for name, value in attributes.items()},
        "ExpressionAttributeNames": {f"#{name}": name for name in attributes},
    }

    def attempt(bounded: Table, _: bool) -> bool:
        try:
            bounded.transact([{"Update": update}, not_erased(user_id)])
        except ConditionNotMet:
            return False
        return True

    return retrying(table, deadline_ms, attempt)
