"""The demo's loop learns; asserted on the loop itself, through the real handlers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import pytest

from devstack.events import jetstream_batch
from devstack.people import PERSONAS, Person, population
from devstack.simulation import simulate

TIPS = [{"id": f"tip-{number}", "kind": "advice", "source": "llm", "content": "Breathe"} for number in range(3)]


class InProcess:
    """The handlers of score and consume, in this process."""

    def __init__(self, load_function: Callable[..., Any], table: Any) -> None:
        self._score = load_function("score", **table.environment())
        self._consume = load_function("consume", **table.environment())

    def score(self, request: Mapping[str, Any]) -> Any:
        return self._answer("POST", "/score", request)

    def reward(self, request: Mapping[str, Any]) -> Any:
        return self._answer("POST", "/reward", request)

    def stats(self, user_id: str) -> Any:
        return self._answer("GET", f"/stats/{user_id}")

    def deliver(self, messages: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        assert self._consume.invoke(jetstream_batch(messages)) == {"batchItemFailures": []}

    def _answer(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._score.call(method, path, body)
        assert answer.status == 200, answer.text
        return answer.json


@pytest.mark.thorough
def test_populations_are_served_better_and_better(new_table: Any, load_function: Callable[..., Any]) -> None:
    every = []
    for seed in (1, 2, 3):
        service = InProcess(load_function, new_table())
        people = population(2, seed)
        for person in people:
            person.tips = TIPS
        outcome = simulate(service, people, 20, seed=seed)
        means = outcome.means()
        assert means.late > means.random
        assert outcome.by_http > 80
        assert outcome.by_event > 80
        assert {service.stats(person.user_id)["pulls"] for person in people} == {20}
        every.append(means)
    # The first days are few, so they are compared over all populations: the mean gain is 0.44, its deviation 0.08.
    assert fmean(means.late for means in every) > fmean(means.early for means in every)
    assert fmean(means.observed_late for means in every) > fmean(means.random for means in every)


class Indifferent:
    """A service that shows any candidate, and notes what reaches it."""

    def __init__(self) -> None:
        self.chance = random.Random(1)
        self.delivered: list[Any] = []
        self.rewarded: list[Any] = []

    def score(self, request: Mapping[str, Any]) -> Any:
        chosen = self.chance.choice(request["candidates"])
        return {"tip_id": chosen["id"], "decision_id": f"{self.chance.getrandbits(64):016x}"}

    def reward(self, request: Mapping[str, Any]) -> Any:
        self.rewarded.append(request)

    def deliver(self, messages: Sequence[Any]) -> None:
        self.delivered += messages


def test_chance_earns_what_random_says() -> None:
    outcome = simulate(Indifferent(), population(20, 7), 40)
    means = outcome.means()
    assert fmean(step.expected_reward for step in outcome.steps) == pytest.approx(means.random, abs=0.04)
    assert fmean(step.reaction.reward for step in outcome.steps) == pytest.approx(means.random, abs=0.06)


def test_every_reaction_returns_one_way_or_the_other() -> None:
    service = Indifferent()
    outcome = simulate(service, population(1, 7), 10)
    by_event = {envelope["payload"]["decision_id"] for _, envelope in service.delivered}
    by_http = {request["decision_id"] for request in service.rewarded}
    assert by_event | by_http == {step.decision["decision_id"] for step in outcome.steps}
    assert not by_event & by_http
    assert (len(by_http), len(by_event)) == (outcome.by_http, outcome.by_event)


def test_after_the_deadline_no_round_begins() -> None:
    outcome = simulate(Indifferent(), population(1, 7), 30, deadline=time.monotonic())
    assert outcome.rounds == 8
    assert len(outcome.steps) == 8 * len(PERSONAS)
    assert -1 <= outcome.means().late <= 1


def test_the_same_seed_gives_the_same_people() -> None:
    def story(seed: int) -> list[Any]:
        person = Person("ann", PERSONAS[0], seed, TIPS)
        return [(person.candidates(), person.react(person.candidates()[0])) for _ in range(5)]

    assert story(1) == story(1)
    assert story(1) != story(2)


@pytest.mark.parametrize("persona", PERSONAS, ids=lambda persona: persona.name)
def test_habits_differ_in_what_is_liked(persona: Any) -> None:
    person = Person("ann", persona, 1, TIPS)
    expected = [person.expected_reward(candidate) for _ in range(20) for candidate in person.candidates()]
    assert max(expected) - min(expected) > 0.7
    assert all(-1 <= reward <= 1 for reward in expected)
