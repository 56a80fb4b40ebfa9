"""Every event in events/ on what was built: the answer, and what it leaves in the table, are those of the source."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from scripts.sam_local_compare import differences, draw, opened, readable
from tests.conftest import LoadedFunction, LocalTable
from tests.test_events import FOLDER, function_of

pytestmark = pytest.mark.emulator

EVENTS = sorted(path.name for path in FOLDER.glob("*.json"))
LOCALLY = {"AWS_SAM_LOCAL": "true", "CONFIG_CACHE_SEC": "0"}  # generate may write without a model
_MOST_DRAWS = 500

Load = Callable[..., LoadedFunction]


def event(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


@pytest.mark.parametrize("name", EVENTS)
def test_what_was_built_answers_as_the_source(
    load_emulated: Load, load_in_process: Load, new_table: Callable[[], LocalTable], name: str
) -> None:
    built, ours = new_table(), new_table()
    remember_something(load_in_process, ours)
    known = ours.items()
    for item in known:
        built.client.put_item(TableName=built.name, Item=item)
    answered = ran(load_emulated(function_of(name), **built.environment(), **LOCALLY), built, name)
    source = load_in_process(function_of(name), **ours.environment(), **LOCALLY)
    for _ in range(_MOST_DRAWS):
        expected = ran(source, ours, name)
        if draw(expected) == draw(answered):
            break
        begin_anew(ours, known)
    assert differences(answered, expected) == []


def ran(function: LoadedFunction, table: LocalTable, name: str) -> dict[str, Any]:
    """Return the answer to an event, and what the table holds then."""
    answer = function.invoke(event(name))
    return opened((answer, readable(table.items())))


def begin_anew(table: LocalTable, known: list[dict[str, Any]]) -> None:
    for item in table.items():
        table.client.delete_item(TableName=table.name, Key={key: item[key] for key in ("pk", "sk")})
    for item in known:
        table.client.put_item(TableName=table.name, Item=item)


def remember_something(load_in_process: Load, table: LocalTable) -> None:
    """Leave a decision for each tip, shown first of all, and a reaction that was learned."""
    score = load_in_process("score", **table.environment(), **LOCALLY)
    asked = json.loads(event("score.json")["body"])
    for candidate in asked["candidates"]:
        answer = score.call("POST", "/score", asked | {"candidates": [candidate]})
        assert answer.json["logged"]
    reward = {"user_id": asked["user_id"], "decision_id": answer.json["decision_id"], "action": "helpful"}
    assert score.call("POST", "/reward", reward).json["applied"]
