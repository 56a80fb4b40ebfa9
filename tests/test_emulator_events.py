"""Every event in events/ on what was built: the answer, and what it leaves in the table, are those of the source."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import LoadedFunction, LocalTable
from tests.test_events import FOLDER, function_of

pytestmark = pytest.mark.emulator

EVENTS = sorted(path.name for path in FOLDER.glob("*.json"))
LOCALLY = {"AWS_SAM_LOCAL": "true", "CONFIG_CACHE_SEC": "0"}  # generate may write without a model
_OF_NOW = [
    (re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}"), "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)"), "<time>"),
    (re.compile(r"\b1\d{15}\b"), "<time>"),
    (re.compile(r"task-report|task-plants|tip-walk|\b[0-9a-f]{32}\b"), "<tip>"),  # drawn by the decision's id
]
_DRAWN = {"tip_id", "score", "propensity", "explored"}

Load = Callable[..., LoadedFunction]


def event(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


@pytest.mark.parametrize("name", EVENTS)
def test_what_was_built_answers_as_the_source(
    load_emulated: Load, load_in_process: Load, new_table: Callable[[], LocalTable], name: str
) -> None:
    built, ours = new_table(), new_table()
    remember_something(load_in_process, ours)
    for item in ours.items():
        built.client.put_item(TableName=built.name, Item=item)
    answers = [
        load(function_of(name), **table.environment(), **LOCALLY).invoke(event(name))
        for load, table in ((load_emulated, built), (load_in_process, ours))
    ]
    answer, expected = (comparable(one) for one in answers)
    assert answer == expected
    assert kept(built) == kept(ours)


def remember_something(load_in_process: Load, table: LocalTable) -> None:
    """Leave a decision for each tip, shown first of all, and a reaction that was learned."""
    score = load_in_process("score", **table.environment(), **LOCALLY)
    asked = json.loads(event("score.json")["body"])
    for candidate in asked["candidates"]:
        answer = score.call("POST", "/score", asked | {"candidates": [candidate]})
        assert answer.json["logged"]
    reward = {"user_id": asked["user_id"], "decision_id": answer.json["decision_id"], "action": "helpful"}
    assert score.call("POST", "/reward", reward).json["applied"]


def comparable(result: Any) -> Any:
    """Return what an answer says, less what chance and the clock have put into it."""
    if "statusCode" not in result:
        return masked(result)
    body = json.loads(result["body"])
    if "ranking" in body:
        shown = next(row for row in body["ranking"] if row["id"] == body["tip_id"])
        assert (shown["score"], shown["propensity"]) == (body["score"], body["propensity"])
        rows = sorted([row["id"], row["score"], row["propensity"]] for row in body["ranking"])
        body = {name: value for name, value in body.items() if name not in _DRAWN} | {"ranking": rows}
    headers = {name: value for name, value in result["headers"].items() if name != "content-length"}
    body.pop("latency_ms", None)
    return {**result, "headers": headers, "body": masked(body)}


def masked(value: Any) -> Any:
    match value:
        case dict():
            return {masked(name): masked(one) for name, one in value.items()}
        case list():
            return [masked(one) for one in value]
        case float():
            return round(value, 9)  # a product may end in other bits in another process
        case str():
            for pattern, mask in _OF_NOW:
                value = pattern.sub(mask, value)
            return value
    return value


def kept(table: LocalTable) -> list[str]:
    """Return the items of a table in a form that is the same for the same request a moment later."""
    return sorted(json.dumps(masked(attribute(item)), sort_keys=True) for item in table.items())


def attribute(value: Any) -> Any:
    match value:
        case {"B": _}:
            return "<bytes>"
        case {"N": number} if abs(float(number)) > 1e8:
            return "<time>"
        case dict():
            return {name: attribute(one) for name, one in value.items()}
        case list():
            return [attribute(one) for one in value]
    return value
