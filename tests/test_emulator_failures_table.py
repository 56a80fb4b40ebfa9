"""A table that throttles, for a while and for good: what callers get, and that everything is taught once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.wrappers import Response

from devstack.events import envelope, jetstream_batch
from tests.conftest import LocalTable, fresh_table
from tests.deciding import remember
from tests.meddled_table import Call, MeddledTable, answer, pass_on, refusal
from tests.one_environment import Environment, one_environment
from tests.requests import CANDIDATES, score_request
from tips.state import learning
from tips.state.table import Table

pytestmark = pytest.mark.emulator

THROTTLED = ("ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "Unprocessed")
DEADLINE_MS = 600
"""Where a table throttles for good. Where it takes something after all, a busy machine needs more time for that."""
_PATIENT_MS = 2000


def variables_of(meddled: MeddledTable, deadline_ms: int) -> dict[str, str]:
    return {
        "TABLE_NAME": "throttled",
        "DYNAMODB_ENDPOINT": meddled.url,
        "TABLE_DEADLINE_MS": str(deadline_ms),
        "CONFIG_CACHE_SEC": "0",
    }


@pytest.fixture(scope="module")
def score(meddled: MeddledTable) -> Iterator[Environment]:
    with one_environment("ScoreFunction", variables_of(meddled, DEADLINE_MS)) as environment:
        yield environment


@pytest.fixture(scope="module")
def patient_score(meddled: MeddledTable) -> Iterator[Environment]:
    with one_environment("ScoreFunction", variables_of(meddled, _PATIENT_MS)) as environment:
        yield environment


@pytest.fixture(scope="module")
def consume(meddled: MeddledTable) -> Iterator[Environment]:
    with one_environment("ConsumeFunction", variables_of(meddled, _PATIENT_MS)) as environment:
        yield environment


@pytest.fixture
def table(meddled: MeddledTable) -> Iterator[LocalTable]:
    # By the server's own port: what is planned is for the functions.
    with fresh_table(meddled.behind, "throttled") as table:
        yield table
        meddled.follow(pass_on)


def throttled(call: Call, how: str) -> Response:
    """Return how DynamoDB says that it is asked for too much; it has carried out nothing."""
    if how != "Unprocessed":
        return refusal(how)
    match call.operation:
        case "BatchGetItem":
            return answer({"Responses": {}, "UnprocessedKeys": call.body["RequestItems"]})
        case "BatchWriteItem":
            return answer({"UnprocessedItems": call.body["RequestItems"]})
        case "TransactWriteItems":
            reasons = [{"Code": "ThrottlingError"}, *({"Code": "None"} for _ in call.body["TransactItems"][1:])]
            kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException"
            return answer({"__type": kind, "message": "no", "CancellationReasons": reasons}, 400)
    return refusal("ThrottlingException")


def reward(client: Table, user: str = "anna") -> dict[str, Any]:
    decision = remember(client, user, time.time_ns() // 1000 - 60_000_000, CANDIDATES)
    told = {"action": "done", "dwell_ms": 30_000}
    return {"user_id": user, "decision_id": decision.decision_id, "tip_id": decision.tip_id, **told}


def pulls(client: Table, user: str) -> list[int]:
    return [one.statistics.pulls for one in learning.read(client, user).schemas.values()]


@pytest.mark.parametrize("how", THROTTLED)
def test_score_answers_from_the_prior_and_stores_nothing(
    how: str, score: Environment, meddled: MeddledTable, table: LocalTable
) -> None:
    score.warm()
    meddled.follow(lambda call: throttled(call, how))
    given = score.call("POST", "/score", score_request())
    assert given.status_code == 200
    assert (given.json()["degraded"], given.json()["logged"]) == (True, False)
    # One request for each, whatever the answer: a caller waits for no second try.
    assert sum(count for operation, count in meddled.calls.items() if "Get" in operation) == 1
    assert sum(count for operation, count in meddled.calls.items() if "Write" in operation) == 1
    assert table.items() == []


def test_a_decision_of_which_a_part_was_stored_does_not_count_as_logged(
    score: Environment, meddled: MeddledTable, table: LocalTable, client: Table
) -> None:
    def leave_the_last(call: Call) -> Response:
        if call.operation != "BatchWriteItem":
            return call.pass_on()
        *_, last = call.body["RequestItems"]["throttled"]
        done = call.pass_on()
        table.client.delete_item(TableName="throttled", Key={k: last["PutRequest"]["Item"][k] for k in ("pk", "sk")})
        assert done.status_code == 200
        return answer({"UnprocessedItems": {"throttled": [last]}})

    meddled.follow(leave_the_last)
    given = score.call("POST", "/score", score_request()).json()
    assert given["logged"] is False
    left = [item["sk"]["S"][:2] for item in table.items()]
    assert left
    # What is there of it can be reacted to, once.
    meddled.follow(pass_on)
    body = {"user_id": "anna", "decision_id": given["decision_id"], "action": "done"}
    answers = [score.call("POST", "/reward", body) for _ in range(2)]
    assert [one.status_code for one in answers] == [200, 200]
    assert answers[1].json()["applied"] is False
    assert sum(pulls(client, "anna")) == ("D#" in left)


@pytest.mark.parametrize("how", THROTTLED)
def test_a_reward_is_tried_again_until_the_table_takes_it(
    how: str, patient_score: Environment, meddled: MeddledTable, table: LocalTable, client: Table
) -> None:
    body, score = reward(client), patient_score
    score.warm()
    meddled.follow(lambda call: throttled(call, how) if call.place <= 2 else call.pass_on())
    given = score.call("POST", "/reward", body)
    assert (given.status_code, given.json()["applied"]) == (200, True)
    # Twice refused at the configuration and the read, twice at the transaction.
    assert meddled.calls["TransactWriteItems"] == 3
    after = table.items()
    assert score.call("POST", "/reward", body).json()["applied"] is False
    assert table.items() == after
    assert pulls(client, "anna") == [1]


@pytest.mark.parametrize("how", THROTTLED)
@pytest.mark.parametrize("route", ["/reward", "/activate", "/reset/anna", "/users/anna"])
def test_a_table_that_throttles_for_good_is_a_503_that_says_when_to_come_again(
    how: str, route: str, score: Environment, meddled: MeddledTable, table: LocalTable, client: Table
) -> None:
    body = reward(client)
    before = table.items()
    score.warm()
    meddled.follow(lambda call: throttled(call, how))
    method = "DELETE" if route.startswith("/users") else "POST"
    began = time.monotonic()
    given = score.call(method, route, body)
    took = time.monotonic() - began
    assert (given.status_code, given.headers["retry-after"]) == (503, "1")
    assert given.json()["error"]["code"] == "table_unavailable"
    assert took < 20 * DEADLINE_MS / 1000
    assert table.items() == before
    assert sum(meddled.calls.values()) > 2, "it was not tried again"


@pytest.mark.parametrize("how", THROTTLED)
def test_a_batch_fails_the_records_that_were_throttled_and_learns_them_once_later(
    how: str, consume: Environment, meddled: MeddledTable, table: LocalTable, client: Table
) -> None:
    messages = []
    for user in ("anna", "ben"):
        messages.append(("signals.tip.feedback", envelope(reward(client, user), event_id=user)))
    batch, before = jetstream_batch(messages), table.items()

    def bens(call: Call) -> Response:
        is_bens = call.operation == "TransactWriteItems" and "U#ben" in str(call.body)
        return throttled(call, how) if is_bens else call.pass_on()

    meddled.follow(lambda call: throttled(call, how))
    assert consume.invoke(batch) == {"batchItemFailures": [{"itemIdentifier": "1"}, {"itemIdentifier": "2"}]}
    assert table.items() == before
    meddled.follow(bens)
    assert consume.invoke(batch) == {"batchItemFailures": [{"itemIdentifier": "2"}]}
    assert (pulls(client, "anna"), pulls(client, "ben")) == ([1], [])
    meddled.follow(pass_on)
    assert consume.invoke(batch) == {"batchItemFailures": []}
    assert (pulls(client, "anna"), pulls(client, "ben")) == ([1], [1])
