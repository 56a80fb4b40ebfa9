"""`bench.load` measures what it says: shares that add up, requests by the clock, faults that are told."""

from __future__ import annotations

import io
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bench import __main__ as everything
from bench import load
from bench.load_shares import Done, percentiles, row_of, told
from bench.load_tables import markdown
from devstack.instances import Outcome

MS = 1_000_000


def done(began: int, ended: int, *, route: str = "/score", due: int | None = None, fault: str = "") -> Done:
    times = (began if due is None else due) * MS, began * MS, ended * MS
    return Done(route, 0, *times, fault=fault, handled=(ended - began - 1) * MS, ran=2 * MS)


def test_percentiles_are_times_that_so_many_percent_do_not_exceed() -> None:
    times = [number * MS for number in range(1, 201)]
    assert percentiles(times[::-1]) == {"p50": 100.0, "p95": 190.0, "p99": 198.0, "max": 200.0}
    assert percentiles([7 * MS]) == dict.fromkeys(("p50", "p95", "p99", "max"), 7.0)


def test_a_request_is_told_from_when_it_was_due_and_the_tables_share_is_its_environments_own() -> None:
    waits = [[(5 * MS, 9 * MS), (12 * MS, 15 * MS), (16 * MS, 17 * MS), (30 * MS, 33 * MS)]]
    row = row_of("/score", [done(10, 20, due=4), done(29, 35, route="/reward")], waits)
    assert row["requests"] == 1
    assert {row[part]["p99"] for part in ("whole",)} == {16.0}
    assert (row["begun_late"]["p50"], row["table"]["p50"], row["handler"]["p50"]) == (6.0, 4.0, 5.0)
    assert row["on_a_core"]["max"] == 2.0


def test_what_the_handler_took_is_of_the_call_within_the_request() -> None:
    log = io.BytesIO(b"START\nHANDLED 1000 2000 5\nREPORT HANDLED 2100 2200 5\nHANDLED 11000000 19000000 300\nEND\n")
    (one,) = told([done(10, 20)], 0, log)
    assert (one.handled, one.ran) == (8 * MS, 300)
    assert told([done(10, 20)], 1, log) == []
    for without in (done(12, 20), done(10, 18)):
        with pytest.raises(KeyError, match="no call of the handler in a request of /score"):
            told([without], 0, log)


def test_a_request_whose_handler_came_to_no_end_counts_but_for_the_handler() -> None:
    unended = replace(done(22, 25, fault="Sandbox.Timedout"), handled=None)
    (failed,) = told([unended], 0, io.BytesIO(b"HANDLED 10000000 19000000 5\n"))
    assert failed == unended
    row = row_of("/score", [done(10, 20), failed], [[]])
    assert (row["requests"], row["whole"]["max"], row["handler"]["max"]) == (2, 10.0, 9.0)


def test_a_request_that_gets_lost_ends_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def invoke(self, payload: bytes) -> Outcome:
            return Outcome("", b"no JSON")

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    requests = load.Load([cast(Any, Broken())])
    requests._free.put(0)
    with pytest.raises(RuntimeError, match="of 1 requests 0 were seen to their end"):
        requests.run(0.01, 100)


@pytest.mark.parametrize(
    ("route", "status", "body", "fault"),
    [
        ("/score", 200, {"degraded": False, "logged": True}, ""),
        ("/score", 200, {"degraded": True, "logged": True}, "degraded"),
        ("/score", 200, {"degraded": False, "logged": False}, "not logged"),
        ("/score", 503, {"error": {}}, "HTTP 503"),
        ("/reward", 200, {"applied": True}, ""),
        ("/reward", 200, {"applied": False, "reason": "duplicate"}, "not applied: duplicate"),
    ],
)
def test_an_answer_that_is_not_the_full_one_is_an_error(
    route: str, status: int, body: dict[str, object], fault: str
) -> None:
    payload = json.dumps({"statusCode": status, "body": json.dumps(body)}).encode()
    assert load._fault(route, False, payload)[0] == fault
    assert load._fault(route, True, b'{"errorType": "Sandbox.Timedout"}')[0] == "Sandbox.Timedout"


@pytest.mark.emulator
def test_a_short_load_is_carried_without_an_error_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "load.json"
    assert load.main(["--quick", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert result["errors"] == {}
    assert [row["route"] for row in result["rows"]] == ["/score", "/reward"]
    assert sum(row["requests"] for row in result["rows"]) == int(result["load_sec"] * result["per_sec"])
    for row in result["rows"]:
        # One cannot wait for the table and be on a core; both are parts of the invocation, which is part of the whole.
        assert 0 < row["table"]["p50"] < row["whole"]["p99"]
        assert 0 < row["on_a_core"]["p50"] < row["whole"]["p99"]
        assert 0 < row["handler"]["p50"] < row["whole"]["p99"]
        assert row["handler"]["p50"] + row["table"]["p50"] < row["whole"]["max"]
        assert all(row[part]["p50"] <= row[part]["p95"] <= row[part]["p99"] for part in ("whole", "table", "handler"))
    tables = markdown(result)
    assert tables in capsys.readouterr().out
    assert all(f"| `{row['route']}` | {row['requests']} |" in tables for row in result["rows"])
    assert "applied: none." in tables


def test_one_part_can_be_measured_anew_among_those_that_were_measured_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(everything, "PARTS", tuple((module, module, "json:dumps") for module in ("speed", "load")))
    monkeypatch.setattr(everything, "measure", lambda module, quick: {"new": module})
    monkeypatch.setattr(everything, "HERE", tmp_path)
    before = {"machine": everything.machine(), "speed": {"old": "speed"}, "load": {"old": "load"}}
    (tmp_path / "results.json").write_text(json.dumps(before))
    assert everything.main(["--only", "load"]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["speed"], results["load"]) == ({"old": "speed"}, {"new": "load"})
    assert "Of an earlier run, by itself: speed." in (tmp_path / "results.md").read_text()


def test_parts_of_two_machines_are_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(everything, "HERE", tmp_path)
    other = {**everything.machine(), "cores": 96}
    (tmp_path / "results.json").write_text(json.dumps({"machine": other, "speed": {}}))
    with pytest.raises(SystemExit):
        everything.main(["--only", "load"])
    assert "of another machine" in capsys.readouterr().err
