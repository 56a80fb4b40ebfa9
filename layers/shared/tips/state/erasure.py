"""Erasure: everything kept of a person goes, and a tombstone stays that keeps it from coming back.

The tombstone is written first. Whoever reads it stores nothing of that person any more; a write that had been on its
way is found by a last look a moment later. Each batch of deletions is one transaction with the tombstone's counts, so
an erasure that was interrupted goes on where it stopped and still answers with counts of everything.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from tips.errors import TableUnavailable
from tips.state import keys
from tips.state.table import retrying

if TYPE_CHECKING:
    from tips.state.table import Table

T = TypeVar("T")

BATCH = 50
"""Items of one transaction; DynamoDB takes 100."""

_KINDS = {keys.DECISION_PREFIX: "decisions", keys.WAIT_PREFIX: "reward_waits", "E#": "event_marks", "S#": "syncs"}


def erase(table: Table, user_id: str, deadline_ms: float, settled_sec: float = 0.25) -> dict[str, int]:
    """Delete everything of a person. Returns how many items there were by kind, of all calls together.

    settled_sec: longer than any `/score` takes from its read of the tombstone to the end of its write.
    Raises `TableUnavailable` at the deadline; call again to go on.
    """
    deadline = time.monotonic() + deadline_ms / 1000

    def step(attempt: Callable[[Table, str], T]) -> T:
        remaining_ms = (deadline - time.monotonic()) * 1000
        try:
            return retrying(table, remaining_ms, lambda bounded, _: attempt(bounded, user_id))
        except TableUnavailable as fault:
            raise TableUnavailable("not everything is erased yet; call again to go on") from fault

    # By the clock that does not jump: one that is set back would keep an erasure waiting until it has caught up.
    buried_for = step(_bury)
    settles_at = time.monotonic() - buried_for + settled_sec
    while True:
        settled = time.monotonic() >= settles_at  # before the look, which may take its time
        if not step(_delete_some) and settled:
            return step(_told)
        time.sleep(0.01)  # a last look is enough, not a busy one


def _bury(table: Table, user_id: str) -> float:
    """Write the tombstone, or make the one that is there last from now on. Returns its age in seconds."""
    key = keys.tombstone(user_id)
    now = time.time()
    known = table.get(*key)  # one that has expired counts as none
    buried_at = now if known is None else float(known["buried_at"]["N"])
    item = {
        **(known or _key(*key)),
        "ttl": {"N": str(int(now) + keys.TOMBSTONE_TTL_SEC)},
        "buried_at": {"N": repr(buried_at)},
    }
    if known is None:
        table.transact([{"Put": {"Item": item}}])
    else:
        # Not the whole item: another erasure may be counting on it.
        update = {
            "Key": _key(*key),
            "UpdateExpression": "SET #ttl = :ttl",
            "ConditionExpression": "attribute_exists(pk)",
            "ExpressionAttributeNames": {"#ttl": "ttl"},
            "ExpressionAttributeValues": {":ttl": item["ttl"]},
        }
        table.transact([{"Update": update}])
    return max(0.0, now - buried_at)


def _delete_some(table: Table, user_id: str) -> bool:
    """Delete up to `BATCH` items of the person, expired ones included. Returns whether there were any."""
    batch = table.keys_of(keys.user(user_id), limit=BATCH) or table.keys_of(keys.generation(user_id), limit=BATCH)
    if not batch:
        return False
    deletions: list[dict[str, Any]] = [
        # Unconditional it would count again what another erasure deleted meanwhile.
        {"Delete": {"Key": _key(*key), "ConditionExpression": "attribute_exists(pk)"}}
        for key in batch
    ]
    kinds = Counter(_kind(*key) for key in batch)
    count = {
        "Update": {
            "Key": _key(*keys.tombstone(user_id)),
            "UpdateExpression": "ADD " + ", ".join(f"#{kind} :{kind}" for kind in kinds),
            "ExpressionAttributeNames": {f"#{kind}": f"n_{kind}" for kind in kinds},
            "ExpressionAttributeValues": {f":{kind}": {"N": str(number)} for kind, number in kinds.items()},
        }
    }
    table.transact([*deletions, count])
    return True


def _told(table: Table, user_id: str) -> dict[str, int]:
    item = table.get(*keys.tombstone(user_id)) or {}
    return {name.removeprefix("n_"): int(value["N"]) for name, value in sorted(item.items()) if name.startswith("n_")}


def _kind(pk: str, sk: str) -> str:
    if not pk.startswith(keys.user("")):
        return "profile" if sk == keys.PROFILE else "generation"
    if sk == keys.LEARNING:
        return "learning"
    return _KINDS.get(sk[:2], "other")


def _key(pk: str, sk: str) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}
