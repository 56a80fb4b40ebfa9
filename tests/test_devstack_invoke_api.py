"""The local Invoke API, as boto3's Lambda client sees it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import httpx
import pytest
from botocore.config import Config

from devstack.events import REGION
from devstack.http_server import HttpServer
from devstack.instances import MAX_PAYLOAD_BYTES, Instances
from devstack.invoke_api import invoke_api
from devstack.template import FunctionDefinition

CODE = """
from pathlib import Path

def handler(event, context):
    if "raise" in event:
        raise KeyError("lost")
    if "touch" in event:
        Path(event["touch"]).touch()
    return {"event": event, "function": context.function_name}
"""


@pytest.fixture
def url(tiny_function: Callable[..., FunctionDefinition]) -> Iterator[str]:
    functions = {name: Instances(tiny_function(CODE, name), {}) for name in ("OneFunction", "OtherFunction")}
    server = HttpServer("invoke", invoke_api(functions))
    yield server.url
    server.stop()
    for instances in functions.values():
        instances.close()


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    config = Config(retries={"total_max_attempts": 1})
    session = botocore.session.Session()  # what a boto3 client is made of
    client: Any = session.create_client("lambda", endpoint_url=url, region_name=REGION, config=config)
    yield client
    client.close()


@pytest.mark.parametrize(
    "name",
    [
        "OneFunction",
        "OneFunction:live",
        "123456789012:function:OneFunction",
        "arn:aws:lambda:eu-west-1:123456789012:function:OneFunction",
        "arn:aws:lambda:eu-west-1:123456789012:function:OneFunction:live",
    ],
)
def test_a_function_is_invoked_by_name_or_arn(client: Any, name: str) -> None:
    answer = client.invoke(FunctionName=name, Payload=b'{"a": 1}')
    assert answer["StatusCode"] == 200
    assert answer["ExecutedVersion"] == "$LATEST"
    assert "FunctionError" not in answer
    assert json.loads(answer["Payload"].read()) == {"event": {"a": 1}, "function": "OneFunction"}


def test_an_alias_may_be_named_and_a_payload_left_out(client: Any) -> None:
    answer = client.invoke(FunctionName="OtherFunction", Qualifier="live")
    assert json.loads(answer["Payload"].read()) == {"event": {}, "function": "OtherFunction"}


def test_an_exception_is_a_function_error_with_its_description(client: Any) -> None:
    answer = client.invoke(FunctionName="OneFunction", Payload=b'{"raise": 1}')
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    error = json.loads(answer["Payload"].read())
    assert (error["errorType"], error["errorMessage"]) == ("KeyError", "'lost'")
    assert error["stackTrace"]


def test_an_event_invocation_is_accepted_and_carried_out(client: Any, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    payload = json.dumps({"touch": str(mark)}).encode()
    answer = client.invoke(FunctionName="OneFunction", InvocationType="Event", Payload=payload)
    assert answer["StatusCode"] == 202
    assert answer["Payload"].read() == b""
    deadline = time.monotonic() + 10
    while not mark.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_dry_run_runs_nothing(client: Any, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    payload = json.dumps({"touch": str(mark)}).encode()
    assert client.invoke(FunctionName="OneFunction", InvocationType="DryRun", Payload=payload)["StatusCode"] == 204
    time.sleep(0.1)
    assert not mark.exists()


def test_an_unknown_function_is_not_found(client: Any) -> None:
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="NoFunction"):
        client.invoke(FunctionName="NoFunction")


@pytest.mark.parametrize("payload", [b"{", b"\xff", b"NULL", b"[" * 100_000])
def test_a_payload_that_is_no_json_is_refused(client: Any, payload: bytes) -> None:
    with pytest.raises(client.exceptions.InvalidRequestContentException):
        client.invoke(FunctionName="OneFunction", Payload=payload)


def test_a_payload_over_6_mb_is_refused(client: Any) -> None:
    with pytest.raises(client.exceptions.RequestTooLargeException):
        client.invoke(FunctionName="OneFunction", Payload=b'"' + b"x" * MAX_PAYLOAD_BYTES + b'"')


def test_anything_but_invoke_is_an_unknown_operation(url: str) -> None:
    for method, path in (("GET", "/2015-03-31/functions/OneFunction/invocations"), ("POST", "/")):
        answer = httpx.request(method, url + path)
        assert answer.status_code == 404
        assert answer.headers["x-amzn-errortype"] == "UnknownOperationException"


def test_an_unknown_invocation_type_is_refused(url: str) -> None:
    path = "/2015-03-31/functions/OneFunction/invocations"
    answer = httpx.post(url + path, content=b"{}", headers={"X-Amz-Invocation-Type": "Sometime"})
    assert answer.status_code == 400
