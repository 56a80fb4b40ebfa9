"""A time window of a live stream, read beside those who consume it: nothing of theirs is moved or acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

import nats.errors
import nats.js.errors
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext

from bridge.client import StreamClient, StreamMsg, connect_options, described
from bridge.settings import Settings, host_of
from offline.event_archive import Recorded

_CONNECT_SEC = 5
_FETCH = 256
_FETCH_SEC = 2.0
_QUIET_FETCHES = 5
"""Fetches in a row that may bring nothing although the server says that there is more."""
_KEPT_SEC = 600.0
"""How long the server keeps the consumer when this program ends without a word."""
T = TypeVar("T")


class WindowUnreadable(Exception):
    """The stream cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Window:
    """What is wanted: messages that the stream took from `since` on and not after `until`."""

    stream: str
    since: datetime
    until: datetime


class StreamWindow:
    """The messages of a window, while entered; `pending` of them, or fewer, if the stream goes on after its end.

    It reads through a consumer of its own, without acknowledgements, which goes with it. Raises `WindowUnreadable`.
    """

    def __init__(self, settings: Settings, window: Window) -> None:
        self._settings = settings
        self._window = window
        self._loop = asyncio.new_event_loop()
        # In a thread of its own, so that the connection stays alive while somebody works on what was read.
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._client = StreamClient()
        self._subscription: JetStreamContext.PullSubscription | None = None
        self._consumer = ""
        self.pending = 0

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._run(self._open())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._run(self._close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __iter__(self) -> Iterator[Recorded]:
        left = self.pending
        while left > 0:
            messages = self._run(self._fetch())
            for message in messages:
                at = message.metadata.timestamp
                if at > self._window.until:
                    return
                place = f"{self._window.stream}:{message.metadata.sequence.stream}"
                yield Recorded(place, message.subject, message.data, at, message.carried)
                left = message.metadata.num_pending
            if not messages:
                return

    async def _open(self) -> None:
        await self._connect()
        stream, manager = self._window.stream, self._client.jsm()
        wanted = ConsumerConfig(
            name=f"replay-{self._client._nuid.next().decode()}",
            deliver_policy=DeliverPolicy.BY_START_TIME,
            opt_start_time=self._window.since.astimezone(UTC),
            ack_policy=AckPolicy.NONE,
            inactive_threshold=_KEPT_SEC,
            mem_storage=True,
        )
        try:
            made = await manager.add_consumer(stream, wanted)
            self._consumer, self.pending = made.name, made.num_pending or 0
            self._subscription = await self._client.jetstream().pull_subscribe_bind(stream=stream, consumer=made.name)
        except nats.js.errors.NotFoundError:
            raise WindowUnreadable(f"there is no stream {stream}") from None
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise WindowUnreadable(f"the stream {stream} cannot be read: {described(error)}") from None

    async def _connect(self) -> None:
        """Connect to the first server that lets it."""
        faults: list[str] = []
        for server in self._settings.servers:
            noted: list[Exception] = []

            async def note(error: Exception, noted: list[Exception] = noted) -> None:
                noted.append(error)

            self._client = StreamClient()
            try:
                await self._client.connect(
                    name="tips-replay",
                    connect_timeout=_CONNECT_SEC,
                    max_reconnect_attempts=2,
                    reconnect_time_wait=1,
                    error_cb=note,
                    **connect_options(self._settings, server),
                )
                return
            except (nats.errors.Error, OSError, ValueError) as error:
                faults.append(
                    f"NATS at {host_of(server)} cannot be reached: {described(noted[-1] if noted else error)}"
                )
        raise WindowUnreadable("; ".join(faults))

    async def _fetch(self) -> list[StreamMsg]:
        """Return the next messages, in order; none when there are no more."""
        if self._subscription is None:
            raise WindowUnreadable("the window is not open")
        try:
            for _ in range(_QUIET_FETCHES):
                with contextlib.suppress(nats.errors.TimeoutError):
                    brought = await self._subscription.fetch(_FETCH, timeout=_FETCH_SEC)
                    return [one for one in brought if isinstance(one, StreamMsg)]
                known = await self._client.jsm().consumer_info(self._window.stream, self._consumer)
                if not known.num_pending:
                    return []
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise WindowUnreadable(f"the stream {self._window.stream} is lost: {described(error)}") from None
        raise WindowUnreadable(f"the stream {self._window.stream} brings nothing more, although it has more")

    async def _close(self) -> None:
        # Where this fails, the connection is gone, and the server removes the consumer in its time.
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            if self._consumer:
                await self._client.jsm().delete_consumer(self._window.stream, self._consumer)
        await self._client.close()
        # What the library leaves running ends before its loop does.
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
