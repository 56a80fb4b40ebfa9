"""Metrics as lines in CloudWatch's embedded format."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from tips import telemetry


@pytest.fixture(autouse=True)
def _nothing_left_over(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.flush()
    capsys.readouterr()


def test_a_line_per_set_of_dimensions(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.count("Generations")
    telemetry.count("Generations", 2)
    telemetry.count_for("ModelTokens", 100, model="m", prompt_version="v1")
    telemetry.count_for("ModelTokens", 20, prompt_version="v1", model="m")
    telemetry.count_for("ModelCalls", model="m", prompt_version="v1")
    telemetry.count_for("ModelTokens", 7, model="other", prompt_version="v1")
    telemetry.flush()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    said = [{name: value for name, value in line.items() if name not in ("_aws", "service")} for line in lines]
    assert said == [
        {"Generations": [3]},
        {"model": "m", "prompt_version": "v1", "ModelTokens": [120], "ModelCalls": [1]},
        {"model": "other", "prompt_version": "v1", "ModelTokens": [7]},
    ]
    directives = [line["_aws"]["CloudWatchMetrics"][0] for line in lines]
    assert [directive["Dimensions"] for directive in directives] == [
        [["service"]],
        [["service", "model", "prompt_version"]],
        [["service", "model", "prompt_version"]],
    ]
    assert [[metric["Name"] for metric in directive["Metrics"]] for directive in directives] == [
        ["Generations"],
        ["ModelTokens", "ModelCalls"],
        ["ModelTokens"],
    ]
    assert all(line["service"] for line in lines)


def test_nothing_is_lost_that_is_counted_while_it_is_flushed(capsys: pytest.CaptureFixture[str]) -> None:
    class Interrupted(dict[Any, Any]):
        def clear(self) -> None:
            other.start()  # counts, if it may, what is about to be cleared
            other.join(0.2)
            super().clear()

    other = threading.Thread(target=telemetry.count_for, args=("ModelCalls",), kwargs={"model": "m"})
    telemetry.count("Generations")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telemetry, "_counts", counts := Interrupted(telemetry._counts))
        telemetry.flush()
        other.join()
        patch.setattr(telemetry, "_counts", dict(counts))
        telemetry.flush()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("Generations", line.get("ModelCalls")) for line in lines] == [[1], [1]]


def test_what_was_flushed_is_not_said_again(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.count_for("ModelCalls", model="m")
    telemetry.flush()
    assert capsys.readouterr().out
    telemetry.flush()
    assert capsys.readouterr().out == ""
