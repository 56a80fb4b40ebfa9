"""`bench.speed` measures what it says: the floor makes the handler's calls and sends as much, and all is reported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest

from bench import __main__ as everything
from bench import speed
from bench.choosing import choosers
from bench.instant_dynamodb import Exchange
from bench.score_case import CANDIDATES, Case, case, usual
from bench.speed_tables import markdown
from bench.timing import Times, interleaved, ratio


@pytest.fixture(scope="module")
def measured_case() -> Iterator[Case]:
    with case() as measured:
        yield measured


def calls(case: Case, side: str) -> list[Exchange]:
    case.table.exchanges()
    getattr(case, side)()
    return case.table.exchanges()


@pytest.mark.parametrize("side", ["floor", "bare"])
def test_the_floor_makes_the_same_two_calls_of_the_same_size(measured_case: Case, side: str) -> None:
    _, (read, write) = usual(measured_case.table, measured_case.score)
    floor_read, floor_write = calls(measured_case, side)
    assert (read.operation, write.operation) == ("BatchGetItem", "BatchWriteItem")
    assert (floor_read.operation, floor_write.operation) == ("BatchGetItem", "BatchWriteItem")
    assert json.loads(floor_read.body) == json.loads(read.body)
    assert floor_read.answered == read.answered > 5_000  # what was learned under two schemas
    assert floor_write.answered == write.answered
    # Two decisions differ in their ids, their draw and how well that compresses.
    assert floor_write.received == pytest.approx(write.received, rel=0.02)
    items = [next(iter(json.loads(one.body)["RequestItems"].values())) for one in (write, floor_write)]
    assert [len(one) for one in items] == [2, 2]
    assert items[0][0]["PutRequest"]["Item"].keys() == items[1][0]["PutRequest"]["Item"].keys()


def test_the_floor_answers_as_much(measured_case: Case) -> None:
    answer = measured_case.score()
    for floor in (measured_case.floor(), measured_case.bare()):
        assert answer["statusCode"] == floor["statusCode"] == 200
        assert len(floor["body"]) == pytest.approx(len(answer["body"]), rel=0.02)
        assert answer["headers"].keys() == floor["headers"].keys()


def test_what_is_measured_is_a_whole_warm_decision(measured_case: Case) -> None:
    body = json.loads(measured_case.score()["body"])
    assert (body["policy"], body["degraded"], body["logged"]) == ("igw-ucb", False, True)
    assert len(body["ranking"]) == CANDIDATES
    assert len({row["score"] for row in body["ranking"]}) > 10  # the person has taught something
    reads = [one for _ in range(3) for one in calls(measured_case, "score") if one.operation == "BatchGetItem"]
    assert all("C#CONFIG" not in one.body for one in reads)


@pytest.mark.long
def test_a_quick_run_reports_all_that_the_tables_need(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "speed.json"
    assert speed.main(["--quick", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert [row["shadows"] for row in result["handler"]] == [["egreedy-v2"], ["squarecb"], []]
    for row in result["handler"]:
        assert 0 < row["low"] <= row["ratio"] <= row["high"]
        assert [call["operation"] for call in row["calls"]] == ["BatchGetItem", "BatchWriteItem"]
    assert result["bar"] == {"ratio": 1.5, "met": result["handler"][0]["ratio"] <= 1.5}
    assert [row["name"] for row in result["choosing"]] == list(choosers())
    tables = markdown(result)
    assert tables in capsys.readouterr().out
    for row in result["choosing"]:
        assert f"| {row['name']} |" in tables


def test_ratios_are_taken_round_by_round() -> None:
    slow_then_fast = Times([20.0, 2.0, 4.0], [3.0, 3.0, 3.0])
    base = Times([10.0, 1.0, 2.0], [2.0, 2.0, 2.0])
    assert ratio(slow_then_fast, base) == {"ratio": 2.0, "low": 2.0, "high": 2.0, "processor": 1.5}


def test_all_are_called_equally_often_whatever_the_order() -> None:
    called = {"a": 0, "b": 0}

    def call(name: str) -> None:
        called[name] += 1

    times = interleaved({name: partial(call, name) for name in called}, rounds=2, per_round=3)
    assert called == {"a": 9, "b": 9}  # one round to warm up
    assert {len(one.wall) for one in times.values()} == {2}


def test_one_run_merges_all_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = {module: {"of": module} for module, *_ in everything.PARTS}
    monkeypatch.setattr(everything, "measure", lambda module, quick: measured[module])
    parts = tuple((module, title, "json:dumps") for module, title, _ in everything.PARTS)
    monkeypatch.setattr(everything, "PARTS", parts)
    assert everything.main(["--quick", "--into", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert {name: results[name] for name in measured} == measured
    assert results["machine"]["cores"]
    tables = (tmp_path / "results.md").read_text()
    assert tables in capsys.readouterr().out
    assert f"Python {results['machine']['python']}" in tables
    assert [tables.index(f"## {title}") for _, title, _ in parts] == sorted(
        tables.index(f"## {title}") for _, title, _ in parts
    )


@pytest.mark.parametrize(("module", "renderer"), [(module, renderer) for module, _, renderer in everything.PARTS])
def test_every_part_can_be_run_and_rendered(module: str, renderer: str) -> None:
    where, _, name = renderer.partition(":")
    assert callable(getattr(import_module(where), name))
    assert callable(import_module(f"bench.{module}").main)
