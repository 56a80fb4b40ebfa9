"""DynamoDB's JSON between `Table` and the wire, without botocore's walk through its shapes."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from botocore.client import BaseClient

_BODY = "tips_request_body"


def _base64_text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _with_bytes(found: dict[str, Any]) -> dict[str, Any]:
    """Return an object of an answer; where it is a binary value, that is base64 text no longer."""
    if "B" in found and len(found) == 1 and isinstance(found["B"], str):
        return {"B": base64.b64decode(found["B"], validate=True)}
    return found


_encode = json.JSONEncoder(default=_base64_text, separators=(",", ":")).encode
_decode = json.JSONDecoder(object_hook=_with_bytes).decode


def write_and_read_plainly(client: BaseClient) -> None:
    """Have a DynamoDB client send arguments as they are and return answers as they came, binary values as bytes.

    What `Table` sends and reads is DynamoDB's own JSON already, without sets. botocore would copy it value by value in
    both directions, and search every write of a transaction for a table's ARN: a fifth of all that `consume` does for
    an event. Its events leave both out; signing, sending and errors stay botocore's. A transaction has no token by
    which DynamoDB would know it again: `Table` sends each once.
    """
    events: Any = client.meta.events
    events.register("provide-client-params.dynamodb", _take_arguments)
    events.register("before-call.dynamodb", _give_body)
    events.register("before-parse.dynamodb", _read_answer)


def _take_arguments(params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> dict[str, Any]:
    context[_BODY] = _encode(params).encode()
    # botocore looks for tables' ARNs among what a batch asks for, and must find that there is nothing.
    return {"RequestItems": {}} if "RequestItems" in params else {}


def _give_body(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    params["body"] = context.pop(_BODY)


def _read_answer(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], operation_model: Any, **_: Any
) -> None:
    """Take the body over; a fault, and what has not the shape of DynamoDB's, are left to botocore."""
    if response_dict["status_code"] != 200:
        return
    try:
        answer = _decode(response_dict["body"].decode())
    except ValueError:
        return
    if not isinstance(answer, dict):
        return
    # Other members say nothing, as with botocore: by those of the operation `Table` knows whose answer it is.
    members = operation_model.output_shape.members
    known = {name: value for name, value in answer.items() if name in members}
    if all(_SHAPES[name](value) for name, value in known.items() if name in _SHAPES):
        customized_response_dict.update(known)
        response_dict["body"] = b"{}"


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_item(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(one, dict) and len(one) == 1 for one in value.values())


def _are_items(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_item, value))


def _are_items_of_tables(value: object) -> bool:
    return isinstance(value, dict) and all(map(_are_items, value.values()))


_SHAPES = {
    "Attributes": _is_item,
    "Item": _is_item,
    "ItemCollectionMetrics": _is_object,
    "Items": _are_items,
    "LastEvaluatedKey": _is_item,
    "Responses": _are_items_of_tables,
    "UnprocessedItems": _is_object,
    "UnprocessedKeys": _is_object,
}
