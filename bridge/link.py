"""The connection to NATS, made anew for ever."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from typing import TYPE_CHECKING

import nats.errors

from bridge.client import StreamClient, connect_options, described
from bridge.settings import host_of
from tips import telemetry

if TYPE_CHECKING:
    from nats.aio.client import Client

    from bridge.settings import Settings

_CONNECT_SEC = 5
_CLOSE_SEC = 1.0
_PAUSE_MIN_SEC = 0.1
_PAUSE_MAX_SEC = 15.0
_LASTING_SEC = 5.0
"""A connection that ends sooner is a failed attempt as well, or whatever ends it would be met many times a second."""
_PING_SEC = 20  # a connection that died without a word is noticed after two of these


class NotConnected(Exception):
    """There is no connection now, or it broke."""


class Link:
    """One connection at a time, to one server after the other, with growing pauses between attempts.

    The library's own reconnecting is not used: its pauses do not grow, and it gives up where a server refuses it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: Client | None = None
        self._connected = asyncio.Event()
        self.server_version: str | None = None
        self.failures = 0
        """Attempts in a row that failed, or brought a connection that ended at once."""

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    async def client(self) -> Client:
        """Return the connection's client, once there is one."""
        while self._client is None or not self._client.is_connected:
            self._connected.clear()
            await self._connected.wait()
        return self._client

    async def send(self, subject: str, payload: bytes = b"", reply: str = "") -> None:
        """Publish; raises `NotConnected`."""
        if self._client is None or not self._client.is_connected:
            raise NotConnected
        try:
            await self._client.publish(subject, payload, reply)
        except (nats.errors.Error, OSError) as error:
            raise NotConnected from error

    async def flush(self) -> None:
        """Wait until the server has all that was sent; raises `NotConnected`."""
        if self._client is None or not self._client.is_connected:
            raise NotConnected
        try:
            await self._client.flush(timeout=5)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise NotConnected from error

    async def run(self) -> None:
        """Keep a connection until cancelled."""
        for server in itertools.cycle(self._settings.servers):
            closed = asyncio.Event()
            client = StreamClient()
            try:
                await self._connect(client, server, closed)
            except Exception as error:  # whatever a server, a certificate or a credentials file can be wrong with
                self.failures += 1
                telemetry.logger.warning(
                    "cannot connect to NATS", extra={"server": host_of(server), "fault": described(error)}
                )
            else:
                self._client = client
                connected_at = time.monotonic()
                version = client.connected_server_version
                self.server_version = f"{version.major}.{version.minor}.{version.patch}"
                telemetry.logger.info(
                    "connected to NATS", extra={"server": host_of(server), "server_version": self.server_version}
                )
                self._connected.set()
                while client.is_connected:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(closed.wait(), 1)
                self.failures = self.failures + 1 if time.monotonic() - connected_at < _LASTING_SEC else 0
                telemetry.logger.warning("connection to NATS lost", extra={"server": host_of(server)})
            finally:
                await _close(client)
            await asyncio.sleep(_pause(self.failures))

    async def _connect(self, client: Client, server: str, closed: asyncio.Event) -> None:
        faults: list[Exception] = []

        async def note(error: Exception) -> None:
            faults.append(error)
            if client.is_connected:
                telemetry.logger.warning("NATS reports a fault", extra={"fault": described(error)})

        async def note_closed() -> None:
            closed.set()

        try:
            async with asyncio.timeout(2 * _CONNECT_SEC):
                await client.connect(
                    name="tips-bridge",
                    allow_reconnect=False,
                    max_reconnect_attempts=1,  # with 0 it would try for ever
                    reconnect_time_wait=0,
                    connect_timeout=_CONNECT_SEC,
                    ping_interval=_PING_SEC,
                    error_cb=note,
                    closed_cb=note_closed,
                    **connect_options(self._settings, server),
                )
        except (nats.errors.NoServersError, TimeoutError):
            raise faults[-1] if faults else TimeoutError() from None


async def _close(client: Client) -> None:
    try:
        async with asyncio.timeout(_CLOSE_SEC):
            await client.close()
    except Exception:  # of whatever is left of a broken connection; after a refused certificate it would wait for ever
        writer = getattr(client._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()


def _pause(failures: int) -> float:
    longest = min(_PAUSE_MAX_SEC, _PAUSE_MIN_SEC * 2.0 ** min(failures, 16))
    return random.uniform(longest / 2, longest)
