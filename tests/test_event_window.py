"""A window of a live stream, on a real nats-server: what is in it is replayed, and nobody else's consumer notices."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import nats
import pytest
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig
from nats.js.client import JetStreamContext

from bridge.settings import Settings
from devstack.nats import NatsServer, nats_server_version
from offline import event_window
from offline.event_window import StreamWindow, Window, WindowUnreadable
from tests.bridge_process import publish_raw
from tests.conftest import LoadedFunction
from tests.requests import stats
from tests.test_event_replay import HandlerClient, decide, feedback, handler, run

__all__ = ["handler"]
DURABLE = "feature-pipeline-signals"
T = TypeVar("T")


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with NatsServer() as running:
        print("nats-server", nats_server_version(running.binary))
        yield running


@pytest.fixture
def stream(server: NatsServer) -> Iterator[str]:
    """An empty stream with a durable consumer, which is there for this test only."""

    async def make(js: JetStreamContext) -> None:
        await js.add_stream(StreamConfig(name="signals", subjects=["signals.>", "feedback.>"]))
        await js.add_consumer("signals", ConsumerConfig(durable_name=DURABLE, filter_subject="signals.>"))

    async def remove(js: JetStreamContext) -> None:
        await js.delete_stream("signals")

    on(server, make)
    yield "signals"
    on(server, remove)


def on(server: NatsServer, work: Callable[[JetStreamContext], Awaitable[T]]) -> T:
    async def connected() -> T:
        client = await nats.connect(server.url)
        try:
            return await work(client.jetstream())
        finally:
            await client.close()

    return asyncio.run(connected())


def publish(server: NatsServer, *records: dict[str, Any]) -> list[datetime]:
    """Publish events; returns when the stream took each."""

    async def all_of(js: JetStreamContext) -> list[datetime]:
        times: list[datetime] = []
        for one in records:
            data = one["raw"] if "raw" in one else json.dumps(one["event"]).encode()
            ack = await js.publish(one["subject"], data, headers={"Nats-Msg-Id": f"m-{len(times)}-{data!r}"[:60]})
            message = await js.get_msg("signals", ack.seq)
            assert message.time is not None
            times.append(message.time)
        return times

    return on(server, all_of)


def consumers(server: NatsServer) -> dict[str, tuple[Any, ...]]:
    """Return where every consumer of the stream is."""

    async def look(js: JetStreamContext) -> dict[str, tuple[Any, ...]]:
        return {
            one.name: (one.num_pending, one.num_ack_pending, one.num_redelivered, one.delivered, one.ack_floor)
            for one in await js._jsm.consumers_info("signals")
        }

    return on(server, look)


def window(server: NatsServer, since: datetime, until: datetime | None = None) -> StreamWindow:
    wanted = Window("signals", since, until or datetime.now(UTC) + timedelta(hours=1))
    return StreamWindow(Settings(servers=(server.url,)), wanted)


def other(number: int) -> dict[str, Any]:
    return {"subject": "signals.tip.other", "event": {"n": number}}


EVER = datetime(2020, 1, 1, tzinfo=UTC)


def test_a_window_is_replayed_and_the_durable_consumer_is_left_untouched(
    server: NatsServer,
    stream: str,
    score: LoadedFunction,
    handler: HandlerClient,
    capsys: pytest.CaptureFixture[str],
) -> None:
    decisions = decide(score, 5)
    publish(server, *(feedback(n, one) for n, one in enumerate(decisions)), other(1))

    async def one_is_being_worked_on(js: JetStreamContext) -> None:
        subscription = await js.pull_subscribe_bind(stream="signals", consumer=DURABLE)
        await subscription.fetch(1, timeout=5)

    on(server, one_is_being_worked_on)
    before = consumers(server)
    assert set(before) == {DURABLE}
    code, out, err = run(capsys, "--stream", stream, "--since", "2020-01-01T00:00Z", "--nats-url", server.url)
    assert (code, err) == (0, "")
    assert out.splitlines() == ["read 6 events", "  5 feedback.tip", "  1 signals.tip.other", "done 6, failed 0"]
    assert stats(score) == pytest.approx((5, 3.0))
    assert consumers(server) == before
    assert run(capsys, "--stream", stream, "--since", "2020-01-01", "--nats-url", server.url)[0] == 0
    assert stats(score) == pytest.approx((5, 3.0))


def test_only_what_was_taken_within_the_window(server: NatsServer, stream: str) -> None:
    times = publish(server, *map(other, range(6)))
    moment = timedelta(microseconds=10)  # the library's times are rounded
    with window(server, times[2] - moment, times[4] + moment) as found:
        assert found.pending == 4
        events = list(found)
    assert [json.loads(one.data)["n"] for one in events] == [2, 3, 4]
    assert [one.place for one in events] == ["signals:3", "signals:4", "signals:5"]
    assert all(abs(one.timestamp - at) < moment for one, at in zip(events, times[2:5], strict=True))
    assert all(one.headers["Nats-Msg-Id"] for one in events)
    assert set(consumers(server)) == {DURABLE}


def test_a_window_without_messages_ends_at_once(server: NatsServer, stream: str) -> None:
    publish(server, other(1))
    with window(server, datetime.now(UTC) + timedelta(hours=1)) as found:
        assert list(found) == []
    assert set(consumers(server)) == {DURABLE}


def test_more_than_one_fetch_in_order(server: NatsServer, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_window, "_FETCH", 7)
    publish(server, *map(other, range(40)))
    with window(server, EVER) as found:
        assert [json.loads(one.data)["n"] for one in found] == list(range(40))


def test_a_window_that_is_left_early_leaves_no_consumer(server: NatsServer, stream: str) -> None:
    publish(server, *map(other, range(3)))
    with window(server, EVER) as found:
        next(iter(found))
        assert len(consumers(server)) == 2
    assert set(consumers(server)) == {DURABLE}


def test_a_bad_message_is_named_by_its_sequence(
    server: NatsServer, stream: str, handler: HandlerClient, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(server, other(1), {"subject": "signals.tip.feedback", "raw": b"no json"})
    code, out, _ = run(capsys, "--stream", stream, "--since", "2020-01-01", "--nats-url", server.url)
    assert code == 1
    assert "done 1, failed 1" in out
    assert "  signals:2: failed 4 times" in out


def test_a_message_with_broken_headers_is_replayed_like_any_other(
    server: NatsServer,
    stream: str,
    handler: HandlerClient,
    capsys: pytest.CaptureFixture[str],
) -> None:
    blocks = [
        b"XXXX\r\n\r\n",
        b"\r\n\r\n",
        b"NATS/1.0",
        b"NATS/1.0 503 \xff\r\n\r\n",
        b"NATS/1.0\r\nStatus: 409\r\n\r\n",
    ]
    odd = (b"signals.a\x0bb\xff", b"NATS/1.0\r\nM: one\r\nM: two\r\n\r\n", b"{}")
    # The first of a fetch counts apart, and so does the last.
    publish_raw(server.url, *((b"signals.tip.other", block, b"{}") for block in blocks), odd)
    publish(server, other(1))
    publish_raw(server.url, *((b"signals.tip.other", block, b"{}") for block in blocks))
    code, out, err = run(capsys, "--stream", stream, "--since", "2020-01-01", "--nats-url", server.url)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "read 12 events"
    assert out.splitlines()[-1] == "done 12, failed 0"
    (headers,) = [one.headers for batch in handler.batches for one in batch if "M" in one.headers]
    assert headers == {"M": ["one", "two"]}


def test_no_such_stream_and_no_server(
    server: NatsServer, stream: str, handler: HandlerClient, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "--stream", "no-such", "--since", "2020-01-01", "--nats-url", server.url)
    assert (code, err) == (1, "tips: there is no stream no-such\n")
    code, _, err = run(capsys, "--stream", stream, "--since", "2020-01-01", "--nats-url", "nats://u:secret@127.0.0.1:9")
    assert code == 1
    assert err.startswith("tips: NATS at 127.0.0.1:9 cannot be reached")
    assert "secret" not in err


def test_why_a_stream_cannot_be_read_is_in_the_servers_words(
    server: NatsServer, handler: HandlerClient, capsys: pytest.CaptureFixture[str]
) -> None:
    async def make(js: JetStreamContext) -> None:
        await js.add_stream(StreamConfig(name="tasks", subjects=["tasks.>"], retention=RetentionPolicy.WORK_QUEUE))

    on(server, make)
    code, _, err = run(capsys, "--stream", "tasks", "--since", "2020-01-01", "--nats-url", server.url)
    assert code == 1
    assert re.fullmatch(r"tips: the stream tasks cannot be read: BadRequestError: consumer in pull mode [a-z ]+\n", err)


def test_a_server_that_goes_away_is_told(stream: str, server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_window, "_FETCH", 2)
    monkeypatch.setattr(event_window, "_FETCH_SEC", 0.2)
    publish(server, *map(other, range(6)))
    with window(server, EVER) as found:
        events = iter(found)
        next(events)

        async def gone(js: JetStreamContext) -> None:
            await js.delete_consumer("signals", next(name for name in consumer_names if name != DURABLE))

        consumer_names = set(consumers(server))
        on(server, gone)
        with pytest.raises(WindowUnreadable, match="signals is lost"):
            list(events)
