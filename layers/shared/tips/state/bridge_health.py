"""The heartbeat that the bridge between JetStream and `consume` leaves in the table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tips.state import keys

if TYPE_CHECKING:
    from tips.state.table import Table

_IDLE = {"last_msg_ts": None, "processed": 0, "errors": 0}
UNKNOWN: dict[str, Any] = {"enabled": False, "consumers": {"signals": _IDLE, "feedback": _IDLE}}
"""Without a heartbeat no bridge runs and nothing was processed."""


def read(table: Table) -> dict[str, Any]:
    """Return `{enabled, consumers}` of the last heartbeat."""
    item = table.get(*keys.BRIDGE_HEALTH, consistent=False)
    if item is None:
        return UNKNOWN
    health: dict[str, Any] = json.loads(item["health"]["S"])
    return health
