"""What `tips.state.wire` sends and returns is what botocore would have, told apart from botocore itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.session import Session
from hypothesis import given
from hypothesis import strategies as st

from tips.state.wire import write_and_read_plainly

REGION = "eu-central-1"
names = st.text(min_size=1, max_size=8)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.builds(dict, S=st.text(max_size=20)),
        st.builds(dict, N=st.integers(-(10**30), 10**30).map(str)),
        st.builds(dict, B=st.binary(max_size=40)),
        st.builds(dict, BOOL=st.booleans()),
        st.builds(dict, NULL=st.just(True)),
    ),
    lambda inner: st.one_of(
        st.builds(dict, L=st.lists(inner, max_size=3)),
        st.builds(dict, M=st.dictionaries(names | st.just("B"), inner, max_size=3)),
    ),
    max_leaves=6,
)
items = st.dictionaries(names | st.sampled_from(["B", "pk", "Item"]), values, max_size=4)


class Wire:
    """A client that reaches no further than here: keeps its last request and answers with what it is told."""

    def __init__(self, *, plainly: bool) -> None:
        self.status, self.answer = 200, b"{}"
        self.client: Any = Session().create_client(
            "dynamodb",
            region_name=REGION,
            endpoint_url="http://127.0.0.1:1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
        )
        self.client.meta.events.register("before-send.dynamodb", self._send)
        if plainly:
            write_and_read_plainly(self.client)

    def _send(self, request: Any, **_: Any) -> Any:
        self.request = request
        raw = type("Raw", (), {"stream": lambda _: iter([self.answer])})()
        return AWSResponse(request.url, self.status, HTTPHeaders.from_dict({"x-amzn-requestid": "r"}), raw)

    def sent(self) -> Any:
        return json.loads(self.request.body)


READS: dict[str, dict[str, Any]] = {
    "get_item": {"TableName": "t", "Key": {}},
    "query": {"TableName": "t"},
    "batch_get_item": {"RequestItems": {}},
    "batch_write_item": {"RequestItems": {}},
}
BOTOCORES, OURS = Wire(plainly=False), Wire(plainly=True)


@pytest.fixture(autouse=True)
def _as_new() -> Iterator[None]:
    yield
    for wire in (BOTOCORES, OURS):
        wire.status, wire.answer = 200, b"{}"


def as_json(value: Any) -> bytes:
    return json.dumps(value, default=lambda held: base64.b64encode(held).decode()).encode()


@given(item=items, key=items)
def test_the_same_is_sent(item: Any, key: Any) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        ("put_item", {"TableName": "t", "Item": item, "ConditionExpression": "attribute_not_exists(pk)"}),
        ("batch_get_item", {"RequestItems": {"t": {"Keys": [key, item], "ConsistentRead": True}}}),
        ("batch_write_item", {"RequestItems": {"t": [{"PutRequest": {"Item": item}}]}}),
        (
            "transact_write_items",
            {
                "TransactItems": [
                    {"Put": {"TableName": "t", "Item": item}},
                    {
                        "Update": {
                            "TableName": "t",
                            "Key": key,
                            "UpdateExpression": "SET a = :é",
                            "ExpressionAttributeValues": {f":{name}": value for name, value in item.items()},
                        }
                    },
                ]
            },
        ),
    ]
    for operation, arguments in calls:
        for wire in (BOTOCORES, OURS):
            getattr(wire.client, operation)(**arguments)
        theirs = BOTOCORES.sent()
        theirs.pop("ClientRequestToken", None)  # for retries of botocore's, of which there are none
        assert OURS.sent() == theirs == json.loads(as_json(arguments))
        for header in ("X-Amz-Target", "Content-Type"):
            assert OURS.request.headers[header] == BOTOCORES.request.headers[header]
        assert int(OURS.request.headers["Content-Length"]) == len(OURS.request.body)


@given(item=items, other=items)
def test_the_same_is_read(item: Any, other: Any) -> None:
    answers = {
        "get_item": {"Item": item},
        "query": {"Items": [item, other], "LastEvaluatedKey": item, "Count": 2},
        "batch_get_item": {"Responses": {"t": [item, other]}, "UnprocessedKeys": {}},
        "batch_write_item": {"UnprocessedItems": {"t": [{"PutRequest": {"Item": item}}]}},
    }
    for operation, answer in answers.items():
        read = []
        for wire in (BOTOCORES, OURS):
            wire.answer = as_json(answer)
            read.append(getattr(wire.client, operation)(**READS[operation]))
        theirs, ours = read
        assert theirs.pop("ResponseMetadata") == ours.pop("ResponseMetadata")
        assert ours == theirs == answer


def test_what_is_sent_is_what_is_signed() -> None:
    OURS.client.put_item(TableName="t", Item={"pk": {"S": "é"}, "b": {"B": b"\x00\xff"}})
    sent = OURS.request
    headers = {name: value.decode() if isinstance(value, bytes) else value for name, value in sent.headers.items()}
    scheme, _, rest = headers["Authorization"].partition(" ")
    parts = dict(one.strip().split("=", 1) for one in rest.split(","))
    signed = {name: value for name, value in headers.items() if name.lower() in parts["SignedHeaders"].split(";")}
    again = AWSRequest("POST", sent.url, data=sent.body, headers=signed)
    again.context["timestamp"] = headers["X-Amz-Date"]
    auth = SigV4Auth(Credentials("key", "secret"), "dynamodb", REGION)
    signature = auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)
    assert (scheme, parts["Signature"]) == ("AWS4-HMAC-SHA256", signature)


@pytest.mark.parametrize(
    "answer",
    [
        b"no JSON",
        b"[]",
        b'"text"',
        b'{"Item": 5}',
        b'{"Item": {"pk": "a"}}',
        b'{"Item": {"pk": {}}}',
        b'{"Item": null}',
        b'{"Items": {}}',
        b'{"Items": [5]}',
        b'{"LastEvaluatedKey": []}',
        b'{"Responses": []}',
        b'{"Responses": {"t": {}}}',
        b'{"Responses": {"t": [7]}}',
        b'{"UnprocessedKeys": 1}',
        b'{"UnprocessedItems": "x"}',
        b'{"Item": {"pk": {"B": "no base64!"}}}',
        b"\xff",
        b'{"message": "welcome"}',
        b'{"ResponseMetadata": {"RequestId": "forged"}}',
        b'{"Item": {"pk": {"S": "a"}}, "Items": [], "Responses": {}, "UnprocessedItems": {}, "Other": 1}',
    ],
)
def test_what_is_not_dynamodb_s_is_left_to_botocore(answer: bytes) -> None:
    """Whatever botocore makes of it, a fault or nothing, is what a caller sees."""
    for operation, arguments in READS.items():
        seen: list[Any] = []
        for wire in (BOTOCORES, OURS):
            wire.answer = answer
            try:
                read = getattr(wire.client, operation)(**arguments)
                seen.append({name: value for name, value in read.items() if name != "ResponseMetadata"})
            except Exception as fault:
                seen.append(type(fault))
        theirs, ours = seen
        assert ours == theirs


def test_a_refusal_is_botocore_s() -> None:
    reasons = [{"Code": "None"}, {"Code": "ConditionalCheckFailed", "Item": {"pk": {"B": "AAEC"}}}]
    body = {"__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException", "CancellationReasons": reasons}
    seen = []
    for wire in (BOTOCORES, OURS):
        wire.status, wire.answer = 400, as_json(body)
        with pytest.raises(ClientError) as caught:
            wire.client.transact_write_items(TransactItems=[])
        seen.append(caught.value.response)
    assert seen[0] == seen[1]
    assert seen[1]["CancellationReasons"][1]["Item"] == {"pk": {"B": b"\x00\x01\x02"}}
