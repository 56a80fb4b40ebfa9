"""One run of the chaos test: decide, publish, meanwhile kill and restart, wait until nothing is left."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO, Any

from ulid import ULID

from devstack.nats import NatsServer
from tests.chaos import workload
from tests.chaos.clients import ChaosFailed, Clients
from tests.chaos.facts import Decided, Generated
from tests.chaos.figures import figures
from tests.chaos.messages import Script, script
from tests.chaos.prompts import written
from tests.chaos.service import Bridge, Service
from tests.chaos.streams import Streams
from tests.chaos.verdict import Faults, faults_of
from tests.chaos.workload import Events, Sizes

REWARD_WAIT_SEC = 1
REFUSED, MISREPORTED = 0.05, 0.02
_WAIT_US = REWARD_WAIT_SEC * 1_000_000
_GENERATIONS = 3


@dataclass
class Run:
    """What was told, what happened meanwhile, and what the HTTP answers say at the end."""

    sizes: Sizes
    seed: int
    generated: dict[str, list[Generated]] = field(default_factory=dict)
    decided: list[Decided] = field(default_factory=list)
    script: Script = field(default_factory=lambda: Script((), (), ()))
    decisions: dict[str, Any] = field(default_factory=dict)
    """By id, as `GET /decisions` shows it at the end."""
    server_version: str = ""
    seconds: float = 0.0
    max_backlog: int = 0
    confirmed: int = 0
    malformed_at: set[tuple[str, str]] = field(default_factory=set)
    """Stream and sequence of the malformed messages."""
    bridge_kills: int = 0
    server_stops: int = 0
    server_kills: int = 0
    rewards_retried: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    late: int = 0
    revised: int = 0

    @property
    def wait_us(self) -> int:
        return _WAIT_US


def decide(run: Run, rng: random.Random, service: Service) -> None:
    """Have tips written and decisions taken, all of them stored."""
    for user in workload.users(run.sizes):
        made = [written(user, rng) for _ in range(_GENERATIONS)]
        run.generated[user] = [one for one, _ in made]
        for _, item in made:
            service.put(item)
    bodies = workload.score_requests(rng, run.sizes, run.generated)
    with Clients(service.score_url) as clients:
        answers = clients.post_all("/score", bodies)
    for body, answer in zip(bodies, answers, strict=True):
        if not answer["logged"] or answer["degraded"]:
            raise ChaosFailed(f"a decision of {body['user_id']} was not stored, or taken blindly")
        shown = next(one for one in body["candidates"] if one["id"] == answer["tip_id"])
        run.decided.append(
            Decided(
                body["user_id"],
                answer["decision_id"],
                answer["tip_id"],
                ULID.from_str(answer["decision_id"]).milliseconds * 1000,
                body["defer"],
                shown.get("generation_id"),
            )
        )


class Killer:
    """Kills the bridge as batches are handled: in turn before the handler is called, and after it has answered.

    The second is the worst there is: what was learned is never acked.
    """

    def __init__(self, bridge: Bridge, at: Sequence[int], done: set[Any]) -> None:
        self._bridge = bridge
        self._at = list(at)
        self._done = done
        self._lock = threading.Lock()

    @property
    def over(self) -> bool:
        return not self._at

    def before(self) -> None:
        self._kill_if(lambda left: left % 2 == 1)

    def after(self) -> None:
        self._kill_if(lambda left: left % 2 == 0)

    def _kill_if(self, its_turn: Any) -> None:
        with self._lock:
            due = self._at and its_turn(len(self._at)) and len(self._done) >= self._at[0]
            if due and self._bridge.exit_code is None:
                self._bridge.kill()
                self._at.pop(0)


async def unleash(run: Run, service: Service, server: NatsServer, limit_sec: float) -> None:
    """Publish everything while bridge and server are killed; return when nothing is left to do."""
    began = time.monotonic()
    bridge = service.bridge(server.url)
    seen = service.consume.seen
    killer = Killer(bridge, _spread(run.sizes.bridge_kills, run.sizes.events), seen.done)
    service.consume.before, service.consume.after = killer.before, killer.after
    bridge.start()
    streams = await Streams.connect(server.url)
    rewards = asyncio.create_task(asyncio.to_thread(_reward, run, service))
    try:
        await streams.ready(60)
        run.server_version = streams.version
        keeper = _Keeper(run, service, server, bridge, streams)
        await keeper.publish(began + limit_sec)
        await keeper.until_nothing_is_left(killer, rewards, began + limit_sec)
        await rewards
        run.seconds = time.monotonic() - began
        run.bridge_kills = bridge.kills
    finally:
        run.over.set()
        service.consume.before = service.consume.after = None
        await streams.close()
        code = await asyncio.to_thread(bridge.stop)
    if code != 0:
        raise ChaosFailed(f"the bridge ended with code {code} when told to")


def _spread(count: int, events: int) -> list[int]:
    """Return at how many messages done each of `count` things happens: the last well before the end."""
    return [events * (number + 1) * 3 // (4 * (count + 1)) for number in range(count)]


@dataclass
class _Keeper:
    """Publishes, and keeps server and bridge up, as their operators do."""

    run: Run
    service: Service
    server: NatsServer
    bridge: Bridge
    streams: Streams

    def __post_init__(self) -> None:
        self._restarts = _spread(self.run.sizes.server_restarts, self.run.sizes.events)
        self._places: set[tuple[str, int]] = set()
        self._looked_at = 0.0

    async def publish(self, deadline: float) -> None:
        ahead = max(300, self.run.sizes.events // 10)
        for number, one in enumerate(self.run.script.messages):
            while len(self._places) - len(self.service.consume.seen.done) > ahead:
                await self._keep(deadline)
                await asyncio.sleep(0.02)
            # Told twice, a fact is learned once; a bad message would be two, had its confirmation been lost.
            identity = f"bad-{number}" if one.malformed else None
            place = await self.streams.publish(one, identity)
            self._places.add(place)
            if one.malformed:
                self.run.malformed_at.add((place[0], str(place[1])))
            if number % 20 == 0:
                await self._keep(deadline)
        self.run.confirmed = len(self._places)

    async def until_nothing_is_left(self, killer: Killer, rewards: asyncio.Task[None], deadline: float) -> None:
        while True:
            await self._keep(deadline)
            if killer.over and not self._restarts and rewards.done():
                left = await self.streams.left()
                if left.total == 0 and len(self.service.consume.seen.done) >= len(self._places):
                    return
            await asyncio.sleep(0.05)

    async def _keep(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            left = await asyncio.wait_for(self.streams.left(), 10)
            seen = self.service.consume.seen
            raise ChaosFailed(
                f"not done in time: {left}, {len(seen.done)} of {len(self._places)} messages done, "
                f"{seen.invocations} invocations, errors {dict(seen.errors)}"
            )
        if (code := self.bridge.exit_code) is not None:
            if self.bridge.starts != self.bridge.kills:
                raise ChaosFailed(f"the bridge ended by itself, with code {code}")
            self.bridge.start()
        if self._restarts and len(self.service.consume.seen.done) >= self._restarts[0]:
            await self._restart_server(crash=len(self._restarts) % 2 == 1)
            self._restarts.pop(0)
        if time.monotonic() - self._looked_at > 0.25:
            self.run.max_backlog = max(self.run.max_backlog, (await self.streams.left()).total)
            self._looked_at = time.monotonic()

    async def _restart_server(self, *, crash: bool) -> None:
        if crash:
            # What a server confirmed within its last moment it may not have written; that is not ours to prove.
            await asyncio.sleep(0.5)
            await asyncio.to_thread(self.server.kill)
            self.run.server_kills += 1
        else:
            await asyncio.to_thread(self.server.stop)
            self.run.server_stops += 1
        await asyncio.to_thread(self.server.start)
        stored = await self.streams.stored()
        lost = [place for place in self._places if place[1] > stored[place[0]]]
        if lost:
            raise ChaosFailed(f"nats-server lost {len(lost)} messages that it had confirmed")


def _reward(run: Run, service: Service) -> None:
    """Tell some of the reactions by HTTP as well, spread over the run."""
    bodies = run.script.rewards
    done = service.consume.seen.done
    with Clients(service.reward_url) as clients:
        for number, body in enumerate(bodies):
            while len(done) < run.sizes.events * number * 3 // (4 * len(bodies)):
                if run.over.wait(0.02):
                    return
            run.rewards_retried += clients.post_until_taken("/reward", body)


def go(sizes: Sizes, seed: int, log: IO[Any], limit_sec: float) -> tuple[Run, Faults, dict[str, Any]]:
    """Return the run, what is wrong with what is left of it, and its figures. limit_sec: from the first message."""
    rng = random.Random(seed)
    run = Run(sizes, seed)
    with (
        Service(seed, log, reward_wait=f"{REWARD_WAIT_SEC}s", refused=REFUSED, misreported=MISREPORTED) as service,
        NatsServer(log=log) as server,
        ThreadPoolExecutor(1) as warming,
    ):
        warm = warming.submit(service.warm)
        decide(run, rng, service)
        warm.result()
        # Some reactions must be able to come too late.
        time.sleep(max(0.0, run.decided[0].at_us / 1e6 + 1.5 * REWARD_WAIT_SEC - time.time()))
        events = Events(rng, run.decided, _WAIT_US, time.time_ns() // 1000)
        run.script = script(rng, sizes, events)
        asyncio.run(unleash(run, service, server, limit_sec))
        with Clients(service.score_url) as clients:
            paths = [f"/decisions/{one.decision_id}?user_id={one.user_id}" for one in run.decided]
            run.decisions = {one["decision_id"]: one for one in clients.get_all(paths)}
            faults = faults_of(run, service, clients)
            return run, faults, figures(run, service)
