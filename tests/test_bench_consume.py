"""`bench.consume` measures what it says: the floor writes what `consume` writes for one event, and all is reported."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import bridge_case, consume
from bench.consume_case import Case, case, cost, item_bytes, table_answers
from bench.consume_moto import moto_case
from bench.consume_people import EVENTS, SIZES, batch, people
from bench.consume_tables import markdown
from bench.instant_dynamodb import Exchange
from bench.timing import Times
from devstack.table import client
from tips.ingest.records import parse_json, records_of

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def measured_case() -> Iterator[Case]:
    with case() as measured:
        yield measured


def written(case: Case) -> list[list[dict[str, Any]]]:
    """Return the transactions since the last time this was asked, by person."""
    exchanges = [one for one in case.table.exchanges() if one.operation == "TransactWriteItems"]
    return sorted((json.loads(one.body)["TransactItems"] for one in exchanges), key=lambda parts: str(key(parts[0])))


def key(part: dict[str, Any]) -> tuple[str, str]:
    (operation,) = part.values()
    found = operation.get("Item") or operation["Key"]
    return found["pk"]["S"], found["sk"]["S"]


def without_clock(part: dict[str, Any]) -> Any:
    """Return a part without what says when it was made, and without packed values, which say so as well."""
    (operation,) = part.values()
    values = {name: value for name, value in operation.get("ExpressionAttributeValues", {}).items() if name != ":now"}
    expressions = {name: value for name, value in operation.items() if name.endswith("Expression")}
    return part.keys(), key(part), expressions, values, operation.get("Item", {}).keys()


def test_the_floor_writes_what_consume_writes_for_single_events(measured_case: Case) -> None:
    measured_case.table.exchanges()
    measured_case.consume[1]()
    ours = written(measured_case)
    measured_case.floor()
    floor = written(measured_case)
    measured_case.bare()
    assert written(measured_case) == floor
    assert len(ours) == len(floor) == EVENTS
    for one, other in zip(ours, floor, strict=True):
        assert Counter(key(part)[1][:2] for part in one) == {"E#": 1, "D#": 1, "L": 1, "P": 1}
        assert all("ConditionExpression" in next(iter(part.values())) for part in other)
        assert [*map(without_clock, one)] == [*map(without_clock, other)]
        assert len(json.dumps(one)) == pytest.approx(len(json.dumps(other)), rel=0.01)


def test_the_barer_floor_writes_the_same_marks_on_the_same_condition(measured_case: Case) -> None:
    measured_case.table.exchanges()
    measured_case.floor()
    floor = written(measured_case)
    measured_case.marks()
    marks = written(measured_case)
    assert marks == [[part for part in one if key(part)[1].startswith("E#")] for one in floor]
    assert [len(one) for one in marks] == [1] * EVENTS


@pytest.mark.parametrize("size", SIZES)
def test_consume_reads_a_hundred_keys_at_once_and_writes_each_person_once(measured_case: Case, size: int) -> None:
    measured_case.table.exchanges()
    measured_case.consume[size]()
    found = cost(measured_case.table.exchanges(), people(size))
    reads = {1: 5, 5: 2, 25: 2}  # of 100 keys: each person's four, and their decisions
    assert found.requests == {"BatchGetItem": reads[size], "TransactWriteItems": EVENTS // size}
    # Each mark is 2 units, each decision of under 4 KB at most 8; learning and profile are once for all of a person.
    floor = measured_case.costs["floor"].units
    assert 2 * EVENTS < found.units <= floor
    assert (found.units == floor) == (size == 1)
    assert measured_case.costs["marks"].units == 2 * EVENTS


@pytest.mark.parametrize("size", SIZES)
def test_a_batch_holds_a_reaction_to_each_of_its_people_s_decisions(size: int) -> None:
    told = [parse_json(record.data) for record in records_of(batch(people(size)))]
    payloads = [one["payload"] for one in told if isinstance(one, dict)]
    assert Counter(one["user_id"] for one in payloads) == {one.user_id: size for one in people(size)}
    decided = {
        (item["pk"]["S"].removeprefix("U#"), item["sk"]["S"].removeprefix("D#"))
        for one in people(size)
        for item in json.loads(one.items)
        if item["sk"]["S"].startswith("D#")
    }
    assert {(one["user_id"], one["decision_id"]) for one in payloads} == decided
    assert len(decided) == EVENTS


def test_another_batch_is_of_other_people_and_as_large() -> None:
    one, other = people(5)[0], people(5)[0].another(7)
    assert one.user_id != other.user_id
    assert one.user_id not in other.items + "".join(other.events)
    assert [len(text) for text in (one.items, *one.events)] == [len(text) for text in (other.items, *other.events)]


@pytest.mark.long
def test_a_failed_record_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = table_answers()
    refused = [rule for rule in rules if rule.operation != "TransactWriteItems"]
    monkeypatch.setattr("bench.consume_case.table_answers", lambda: refused)
    monkeypatch.setattr("bench.score_case.BUDGET_MS", "200")
    with pytest.raises(RuntimeError, match="not the answer to measure"), case():
        raise AssertionError("it was measured")


def test_an_update_costs_the_whole_item() -> None:
    decision = {"pk": {"S": "U#a"}, "sk": {"S": "D#1"}, "doc": {"B": "A" * 4 * 600}, "rev": {"N": "0"}}
    known = people(1)[0]
    holding = type(known)("a", json.dumps([decision]), ())
    update = {
        "Key": {"pk": {"S": "U#a"}, "sk": {"S": "D#1"}},
        "UpdateExpression": "SET reactions = :reactions, rev = :rev REMOVE prompt",
        "ExpressionAttributeValues": {":before": {"N": "0"}, ":rev": {"N": "1"}, ":reactions": {"S": "r" * 300}},
    }
    mark = {"Item": {"pk": {"S": "U#a"}, "sk": {"S": "E#1"}, "moved": {"BOOL": True}}}
    body = json.dumps({"TransactItems": [{"Update": update}, {"Put": mark}]})
    # 1,800 bytes of document and 300 of reactions with names and keys: 3 KB begun, and 1 of the mark.
    assert cost([Exchange("TransactWriteItems", 0, 0, body)], [holding]).units == 2 * 3 + 2 * 1


def test_sizes_are_dynamodb_s() -> None:
    assert item_bytes({"pk": {"S": "ü"}}) == 4
    assert item_bytes({"b": {"B": "AAA="}}) == 3
    assert item_bytes({"t": {"BOOL": True}}) == 2
    assert item_bytes({"m": {"M": {"k": {"S": "v"}}}}) == 1 + 3 + 1 + 1 + 1
    with pytest.raises(ValueError, match="type L"):
        item_bytes({"l": {"L": []}})


def test_ratios_are_events_per_second_and_the_lesser_one_is_judged() -> None:
    times = {
        "consume5": Times([100.0], [200.0]),
        "consume25": Times([50.0], [40.0]),
        "floor": Times([200.0], [300.0]),
    }
    rows = consume.rows(times, {}, events=10)
    assert [row["per_sec"] for row in rows] == [100_000, 200_000, 50_000]
    assert [row["ratio"] for row in rows] == [2.0, 4.0, 1.0]
    assert consume.bars(rows) == [
        {"per_user": 5, "asked": 1.5, "reached": 1.5, "met": True},
        {"per_user": 25, "asked": 3.0, "reached": 4.0, "met": True},
    ]
    slower = consume.rows({**times, "consume25": Times([50.0], [101.0])}, {}, events=10)
    assert [bar["met"] for bar in consume.bars(slower)] == [True, False]


@pytest.mark.long
def test_on_the_table_that_carries_it_out_each_side_teaches_everybody(measured_case: Case) -> None:
    events = max(SIZES)
    with moto_case(1, events, measured_case.transactions) as sides:
        endpoint = os.environ["DYNAMODB_ENDPOINT"]
        before = revisions(endpoint)
        for call in sides.values():
            call()
        after = revisions(endpoint)
    moved = Counter(after[user] - before[user] for user in before)
    # The people of `consume` and those of the prebuilt transactions, who had one, five or 25 lessons each.
    assert moved == {1: 2 * events, 5: 2 * events // 5, 25: 2 * events // 25}


def revisions(endpoint: str) -> dict[str, int]:
    """Return how often each person was taught."""
    dynamodb = client(endpoint)
    pages = dynamodb.get_paginator("scan").paginate(TableName="tips", ConsistentRead=True)
    items = [item for page in pages for item in page["Items"]]
    return {item["pk"]["S"]: int(item["rev"]["N"]) for item in items if item["sk"]["S"] == "L"}


@pytest.mark.long
def test_the_bridge_hands_over_all_messages_in_full_batches() -> None:
    measured = bridge_case.bridge(messages=450, runs=1)
    print("nats-server", measured["nats_server"])
    ours, bare = measured["rows"]
    assert (ours["name"], bare["name"]) == ("bridge", "bare")
    assert (ours["records"], ours["largest"]) == (450, bridge_case.BATCH)
    assert 5 <= ours["invocations"] <= 4 + 50
    for row in (ours, bare):
        assert row["per_sec"] > 0
    assert bare["times_bare"] == 1.0


@pytest.mark.long
def test_a_quick_run_reports_all_that_the_tables_need(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "consume.json"
    assert consume.main(["--quick", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    sides = [*(f"consume{size}" for size in SIZES), "floor", "bare", "marks"]
    assert [row["name"] for row in result["instant"]] == sides
    assert [row["name"] for row in result["moto"]] == [*sides[:-2], "prebuilt5", "prebuilt25"]
    for row in (*result["instant"], *result["moto"]):
        assert row["per_sec"] > 0
        assert 0 < row["low"] <= row["ratio"] <= row["high"]
    assert [(bar["per_user"], bar["asked"]) for bar in result["bars"]] == [(5, 1.5), (25, 3.0)]
    assert [row["name"] for row in result["bridge"]["rows"]] == ["bridge", "bare"]
    assert result["bridge"]["rows"][0]["records"] == 1000
    tables = markdown(result)
    assert tables in capsys.readouterr().out
    print("nats-server", result["bridge"]["nats_server"])
