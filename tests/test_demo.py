"""The demo's loop shows learning; asserted on the loop itself, through the real handlers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from devstack.events import jetstream_batch
from devstack.people import PERSONAS, population
from devstack.simulation import simulate

TIPS = [{"id": f"tip-{number}", "kind": "advice", "source": "llm", "content": "Breathe"} for number in range(3)]


class InProcess:
    def __init__(self, load_function: Callable[..., Any]) -> None:
        self._score = load_function("score")
        self._consume = load_function("consume")

    def score(self, request: Mapping[str, Any]) -> Any:
        return self._ok(self._score.call("POST", "/score", request))

    def reward(self, request: Mapping[str, Any]) -> Any:
        return self._ok(self._score.call("POST", "/reward", request))

    def deliver(self, messages: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        assert self._consume.invoke(jetstream_batch(messages)) == {"batchItemFailures": []}

    def stats(self, user_id: str) -> Any:
        return self._ok(self._score.call("GET", f"/stats/{user_id}"))

    @staticmethod
    def _ok(answer: Any) -> Any:
        assert answer.status == 200, answer.text
        return answer.json


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_population_learns(seed: int, table: Any, load_function: Callable[..., Any]) -> None:
    service = InProcess(load_function)
    people = population(2, seed)
    for person in people:
        person.tips = TIPS
    t = time.time()
    outcome = simulate(service, people, 20, seed=seed)
    print("time", time.time() - t, len(outcome.steps))
    means = outcome.means()
    print(means)
    for p in PERSONAS:
        print(p.name, outcome.means(p.name))
    assert means.late > means.early
    assert means.late > means.random
