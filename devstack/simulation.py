"""The loop: candidates are scored, one is shown, the person reacts, the service learns."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Protocol

from devstack.events import envelope
from devstack.people import Person, Reaction

_FEWEST_ROUNDS = 8


class Service(Protocol):
    """How the loop reaches the functions. Every method raises when the answer is not a success."""

    def score(self, request: Mapping[str, Any]) -> Mapping[str, Any]: ...

    def reward(self, request: Mapping[str, Any]) -> Mapping[str, Any]: ...

    def deliver(self, messages: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Hand a batch of (subject, envelope) to consume. Raises unless every record was taken."""


@dataclass(frozen=True, slots=True)
class Step:
    """One decision and the reaction to it.

    `expected_reward`: the exact mean reward of the candidate that was shown, so without the luck of one reaction;
    `random_reward`: that of a uniform choice among the same candidates.
    """

    person: Person
    round: int
    request: Mapping[str, Any]
    decision: Mapping[str, Any]
    reaction: Reaction
    expected_reward: float
    random_reward: float


@dataclass(frozen=True, slots=True)
class Means:
    """Mean rewards per decision. Early: the first eighth of the rounds; late: the last half; random: all rounds."""

    early: float
    late: float
    random: float
    observed_early: float
    """What the reactions really brought, with their luck."""
    observed_late: float


@dataclass
class Outcome:
    """All steps of a simulation of `rounds` rounds, and how the reactions went back."""

    rounds: int
    steps: list[Step] = field(default_factory=list)
    by_http: int = 0
    by_event: int = 0

    def means(self, persona: str | None = None) -> Means:
        """Return the means of everybody or of one persona. Raises `statistics.StatisticsError` without steps."""
        steps = [step for step in self.steps if persona in (None, step.person.persona.name)]
        early = [step for step in steps if step.round < max(1, self.rounds // 8)]
        late = [step for step in steps if step.round >= self.rounds // 2]
        return Means(
            early=fmean(step.expected_reward for step in early),
            late=fmean(step.expected_reward for step in late),
            random=fmean(step.random_reward for step in steps),
            observed_early=fmean(step.reaction.reward for step in early),
            observed_late=fmean(step.reaction.reward for step in late),
        )


def simulate(
    service: Service,
    people: Sequence[Person],
    rounds: int,
    *,
    seed: int = 0,
    executor: Executor | None = None,
    deadline: float = math.inf,
    on_round: Callable[[int], object] = lambda _: None,
) -> Outcome:
    """Let everybody be shown one tip a round. About half of the reactions return as events, the others by HTTP.

    With an `executor` the people of a round are served at the same time. After `deadline`, a time of the monotonic
    clock, no round begins but the first eight. `on_round` hears of each finished round.
    """
    outcome = Outcome(rounds)
    chance = random.Random(f"{seed}/routes")
    run: Callable[..., Iterator[Any]] = executor.map if executor is not None else map
    for number in range(rounds):
        if number >= _FEWEST_ROUNDS and time.monotonic() > deadline:
            outcome.rounds = number
            break
        moment = {"hour_of_day": chance.randint(7, 22), "day_of_week": number % 7}
        steps: list[Step] = list(run(lambda person: _shown(service, person, number, moment), people))  # noqa: B023
        events: list[Step] = []
        requests: list[Step] = []
        for step in steps:
            (events if chance.random() < 0.5 else requests).append(step)
        list(run(lambda step: service.reward(_reward_request(step)), requests))
        if events:
            service.deliver([feedback(step) for step in events])
        outcome.steps += steps
        outcome.by_http += len(requests)
        outcome.by_event += len(events)
        on_round(number)
    return outcome


def _shown(service: Service, person: Person, number: int, moment: Mapping[str, int]) -> Step:
    candidates = person.candidates()
    request = {"user_id": person.user_id, "candidates": candidates, "context": moment, "explain": True}
    decision = service.score(request)
    shown = next(candidate for candidate in candidates if candidate["id"] == decision["tip_id"])
    random_reward = fmean(person.expected_reward(candidate) for candidate in candidates)
    return Step(person, number, request, decision, person.react(shown), person.expected_reward(shown), random_reward)


def _reward_request(step: Step) -> dict[str, Any]:
    request = {
        "user_id": step.person.user_id,
        "decision_id": step.decision["decision_id"],
        "action": step.reaction.action,
        "dwell_ms": step.reaction.dwell_ms,
    }
    return {name: value for name, value in request.items() if value is not None}


def feedback(step: Step) -> tuple[str, dict[str, Any]]:
    """Return the reaction of a step as the event that the recommender would publish; the same step, the same id."""
    payload = {**_reward_request(step), "tip_id": step.decision["tip_id"]}
    return "feedback.tip", envelope(payload, event_id=f"feedback-{step.decision['decision_id']}")
