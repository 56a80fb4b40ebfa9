"""How far a consumer is behind, as the server sees it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import nats.errors
from nats.js.errors import APIError, NotFoundError

from tips import telemetry

if TYPE_CHECKING:
    from nats.js.api import ConsumerInfo
    from nats.js.client import JetStreamContext

    from bridge.consumer import Consumer
    from bridge.link import Link

POLL_SEC = 5.0
_SOONEST_SEC = 1.0


class Lag:
    """Keeps what `ConsumerStatus` says of the server: looked up every 5 seconds, and on request once in a second."""

    def __init__(self, link: Link, consumers: list[Consumer]) -> None:
        self._link = link
        self._consumers = consumers
        self._looked_up = 0.0
        self._one_at_a_time = asyncio.Lock()
        self._oldest: dict[str, tuple[int, float | None]] = {}

    async def run(self) -> None:
        while True:
            await self.look_up()
            await asyncio.sleep(POLL_SEC)

    async def look_up(self) -> None:
        """Ask the server, unless that was done a moment ago or there is no connection."""
        async with self._one_at_a_time:
            if not self._link.connected or time.monotonic() - self._looked_up < _SOONEST_SEC:
                return
            self._looked_up = time.monotonic()
            js = (await self._link.client()).jetstream(timeout=2)
            for consumer in self._consumers:
                if consumer.status.problem is None:
                    try:
                        await self._look_up(js, consumer)
                    except (nats.errors.Error, APIError, TimeoutError, OSError) as error:
                        telemetry.logger.info(
                            "lag is not known", extra={"stream": consumer.route.stream, "fault": type(error).__name__}
                        )

    async def _look_up(self, js: JetStreamContext, consumer: Consumer) -> None:
        status, asked_at = consumer.status, time.monotonic()
        info = await js.consumer_info(consumer.route.stream, status.durable)
        status.pending = info.num_pending or 0
        status.ack_pending = info.num_ack_pending or 0
        status.oldest = await self._oldest_of(js, consumer, info) if status.lag_messages else None
        status.looked_up_at = asked_at

    async def _oldest_of(self, js: JetStreamContext, consumer: Consumer, info: ConsumerInfo) -> float | None:
        """Return when the stream took the first message above those of which all are done."""
        done = info.ack_floor.stream_seq if info.ack_floor else 0
        if not info.num_ack_pending and info.delivered:
            done = max(done, info.delivered.stream_seq)
        known = self._oldest.get(consumer.route.stream)
        if known is None or known[0] != done or known[1] is None:
            known = (done, await self._taken_after(js, consumer, done))
            self._oldest[consumer.route.stream] = known
        return known[1]

    async def _taken_after(self, js: JetStreamContext, consumer: Consumer, done: int) -> float | None:
        try:
            message = await js.get_msg(consumer.route.stream, done + 1, consumer.route.subject, next=True)
        except NotFoundError:  # the stream has dropped it meanwhile
            return None
        return message.time.timestamp() if message.time else None
