"""Every event in events/ goes through the real handler, and the files are what their script writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from scripts import make_events

FOLDER = Path(__file__).resolve().parents[1] / "events"
FUNCTIONS = {"score": "score", "reward": "score", "generate": "generate", "consume": "consume"}


def function_of(name: str) -> str:
    """Return the function that an event is for, by the first word of its file's name. Raises `KeyError`."""
    return FUNCTIONS[re.split(r"[._-]", name)[0]]


def test_the_files_are_what_the_script_writes() -> None:
    for name, event in make_events.FILES.items():
        assert (FOLDER / name).read_text() == make_events.render(event)


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.json")))
def test_every_event_is_answered(load_function: Any, table: Any, name: str) -> None:
    function = load_function(function_of(name))
    result = function.invoke(json.loads((FOLDER / name).read_text()))
    if name.startswith("consume"):
        bad = ["8"] if name == "consume_mixed_one_bad.json" else []
        assert [one["itemIdentifier"] for one in result["batchItemFailures"]] == bad
    else:
        assert result["statusCode"] == 200
        assert json.loads(result["body"])


def test_a_replayed_reaction_reaches_a_replayed_decision(load_function: Any, table: Any) -> None:
    score, consume = load_function("score"), load_function("consume")

    def replay(function: Any, name: str) -> Any:
        return function.invoke(json.loads((FOLDER / name).read_text()))

    shown: set[str] = set()
    while not {"task-report", "task-plants"} <= shown:
        shown.add(json.loads(replay(score, "score.json")["body"])["tip_id"])
    for name in ("consume_tip_feedback.json", "consume_feedback_tip.json", "consume_tip_feedback.json"):
        replay(consume, name)
    stats = score.call("GET", "/stats/demo-user").json
    assert (stats["pulls"], stats["cumulative_reward"]) == (2, 0.0)
