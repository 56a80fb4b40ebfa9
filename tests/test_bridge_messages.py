"""Messages that are not made as they should be: all are delivered, with what can be read, and hold nothing up."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from bridge.client import StreamClient, StreamMsg, headers_of
from bridge.delivery import delivery_of
from bridge.lag import Lag
from devstack.nats import NatsServer, nats_server_version
from tests.bridge_harness import Bridged, Consume, bridged, until
from tests.bridge_process import publish_raw
from tips.ingest.handover import Message, batch_event

BROKEN = [
    b"XXXX\r\n\r\n",
    b"\r\n\r\n",
    b"NATS/1.0",
    b"NATS/1.0\r\n",
    b"NATS/1.0 503 \xff\xfe\r\n\r\n",
    b"NATS/1.0 \xff\r\n\r\n",
    b"NATS/1.0\r\n\xff: \xff\r\n: x\r\nno colon\r\n\r\n",
    b"NATS/1.0 404 No Messages\r\n\r\n",
]
SUBJECTS = [b".\xff", b".a\x0bb", b".a\x0cb", b".a\x00b", b"." + b"x" * 3000]


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with NatsServer() as running:
        print("nats-server", nats_server_version(running.binary))
        yield running


def publish_broken(server: NatsServer, stream: str) -> int:
    """Publish one of each; returns how many."""
    name = stream.encode()
    messages: list[tuple[bytes, bytes | None, bytes]] = [(name + b".x", block, b"broken") for block in BROKEN]
    messages += [(name + subject, block, b"broken") for subject in SUBJECTS for block in (None, BROKEN[0])]
    publish_raw(server.url, *messages)
    return len(messages)


def test_a_message_with_broken_headers_or_an_odd_subject_is_delivered_and_holds_nothing_up(server: NatsServer) -> None:
    consume = Consume(fails=lambda one: one.data == b"broken" and one.num_delivered == 1)

    async def run() -> None:
        async with bridged(server.url, consume) as bridge:
            await bridge.publish(b"before")
            count = await asyncio.to_thread(publish_broken, server, bridge.route.stream)
            assert (await bridge.js.stream_info(bridge.route.stream)).state.messages == count + 1
            await bridge.publish(b"after")
            await until(lambda: bridge.consumer.status.processed == count + 2)
            await until(bridge.all_done)
            assert bridge.consumer.status.failed["record"] == count
            assert bridge.consumer._link.failures == 0

    asyncio.run(run())
    messages = [one for batch in consume.batches for one in batch]
    json.dumps(batch_event("feedback", "durable", messages)).encode()
    assert {one.data for one in messages} == {b"before", b"broken", b"after"}


def test_a_broken_message_is_delivered_on_the_next_connection_too(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.pull.EXPIRES_SEC", 3600)  # so what was asked for on the first is not waited for
    consume = Consume(fails=lambda one: one.data == b"broken")

    async def run() -> None:
        async with bridged(server.url, consume) as bridge:
            count = await asyncio.to_thread(publish_broken, server, bridge.route.stream)
            await until(lambda: len(set(consume.handed)) == count)
            first = await bridge.consumer._link.client()
            await first.close()
            await until(lambda: bridge.consumer._link.connected)
            assert await bridge.consumer._link.client() is not first
            consume.fails = lambda _: False
            await until(bridge.all_done)

    asyncio.run(run())


def test_the_lag_behind_a_broken_message_is_known(server: NatsServer) -> None:
    consume = Consume(fails=lambda one: True)

    async def run() -> None:
        async with bridged(server.url, consume) as bridge:
            for number, block in enumerate(BROKEN, 1):
                subject = f"{bridge.route.stream}.x".encode()
                await asyncio.to_thread(publish_raw, server.url, (subject, block, b"broken"))
                await until(lambda: number in consume.handed)  # noqa: B023 (awaited in the loop)
                await Lag(bridge.consumer._link, [bridge.consumer]).look_up()
                assert bridge.consumer.status.lag_known
                assert bridge.consumer.status.lag_messages == 1
                assert bridge.consumer.status.lag_seconds > 0
                await bridge.js.purge_stream(bridge.route.stream)

    asyncio.run(run())


async def carried(bridge: Bridged, consume: Consume, block: bytes) -> Message:
    """Publish a message with such headers, and return what `consume` is handed."""
    count = len(consume.handed)
    subject = f"{bridge.route.stream}.x".encode()
    await asyncio.to_thread(publish_raw, bridge.consumer._settings.servers[0], (subject, block, b""))
    await until(lambda: len(consume.handed) > count)
    return consume.batches[-1][-1]


def test_headers_arrive_whole(server: NatsServer) -> None:
    consume = Consume()

    async def run() -> None:
        async with bridged(server.url, consume) as bridge:
            block = b"NATS/1.0\r\nM: one\r\nOther:x:y\r\nM:  two \r\nm: three\r\nM:\r\n\r\n"
            message = await carried(bridge, consume, block)
            assert message.headers == {"M": ["one", "two", ""], "Other": "x:y", "m": "three"}
            assert list(message.headers) == ["M", "Other", "m"]
            (record,) = batch_event("feedback", "durable", [message])["records"]
            assert record["headers"] == message.headers
            # A header that the server's own answers have is one like any other.
            message = await carried(
                bridge, consume, b"NATS/1.0\r\nStatus: 409\r\nDescription: Consumer Deleted\r\n\r\n"
            )
            assert message.headers == {"Status": "409", "Description": "Consumer Deleted"}
            assert bridge.consumer.status.problem is None

    asyncio.run(run())


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"NATS/1.0 503\r\n\r\n", {"Status": "503"}),
        (
            b"NATS/1.0 409 Consumer Deleted\r\nNats-Pending-Messages: 3\r\n\r\n",
            {"Status": "409", "Description": "Consumer Deleted", "Nats-Pending-Messages": "3"},
        ),
        (b"NATS/1.0\r\nU: \xff\xc3\xa9\r\n\r\n", {"U": "\ufffdé"}),
        (b"NATS/1.0\r\nA: 1\r\nA: 2\r\nA: 3\r\n\r\n", {"A": ["1", "2", "3"]}),
        (b"XXXX\r\nA: 1", {"A": "1"}),
        *((block, {}) for block in BROKEN[:4]),
    ],
)
def test_what_is_read_of_a_block_of_headers(block: bytes, expected: dict[str, Any]) -> None:
    assert headers_of(block) == expected


def test_every_value_of_a_header_is_weighed() -> None:
    def message(values: str | list[str]) -> Message:
        msg = StreamMsg(None, "s", "$JS.ACK.s.d.1.1.1.1700000000000000000.0", carried={"name": values})  # type: ignore[arg-type]
        return delivery_of(msg).message

    one, three = message("x" * 100), message(["x" * 100, "é" * 100, "x" * 100])
    assert three.size - one.size == 2 * len("name") + 300


def test_a_connection_that_nobody_reads_from_is_made_anew_at_once(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    consume = Consume()
    built: Callable[..., Msg] = StreamClient._build_message
    faults = iter([True])

    def fails_once(self: StreamClient, sid: int, subject: bytes, reply: bytes, data: bytes, headers: Any) -> Msg:
        if data == b"unforeseen" and next(faults, False):
            raise LookupError("not even the client knows this one")
        return built(self, sid, subject, reply, data, headers)

    monkeypatch.setattr(StreamClient, "_build_message", fails_once)

    async def run() -> None:
        async with bridged(server.url, consume, ack_wait_sec=1.0) as bridge:
            first = await bridge.consumer._link.client()
            await bridge.publish(b"unforeseen", b"after")
            await until(lambda: first.is_closed, within=15)  # long before two pings are missing
            await until(bridge.all_done)
            assert bridge.consumer.status.processed == 2

    asyncio.run(run())


def test_the_client_changes_what_nats_py_calls() -> None:
    """After an upgrade that calls them otherwise, a broken message would stop the bridge again."""
    own = [name for name, value in vars(StreamClient).items() if inspect.isfunction(value)]
    assert set(own) == {"_process_headers", "_build_message", "_read_loop"}
    for name in own:
        assert [*inspect.signature(getattr(StreamClient, name)).parameters] == [
            *inspect.signature(getattr(Client, name)).parameters
        ]
    called = inspect.getsource(Client._process_msg)
    assert "await self._process_headers(headers)" in called
    assert "self._build_message(sid, subject, reply, data, hdr)" in called
    assert "create_task(self._read_loop())" in inspect.getsource(Client)
