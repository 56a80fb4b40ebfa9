"""What the bridge makes of durable consumers that are there already: each gets everything afterwards, or is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import nats
import pytest
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from devstack.nats import NatsServer, nats_server_version
from tests.bridge_harness import Consume, a_route, bridged, until
from tips import telemetry


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with NatsServer() as running:
        print("nats-server", nats_server_version(running.binary))
        yield running


def knows_new_filters(server: NatsServer) -> bool:
    major, minor = nats_server_version(server.binary).split(".")[:2]
    return (int(major), int(minor)) >= (2, 10)


async def found(
    server: NatsServer, *, subjects: tuple[str, ...] = ("STREAM.>",), **config: Any
) -> tuple[str | None, ConsumerConfig]:
    """Return the bridge's problem, and the settings of a consumer that it found, once it gets what it should.

    That is every message, from before and after it came, of the stream's subjects; none when there is a problem.
    STREAM in a subject is the stream's name.
    """
    route = a_route()
    durable = f"feature-pipeline-{route.stream}"
    named: dict[str, Any] = {
        name: value.replace("STREAM", route.stream) if isinstance(value, str) else value
        for name, value in config.items()
    }
    client = await nats.connect(server.url)
    js = client.jetstream(timeout=20)
    await js.add_stream(name=route.stream, subjects=[one.replace("STREAM", route.stream) for one in subjects])
    named.setdefault("ack_policy", AckPolicy.EXPLICIT)
    await js.add_consumer(route.stream, ConsumerConfig(durable_name=durable, **named))
    await js.publish(f"{route.stream}.tip", b"before")
    await js.publish(f"{route.stream}.other", b"before")
    consume = Consume()
    async with bridged(server.url, consume, route=route, ready=False) as bridge:
        await until(lambda: bridge.consumer.status.problem != "not connected")
        problem = bridge.consumer.status.problem
        await js.publish(f"{route.stream}.other", b"after")
        await js.publish(f"{route.stream}.tip", b"after")
        if problem is None:
            await until(lambda: len(consume.handed) >= 4)
            assert sorted(consume.handed) == [1, 2, 3, 4]
            assert [one.data for batch in consume.batches for one in batch].count(b"after") == 2
        settings = (await js.consumer_info(route.stream, durable)).config
    await client.close()
    return problem, settings


@pytest.mark.parametrize(
    ("config", "corrected"),
    [
        ({"max_deliver": 5}, {"max_deliver": -1}),
        ({"max_deliver": 5, "backoff": [1, 2]}, {"max_deliver": -1, "backoff": None, "ack_wait": 30}),
        ({"ack_wait": 2, "max_ack_pending": 1}, {"ack_wait": 30, "max_ack_pending": 8000}),
        ({"headers_only": True}, {"headers_only": None}),
        ({"inactive_threshold": 600}, {"inactive_threshold": None}),
    ],
    ids=["delivery limit", "backoff", "waits", "headers only", "end of its own"],
)
def test_a_consumer_that_would_lose_messages_is_corrected_and_gets_them(
    server: NatsServer, config: dict[str, Any], corrected: dict[str, Any]
) -> None:
    problem, settings = asyncio.run(found(server, filter_subject="STREAM.>", **config))
    assert problem is None
    assert {name: getattr(settings, name) or None for name in corrected} == corrected


def test_a_consumer_without_a_filter_is_left_without_where_it_gets_nothing_else(server: NatsServer) -> None:
    for subjects in (("STREAM.>",), ("STREAM.tip", "STREAM.other")):
        problem, settings = asyncio.run(found(server, subjects=subjects, max_deliver=5))
        assert (problem, settings.filter_subject, settings.max_deliver) == (None, None, -1)


NARROW = [
    {"filter_subject": "STREAM.tip"},
    {"subjects": ("STREAM.>", "elsewhere.STREAM")},  # without a filter it gets that as well
    {"subjects": ("STREAM.tip", "STREAM.other", "STREAMelse.>")},
]


def refusal(problem: str | None) -> str:
    assert problem is not None
    assert "would lose messages (filter_subject is " in problem
    assert "a server before 2.10 goes on with the old one" in problem
    durable = problem.split()[1]
    stream = durable.removeprefix("feature-pipeline-")
    assert f"delete it (nats consumer rm {stream} {durable} --force)" in problem
    return problem


@pytest.mark.parametrize("config", NARROW, ids=["narrow", "no filter", "no filter, like name"])
def test_another_filter_is_corrected_where_the_server_goes_by_it(server: NatsServer, config: dict[str, Any]) -> None:
    problem, settings = asyncio.run(found(server, **config))
    if knows_new_filters(server):
        assert problem is None
        assert (settings.filter_subject or "").endswith(".>")
    else:
        refusal(problem)
        assert settings.filter_subject is None or settings.filter_subject.endswith(".tip")


@pytest.mark.parametrize("config", NARROW, ids=["narrow", "no filter", "no filter, like name"])
def test_another_filter_is_refused_where_the_server_would_not_go_by_it(
    server: NatsServer, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.streams._FILTERS_CHANGE_FROM", (99, 0))
    problem, settings = asyncio.run(found(server, **config))
    refusal(problem)
    assert settings.filter_subject is None or settings.filter_subject.endswith(".tip")


def test_a_refused_consumer_that_is_deleted_is_created_anew_from_the_beginning(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.streams._FILTERS_CHANGE_FROM", (99, 0))
    route, consume = a_route(), Consume()
    durable = f"feature-pipeline-{route.stream}"

    async def run() -> None:
        client = await nats.connect(server.url)
        js = client.jetstream(timeout=20)
        await js.add_stream(name=route.stream, subjects=[route.subject])
        await js.add_consumer(route.stream, ConsumerConfig(durable_name=durable, filter_subject=f"{route.stream}.tip"))
        await js.publish(f"{route.stream}.other", b"x")
        async with bridged(server.url, consume, route=route, ready=False) as bridge:
            await until(lambda: "nats consumer rm" in (bridge.consumer.status.problem or ""))
            assert bridge.consumer.status.view()["ready"] is False
            await js.delete_consumer(route.stream, durable)
            await until(lambda: consume.handed == [1])
            assert bridge.consumer.status.problem is None
        await client.close()

    asyncio.run(run())


def test_a_consumer_that_cannot_be_corrected_is_refused(server: NatsServer) -> None:
    problem, settings = asyncio.run(found(server, filter_subject="STREAM.>", ack_policy=AckPolicy.NONE))
    assert settings.ack_policy == AckPolicy.NONE
    assert problem is not None
    assert "ack_policy is none, not explicit" in problem
    assert "delete it" in problem


@pytest.mark.parametrize(
    ("config", "delivered"),
    [
        ({"deliver_policy": DeliverPolicy.NEW}, {b"after"}),
        ({"deliver_policy": DeliverPolicy.LAST}, {b"last", b"after"}),
        ({"deliver_policy": DeliverPolicy.ALL}, {b"first", b"last", b"after"}),
    ],
    ids=["new", "last", "all"],
)
def test_a_consumer_that_does_not_begin_at_the_beginning_is_used_and_said(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], delivered: set[bytes]
) -> None:
    said: list[dict[str, Any]] = []

    def warning(message: str, *, extra: dict[str, Any], **_: Any) -> None:
        if "never delivered" in message:
            said.append(extra)

    monkeypatch.setattr(telemetry.logger, "warning", warning)
    route, consume = a_route(), Consume()
    durable = f"feature-pipeline-{route.stream}"

    async def run() -> None:
        client = await nats.connect(server.url)
        js = client.jetstream(timeout=20)
        await js.add_stream(name=route.stream, subjects=[route.subject])
        for body in (b"first", b"last"):
            await js.publish(f"{route.stream}.tip", body)
        await js.add_consumer(
            route.stream,
            ConsumerConfig(
                durable_name=durable,
                ack_policy=AckPolicy.EXPLICIT,
                filter_subject=route.subject,
                ack_wait=30,
                max_ack_pending=8000,
                max_deliver=-1,
                **config,
            ),
        )
        async with bridged(server.url, consume, route=route) as bridge:
            await bridge.publish(b"after")
            await until(bridge.all_done)
        await client.close()

    asyncio.run(run())
    assert {one.data for batch in consume.batches for one in batch} == delivered
    policy = config["deliver_policy"].value
    expected = [] if policy == "all" else [(route.stream, durable, policy)]
    assert [(one["stream"], one["consumer"], one["deliver_policy"]) for one in said] == expected
