"""The heartbeat in the table, by which score's /health knows of the bridge."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tips import telemetry
from tips.contracts.shown import ConsumerHealth, NatsHealth
from tips.errors import TableUnavailable, WriteConflict
from tips.state import bridge_health
from tips.state.table import Table

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from bridge.settings import Settings
    from bridge.status import ConsumerStatus

_TIMEOUT_MS = 2000


class Heartbeat:
    """Writes how the bridge does, at intervals. A table that is away is logged and tried again at the next one."""

    def __init__(self, settings: Settings, consumers: dict[str, ConsumerStatus], threads: Executor) -> None:
        self._interval_sec = settings.heartbeat_sec
        self._enabled = settings.enabled
        self._consumers = consumers
        self._threads = threads
        self._table = Table(settings.tips, _TIMEOUT_MS)

    async def run(self) -> None:
        while True:
            await self.beat()
            await asyncio.sleep(self._interval_sec)

    async def beat(self) -> None:
        """Write once."""
        consumers = {
            name: ConsumerHealth(last_msg_ts=one.last_msg_ts, processed=one.processed, errors=one.errors)
            for name, one in self._consumers.items()
        }
        health = NatsHealth(enabled=self._enabled, consumers=consumers)
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, bridge_health.write, self._table, health, self._interval_sec)
        except (TableUnavailable, WriteConflict):
            telemetry.logger.warning("the heartbeat was not written")
