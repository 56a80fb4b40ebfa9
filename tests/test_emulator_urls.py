"""What callers of function URLs and the bridge get from what was built: answers, refusals and errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from devstack.function_url import function_url
from devstack.http_server import HttpServer
from devstack.instances import MAX_PAYLOAD_BYTES
from tests.conftest import LocalTable
from tests.emulated import EmulatedFunction
from tests.requests import CANDIDATES, score_request

pytestmark = pytest.mark.emulator

Load = Callable[..., EmulatedFunction]


@pytest.fixture
def http(load_emulated: Load, table: LocalTable) -> Iterator[httpx.Client]:
    server = HttpServer("score url", function_url(load_emulated("score").pool))
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        yield client
    server.stop()


def test_a_tip_is_picked_and_remembered(http: httpx.Client) -> None:
    answer = http.post("/score", json=score_request())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-amzn-requestid"]
    body = answer.json()
    assert body["tip_id"] in {candidate["id"] for candidate in CANDIDATES}
    assert (body["degraded"], body["logged"]) == (False, True)
    told = http.post("/reward", json={"user_id": "anna", "decision_id": body["decision_id"], "action": "done"})
    assert told.json() == {"ok": True, "applied": True, "reward": 0.6}
    assert http.get("/stats/anna").json()["pulls"] == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("POST", "/score", b"{", 400, "body"),
        ("POST", "/score", b"\xff\xfe", 400, "body"),
        ("POST", "/nowhere", b"{}", 404, None),
        ("GET", "/decisions/01ARZ3NDEKTSV4RRFFQ69G5FAV?user_id=anna", None, 404, "decision_id"),
        ("GET", "/score", None, 405, None),
        ("POST", "/score", b" " * (1 << 20) + b"{}", 413, "body"),
        ("POST", "/score", json.dumps(score_request(user_id=7)).encode(), 422, "user_id"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(
    http: httpx.Client, table: LocalTable, method: str, path: str, body: bytes | None, status: int, field: str | None
) -> None:
    answer = http.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert told.keys() == {"error", "request_id"}
    assert told["error"].get("field") == field
    assert told["error"]["message"]
    assert table.items() == []


def test_more_than_lambda_takes_never_reaches_the_function(http: httpx.Client) -> None:
    answer = http.post("/score", content=b" " * MAX_PAYLOAD_BYTES, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.json().keys() == {"Message"}
    assert http.get("/health").status_code == 200


@pytest.mark.parametrize("event", [{}, {"Records": [{"eventSource": "aws:s3", "messageId": "1"}]}, [], "text", None])
def test_an_event_that_consume_cannot_acknowledge_is_an_error(
    load_emulated: Load, table: LocalTable, event: Any
) -> None:
    pool = load_emulated("consume").pool
    outcome = pool.invoke(json.dumps(event).encode())
    assert outcome.is_error
    described = json.loads(outcome.payload)
    assert described["errorType"] == "ValueError"
    assert "event" in described["errorMessage"] or "record" in described["errorMessage"]
    fine = pool.invoke(b'{"source": "nats.jetstream", "stream": "signals", "records": []}')
    assert (fine.is_error, json.loads(fine.payload)) == (False, {"batchItemFailures": []})


def test_a_mistake_in_the_variables_is_told_by_who_loads_the_function(load_emulated: Load) -> None:
    with pytest.raises(ValueError, match="LITELLM_URL"):
        load_emulated("generate", LITELLM_URL="proxy:4000")
