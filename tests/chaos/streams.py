"""The harness's own connection to the nats-server: publishes, and looks at what is left to do."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import nats
from nats.aio.client import Client
from nats.errors import Error
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from tests.chaos.messages import Published

STREAMS = ("signals", "feedback")
_PREFIX = "feature-pipeline-"


@dataclass(frozen=True, slots=True)
class Left:
    """What the consumers have not done. pending: not delivered yet; ack_pending: delivered and not acked."""

    pending: int
    ack_pending: int

    @property
    def total(self) -> int:
        return self.pending + self.ack_pending


class Streams:
    """Publishes and asks, again and again where the server is away."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._jetstream: JetStreamContext = client.jetstream(timeout=5)

    @classmethod
    async def connect(cls, url: str) -> Streams:
        return cls(await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=_known))

    async def close(self) -> None:
        await self._client.close()

    @property
    def version(self) -> str:
        """Which version answers, such as 2.15.1."""
        one = self._client.connected_server_version
        return f"{one.major}.{one.minor}.{one.patch}"

    async def ready(self, limit_sec: float) -> None:
        """Wait until both streams and their consumers are there. Raises `TimeoutError`."""
        deadline = time.monotonic() + limit_sec
        while True:
            try:
                for stream in STREAMS:
                    await self._jetstream.consumer_info(stream, _PREFIX + stream)
                return
            except (NotFoundError, Error, OSError):
                if time.monotonic() > deadline:
                    raise TimeoutError("the bridge has made no streams and consumers") from None
                await asyncio.sleep(0.05)

    async def publish(self, one: Published, identity: str | None = None) -> tuple[str, int]:
        """Publish until it is confirmed; returns where it is. identity: the server takes a message of it once."""
        headers = None if identity is None else {"Nats-Msg-Id": identity}
        while True:
            try:
                confirmed = await self._jetstream.publish(one.subject, one.data, headers=headers)
                return confirmed.stream, confirmed.seq
            except (Error, OSError):
                await asyncio.sleep(0.05)

    async def left(self) -> Left:
        """Return what is left to do, on both streams."""
        while True:
            try:
                infos = [await self._jetstream.consumer_info(stream, _PREFIX + stream) for stream in STREAMS]
                return Left(sum(one.num_pending or 0 for one in infos), sum(one.num_ack_pending or 0 for one in infos))
            except (Error, OSError):
                await asyncio.sleep(0.05)

    async def stored(self) -> dict[str, int]:
        """Return the last sequence of each stream."""
        while True:
            try:
                return {stream: (await self._jetstream.stream_info(stream)).state.last_seq for stream in STREAMS}
            except (Error, OSError):
                await asyncio.sleep(0.05)


async def _known(error: Exception) -> None:
    """That the server goes away is what the test is about."""
