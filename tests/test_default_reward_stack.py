"""A tip nobody reacts to: when the reward wait is over, the default reward is learned, from /score to the stream."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from devstack.stack import Stack
from devstack.table import client
from devstack.ttl import expire
from tests.requests import score_request

WAIT_SEC = 1
DEFAULT = -0.5
# TTL looks at whole seconds.
LEARNED_WITHIN_SEC = 30.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    environment = {"REWARD_WAIT": f"{WAIT_SEC}s", "DEFAULT_REWARD": str(DEFAULT)}
    path: Path = tmp_path_factory.mktemp("stack") / "log"
    with (
        path.open("w") as log,
        Stack(environment=environment, table_name="tips-default-reward", ttl_interval=0.2, log=log) as stack,
    ):
        yield stack


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.score_url, timeout=60, trust_env=False) as http:
        yield http


def markers(stack: Stack) -> int:
    items = client(stack.table_endpoint).scan(TableName=stack.table_name)["Items"]
    return sum(item["sk"]["S"].startswith("W#") for item in items)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LEARNED_WITHIN_SEC
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def learned(http: httpx.Client, user_id: str) -> tuple[int, float]:
    """Return pulls and cumulative reward, asked for again where the table was too slow to tell."""
    deadline = time.monotonic() + LEARNED_WITHIN_SEC
    while (answer := http.get(f"/stats/{user_id}")).status_code == 503:
        assert time.monotonic() < deadline
    stats = answer.json()
    return stats["pulls"], stats["cumulative_reward"]


def test_without_a_reaction_the_default_reward_is_learned_once(stack: Stack, http: httpx.Client) -> None:
    decision = http.post("/score", json=score_request(user_id="ann")).json()
    assert decision["logged"] is True
    wait_until(lambda: learned(http, "ann") == (1, DEFAULT))
    wait_until(lambda: markers(stack) == 0)
    assert learned(http, "ann") == (1, DEFAULT)


def test_the_ready_event_ends_the_wait_that_its_keys_name(load_function: Any, table: Any) -> None:
    score = load_function("score", DEFAULT_REWARD="-0.25")
    consume = load_function("consume", DEFAULT_REWARD="-0.25")
    decision = score.call("POST", "/score", score_request(user_id="demo-user")).json
    event = json.loads((Path(__file__).parents[1] / "events" / "consume_reward_wait_over.json").read_text())
    event["Records"][0]["dynamodb"]["Keys"]["sk"]["S"] = f"W#{decision['decision_id']}"
    for _ in range(2):
        assert consume.invoke(event) == {"batchItemFailures": []}
    stats = score.call("GET", "/stats/demo-user").json
    assert (stats["pulls"], stats["cumulative_reward"]) == (1, -0.25)


def test_time_passes_without_a_stack(load_function: Any, table: Any) -> None:
    environment = {"DEFAULT_REWARD": "-0.25", "REWARD_WAIT": "24h"}
    score, consume = load_function("score", **environment), load_function("consume", **environment)
    score.call("POST", "/score", score_request(user_id="ann"))
    assert expire(table, time.time() + 86_000) == []
    (event,) = expire(table, time.time() + 86_500)
    assert consume.invoke(event) == {"batchItemFailures": []}
    stats = score.call("GET", "/stats/ann").json
    assert (stats["pulls"], stats["cumulative_reward"]) == (1, -0.25)


def test_a_reaction_in_time_counts_whenever_it_arrives(load_function: Any, table: Any) -> None:
    score, consume = (load_function(name, DEFAULT_REWARD="-0.25") for name in ("score", "consume"))
    for arrives_late in (False, True):
        user = f"ann-{arrives_late}"
        decision = score.call("POST", "/score", score_request(user_id=user)).json
        reward = {"user_id": user, "decision_id": decision["decision_id"], "action": "helpful"}
        if arrives_late:
            (event,) = expire(table, time.time() + 86_500)
            consume.invoke(event)
        assert score.call("POST", "/reward", reward).json["applied"] is True
        for event in expire(table, time.time() + 86_500):
            consume.invoke(event)
        stats = score.call("GET", f"/stats/{user}").json
        assert (stats["pulls"], stats["cumulative_reward"]) == (1, 0.5)
