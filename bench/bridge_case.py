"""What the bridge can bring when `consume` does nothing: the real process between a real nats-server and a stub.

Beside it a bare loop that fetches and acks and hands nothing over: nats-py's own share.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats

from bench.consume_people import SUBJECT, people
from bench.instant_dynamodb import InstantDynamoDB, Rule
from bench.score_case import TABLE
from bridge.settings import ROUTES, Settings
from bridge.streams import durable_name, make_ready
from devstack.bridge import BridgeProcess
from devstack.nats import NatsServer

BATCH = 100
MESSAGE_BYTES = 400
_SETTINGS = Settings(ensure_streams=True)
_STREAM = ROUTES[0].stream
_DURABLE = durable_name(_SETTINGS, ROUTES[0])
_TICKS_PER_SEC = os.sysconf("SC_CLK_TCK")
_PATIENCE_SEC = 100.0


@dataclass(frozen=True)
class Run:
    """seconds, processor: of `messages`; handed: what the stub says that came."""

    messages: int
    seconds: float
    processor: float
    handed: dict[str, int]


class Stub:
    """The process that stands for `consume`."""

    def __init__(self, process: subprocess.Popen[str], endpoint: str) -> None:
        self._process = process
        self.endpoint = endpoint

    def goes_on(self) -> None:
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def came(self) -> dict[str, int]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.endpoint}/", timeout=30) as answer:
            said: dict[str, int] = json.load(answer)
            return said


@contextmanager
def stub() -> Iterator[Stub]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.bridge_stub"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[1],
        text=True,
    )
    try:
        assert process.stdout is not None  # noqa: S101
        yield Stub(process, f"http://127.0.0.1:{int(process.stdout.readline())}")
    finally:
        process.communicate()


def bridge(*, messages: int, runs: int) -> dict[str, Any]:
    """Return a row for the bridge and for the bare loop, each the median of `runs` over as many messages."""
    return asyncio.run(_measured(messages, runs))


async def _measured(messages: int, runs: int) -> dict[str, Any]:
    found: dict[str, list[Run]] = {"bridge": [], "bare": []}
    with NatsServer() as server:
        client = await nats.connect(server.url)
        try:
            for _ in range(runs):
                await _publish(client, messages)
                found["bridge"].append(await _through_bridge(client, server.url, messages))
                await _publish(client, messages)
                found["bare"].append(await _bare(client, messages))
            version = client.connected_server_version
        finally:
            await client.close()
    return {
        "messages": messages,
        "message_bytes": MESSAGE_BYTES,
        "runs": runs,
        "nats_server": f"{version.major}.{version.minor}.{version.patch}",
        "rows": [_row(name, of, found["bare"]) for name, of in found.items()],
    }


def _row(name: str, of: list[Run], bare: list[Run]) -> dict[str, Any]:
    rates = [one.messages / one.seconds for one in of]
    return {
        "name": name,
        "per_sec": statistics.median(rates),
        "low": min(rates),
        "high": max(rates),
        "times_bare": statistics.median(
            rate / (other.messages / other.seconds) for rate, other in zip(rates, bare, strict=True)
        ),
        "processor_per_1000": statistics.median(1000 * one.processor / one.messages for one in of),
        **of[-1].handed,
    }


async def _publish(client: Any, messages: int) -> None:
    """Let the stream hold these messages and no others, and nobody have heard of any."""
    js = client.jetstream(timeout=30)
    if _STREAM in {one.config.name for one in await js.streams_info()}:
        await js.delete_stream(_STREAM)
    await make_ready(js, _SETTINGS, ROUTES[0])
    body = people(1)[0].events[0].encode().ljust(MESSAGE_BYTES)
    for number in range(messages):
        await client.publish(SUBJECT, body)
        if number % 1000 == 0:
            await client.flush(30)
    await _until(lambda: _holds(js, messages))


async def _holds(js: Any, messages: int) -> bool:
    return bool((await js.stream_info(_STREAM)).state.messages == messages)


async def _all_done(js: Any, durable: str) -> bool:
    info = await js.consumer_info(_STREAM, durable)
    return not info.num_pending and not info.num_ack_pending


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + _PATIENCE_SEC
    while not await condition():
        if time.monotonic() > deadline:
            raise RuntimeError("it did not come to pass")
        await asyncio.sleep(0.02)


async def _through_bridge(client: Any, url: str, messages: int) -> Run:
    """Measure from where the bridge has all that it may have in flight until everything is acked.

    What it had fetched by then does not count among the messages, although it is handed over like the others.
    """
    js = client.jetstream(timeout=30)
    held = min(messages, _SETTINGS.max_in_flight * _SETTINGS.batch_messages)
    with stub() as consume, InstantDynamoDB([Rule("PutItem", "{}"), Rule("UpdateItem", "{}")]) as table:
        process = BridgeProcess(
            nats_url=url,
            lambda_endpoint=consume.endpoint,
            dynamodb_endpoint=table.endpoint,
            table_name=TABLE,
            log=subprocess.DEVNULL,
        )
        try:
            await asyncio.to_thread(process.wait_until_ready)

            async def holds_all() -> bool:
                return (await asyncio.to_thread(consume.came))["records"] >= held

            await _until(holds_all)
            began, used = time.perf_counter(), _processor_sec(process._process.pid)
            consume.goes_on()
            await _until(lambda: _all_done(js, _DURABLE))
            seconds, used = time.perf_counter() - began, _processor_sec(process._process.pid) - used
            handed = consume.came()
        finally:
            await asyncio.to_thread(process.stop)
    if handed["records"] != messages:
        raise RuntimeError(f"{handed['records']} records were handed over, not {messages}")
    return Run(messages - held, seconds, used, handed)


async def _bare(client: Any, messages: int) -> Run:
    js = client.jetstream(timeout=30)
    subscription = await js.pull_subscribe(SUBJECT, durable="bare", stream=_STREAM)
    began, used = time.perf_counter(), time.process_time()
    left = messages
    while left:
        for msg in await subscription.fetch(BATCH, timeout=30):
            await msg.ack()
            left -= 1
    await client.flush(30)
    await _until(lambda: _all_done(js, "bare"))
    seconds, used = time.perf_counter() - began, time.process_time() - used
    await subscription.unsubscribe()
    return Run(messages, seconds, used, {})


def _processor_sec(pid: int) -> float:
    """Return the processor time of another process, as Linux tells it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SEC
