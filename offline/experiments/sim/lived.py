"""People who live through simulated time: they look at tips, the real service chooses, they react, it learns."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from devstack.events import Message, envelope
from offline.experiments.sim.clock import DAY_SEC, Clock
from offline.experiments.sim.personas import WAIT_MINUTES, load_of
from offline.experiments.sim.reacting import expected
from offline.experiments.sim.tasks import Candidates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from offline.experiments.sim.judges import Judge
    from offline.experiments.sim.people import People
    from offline.experiments.sim.personas import Individual
    from offline.experiments.sim.reacting import Response
    from offline.experiments.sim.requests import Request
    from offline.experiments.sim.service import Service

EVENTS_WAIT_SEC = 1800.0
"""How long events are collected before they are handed to `consume` together."""
SWEEP_SEC = DAY_SEC
"""How often the table's time to live is played."""
FATIGUE_WINDOW_DAYS = 14.0

Row = dict[str, Any]


@dataclass(eq=False)
class Lived:
    """One person so far. seed: of everything that chance decides in this life."""

    individual: Individual
    seed: Sequence[int]
    candidates: Candidates
    by_event: bool
    rounds: int = 0
    reactions: int = 0
    done: bool = False
    shown: deque[float] = field(default_factory=deque)

    def load(self, now: float) -> float:
        while self.shown and self.shown[0] < now - FATIGUE_WINDOW_DAYS * DAY_SEC:
            self.shown.popleft()
        return load_of([(now - at) / DAY_SEC for at in self.shown])


@dataclass
class World:
    """Some people from `start` to `end` (seconds since 1970), each served by `policy` at up to `rounds` moments.

    reached(life, world): called when somebody's count of reactions learned has grown, and once before the first round.
    Half of the people react over HTTP, the others by events; that a tip was shown is always told by an event.
    """

    service: Service
    clock: Clock
    judge: Judge
    policy: str
    start: float
    end: float
    rounds: int
    seed: int
    reached: Callable[[Lived, World], None] = lambda life, world: None
    progress: Callable[[int], None] = lambda rounds: None
    rows: list[Row] = field(default_factory=list)
    _agenda: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)
    _pending: list[Message] = field(default_factory=list)
    _pending_since: float = math.inf
    _told: list[Lived] = field(default_factory=list)

    def run(self, individuals: Sequence[Individual]) -> list[Row]:
        """Live it through; one row per round. What a reaction would come after `end` is not told."""
        for number, individual in enumerate(individuals):
            self._enter(number, individual)
        for at in np.arange(self.start + SWEEP_SEC, self.end, SWEEP_SEC).tolist():
            self._at(at, self._sweep)
        self._at(self.end, self._sweep)
        while self._agenda:
            at, _, act = heapq.heappop(self._agenda)
            if at > self.end:
                break
            if at - self._pending_since > EVENTS_WAIT_SEC:
                self.clock.move_to(self._pending_since + EVENTS_WAIT_SEC)
                self._deliver()
            self.clock.move_to(at)
            act()
        self._deliver()
        return self.rows

    def _enter(self, number: int, individual: Individual) -> None:
        seed = (self.seed, number)
        persona = individual.persona
        candidates = Candidates(individual.user_id, (*seed, 1), self.start)
        candidates.prepare(self.end)
        life = Lived(individual, seed, candidates, by_event=number % 2 == 1)
        rng = np.random.default_rng([*seed, 2])
        rounds = max(1, round(self.rounds * persona.rounds))
        # Nobody is met so late that a reward wait could not end.
        last = self.end - (WAIT_MINUTES * 60.0 + SWEEP_SEC)
        first = last - (last - self.start) * persona.rounds
        hours = [hour for hour in range(24) if persona.is_awake(hour)]
        drawn = [_moment(float(rng.uniform(first, last)), hours, rng) for _ in range(rounds)]
        # Of the first and the last day there may be a part: another day has the same hour.
        moments = sorted(at - DAY_SEC if at > last else at + DAY_SEC if at < self.start else at for at in drawn)
        self._at(max(self.start, moments[0] - 60.0), lambda: self.reached(life, self))
        for at in moments:
            self._at(at, lambda: self._round(life))

    def _at(self, at: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (at, next(self._order), act))

    def state(self, life: Lived) -> People:
        """Return the person's traits as of now."""
        progress = (self.clock.now - self.start) / (self.end - self.start)
        return life.individual.at(progress, life.load(self.clock.now))

    def rewards(self, life: Lived, request: Request) -> NDArray[np.float64]:
        """Return (k,): what each candidate is worth to this person now, exactly."""
        default = self.service.settings.default_reward
        rewards: NDArray[np.float64] = expected(self.state(life), [life.individual.persona], request, default)[0]
        return rewards

    def ask(
        self, life: Lived, request: Request, bodies: Sequence[Row], **options: Any
    ) -> tuple[Row, NDArray[np.float64]]:
        """Return what `/score` answers, and the probability of each candidate: (k,)."""
        answer = self.service.score(
            {
                "user_id": life.individual.user_id,
                "policy": self.policy,
                "candidates": list(bodies),
                "context": {"hour_of_day": request.hour_of_day, "day_of_week": request.day_of_week},
                **options,
            }
        )
        if answer["degraded"] or not answer["logged"]:
            raise TimeoutError(
                "the table did not answer within the handler's budget: what follows would be another run"
            )
        propensity = {one["id"]: one["propensity"] for one in answer["ranking"]}
        return answer, np.array([propensity[body["id"]] for body in bodies])

    def _round(self, life: Lived) -> None:
        if life.done:
            return
        now, number = self.clock.now, life.rounds
        offer = life.candidates.offer(now, number)
        people, rewards = self.state(life), self.rewards(life, offer.request)
        answer, propensity = self.ask(life, offer.request, offer.bodies)
        chosen = next(place for place, body in enumerate(offer.bodies) if body["id"] == answer["tip_id"])
        rng = np.random.default_rng([*life.seed, 3, number])
        response = self.judge(people, life.individual.persona, offer, chosen, rng)
        life.shown.append(now)
        life.rounds += 1
        told = {"user_id": life.individual.user_id, "tip_id": answer["tip_id"], "decision_id": answer["decision_id"]}
        self._tell("signals.tip.served", {**told, "shown_at": _iso(now), "kind": offer.request.candidates[chosen].kind})
        candidate = offer.request.candidates[chosen]
        late = response is not None and response.delay_sec > WAIT_MINUTES * 60.0
        row = {
            "policy": self.policy,
            "seed": self.seed,
            "persona": life.individual.persona.name,
            "user": life.individual.user_id,
            "round": number + 1,
            "reactions": life.reactions,
            "at": datetime.fromtimestamp(now, UTC),
            "candidates": len(offer.bodies),
            "kind": candidate.kind,
            "prompt_version": candidate.prompt_version,
            "overdue": bool(candidate.features.get("is_overdue")),
            "propensity": answer["propensity"],
            "expected": float(rewards[chosen]),
            "value": float(propensity @ rewards),
            "oracle": float(rewards.max()),
            "random": float(rewards.mean()),
            "ignored": response is None,
            "action": None if response is None else response.action,
            "dwell_ms": None if response is None else response.dwell_ms,
            "reward": None if response is None else response.reward,
            "delay_sec": None if response is None else response.delay_sec,
            "late": late,
            "taught": self.service.settings.default_reward if response is None or late else response.reward,
        }
        self.rows.append(row)
        if response is not None:
            self._at(now + response.delay_sec, lambda: self._react(life, told, response))
        self.progress(len(self.rows))

    def _react(self, life: Lived, told: Row, response: Response) -> None:
        if response.action == "done":
            life.candidates.drop(told["tip_id"])
        reaction = {"action": response.action, "dwell_ms": response.dwell_ms}
        if response.dwell_ms is None:
            del reaction["dwell_ms"]
        if life.by_event:
            if life in self._told:
                self._deliver()  # one after the other, so that each count of reactions is met
            self._tell("signals.tip.feedback", {**told, **reaction})
            if response.delay_sec <= WAIT_MINUTES * 60.0:
                self._told.append(life)
            return
        answer = self.service.reward(
            {**told, **reaction, "event_id": f"r-{told['decision_id']}", "occurred_at": _iso(self.clock.now)}
        )
        if answer["applied"]:
            self._learned(life)

    def _tell(self, subject: str, payload: Row) -> None:
        name = f"{subject.rpartition('.')[2]}-{payload['decision_id']}"
        self._pending.append((subject, envelope(payload, event_id=name, occurred_at=_iso(self.clock.now))))
        self._pending_since = min(self._pending_since, self.clock.now)

    def _deliver(self) -> None:
        if not self._pending:
            return
        messages, told = self._pending, self._told
        self._pending, self._told, self._pending_since = [], [], math.inf
        self.service.deliver(messages)
        for life in told:
            self._learned(life)

    def _learned(self, life: Lived) -> None:
        life.reactions += 1
        self.reached(life, self)

    def _sweep(self) -> None:
        self._deliver()
        self.service.expire(self.clock.now)


def _moment(at: float, hours: Sequence[int], rng: np.random.Generator) -> float:
    """Return a moment of that day at one of the hours."""
    day = math.floor(at / DAY_SEC) * DAY_SEC
    return day + (hours[int(rng.integers(len(hours)))] + float(rng.random())) * 3600.0


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
