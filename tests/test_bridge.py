"""What the bridge does with messages, against a real nats-server: acks, naks, batches, redeliveries, back-pressure."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import nats
import pytest

from bridge.delivery import Batch, Delivery, nak_delay_sec
from bridge.link import Link
from bridge.pull import Pull
from devstack.nats import NatsServer, nats_server_version
from tests.bridge_harness import Consume, bridged, until
from tests.bridge_process import FakeConsume
from tips.ingest.handover import MAX_BATCH_BYTES, ConsumeClient, Message, batch_event

LAMBDA_LIMIT_BYTES = 6 * 1024 * 1024


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with NatsServer() as running:
        print("nats-server", nats_server_version(running.binary))
        yield running


def test_what_consume_takes_is_acked_and_what_it_fails_comes_again(server: NatsServer) -> None:
    consume = Consume(fails=lambda one: one.data == b"2" and one.num_delivered < 3)

    async def run() -> None:
        async with bridged(server.url, consume) as bridge:
            await bridge.publish(b"0", b"1", b"2", b"3")
            await until(bridge.all_done)
            assert (await bridge.info()).ack_floor.stream_seq == 4
            status = bridge.consumer.status
            assert (status.processed, status.failed["record"], status.redelivered) == (4, 2, 2)

    asyncio.run(run())
    assert Counter(consume.handed) == {1: 1, 2: 1, 3: 3, 4: 1}
    delivered = [one.num_delivered for batch in consume.batches for one in batch if one.data == b"2"]
    assert delivered == [1, 2, 3]


def test_a_record_is_handed_over_as_it_was_published(server: NatsServer) -> None:
    consume = Consume()

    async def run() -> None:
        async with bridged(server.url, consume) as bridge:
            before = time.time()
            await bridge.js.publish(
                f"{bridge.route.stream}.a.b", b"\x00\xff", headers={"Nats-Msg-Id": "1", "Status": "x"}
            )
            await until(lambda: consume.batches)
            (message,) = consume.batches[0]
            assert (message.subject, message.data) == (f"{bridge.route.stream}.a.b", b"\x00\xff")
            assert message.headers == {"Nats-Msg-Id": "1", "Status": "x"}
            assert (message.stream_seq, message.consumer_seq, message.num_delivered) == (1, 1, 1)
            assert before - 5 < message.timestamp.timestamp() < time.time() + 5

    asyncio.run(run())


def test_the_delay_doubles_with_every_delivery_up_to_the_longest_and_half_of_it_is_chance() -> None:
    for number, whole in ((1, 1.0), (2, 2.0), (5, 16.0), (9, 256.0), (10, 300.0), (5000, 300.0)):
        drawn = [nak_delay_sec(number, 1.0, 300.0) for _ in range(200)]
        assert whole / 2 <= min(drawn) < 0.6 * whole
        assert 0.9 * whole < max(drawn) <= whole


def test_the_server_keeps_a_failed_message_for_its_delay(server: NatsServer) -> None:
    arrived: list[float] = []

    def fails(_: Message) -> bool:
        arrived.append(time.monotonic())
        return len(arrived) < 4

    async def run() -> None:
        async with bridged(server.url, Consume(fails), nak_min_sec=0.1, nak_max_sec=0.2) as bridge:
            await bridge.publish(b"x")
            await until(bridge.all_done)

    asyncio.run(run())
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrived)]
    assert len(gaps) == 3
    assert all(gap >= shortest for gap, shortest in zip(gaps, (0.05, 0.1, 0.1), strict=True))


def raises(_: dict[str, Any]) -> Any:
    raise ValueError("secret")


@pytest.mark.parametrize(
    "first",
    [
        raises,
        lambda _: {},
        lambda _: None,
        lambda _: {"batchItemFailures": [{"itemIdentifier": "99"}]},
        lambda _: {"batchItemFailures": None},
        lambda _: {"batchItemFailures": {}},
        lambda _: {"batchItemFailures": ""},
    ],
    ids=["function error", "no key", "null", "unknown identifier", "no list", "an empty object", "an empty text"],
)
def test_a_batch_of_which_nothing_is_known_comes_again_whole(server: NatsServer, first: Any) -> None:
    answers: Iterator[Any] = itertools.chain([first], itertools.repeat(lambda _: {"batchItemFailures": []}))
    with FakeConsume(lambda event: next(answers)(event)) as api:
        client = ConsumeClient("ConsumeFunction", endpoint=api.url, region="eu-west-1", timeout_sec=60)

        async def run() -> None:
            async with bridged(server.url, client, batch_messages=3, batch_age_sec=30, max_in_flight=1) as bridge:
                await bridge.publish(b"a", b"b", b"c")
                await until(lambda: bridge.consumer.status.failed["batch"] == 3)
                # The three come again one by one, and then wait for each other.
                await until(bridge.all_done)
                assert bridge.consumer.status.processed == 3
                assert bridge.consumer.status.batches == {"ok": 1, "failed": 1}

        asyncio.run(run())
    assert [sorted(one["stream_seq"] for one in event["records"]) for event in api.events] == [[1, 2, 3]] * 2


def test_while_a_batch_is_worked_on_the_server_is_told_so(server: NatsServer) -> None:
    consume = Consume()
    consume.goes_on.clear()
    said: list[bytes] = []

    async def run() -> None:
        async with bridged(server.url, consume, ack_wait_sec=1.0) as bridge:

            async def note(msg: Any) -> None:
                said.append(msg.data)

            listener = await nats.connect(server.url)
            await listener.subscribe(f"$JS.ACK.{bridge.route.stream}.>", cb=note)
            await listener.flush()
            await bridge.publish(b"x")
            # More often than its wait could do without.
            await until(lambda: said.count(b"+WPI") >= 4)
            consume.goes_on.set()
            await until(bridge.all_done)
            await until(lambda: said[-1] == b"+ACK")
            await listener.close()

    asyncio.run(run())
    assert consume.handed == [1]


def test_a_message_delivered_again_while_it_is_in_flight_is_handed_over_once_and_its_outcome_counts(
    server: NatsServer,
) -> None:
    consume = Consume()
    consume.goes_on.clear()

    async def run() -> None:
        async with bridged(server.url, consume, batch_messages=2) as bridge:
            await bridge.publish(b"x")
            await until(lambda: consume.batches)
            # Somebody else, or a server that did not hear of us in time, asks for another delivery.
            await bridge.js._nc.publish(bridge.consumer._held[1].reply, b"-NAK")
            await until(lambda: bridge.consumer.status.redelivered == 1)
            assert bridge.consumer._held[1].num_delivered == 2
            consume.goes_on.set()
            await until(bridge.all_done)
            assert bridge.consumer.status.processed == 1

    asyncio.run(run())
    assert consume.handed == [1]


def test_no_more_is_fetched_than_can_be_handled(server: NatsServer) -> None:
    consume = Consume()
    consume.goes_on.clear()

    async def run() -> None:
        async with bridged(server.url, consume, batch_messages=3, max_in_flight=2) as bridge:
            await bridge.publish(*[b"x"] * 30)
            await until(lambda: bridge.consumer.status.in_flight == 2)
            info = await bridge.info()
            # Two batches are out; of a third, what was asked for before the second was closed by its age.
            assert info.num_ack_pending <= 3 * 3
            assert info.num_pending >= 21
            consume.goes_on.set()
            await until(bridge.all_done)

    asyncio.run(run())
    assert sorted(consume.handed) == list(range(1, 31))
    assert max(len(batch) for batch in consume.batches) == 3


def test_a_message_that_always_fails_holds_nothing_up(server: NatsServer) -> None:
    consume = Consume(fails=lambda one: one.data == b"poison")

    async def run() -> None:
        async with bridged(server.url, consume, batch_messages=10) as bridge:
            await bridge.publish(b"poison", *[b"x"] * 100)
            await until(lambda: bridge.consumer.status.processed == 100)
            await until(lambda: consume.handed.count(1) >= 4)
            await until(lambda: bridge.has_left(ack_pending=1, ack_floor=0))  # never given up

    asyncio.run(run())


def test_a_batch_is_closed_by_its_age(server: NatsServer) -> None:
    consume = Consume()

    async def run() -> None:
        async with bridged(server.url, consume, batch_messages=1000, batch_age_sec=0.05) as bridge:
            await bridge.publish(b"x")
            await until(bridge.all_done, within=30)  # and not when its request expires, or never

    started = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - started < 30


def test_a_batch_stays_below_four_megabytes(server: NatsServer) -> None:
    consume = Consume()
    consume.goes_on.clear()

    async def run() -> None:
        async with bridged(server.url, consume, batch_age_sec=60, max_in_flight=1) as bridge:
            await bridge.publish(*[bytes(1_000_000)] * 5)
            await until(lambda: consume.batches)  # closed because the fifth does not fit, long before its age
            assert consume.handed == [1, 2, 3, 4]

    asyncio.run(run())


def message(data: bytes = b"", **headers: str) -> Message:
    return Message(
        "signals.tip.served", 1, data, datetime.fromisoformat("2026-11-21T08:30:00.123456Z"), headers=headers
    )


@pytest.mark.parametrize(
    "one",
    [message(bytes(1000)), message(bytes(700_001)), message(b"", text="\x1f" * 30_000), message(b"x", text="ü" * 9000)],
    ids=["small", "large", "headers that triple as JSON", "headers"],
)
def test_the_event_of_a_full_batch_is_one_that_lambda_takes(one: Message) -> None:
    batch = Batch(100_000)
    while batch.add(Delivery(one, "reply", 1)):
        pass
    messages = [each.message for each in batch.deliveries]
    size = len(json.dumps(batch_event("signals", "feature-pipeline-signals", messages)).encode())
    assert size <= LAMBDA_LIMIT_BYTES
    assert sum(each.size for each in messages) <= MAX_BATCH_BYTES
    # Nor is room given away: one of the two bounds is near.
    assert size > 0.8 * LAMBDA_LIMIT_BYTES or sum(each.size for each in messages) + one.size > MAX_BATCH_BYTES


def test_a_message_that_no_invocation_takes_is_kept_and_holds_nothing_up(tmp_path: Path) -> None:
    consume = Consume()
    configuration = tmp_path / "nats.conf"
    configuration.write_text("max_payload: 8MB\n")

    async def run(url: str) -> None:
        async with bridged(url, consume, nak_max_sec=3600) as bridge:
            await bridge.publish(b"before", bytes(5_000_000), b"after")
            await until(lambda: bridge.consumer.status.processed == 2)
            assert bridge.consumer.status.failed == {"record": 0, "batch": 0, "size": 1}
            await until(lambda: bridge.has_left(ack_pending=1, ack_floor=1))

    with NatsServer(arguments=("--config", str(configuration))) as server:
        asyncio.run(run(server.url))
    assert sorted(consume.handed) == [1, 3]


def test_nothing_is_given_back_while_the_server_may_deliver_it_here_again(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    stop, send = Pull.stop, Link.send

    async def stopping(self: Pull) -> None:
        await stop(self)
        order.append("stopped")

    async def sending(self: Link, subject: str, payload: bytes = b"", reply: str = "") -> None:
        order.append(payload.decode())
        await send(self, subject, payload, reply)

    async def run() -> None:
        async with bridged(server.url, Consume(), batch_messages=10, batch_age_sec=60) as bridge:
            await bridge.publish(b"a", b"b")
            await until(lambda: len(bridge.consumer._held) == 2)
            monkeypatch.setattr(Pull, "stop", stopping)
            monkeypatch.setattr(Link, "send", sending)
            await bridge.consumer.stop(asyncio.get_running_loop().time() + 30)
            await asyncio.wait_for(bridge.running, 30)

    asyncio.run(run())
    assert order.count("-NAK") == 2
    assert "stopped" in order[: order.index("-NAK")]


def test_what_was_fetched_and_not_handed_over_is_given_back_at_once(server: NatsServer) -> None:
    consume = Consume()

    async def run() -> None:
        # A server 2.9 may offer one of them to a request of which nobody hears any more, and again after this wait.
        wait = 1 if nats_server_version(server.binary).startswith("2.9.") else 3600
        async with bridged(server.url, consume, batch_messages=10, batch_age_sec=60, ack_wait_sec=wait) as bridge:
            await bridge.publish(b"a", b"b", b"c")
            await until(lambda: len(bridge.consumer._held) == 3)
            await bridge.consumer.stop(asyncio.get_running_loop().time() + 30)
            await asyncio.wait_for(bridge.running, 30)
            other = await bridge.js.pull_subscribe_bind(bridge.consumer.status.durable, bridge.route.stream)
            seen: set[bytes] = set()
            while len(seen) < 3:
                seen |= {one.data for one in await other.fetch(3, timeout=30)}

    asyncio.run(run())
    assert consume.batches == []
