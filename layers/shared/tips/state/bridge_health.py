"""The heartbeat that the bridge between JetStream and `consume` leaves in the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from tips import telemetry
from tips.contracts.scoring import ConsumerHealth, NatsHealth
from tips.state import keys

if TYPE_CHECKING:
    from tips.state.table import Table

_IDLE = ConsumerHealth(last_msg_ts=None, processed=0, errors=0)
UNKNOWN = NatsHealth(enabled=False, consumers={"signals": _IDLE, "feedback": _IDLE})
"""Without a heartbeat no bridge runs and nothing was processed."""


def read(table: Table) -> NatsHealth:
    """Return the last heartbeat; raises `TableUnavailable`."""
    item = table.get(*keys.BRIDGE_HEALTH, consistent=False)
    if item is None:
        return UNKNOWN
    try:
        return NatsHealth.model_validate_json(item["health"]["S"])
    except (KeyError, ValidationError):
        telemetry.log_unforeseen("the bridge's heartbeat cannot be read")
        return UNKNOWN
