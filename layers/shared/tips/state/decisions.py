"""Remembered decisions: written once by `score`, read by id, by tip or newest first."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tips import telemetry
from tips.errors import DecisionUnreadable
from tips.state import decision_codec, keys, showing, teaching
from tips.state.tombstones import not_erased

if TYPE_CHECKING:
    from tips.bandit.decision import Decision
    from tips.state.decision_codec import RememberedDecision
    from tips.state.table import Table


def remember(table: Table, decision: Decision, content: str | None = None) -> None:
    """Store a new decision in one round trip, and unless it is deferred the marker of its reward wait with it.

    content: the text of the tip that it chose, if that was given.

    Of a degraded decision it is not known whether the person was erased: it is stored only if not, else
    `ConditionNotMet`. Raises `TableUnavailable`.
    """
    remembered = decision_codec.RememberedDecision(decision)
    items = [decision_codec.decision_item(decision), *showing.items(remembered, content)]
    if not decision.deferred:
        items.append(teaching.wait_item(remembered))
    if decision.degraded:
        table.transact([*({"Put": {"Item": item}} for item in items), not_erased(decision.user_id)])
    else:
        table.put_all(items)


def find(table: Table, user_id: str, decision_id: str) -> RememberedDecision | None:
    item = table.get(keys.user(user_id), keys.decision(decision_id))
    return None if item is None else decision_codec.read_decision(item)


def newest(table: Table, user_id: str, limit: int) -> list[RememberedDecision]:
    """Return up to `limit` decisions of a person, newest first."""
    prefix = keys.DECISION_PREFIX
    items = table.query(keys.user(user_id), prefix, prefix + "~", limit=limit)
    found = []
    for item in items:
        try:
            found.append(decision_codec.read_decision(item))
        except DecisionUnreadable:
            telemetry.count("DecisionUnreadable")  # the others can still be shown
    return found


def newest_that_showed(table: Table, user_id: str, tip_id: str, at_us: int) -> str | None:
    """Return the id of the person's newest decision that showed the tip at or before `at_us`."""
    # The index does not know which decisions have expired; their ids tell.
    oldest_us = time.time_ns() // 1000 - keys.DECISION_TTL_SEC * 1_000_000
    found = table.query(
        keys.user(user_id),
        keys.tip(tip_id, keys.last_ulid_at(oldest_us)),
        keys.tip(tip_id, keys.last_ulid_at(at_us)),
        limit=1,
        index=keys.TIP_INDEX,
    )
    item = next(found, None)
    return None if item is None else str(item["sk"]["S"]).removeprefix(keys.DECISION_PREFIX)
