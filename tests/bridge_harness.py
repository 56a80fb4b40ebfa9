"""A consumer of the bridge in this process, against a real nats-server, with a stand-in for `consume`."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import nats
from nats.js.client import JetStreamContext

from bridge.consumer import Consumer, Receiver
from bridge.link import Link
from bridge.settings import Route, Settings
from tips.ingest.handover import Message

_numbers = itertools.count(1)


@dataclass
class Consume:
    """Records what it was handed, and fails what `fails` says; waits for `goes_on`, which is set at first."""

    fails: Callable[[Message], bool] = lambda message: False
    batches: list[list[Message]] = field(default_factory=list)
    goes_on: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.goes_on.set()

    def hand_over(self, stream: str, consumer: str, messages: list[Message]) -> frozenset[int]:
        self.batches.append(list(messages))
        assert self.goes_on.wait(60)
        return frozenset(one.stream_seq for one in messages if self.fails(one))

    @property
    def handed(self) -> list[int]:
        return [one.stream_seq for batch in list(self.batches) for one in batch]


@dataclass
class Bridged:
    """A running consumer; `js` is the test's own connection."""

    js: JetStreamContext
    consumer: Consumer
    route: Route
    running: asyncio.Task[None]

    async def publish(self, *bodies: bytes) -> None:
        for body in bodies:
            await self.js.publish(f"{self.route.stream}.x", body)

    async def info(self) -> Any:
        return await self.js.consumer_info(self.route.stream, self.consumer.status.durable)

    async def has_left(self, *, ack_pending: int, ack_floor: int) -> bool:
        """Whether the server has delivered everything and knows of all but so many messages that they are done.

        An ack is counted by the bridge before the server has it. ack_floor: the place up to which all are done.
        """
        info = await self.info()
        return (info.num_pending, info.num_ack_pending, info.ack_floor.stream_seq) == (0, ack_pending, ack_floor)

    async def all_done(self) -> bool:
        """Whether everything published was delivered and acked; the server counts a new message a moment later."""
        last = (await self.js.stream_info(self.route.stream)).state.last_seq
        info = await self.info()
        return not info.num_pending and not info.num_ack_pending and info.delivered.stream_seq >= last


def a_route() -> Route:
    name = f"stream{next(_numbers)}"
    return Route(name, f"{name}.>", 3600, 10_000)


@asynccontextmanager
async def bridged(
    url: str, receiver: Receiver, *, route: Route | None = None, ready: bool = True, **chosen: Any
) -> AsyncIterator[Bridged]:
    """A consumer of a stream of its own, ready to fetch. chosen: fields of `Settings`."""
    route = route or a_route()
    options = {"nak_min_sec": 0.02, "nak_max_sec": 0.2, "batch_age_sec": 0.02, "ensure_streams": True, **chosen}
    settings = Settings(servers=(url,), **options)
    link = Link(settings)
    with ThreadPoolExecutor(2 * settings.max_in_flight) as threads:
        consumer = Consumer(settings, route, link, receiver, threads)
        linking, running = asyncio.create_task(link.run()), asyncio.create_task(consumer.run())
        client = await nats.connect(url) if ready else None
        try:
            if ready:
                await until(lambda: consumer.status.problem is None)
            js: Any = client.jetstream(timeout=20) if client else None
            yield Bridged(js, consumer, route, running)
        finally:
            if isinstance(receiver, Consume):
                receiver.goes_on.set()
            for task in (running, linking):  # one after the other: a consumer ends with its connection
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            if client:
                await client.close()


async def until(condition: Callable[[], Any], within: float = 60.0) -> Any:
    """Return what `condition`, or what it awaits, says once it is true."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.01)
