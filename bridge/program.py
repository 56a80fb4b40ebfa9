"""The bridge as a whole: what runs, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bridge.consumer import Consumer
from bridge.health import HealthServer
from bridge.heartbeat import Heartbeat
from bridge.lag import Lag
from bridge.link import Link
from bridge.metrics import exposition
from bridge.settings import ROUTES, Settings, host_of
from bridge.status import ConsumerStatus
from bridge.streams import durable_name
from tips import telemetry
from tips.ingest.handover import ConsumeClient

_LOOK_UP_SEC = 3.0
_LAST_BEAT_SEC = 3.0


class Bridge:
    """Consumers of both streams over one connection, with health, metrics and heartbeat.

    Raises botocore's errors, or `ValueError`, when clients of AWS cannot be made of what they are configured with.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._link = Link(settings)
        self._draining = False
        self._threads = ThreadPoolExecutor(2 * settings.max_in_flight, thread_name_prefix="invoke")
        self._beats = ThreadPoolExecutor(1, thread_name_prefix="heartbeat")
        self._consumers: list[Consumer] = []
        self._statuses = {
            route.stream: ConsumerStatus(durable_name(settings, route), problem="disabled") for route in ROUTES
        }
        if settings.enabled:
            client = ConsumeClient(
                settings.consume_function,
                endpoint=settings.lambda_endpoint,
                region=settings.tips.region,
                timeout_sec=settings.invoke_timeout_sec,
                connections=2 * settings.max_in_flight,
            )
            self._consumers = [Consumer(settings, route, self._link, client, self._threads) for route in ROUTES]
            self._statuses = {one.route.stream: one.status for one in self._consumers}
        self._lag = Lag(self._link, self._consumers)
        self._heartbeat = Heartbeat(settings, self._statuses, self._beats)

    async def run(self) -> bool:
        """Work until SIGTERM or SIGINT, and then end; False when not everything in flight came to its end.

        Raises `AddressUnusable` when the health server's address cannot be used.
        """
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        _on_signals(loop, stopped)
        server = self._serve_health(loop)
        tasks = self._started([self._heartbeat.run()])
        if self._settings.enabled:
            telemetry.logger.info(
                "bridge started",
                extra={
                    "health": f"{server.url}/health",
                    "servers": [host_of(one) for one in self._settings.servers],
                    "function": self._settings.consume_function,
                },
            )
            tasks += self._started([self._link.run(), self._lag.run()])
        else:
            telemetry.logger.warning(
                "bridge disabled: NATS_URL is empty, nothing is consumed", extra={"health": f"{server.url}/health"}
            )
        consuming = self._started([one.run() for one in self._consumers])
        failed = asyncio.create_task(_first_end([*tasks, *consuming]))
        await asyncio.wait([failed, asyncio.create_task(stopped.wait())], return_when=asyncio.FIRST_COMPLETED)
        failed.cancel()
        finished = await self._drain(consuming)
        for task in [*tasks, *consuming]:
            task.cancel()
        ends = await asyncio.gather(*tasks, *consuming, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._heartbeat.beat(), _LAST_BEAT_SEC)
        server.stop()
        faults = [end for end in ends if isinstance(end, Exception)]
        if faults:
            raise faults[0]
        telemetry.logger.info("bridge stopped", extra={"drained": finished})
        return finished

    async def _drain(self, consuming: list[asyncio.Task[None]]) -> bool:
        self._draining = True
        if consuming:
            telemetry.logger.info("bridge drains")
            deadline = asyncio.get_running_loop().time() + self._settings.drain_sec
            await asyncio.gather(*(one.stop(deadline) for one in self._consumers))
            await asyncio.wait(consuming, timeout=1)  # each still tells the server that it wants no more
        return not any(one.unfinished for one in self._consumers)

    def _started(self, coroutines: list[Coroutine[Any, Any, None]]) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(one) for one in coroutines]

    def _serve_health(self, loop: asyncio.AbstractEventLoop) -> HealthServer:
        def looked_up(show: Callable[[], Any]) -> Any:
            future = asyncio.run_coroutine_threadsafe(self._lag.look_up(), loop)
            with contextlib.suppress(TimeoutError):
                future.result(_LOOK_UP_SEC)
            return show()

        return HealthServer(
            self._settings.health_host,
            self._settings.health_port,
            lambda: looked_up(self.health),
            lambda: looked_up(lambda: exposition(self._statuses, self._link.connected)),
        )

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Return whether everything that was asked for can be done, and what /health shows."""
        consumers = {name: one.view() for name, one in self._statuses.items()}
        well = not self._settings.enabled or (
            self._link.connected and not self._draining and all(one["ready"] for one in consumers.values())
        )
        return well, {
            "ok": well,
            "enabled": self._settings.enabled,
            "connected": self._link.connected,
            "server_version": self._link.server_version,
            "draining": self._draining,
            "consumers": consumers,
        }


async def _first_end(tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


def _on_signals(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
    def stop() -> None:
        if stopped.is_set():
            os._exit(1)  # asked twice: at once
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
