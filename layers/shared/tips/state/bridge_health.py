"""The heartbeat that the bridge between JetStream and `consume` leaves in the table."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tips import telemetry
from tips.contracts.shown import ConsumerHealth, NatsHealth
from tips.state import keys

if TYPE_CHECKING:
    from tips.state.table import Table

_IDLE = ConsumerHealth(last_msg_ts=None, processed=0, errors=0)
UNKNOWN = NatsHealth(enabled=False, consumers={"signals": _IDLE, "feedback": _IDLE})
"""Without a heartbeat no bridge runs and nothing was processed."""


_KEPT_SEC = 7 * 86_400
_MISSED = 6
"""So many heartbeats may be missing before the bridge counts as stopped."""


def write(table: Table, health: NatsHealth, interval_sec: float) -> None:
    """Store a heartbeat; the next one is due in `interval_sec`. Raises `TableUnavailable` or `WriteConflict`."""
    now = time.time()
    pk, sk = keys.BRIDGE_HEALTH
    beat = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    table.put(
        {
            "pk": {"S": pk},
            "sk": {"S": sk},
            "health": {"S": health.model_copy(update={"last_heartbeat": beat}).model_dump_json()},
            "stale_at": {"N": str(int(now + _MISSED * interval_sec) + 1)},
            "ttl": {"N": str(int(now) + _KEPT_SEC)},
        }
    )


def read(table: Table) -> NatsHealth:
    """Return the last heartbeat; raises `TableUnavailable`."""
    item = table.get(*keys.BRIDGE_HEALTH, consistent=False)
    if item is None:
        return UNKNOWN
    try:
        health = NatsHealth.model_validate_json(item["health"]["S"])
        if "stale_at" not in item:
            return health
        return health.model_copy(update={"stale": int(item["stale_at"]["N"]) <= time.time()})
    except (KeyError, ValueError, ValidationError):
        telemetry.log_unforeseen("the bridge's heartbeat cannot be read")
        return UNKNOWN
