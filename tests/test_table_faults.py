"""A table that is slow, refuses, throttles or talks nonsense: degraded answers or retryable errors, in bounded time."""

from __future__ import annotations

import time
from typing import Any

import pytest

from devstack.events import envelope, jetstream_batch
from tests.faulty_dynamodb import ANSWERS, faulty_dynamodb
from tests.requests import score_request

FAULTS = [*ANSWERS, "silent", "refused"]
BUDGET_MS, DEADLINE_MS = 60, 400


@pytest.fixture(params=FAULTS)
def environment(request: pytest.FixtureRequest) -> Any:
    budgets = {
        "SCORE_READ_BUDGET_MS": str(BUDGET_MS),
        "SCORE_WRITE_BUDGET_MS": str(BUDGET_MS),
        "TABLE_DEADLINE_MS": str(DEADLINE_MS),
    }
    if request.param == "refused":
        yield {"DYNAMODB_ENDPOINT": "http://127.0.0.1:1", **budgets}
    else:
        with faulty_dynamodb(request.param) as endpoint:
            yield {"DYNAMODB_ENDPOINT": endpoint, **budgets}


def test_score_answers_from_the_prior(load_function: Any, environment: dict[str, str]) -> None:
    score = load_function("score", **environment)
    started = time.monotonic()
    answer = score.call("POST", "/score", score_request(explain=True))
    elapsed = time.monotonic() - started
    assert answer.status == 200
    assert (answer.json["degraded"], answer.json["logged"]) == (True, False)
    assert sum(row["propensity"] for row in answer.json["ranking"]) == pytest.approx(1)
    # Generous to a busy machine, and far from the minutes of default time-outs and retries.
    assert elapsed < 10


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/reward", {"user_id": "anna", "tip_id": "t", "action": "done"}),
        ("POST", "/reward", {"user_id": "anna", "decision_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "action": "done"}),
        ("POST", "/reset/anna", None),
        ("POST", "/activate", {"user_id": "anna", "decision_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}),
        ("DELETE", "/users/anna", None),
        ("GET", "/stats/anna", None),
        ("GET", "/features/anna", None),
        ("GET", "/decisions/01ARZ3NDEKTSV4RRFFQ69G5FAV?user_id=anna", None),
    ],
)
def test_other_routes_say_when_to_retry(
    load_function: Any, environment: dict[str, str], method: str, path: str, body: Any
) -> None:
    score = load_function("score", **environment)
    started = time.monotonic()
    answer = score.call(method, path, body)
    assert time.monotonic() - started < 10
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json["error"]["code"] == "table_unavailable"


def test_health_says_that_the_table_is_down(load_function: Any, environment: dict[str, str]) -> None:
    answer = load_function("score", **environment).call("GET", "/health")
    assert (answer.status, answer.json["ok"]) == (200, False)


def test_consume_fails_the_record(load_function: Any, environment: dict[str, str]) -> None:
    payload = {"user_id": "anna", "task_count": 1, "synced_at": "2026-11-20T08:30:00Z"}
    event = jetstream_batch([("signals.task.synced", envelope(payload)), ("signals.new.thing", b"")])
    assert load_function("consume", **environment).invoke(event) == {"batchItemFailures": [{"itemIdentifier": "1"}]}
