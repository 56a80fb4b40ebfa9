"""The table's client against a stub that records requests: what it asks for, and what it makes of answers."""

from __future__ import annotations

import time
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

from tips.errors import ConditionNotMet, TableUnavailable, WriteConflict
from tips.settings import Settings
from tips.state.dead_letters import DeadLetter, store
from tips.state.table import Table, retrying

METADATA = {"ResponseMetadata": {"RequestId": "r", "HTTPStatusCode": 200}}


class Client:
    """Answers every call with the next of `answers`; an exception is raised. The last one stays."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, operation: str) -> Any:
        def call(**arguments: Any) -> Any:
            self.calls.append((operation, arguments))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(answer, Exception):
                raise answer
            return {**METADATA, **answer}

        return call


def table_on(*answers: Any) -> tuple[Table, Client]:
    table = Table(Settings(table_name="tips", dynamodb_endpoint="http://127.0.0.1:1"), timeout_ms=50)
    client = Client(*answers)
    table._client = client  # type: ignore[assignment]
    return table, client


def refusal(code: str, status: int = 400, reasons: list[str] | None = None) -> ClientError:
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    if reasons is not None:
        response["CancellationReasons"] = [{"Code": reason} for reason in reasons]
    return ClientError(response, "operation")


@pytest.mark.parametrize(
    ("fault", "raised", "ambiguous"),
    [
        (refusal("ConditionalCheckFailedException"), ConditionNotMet, None),
        (refusal("TransactionCanceledException", reasons=["None", "ConditionalCheckFailed"]), ConditionNotMet, None),
        (refusal("TransactionConflictException"), WriteConflict, None),
        (refusal("TransactionInProgressException"), WriteConflict, None),
        (refusal("TransactionCanceledException", reasons=["TransactionConflict", "None"]), WriteConflict, None),
        (refusal("TransactionCanceledException", reasons=["ThrottlingError", "None"]), TableUnavailable, False),
        (
            refusal("TransactionCanceledException", reasons=["ConditionalCheckFailed", "ThrottlingError"]),
            TableUnavailable,
            False,
        ),
        (refusal("ProvisionedThroughputExceededException"), TableUnavailable, False),
        (refusal("ResourceNotFoundException"), TableUnavailable, False),
        (refusal("InternalServerError", status=500), TableUnavailable, True),
        (ReadTimeoutError(endpoint_url="x"), TableUnavailable, True),
        (ConnectTimeoutError(endpoint_url="x"), TableUnavailable, False),
        (AttributeError("misshapen"), TableUnavailable, True),
    ],
)
def test_faults_of_a_write_by_situation(fault: Exception, raised: type[Exception], ambiguous: bool | None) -> None:
    table, _ = table_on(fault)
    with pytest.raises(raised) as caught:
        table.transact([])
    assert type(caught.value) is raised
    assert getattr(caught.value, "ambiguous", None) == ambiguous


def test_a_read_is_never_ambiguous() -> None:
    table, _ = table_on(ReadTimeoutError(endpoint_url="x"))
    with pytest.raises(TableUnavailable) as caught:
        table.get("U#anna", "L")
    assert not caught.value.ambiguous


def test_reads_see_what_was_just_written() -> None:
    table, client = table_on({})
    table.get("U#anna", "L")
    assert client.calls[-1][1]["ConsistentRead"] is True
    table, client = table_on({"Responses": {}})
    table.get_all([("U#anna", "L")])
    assert client.calls[-1][1]["RequestItems"]["tips"]["ConsistentRead"] is True
    table, client = table_on({"Items": []})
    list(table.query("U#anna", "D#", "D#~", limit=1))
    assert client.calls[-1][1]["ConsistentRead"] is True


def test_keys_left_unread_are_no_missing_items() -> None:
    table, _ = table_on({"Responses": {"tips": []}, "UnprocessedKeys": {"tips": {"Keys": []}}})
    with pytest.raises(TableUnavailable):
        table.get_all([("U#anna", "L")])


def test_items_past_their_time_are_not_seen(table: Any) -> None:
    settings = Settings(table_name=table.name, dynamodb_endpoint=table.endpoint)
    here = Table(settings, timeout_ms=5000)
    for sk, seconds in (("D#1", -5), ("D#2", 500)):
        ttl = {"N": str(int(time.time()) + seconds)}
        table.client.put_item(TableName=table.name, Item={"pk": {"S": "U#a"}, "sk": {"S": sk}, "ttl": ttl})
    assert here.get("U#a", "D#1") is None
    assert here.get("U#a", "D#2") is not None
    assert [item is None for item in here.get_all([("U#a", "D#1"), ("U#a", "D#2")])] == [True, False]
    assert [item["sk"]["S"] for item in here.query("U#a", "D#", "D#~", limit=9)] == ["D#2"]


def test_a_conflict_is_tried_again() -> None:
    table, client = table_on(refusal("TransactionConflictException"), refusal("ConditionalCheckFailedException"), {})
    retrying(table, 1000, lambda bounded, ambiguous: bounded.transact([]))
    assert len(client.calls) == 3


@pytest.mark.parametrize(("length", "answer", "taken"), [("2", {}, True), ("24", {}, False), ("9", {"Item": {}}, True)])
def test_an_answer_whose_request_id_a_proxy_has_stripped_is_dynamodbs_by_its_form(
    length: str, answer: dict[str, Any], taken: bool
) -> None:
    metadata = {"HTTPHeaders": {"content-length": length}, "HTTPStatusCode": 200}
    table, _ = table_on({"ResponseMetadata": metadata, **answer})
    if taken:
        table.transact([])
    else:
        with pytest.raises(TableUnavailable):
            table.transact([])


def test_no_call_begins_after_the_deadline() -> None:
    table, client = table_on({})

    def attempt(bounded: Table, _: bool) -> None:
        bounded.get("U#anna", "L")
        time.sleep(0.06)
        bounded.get("U#anna", "L")

    with pytest.raises(TableUnavailable):
        retrying(table, 50, attempt)
    assert len(client.calls) == 1


@pytest.mark.parametrize("ambiguous", [False, True])
def test_what_a_try_met_is_told_and_not_that_time_is_up(ambiguous: bool) -> None:
    table, _ = table_on({})
    tries: list[bool] = []

    def attempt(bounded: Table, _: bool) -> None:
        tries.append(True)
        if len(tries) == 1:
            raise TableUnavailable("could not connect")
        time.sleep(0.06)
        if ambiguous:
            raise TableUnavailable("the write is in doubt", ambiguous=True)
        bounded.get("U#anna", "L")

    with pytest.raises(TableUnavailable, match="in doubt" if ambiguous else "could not connect") as raised:
        retrying(table, 50, attempt)
    assert (len(tries), raised.value.ambiguous) == (2, ambiguous)


def test_a_dead_letter_of_many_parts_goes_on_where_a_fault_stopped_it() -> None:
    table, client = table_on({}, refusal("ThrottlingException"), {})
    letter = DeadLetter("signals", "7", "\ud800", "data: is not JSON", bytes(900_000), {"h": "x" * 20_000}, 5)
    store(table, letter, 2000)
    stored = [(arguments.get("Item") or arguments["Key"])["sk"]["S"][-4:] for _, arguments in client.calls]
    assert stored == ["0002", "0001", "0001", "0000"]
    head = client.calls[-1][1]["ExpressionAttributeValues"]
    assert head[":subject"] == {"S": "?"}
    lives_sec = int(head[":ttl"]["N"]) - time.time()
    assert 29.9 * 86_400 < lives_sec < 30.1 * 86_400
