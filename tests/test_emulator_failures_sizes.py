"""Bodies and answers at the limits of the contract and of Lambda, through the function URL of what was built."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack.instances import MAX_PAYLOAD_BYTES
from tests.conftest import LocalTable, fresh_table
from tests.deciding import remember
from tests.one_environment import Environment, one_environment
from tests.requests import CANDIDATES, score_request
from tips.contracts.scoring import MAX_CANDIDATES
from tips.state.table import Table

pytestmark = pytest.mark.emulator

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def score(table_server: Any) -> Iterator[Environment]:
    variables = {"TABLE_NAME": "sizes", "DYNAMODB_ENDPOINT": table_server.endpoint}
    with one_environment("ScoreFunction", variables) as environment:
        yield environment


@pytest.fixture
def table(table_server: Any) -> Iterator[LocalTable]:
    with fresh_table(table_server.endpoint, "sizes") as table:
        yield table


def compact(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def of_size(size: int) -> bytes:
    """Return a good request of so many bytes; unknown fields are ignored."""
    body = {**score_request(), "padding": ""}
    return compact({**body, "padding": "x" * (size - len(compact(body)))})


def largest(character: str, value: float) -> bytes:
    """Return as much as the contract takes: candidates, features, names and ids, up to a body of 1 MiB."""
    wide = len(character.encode()) + (character in '"\\')
    name = min(64, 2 + (MIB // (MAX_CANDIDATES * 32) - 12 - len(str(value))) // wide)
    candidates = [
        {
            "id": f"{number:03d}" + character * 125,
            "kind": "reminder",
            "source": "s" * 64,
            "features": {f"{place:02d}".ljust(name, character): value for place in range(32)},
        }
        for number in range(MAX_CANDIDATES)
    ]
    while len(body := compact(score_request(candidates=candidates, explain=True))) > MIB:
        for candidate in candidates:
            candidate["features"].popitem()  # type: ignore[attr-defined]
    return body


@pytest.mark.parametrize("content_type", ["application/json", "application/octet-stream"])
def test_a_body_of_1_mib_is_taken_and_one_byte_more_is_refused_in_the_contracts_shape(
    content_type: str, score: Environment, table: LocalTable
) -> None:
    """A type that is not text reaches the function as base64, which is a third longer."""
    headers = {"content-type": content_type}
    for size in (MIB - 1, MIB):
        taken = score.call("POST", "/score", content=of_size(size), headers=headers)
        assert (taken.status_code, taken.json()["logged"]) == (200, True)
    before = table.items()
    refused = score.call("POST", "/score", content=of_size(MIB + 1), headers=headers)
    assert refused.status_code == 413
    assert refused.json()["error"] == {
        "code": "body_too_large",
        "message": f"the body must be at most {MIB} bytes",
        "field": "body",
    }
    assert refused.json()["request_id"]
    assert table.items() == before


@pytest.mark.parametrize(
    ("size", "content_type"),
    [(MAX_PAYLOAD_BYTES + 1, "application/json"), (MAX_PAYLOAD_BYTES * 4 // 5, "application/octet-stream")],
)
def test_an_event_over_lambdas_limit_is_refused_in_front_of_the_function(
    size: int, content_type: str, score: Environment, table: LocalTable
) -> None:
    score.warm()
    starts = score.logged().count("START")
    refused = score.call("POST", "/score", content=b"x" * size, headers={"content-type": content_type})
    assert refused.status_code == 413
    assert score.logged().count("START") == starts
    assert table.items() == []
    assert score.call("POST", "/score", score_request()).json()["logged"]


@pytest.mark.parametrize(
    ("character", "value"),
    [("a", 1.2345678901234567e-300), ('"', 1e15), ("\\", 1e15), ("é", 0), ("\U0001f600", 1e15)],
    ids=["ascii", "quotes", "backslashes", "accents", "emoji"],
)
def test_the_largest_decision_is_taken_shown_and_far_below_lambdas_limits(
    character: str, value: float, score: Environment, table: LocalTable
) -> None:
    body = largest(character, value)
    assert len(body) > 0.85 * MIB or character == "a"
    given = score.call("POST", "/score", content=body)
    assert (given.status_code, given.json()["degraded"], given.json()["logged"]) == (200, False, True)
    shown = score.call("GET", f"/decisions/{given.json()['decision_id']}?user_id=anna")
    assert shown.status_code == 200
    assert len(shown.json()["candidates"]) == MAX_CANDIDATES
    # The body is text within the function's JSON: there each quote and backslash takes one byte more.
    payloads = [len(json.dumps(one.text, ensure_ascii=False).encode()) for one in (given, shown)]
    print(f"{character!a}: request {len(body)} bytes, payloads of the answers {payloads}")
    assert max(payloads) < MAX_PAYLOAD_BYTES / 2
    (process,) = score.instances.processes()
    peak = next(line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmHWM"))
    assert int(peak.split()[1]) < score.instances.definition.memory_mb * 1024 / 2


def test_the_longest_history_is_far_below_lambdas_limits(score: Environment, table: LocalTable, client: Table) -> None:
    candidate = {**CANDIDATES[0], "id": "\U0001f600" * 128}
    for number in range(110):
        remember(client, "anna", time.time_ns() // 1000 - number * 1_000_000, [candidate], context={"hour_of_day": 9})
    shown = score.call("GET", "/features/anna")
    assert (shown.status_code, len(shown.json()["history"])) == (200, 100)
    payload = len(json.dumps(shown.text, ensure_ascii=False).encode())
    print(f"100 decisions: {payload} bytes")
    assert payload < MAX_PAYLOAD_BYTES / 8
