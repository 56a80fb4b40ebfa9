"""A message that always fails, a record that is bad, and everybody else's: what becomes of each."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import IO, Any

from devstack.nats import NatsServer
from tests.chaos.clients import ChaosFailed, Clients
from tests.chaos.facts import Decided, Fact
from tests.chaos.messages import Published, wire
from tests.chaos.service import TABLE_NAME, Service
from tests.chaos.streams import Left, Streams
from tips.settings import Settings
from tips.state import dead_letters, keys
from tips.state.table import Table

POISONED, OTHERS = "poisoned", [f"healthy-{number}" for number in range(5)]
NAK_MIN_SEC = 0.05
EARLY, MIDDLE, LATE = range(3)
BAD_RECORD = b'{"event_id": "bad", "payload": {}}'
_ENVIRONMENT = {
    "BRIDGE_NAK_MIN_SEC": str(NAK_MIN_SEC),
    "BRIDGE_NAK_MAX_SEC": "3",
    "BRIDGE_ACK_WAIT_SEC": "60",  # else a machine that stalls would have a message come before its delay is over
}


@dataclass
class Poison:
    """What was seen while the poison was there, and after it was repaired. stats: pulls and reward, by person."""

    server_version: str = ""
    left: Left = field(default_factory=lambda: Left(0, 0))
    deliveries: list[float] = field(default_factory=list)
    stats_meanwhile: dict[str, tuple[int, float]] = field(default_factory=dict)
    letters_meanwhile: list[bytes] = field(default_factory=list)
    stats_after: dict[str, tuple[int, float]] = field(default_factory=dict)
    letters_after: list[bytes] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    """Of `consume` as a whole, by type."""


class _Scene:
    def __init__(self, service: Service, streams: Streams, deadline: float) -> None:
        self.service = service
        self.streams = streams
        self._deadline = deadline
        self._rng = random.Random(5)
        self.decided = {user: self._decisions(user) for user in (POISONED, *OTHERS)}

    def _decisions(self, user: str) -> list[Decided]:
        bodies = [{"user_id": user, "candidates": [{"id": f"tip-{number}"}]} for number in range(3)]
        with Clients(self.service.score_url) as clients:
            answers = clients.post_all("/score", bodies)
        return [Decided(user, one["decision_id"], one["tip_id"], time.time_ns() // 1000, False) for one in answers]

    async def tell(self, user: str, number: int) -> tuple[str, str]:
        """Publish that a person was done with a decision's tip; returns where it is."""
        one = self.decided[user][number]
        fact = Fact(
            "reaction",
            "signals.tip.feedback",
            f"{user}-{number}",
            user,
            one.at_us,
            one.tip_id,
            one.decision_id,
            action="done",
        )
        stream, sequence = await self.streams.publish(Published(fact.subject, wire(self._rng, fact)))
        return stream, str(sequence)

    async def until(self, what: str, holds: Any) -> None:
        while not holds():
            if time.monotonic() > self._deadline:
                raise ChaosFailed(f"{what}: not in time; {await self.streams.left()}")
            await asyncio.sleep(0.02)

    async def until_left(self, total: int) -> Left:
        """Wait until so many messages are not acked; `until` knows only what was answered."""
        while (left := await self.streams.left()).total != total:
            if time.monotonic() > self._deadline:
                raise ChaosFailed(f"not {total} messages are left in the end: {left}")
            await asyncio.sleep(0.02)
        return left

    def stats(self) -> dict[str, tuple[int, float]]:
        users = [POISONED, *OTHERS]
        with Clients(self.service.score_url) as clients:
            answers = clients.get_all([f"/stats/{user}" for user in OTHERS])
            # What is damaged cannot be shown.
            item = self.learning()
            if b"damaged" not in next(iter(item["schemas"]["M"].values()))["B"]:
                answers = [*clients.get_all([f"/stats/{POISONED}"]), *answers]
            else:
                users = OTHERS
        return {
            user: (one["pulls"], round(one["cumulative_reward"], 9)) for user, one in zip(users, answers, strict=True)
        }

    def learning(self) -> dict[str, Any]:
        pk, sk = keys.learning(POISONED)
        key = {"pk": {"S": pk}, "sk": {"S": sk}}
        item: dict[str, Any] = self.service.table.get_item(TableName=TABLE_NAME, Key=key)["Item"]
        return item

    def letters(self) -> list[bytes]:
        table = Table(Settings(table_name=TABLE_NAME, dynamodb_endpoint=self.service.table_url), timeout_ms=30_000)
        read = [dead_letters.read(table, stored) for stored in dead_letters.letters(table)]
        return [one[0].data for one in read if one is not None]


async def _play(service: Service, server: NatsServer, limit_sec: float) -> Poison:
    seen, result = service.consume.seen, Poison()
    bridge = service.bridge(server.url, **_ENVIRONMENT)
    bridge.start()
    streams = await Streams.connect(server.url)
    try:
        await streams.ready(60)
        result.server_version = streams.version
        scene = await asyncio.to_thread(_Scene, service, streams, time.monotonic() + limit_sec)
        early = await scene.tell(POISONED, EARLY)
        await scene.until("the first reaction is learned", lambda: early in seen.done)

        whole = scene.learning()
        digest = next(iter(whole["schemas"]["M"]))
        service.put({**whole, "schemas": {"M": {digest: {"B": b"damaged"}}}})
        poison = await scene.tell(POISONED, MIDDLE)
        stream, sequence = await streams.publish(Published("signals.tip.feedback", BAD_RECORD))
        others = [(stream, str(sequence))]
        others += [await scene.tell(user, number) for number in (EARLY, MIDDLE) for user in OTHERS]
        await scene.until("all others are done", lambda: set(others) <= seen.done)
        await scene.until("the poison comes again and again", lambda: len(seen.delivered[poison]) >= 7)
        # What is published behind it gets through as well.
        late = [await scene.tell(user, LATE) for user in OTHERS]
        await scene.until("all that came later is done", lambda: set(late) <= seen.done)
        result.left = await scene.until_left(1)
        result.stats_meanwhile = await asyncio.to_thread(scene.stats)
        result.letters_meanwhile = scene.letters()
        result.deliveries = list(seen.delivered[poison])

        service.put(whole)
        await scene.until("the poison is learned once repaired", lambda: poison in seen.done)
        await scene.until_left(0)
        result.stats_after = await asyncio.to_thread(scene.stats)
        result.letters_after = scene.letters()
        result.errors = dict(seen.errors)
    finally:
        await streams.close()
        code = await asyncio.to_thread(bridge.stop)
    if code != 0:
        raise ChaosFailed(f"the bridge ended with code {code} when told to")
    return result


def play(log: IO[Any], limit_sec: float) -> Poison:
    """Let one person's learning be damaged, tell of everybody, repair it."""
    with Service(1, log, instances=1) as service, NatsServer(log=log) as server:
        return asyncio.run(_play(service, server, limit_sec))
