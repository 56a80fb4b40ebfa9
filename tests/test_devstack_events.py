"""The events that the devstack and the tests build, and how results of handlers are read."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest

from devstack.events import Answer, LambdaContext, envelope, jetstream_batch, sqs_batch, url_event


def test_a_url_event_has_the_shape_of_payload_format_2() -> None:
    event = url_event("post", "/score", {"user_id": "ann"}, {"X-Trace": "1"})
    assert event["version"] == "2.0"
    assert event["routeKey"] == event["requestContext"]["stage"] == "$default"
    assert event["requestContext"]["http"]["method"] == "POST"
    assert json.loads(event["body"]) == {"user_id": "ann"}
    assert event["isBase64Encoded"] is False
    assert event["headers"]["x-trace"] == "1"
    assert event["headers"]["content-type"] == "application/json"
    assert event["headers"]["content-length"] == str(len(event["body"]))
    json.dumps(event)


def test_what_a_request_lacks_is_absent_from_its_event() -> None:
    event = url_event("GET", "/health")
    assert not {"body", "cookies", "queryStringParameters"} & set(event)
    assert event["rawQueryString"] == ""
    assert "content-type" not in event["headers"]


@pytest.mark.parametrize(
    ("path", "raw"),
    [("/stats/a%2Fb", "/stats/a%2Fb"), ("/stats/é ñ", "/stats/%C3%A9%20%C3%B1"), ("", "/"), ("/a+b@c", "/a+b@c")],
)
def test_the_raw_path_stays_percent_encoded(path: str, raw: str) -> None:
    event = url_event("GET", path)
    assert event["rawPath"] == event["requestContext"]["http"]["path"] == raw


def test_repeated_names_are_joined_by_commas() -> None:
    event = url_event(
        "GET", "/x?a=1", headers=[("X-A", "1"), ("x-a", "2")], query=[("a", "2"), ("b", "ü &"), ("A", "3"), ("c", "")]
    )
    assert event["headers"]["x-a"] == "1,2"
    assert event["queryStringParameters"] == {"a": "1,2", "b": "ü &", "A": "3", "c": ""}
    assert event["rawQueryString"] == "a=1&a=2&b=%C3%BC+%26&A=3&c="


def test_cookies_are_a_list_of_their_own() -> None:
    event = url_event("GET", "/", headers={"Cookie": "a=1; b=2"}, cookies=["c=3"])
    assert event["cookies"] == ["c=3", "a=1", "b=2"]
    assert "cookie" not in event["headers"]


def test_binary_bodies_are_base64() -> None:
    event = url_event("POST", "/", b"\xff\x00")
    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == b"\xff\x00"


def test_a_jetstream_batch_carries_each_envelope_as_base64() -> None:
    sent = envelope({"user_id": "ann"}, event_id="e-1")
    batch = jetstream_batch([("feedback.tip", sent), ("feedback.tip", b"{broken")], first_seq=7, num_delivered=3)
    assert (batch["source"], batch["stream"]) == ("nats.jetstream", "feedback")
    first, second = batch["records"]
    assert json.loads(base64.b64decode(first["data"])) == sent
    assert base64.b64decode(second["data"]) == b"{broken"
    assert [record["stream_seq"] for record in batch["records"]] == [7, 8]
    assert set(first) == {
        *("subject", "stream_seq", "consumer_seq", "num_delivered", "timestamp", "headers", "data"),
    }
    assert first["num_delivered"] == 3


def test_an_sqs_body_is_one_jetstream_record() -> None:
    event = sqs_batch([("signals.tip.served", {"payload": {}})], receive_count=2)
    record = event["Records"][0]
    body = json.loads(record["body"])
    assert body["subject"] == "signals.tip.served"
    assert json.loads(base64.b64decode(body["data"])) == {"payload": {}}
    assert record["attributes"]["ApproximateReceiveCount"] == "2"
    assert record["eventSource"] == "aws:sqs"


def test_envelope_fields_can_be_replaced_and_removed() -> None:
    sent = envelope({"a": 1}, event_id="e", producer=None)
    assert sent["event_id"] == "e"
    assert "producer" not in sent
    assert envelope({})["event_id"] != envelope({})["event_id"]


def test_the_context_counts_down() -> None:
    context = LambdaContext("F", timeout=0.05)
    first = context.get_remaining_time_in_millis()
    assert 0 < first <= 50
    time.sleep(0.06)
    assert context.get_remaining_time_in_millis() == 0
    assert context.invoked_function_arn.endswith(":function:F")


@pytest.mark.parametrize(
    ("result", "status", "body"),
    [
        ({"statusCode": 201, "body": "x"}, 201, b"x"),
        ({"statusCode": "404"}, 404, b""),
        ({"statusCode": 200, "body": "/wA=", "isBase64Encoded": True}, 200, b"\xff\x00"),
        ({"statusCode": 200, "body": {"a": 1}}, 200, b'{"a": 1}'),
        ({"a": 1}, 200, b'{"a": 1}'),
        ("text", 200, b"text"),
        (None, 200, b"null"),
    ],
)
def test_results_become_answers(result: Any, status: int, body: bytes) -> None:
    answer = Answer.from_result(result)
    assert (answer.status, answer.body) == (status, body)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("status", ["ok", 99, 600, None, 2.5])
def test_a_status_that_is_none_is_refused(status: Any) -> None:
    with pytest.raises(ValueError, match="statusCode"):
        Answer.from_result({"statusCode": status})
