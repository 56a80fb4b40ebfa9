"""What events other than reactions leave in the table: each one conditional write, safe to repeat in any order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tips.errors import ConditionNotMet
from tips.state import keys
from tips.state.table import retrying

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
        (keys.user(user_id), keys.source_sync(source or UNNAMED_SOURCE)),
        "synced_at",
        synced_at_us,
        {"task_count": {"N": str(task_count)}},
        deadline_ms,
    )


def token_expired(table: Table, user_id: str, source: str, expired_at_us: int, deadline_ms: float) -> bool:
    """Remember that a source can no longer be read, unless a later expiry is known. Returns whether it was."""
    key = (keys.user(user_id), keys.source_sync(source))
    return _unless_later(table, key, "token_expired_at", expired_at_us, {}, deadline_ms)


def _unless_later(
    table: Table, key: tuple[str, str], clock: str, at_us: int, also: dict[str, Any], deadline_ms: float
) -> bool:
    attributes = {clock: {"N": str(at_us)}, "ttl": {"N": str(int(time.time()) + _SYNC_TTL_SEC)}, **also}
    return _write_if(
        table,
        key,
        "SET " + ", ".join(f"#{name} = :{name}" for name in attributes),
        f"attribute_not_exists(#{clock}) OR #{clock} < :{clock}",
        {f":{name}": value for name, value in attributes.items()},
        {f"#{name}": name for name in attributes},
        deadline_ms,
    )


def tip_served(table: Table, user_id: str, decision_id: str, shown_at_us: int, deadline_ms: float) -> bool:
    """Remember when a decision's tip was first shown. Returns False when that changes nothing.

    A tip is shown no earlier than it was decided, and no later than somebody says so.
    """
    try:
        decided_at_us = keys.decided_at_us(decision_id)
    except ValueError:
        return False  # no id of ours
    shown_at_us = min(max(shown_at_us, decided_at_us), time.time_ns() // 1000)
    return _write_if(
        table,
        (keys.user(user_id), keys.decision(decision_id)),
        "SET #shown_at = :at",
        "attribute_exists(pk) AND (attribute_not_exists(#shown_at) OR #shown_at > :at)",
        {":at": {"N": str(shown_at_us)}},
        {"#shown_at": "shown_at"},
        deadline_ms,
    )


def _write_if(
    table: Table,
    key: tuple[str, str],
    expression: str,
    condition: str,
    values: dict[str, Any],
    names: dict[str, str],
    deadline_ms: float,
) -> bool:
    def attempt(bounded: Table, _: bool) -> bool:
        try:
            bounded.update(*key, expression, condition, values, names)
        except ConditionNotMet:
            return False
        return True

    return retrying(table, deadline_ms, attempt)
