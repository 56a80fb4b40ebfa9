"""One durable consumer: fetch, batch, hand over, and say of every message what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Protocol

import nats.errors

from bridge.delivery import ACK, IN_PROGRESS, Batch, Delivery, delivery_of, nak, nak_delay_sec
from bridge.link import Link, NotConnected
from bridge.pull import Pull
from bridge.status import ConsumerStatus
from bridge.streams import Unusable, durable_name, make_ready
from tips import telemetry
from tips.ingest.handover import HandoverFailed, Message

if TYPE_CHECKING:
    from bridge.client import StreamMsg
    from bridge.settings import Route, Settings

_PAUSE_MIN_SEC = 0.2
_PAUSE_MAX_SEC = 10.0


class Receiver(Protocol):
    """`ConsumeClient`, as far as it is needed here."""

    def hand_over(self, stream: str, consumer: str, messages: list[Message]) -> frozenset[int]: ...


class Consumer:
    """Moves the messages of one stream. It survives connections: what it holds is answered on the next one."""

    def __init__(self, settings: Settings, route: Route, link: Link, receiver: Receiver, threads: Executor) -> None:
        self.route = route
        self.status = ConsumerStatus(durable_name(settings, route))
        self._settings = settings
        self._link = link
        self._receiver = receiver
        self._threads = threads
        self._held: dict[int, Delivery] = {}
        """Every message that was fetched and is not answered, by its place in the stream: none is held twice."""
        self._waiting: deque[Delivery] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(settings.max_in_flight)
        self._changed = asyncio.Event()
        self._pull: Pull | None = None
        self._stopping = False

    async def run(self) -> None:
        """Fetch and hand over until `stop`."""
        keeping = asyncio.create_task(self._keep_alive())
        failures = 0
        try:
            while not self._stopping:
                client = await self._link.client()
                try:
                    await make_ready(client.jetstream(timeout=5), self._settings, self.route)
                    self.status.problem, failures = None, 0
                    self.status.ready_at = time.monotonic()
                    await self._fetch(Pull(client, self.route.stream, self.status.durable, self._arrived, self._wake))
                except Unusable as error:
                    self._say_problem(str(error))
                except (nats.errors.Error, NotConnected, OSError, TimeoutError) as error:
                    broken = isinstance(error, NotConnected) or not self._link.connected
                    self._say_problem("not connected" if broken else f"NATS did not answer: {type(error).__name__}")
                failures += 1
                longest = min(_PAUSE_MAX_SEC, _PAUSE_MIN_SEC * 2**failures)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped(), random.uniform(longest / 2, longest))
        finally:
            keeping.cancel()

    async def stop(self, deadline: float) -> None:
        """Fetch no more, give back what was not handed over, and wait for the rest until `deadline` (loop time)."""
        self._stopping = True
        self._wake()
        # First: given back while a request is outstanding, a message may be delivered to nobody by it.
        if self._pull is not None:
            await self._pull.stop()
        await self._give_back()
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))

    @property
    def unfinished(self) -> int:
        """Batches that are still with `consume`."""
        return len(self._in_flight)

    async def _stopped(self) -> None:
        while not self._stopping:
            self._changed.clear()
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()

    def _say_problem(self, problem: str) -> None:
        if problem != self.status.problem and not self._stopping:
            telemetry.logger.warning("nothing can be fetched", extra={"stream": self.route.stream, "problem": problem})
        self.status.problem = problem

    async def _fetch(self, pull: Pull) -> None:
        """Hand over what the pull brings, until it cannot bring more."""
        await pull.start()
        self._pull = pull
        try:
            while not self._stopping and (pull.fault is None or self._waiting):
                await self._slots.acquire()  # nothing is asked for that nobody has time for
                batch = Batch(self._settings.batch_messages)
                try:
                    await self._fill(batch, pull)
                finally:
                    if not batch.deliveries:
                        self._slots.release()
                    else:
                        self._start(batch.deliveries)
                if not pull.connected:
                    raise NotConnected
        finally:
            await pull.stop()
            self._pull = None
            if self._stopping:
                await self._give_back()
        if pull.fault and not self._stopping:
            raise Unusable(f"JetStream stopped delivering: {pull.fault}")

    async def _fill(self, batch: Batch, pull: Pull) -> None:
        """Take messages until the batch is full or old enough; none when the pull brings no more or all stops."""
        loop = asyncio.get_running_loop()
        closes = None
        while not self._stopping:
            self._changed.clear()
            while self._waiting and batch.add(self._waiting[0]):
                self._waiting.popleft()
            if batch.deliveries and closes is None:
                closes = loop.time() + self._settings.batch_age_sec
            if not batch.room or self._waiting or (closes and loop.time() >= closes) or pull.fault:
                return
            if not pull.connected:
                return
            await pull.ask(batch.room)
            patience = min(1.0, pull.waits_sec)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(
                    self._changed.wait(), patience if closes is None else min(patience, closes - loop.time())
                )
        self._waiting.extendleft(reversed(batch.deliveries))
        batch.deliveries.clear()

    async def _give_back(self) -> None:
        while self._waiting:
            await self._answer(self._waiting.popleft(), nak())

    def _start(self, deliveries: list[Delivery]) -> None:
        task = asyncio.create_task(self._hand_over(deliveries))
        self._in_flight.add(task)
        self.status.in_flight = len(self._in_flight)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self.status.in_flight = len(self._in_flight)
        self._slots.release()

    async def _arrived(self, msg: StreamMsg) -> None:
        delivery = delivery_of(msg)
        status = self.status
        status.last_message = time.time()
        if delivery.num_delivered > 1:
            status.redelivered += 1
        held = self._held.get(delivery.sequence)
        if held is not None:
            # Delivered again before its outcome is known: that outcome goes to the delivery that counts now.
            held.reply, held.num_delivered = delivery.reply, delivery.num_delivered
        elif not delivery.fits:
            status.failed["size"] += 1
            telemetry.logger.error(
                "a message is larger than consume can ever take",
                extra={
                    "stream": self.route.stream,
                    "stream_seq": delivery.sequence,
                    "bytes": len(delivery.message.data),
                    "num_delivered": delivery.num_delivered,
                },
            )
            await self._answer(delivery, nak(self._settings.nak_max_sec))
        else:
            self._held[delivery.sequence] = delivery
            self._waiting.append(delivery)

    async def _hand_over(self, deliveries: list[Delivery]) -> None:
        status = self.status
        messages = [one.message for one in deliveries]
        started = time.monotonic()
        reason, failed = "record", frozenset(one.stream_seq for one in messages)
        try:
            failed = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._receiver.hand_over, self.route.stream, status.durable, messages
            )
        except HandoverFailed as error:
            reason = "batch"
            telemetry.logger.warning(
                "a batch was not taken",
                extra={"stream": self.route.stream, "records": len(messages), "reason": str(error)},
            )
        except Exception:  # of whatever kind: a batch is answered, or its messages would only come back by themselves
            reason = "batch"
            telemetry.log_unforeseen("a batch could not be handed over", stream=self.route.stream)
        status.invoke.observe(time.monotonic() - started)
        status.batches["failed" if reason == "batch" else "ok"] += 1
        for delivery in deliveries:
            if delivery.sequence in failed:
                status.failed[reason] += 1
                await self._answer(delivery, nak(self._delay(delivery)))
            else:
                status.processed += 1
                await self._answer(delivery, ACK)
        with contextlib.suppress(NotConnected):  # then they come again, and consume knows them
            await self._link.flush()

    def _delay(self, delivery: Delivery) -> float:
        return nak_delay_sec(delivery.num_delivered, self._settings.nak_min_sec, self._settings.nak_max_sec)

    async def _answer(self, delivery: Delivery, answer: bytes) -> None:
        # No longer held first: from here on another delivery is a message of its own.
        self._held.pop(delivery.sequence, None)
        with contextlib.suppress(NotConnected):  # the server delivers it again when its wait for an ack ends
            await self._link.send(delivery.reply, answer)

    async def _keep_alive(self) -> None:
        """Tell the server, three times within its wait, that what is held is being worked on."""
        while True:
            await asyncio.sleep(self._settings.ack_wait_sec / 3)
            with contextlib.suppress(NotConnected):
                for delivery in list(self._held.values()):
                    await self._link.send(delivery.reply, IN_PROGRESS)
