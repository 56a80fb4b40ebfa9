"""The local function URL: what a client sends reaches the handler as Lambda would hand it over, and back."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from devstack.function_url import function_url
from devstack.http_server import HttpServer
from devstack.instances import MAX_PAYLOAD_BYTES, Instances
from devstack.template import FunctionDefinition

# Answers with the event, unless the query names an answer of its own.
CODE = """
import base64, json, os

def handler(event, context):
    wanted = event.get("queryStringParameters", {}).get("answer")
    if wanted == "raise":
        raise ValueError("secret")
    if wanted == "exit":
        os._exit(1)
    if wanted:
        return json.loads(wanted)
    return {"statusCode": 200, "body": json.dumps(event)}
"""


class Response:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Send = Callable[..., Response]


@pytest.fixture
def send(tiny_function: Callable[..., FunctionDefinition]) -> Iterator[Send]:
    instances = Instances(tiny_function(CODE), {})
    server = HttpServer("tiny", function_url(instances))

    def request(
        method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        # Not httpx, which would normalise the target.
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        try:
            connection.putrequest(method, target)
            for name, value in (headers or {}).items():
                for each in value.split("|"):
                    connection.putheader(name, each)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            return Response(connection.getresponse())
        finally:
            connection.close()

    yield request
    server.stop()
    instances.close()


def answering(answer: Any) -> str:
    from urllib.parse import quote

    return "/?answer=" + quote(json.dumps(answer))


@pytest.mark.parametrize("path", ["/stats/a%2Fb", "/stats/%C3%A9%20x", "/a%25b", "/a+b//c/", "/", "/*'(x)"])
def test_a_path_arrives_as_it_was_sent(send: Send, path: str) -> None:
    event = send("GET", path).json
    assert event["rawPath"] == event["requestContext"]["http"]["path"] == path


def test_a_query_keeps_repeated_keys_and_its_raw_form(send: Send) -> None:
    event = send("GET", "/x?a=1&b=%20x&a=2&c").json
    assert event["rawQueryString"] == "a=1&b=%20x&a=2&c"
    assert event["queryStringParameters"] == {"a": "1,2", "b": " x", "c": ""}


def test_headers_are_lower_case_and_joined_and_cookies_apart(send: Send) -> None:
    headers = {"X-Thing": "1|2", "Cookie": "a=1; b=2", "User-Agent": "test/1"}
    event = send("GET", "/", headers=headers).json
    assert event["headers"]["x-thing"] == "1,2"
    assert event["cookies"] == ["a=1", "b=2"]
    assert event["requestContext"]["http"]["userAgent"] == "test/1"
    assert event["requestContext"]["http"]["sourceIp"] == "127.0.0.1"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_arrives(send: Send, method: str) -> None:
    assert send(method, "/").json["requestContext"]["http"]["method"] == method


def test_text_bodies_arrive_as_text(send: Send) -> None:
    event = send("POST", "/", '{"é": 1}'.encode(), {"Content-Type": "application/json; charset=utf-8"}).json
    assert event["body"] == '{"é": 1}'
    assert event["isBase64Encoded"] is False


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/octet-stream", b"\x00\xff"),
        ("application/x-www-form-urlencoded", b'{"user_id": "ann"}'),
        ("application/json", b"\xff"),
    ],
)
def test_other_bodies_arrive_as_base64(send: Send, content_type: str, body: bytes) -> None:
    event = send("POST", "/", body, {"Content-Type": content_type}).json
    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == body


def test_without_a_body_there_is_none_in_the_event(send: Send) -> None:
    assert "body" not in send("POST", "/", b"").json


def test_status_headers_and_cookies_come_back(send: Send) -> None:
    answer = {"statusCode": 201, "headers": {"X-A": "1"}, "cookies": ["a=1; Path=/", "b=2"], "body": "ü"}
    response = send("GET", answering(answer))
    assert response.status == 201
    assert response.headers["x-a"] == "1"
    assert response.headers.get_all("set-cookie") == ["a=1; Path=/", "b=2"]
    assert response.body.decode() == "ü"
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-amzn-requestid"]


def test_binary_answers_come_back_decoded(send: Send) -> None:
    answer = {"statusCode": 200, "body": "AP8=", "isBase64Encoded": True, "headers": {"content-type": "image/png"}}
    response = send("GET", answering(answer))
    assert response.body == b"\x00\xff"
    assert response.headers["content-type"] == "image/png"


def test_a_plain_value_is_a_json_answer(send: Send) -> None:
    response = send("GET", answering({"a": 1}))
    assert (response.status, response.json) == (200, {"a": 1})


def test_head_has_no_body(send: Send) -> None:
    assert send("HEAD", "/").body == b""


@pytest.mark.parametrize(
    "answer",
    ['"raise"', '"exit"', '{"statusCode": "x"}', '{"statusCode": 200, "body": "*", "isBase64Encoded": true}'],
)
def test_a_function_that_fails_is_a_bad_gateway_without_details(send: Send, answer: str) -> None:
    from urllib.parse import quote

    response = send("GET", "/?answer=" + quote(answer.strip('"')))
    assert response.status == 502
    assert response.json == {"Message": "Internal Server Error"}
    assert send("GET", "/").status == 200


def test_a_request_over_6_mb_is_refused(send: Send) -> None:
    text = {"Content-Type": "text/plain"}
    assert send("POST", "/", b"x" * (MAX_PAYLOAD_BYTES + 1), text).status == 413
    # Under the limit itself, but not as an event: base64 makes four bytes of three.
    response = send("POST", "/", b"\xff" * (MAX_PAYLOAD_BYTES - 1000), {"Content-Type": "image/png"})
    assert response.status == 413
    assert "6291456" in response.json["Message"]
