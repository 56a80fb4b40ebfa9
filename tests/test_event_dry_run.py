"""A dry run writes nothing, and what it says is what the run then does: the same code, over a table in memory."""

from __future__ import annotations

import json
import random
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from offline import event_dry_run
from offline.event_archive import Recorded
from offline.event_dry_run import DryRun
from offline.event_expressions import UnknownExpression, holds, updated
from offline.event_overlay import OverlayTable
from offline.event_sending import Report, send
from tests.conftest import LoadedFunction, LocalTable
from tests.deciding import remember
from tests.requests import connect, stats
from tests.test_event_replay import EVENTS, HandlerClient, archive, decide, envelope, feedback, handler, run
from tips.errors import ConditionNotMet
from tips.settings import Settings
from tips.state import keys
from tips.state.teaching import LearningRules

__all__ = ["handler"]


def overlay_of(table: LocalTable) -> OverlayTable:
    return OverlayTable(Settings(table_name=table.name, dynamodb_endpoint=table.endpoint), 5000)


def snapshot(table: LocalTable) -> list[str]:
    return sorted(repr(sorted(item.items())) for item in table.items())


def told(
    table: LocalTable, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str | Path
) -> tuple[int, list[str]]:
    """Return exit code and lines of a dry run."""
    for name, value in table.environment().items():
        monkeypatch.setenv(name, value)
    code, out, err = run(capsys, "--dry-run", *arguments)
    assert err == ""
    return code, out.splitlines()


def served(number: int, decision: dict[str, Any], **changes: Any) -> dict[str, Any]:
    payload = {"user_id": "anna", "tip_id": decision["tip_id"], "decision_id": decision["decision_id"], **changes}
    return {"subject": "signals.tip.served", "event": envelope(number, **payload, shown_at="2026-11-20T08:30:00Z")}


def test_each_outcome_is_told_and_nothing_is_written(
    score: LoadedFunction,
    handler: HandlerClient,
    table: LocalTable,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second, third = decide(score, 3)
    late = feedback(5, third)
    late["event"]["occurred_at"] = "2998-01-01T00:00:00Z"
    earlier = feedback(3, first, "dismiss")
    earlier["event"]["occurred_at"] = "2020-01-01T00:00:00Z"
    unknown = {**second, "decision_id": "01M805GPZWJY8F34V2FHXDD4RE"}
    file = archive(
        tmp_path / "a.jsonl",
        feedback(1, first),
        feedback(1, first),
        feedback(2, first, "snooze"),
        earlier,
        feedback(4, unknown),
        {"subject": "signals.tip.reward_failed", "event": {**feedback(6, second)["event"]}},
        feedback(7, second, "applaud"),
        {"subject": "signals.tip.invented", "event": {}},
        {"subject": "other.subject", "event": {}},
        served(8, third),
        served(8, third),
        feedback(9, {**second, "tip_id": "another"}),
    )
    before = snapshot(table)
    code, lines = told(table, capsys, monkeypatch, file)
    assert code == 1
    assert snapshot(table) == before
    assert handler.batches == []
    outcomes = [line.split("  ")[-1] for line in lines[:12]]
    assert outcomes == [
        f"learned: 0.6, decision {first['decision_id']}",
        "duplicate",
        f"revised: 0.6 -> 0.1, decision {first['decision_id']}",
        "superseded",
        "unknown decision",
        f"learned: 0.6, decision {second['decision_id']}",
        "bad record: payload.action: Input should be 'done', 'dismiss', 'snooze', 'helpful' or 'not_helpful'",
        "other event",
        "bad record: subject: is under neither signals. nor feedback.",
        "tip shown",
        "nothing new",
        "tip not shown",
    ]
    assert lines[0].startswith(f"{file}:1  feedback.tip  anna  ")
    assert lines[12] == "dry run of 12 events, nothing was written"
    assert "  2 learned" in lines
    assert "  2 bad record" in lines
    assert [line.split() for line in lines[-2:]] == [
        ["user", "features", "pulls", "cumulative", "reward"],
        ["anna", "crossed-v3", "0", "->", "2", "0", "->", "0.7"],
    ]


def test_a_late_reaction_is_told(
    table: LocalTable, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    two_days_ago = time.time_ns() // 1000 - 2 * 86_400_000_000
    decision = remember(connect(table), "anna", two_days_ago, [{"id": "a"}])
    reaction = feedback(1, {"tip_id": "a", "decision_id": decision.decision_id})
    _, lines = told(table, capsys, monkeypatch, archive(tmp_path / "a.jsonl", reaction))
    assert lines[0].endswith("  late")


def test_what_is_told_is_what_then_happens(
    score: LoadedFunction,
    consume: LoadedFunction,
    handler: HandlerClient,
    table: LocalTable,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = random.Random(5)
    people = {user: decide(score, 6, user) for user in ("anna", "ben", "carla")}
    records = []
    for number in range(60):
        user = chance.choice([*people])
        one = chance.choice(people[user])
        kind = chance.choice(["feedback", "by tip", "served", "again", "bad"])
        if kind == "served":
            records.append(served(number, one, user_id=user))
        elif kind == "again" and records:
            records.append(chance.choice(records))
        else:
            record = feedback(number, one, chance.choice(["done", "dismiss", "snooze"]), user_id=user)
            if kind == "by tip":
                del record["event"]["payload"]["decision_id"]
            if kind == "bad":
                record["event"]["payload"]["dwell_ms"] = -1
            records.append(record)
    file = archive(tmp_path / "a.jsonl", *records)
    before = snapshot(table)
    code, lines = told(table, capsys, monkeypatch, file)
    assert snapshot(table) == before
    predicted = {line.split()[0]: line.split() for line in lines if line.startswith(("anna ", "ben ", "carla "))}
    ran, out, _ = run(capsys, file, "--batch", "7")
    assert ran == code == 1
    bad = sum("  bad record" in line for line in lines[:60])
    assert 0 < bad < 30
    assert f"done {60 - bad}, failed {bad}" in out
    assert set(predicted) == set(people)
    for user, row in predicted.items():
        pulls, reward = stats(score, f"/stats/{user}")
        assert (int(row[4]), float(row[7])) == pytest.approx((pulls, reward), abs=1e-5)
        assert pulls > 0
    # And now that it has happened, nothing would.
    _, again = told(table, capsys, monkeypatch, file)
    assert not any("learned:" in line or "revised:" in line for line in again)


def test_what_the_overlay_holds_in_the_end_is_what_the_table_holds_after_the_run(
    score: LoadedFunction, consume: LoadedFunction, table: LocalTable
) -> None:
    """Every expression that consume writes, on every item: the overlay's arithmetic against the table's own."""
    tips = decide(score, 3)
    deferred = score.call("POST", "/score", {"user_id": "anna", "candidates": [
        {"id": "w", "kind": "advice", "source": "llm", "prompt_version": "v1", "generation_id": "g", "content": "Walk"}
    ], "defer": True}).json  # fmt: skip
    synced = {"subject": "signals.task.synced",
              "event": envelope(1, user_id="anna", task_count=3, synced_at="2026-11-20T08:30:00Z")}  # fmt: skip
    expired = {"subject": "signals.integration.token_expired", "event": envelope(2, user_id="anna", source="unnamed")}
    records = [feedback(10, tips[0]), feedback(11, tips[0], "dismiss"), served(12, deferred), feedback(13, deferred),
               feedback(14, tips[1], dwell_ms=20_000), synced, expired, served(15, tips[2])]  # fmt: skip
    events = [
        Recorded(f"x:{n}", one["subject"], json.dumps(one["event"]).encode(), datetime.now(UTC))
        for n, one in enumerate(records)
    ]
    overlay = overlay_of(table)
    run_dry = DryRun(overlay, LearningRules())
    assert not [one for one in run_dry.predict(events) if one.failed]
    for event in events:  # one at a time, as in the dry run
        send([event], HandlerClient(consume), Report(), batch=1)
    real = {(item["pk"]["S"], item["sk"]["S"]): item for item in table.items()}
    changed = overlay.changes()
    assert len(changed) >= 12
    for key, (_, item) in changed.items():
        there = real.get(key)
        if item is None or there is None:
            assert item is there is None
            continue
        assert settled(item) == settled(there), key


def settled(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item without what depends on when it was written."""
    varying = {"ttl", "schemas", "reactions", "activated_at", "shown_at", "reactions_at", "served_at"}
    return {name: value for name, value in item.items() if name not in varying} | {"has": {"SS": sorted(item)}}


# The overlay


def put(table: Any, pk: str, sk: str, **attributes: Any) -> None:
    table.put({"pk": {"S": pk}, "sk": {"S": sk}, **attributes})


def test_the_overlay_reads_what_was_written_and_else_the_table(table: LocalTable) -> None:
    real, overlay = connect(table), overlay_of(table)
    put(real, "U#a", "1", n={"N": "1"})
    put(real, "U#a", "2", n={"N": "2"})
    overlay.update("U#a", "1", "SET n = n + :one", {":one": {"N": "1"}})
    put(overlay, "U#a", "3", n={"N": "3"})
    overlay.delete("U#a", "2")
    wanted = [("U#a", "3"), ("U#a", "2"), ("U#a", "1"), ("U#a", "0")]
    found = overlay.get_all(wanted)
    assert [item and item["n"]["N"] for item in found] == ["3", None, "2", None]
    assert [overlay.get(*key) for key in wanted] == found
    assert [key[1] for key in overlay.keys_of("U#a", limit=9)] == ["1", "3"]
    assert overlay.until(time.monotonic() + 5).get("U#a", "3") == found[0]
    assert {sk: item["n"]["N"] for _, sk in wanted if (item := real.get("U#a", sk))} == {"1": "1", "2": "2"}
    expired = {"ttl": {"N": str(int(time.time()) - 5)}}
    put(overlay, "U#a", "4", **expired)
    assert overlay.get("U#a", "4") is None


@pytest.mark.parametrize("page", [1, 2, 3, 50])
def test_the_overlay_queries_as_the_table_would(table: LocalTable, page: int) -> None:
    real, overlay = connect(table), overlay_of(table)
    for n in range(0, 20, 2):
        put(real, "U#a", f"{n:02}", tip_key={"S": f"{19 - n:02}"})
    for written in (overlay,):
        for n in (1, 7, 19):
            put(written, "U#a", f"{n:02}", tip_key={"S": f"{19 - n:02}"})
        written.delete("U#a", "04")
        written.update("U#a", "06", "SET x = :x", {":x": {"S": "x"}})
        put(written, "U#b", "05")
    numbers = sorted({*range(0, 20, 2), 1, 7, 19} - {4}, reverse=True)
    assert [int(one["sk"]["S"]) for one in overlay.query("U#a", "00", "99", limit=50, page=page)] == numbers
    inner = [n for n in numbers if 2 <= n <= 8]
    assert [int(one["sk"]["S"]) for one in overlay.query("U#a", "02", "08", limit=50, page=page)] == inner
    assert [int(one["sk"]["S"]) for one in overlay.query("U#a", "02", "08", limit=2, page=page)] == inner[:2]
    by_tip = overlay.query("U#a", "00", "99", limit=50, index=keys.TIP_INDEX, page=page)
    assert [int(one["sk"]["S"]) for one in by_tip] == numbers[::-1]


def test_a_transaction_is_carried_out_whole_or_not_at_all(table: LocalTable) -> None:
    overlay = overlay_of(table)
    put(overlay, "U#a", "1", rev={"N": "1"})
    first = {"Put": {"Item": {"pk": {"S": "U#a"}, "sk": {"S": "2"}}, "ConditionExpression": "attribute_not_exists(pk)"}}
    key = {"pk": {"S": "U#a"}, "sk": {"S": "1"}}
    second = {"Update": {"Key": key, "UpdateExpression": "SET rev = :b REMOVE x", "ConditionExpression": "rev = :a",
                         "ExpressionAttributeValues": {":a": {"N": "9"}, ":b": {"N": "10"}}}}  # fmt: skip
    with pytest.raises(ConditionNotMet):
        overlay.transact([first, second])
    assert overlay.get("U#a", "2") is None
    second["Update"]["ExpressionAttributeValues"] = {":a": {"N": "1.0"}, ":b": {"N": "10"}}
    overlay.transact([first, second, {"ConditionCheck": {"Key": key, "ConditionExpression": "attribute_exists(pk)"}}])
    assert overlay.get("U#a", "1") == {**key, "rev": {"N": "10"}}
    with pytest.raises(ConditionNotMet):
        overlay.transact([first])
    assert connect(table).get("U#a", "1") is None


CONDITIONS = {
    "attribute_not_exists(pk)": False,
    "attribute_exists(pk)": True,
    "attribute_exists(gone) OR n = :five": True,
    "attribute_exists(pk) AND n <> :five": False,
    "(attribute_not_exists(#t) OR #t < :five) AND n <= :five": True,
    "(attribute_not_exists(n) OR n < :five) OR #t <= :five": True,
    "gone = :five": False,
    "gone < :five": False,
    "n = :text": False,
    "NOT n > :five": True,
    "s >= :text AND s < :later": True,
}
ITEM = {"pk": {"S": "p"}, "sk": {"S": "s"}, "n": {"N": "5"}, "ttl": {"N": "4"}, "s": {"S": "Z"}}
NAMED: dict[str, dict[str, Any]] = {"ExpressionAttributeNames": {"#t": "ttl"},
         "ExpressionAttributeValues": {":five": {"N": "5.0"}, ":text": {"S": "Z"}, ":later": {"S": "a"}}}  # fmt: skip


@pytest.mark.parametrize(("expression", "met"), CONDITIONS.items())
def test_conditions_hold_as_the_table_says(table: LocalTable, expression: str, met: bool) -> None:
    assert holds({**NAMED, "ConditionExpression": expression}, ITEM) == met
    used = {kind: {name: one for name, one in values.items() if name in expression} for kind, values in NAMED.items()}
    table.client.put_item(TableName=table.name, Item=ITEM)
    request = {"TableName": table.name, "Item": ITEM, "ConditionExpression": expression}
    request |= {kind: values for kind, values in used.items() if values}
    if met:
        table.client.put_item(**request)
    else:
        with pytest.raises(table.client.exceptions.ConditionalCheckFailedException):
            table.client.put_item(**request)


@pytest.mark.parametrize(
    "expression",
    ["size(n) > :five", "n = :none", "#none = :five", "begins_with(s, :text)", "n = :five extra", "a.b = :five",
     "n BETWEEN :five AND :five", "n = ", "(n = :five", "contains(s, :text)", "n[0] = :five", ""],
)  # fmt: skip
def test_an_unknown_condition_is_not_guessed(expression: str) -> None:
    with pytest.raises(UnknownExpression):
        holds({**NAMED, "ConditionExpression": expression}, ITEM)


UPDATES = {
    "SET n = :five, x = :text REMOVE s, gone ADD #t :five": {"n": "5.0", "x": "Z", "s": None, "ttl": "9"},
    "SET n = n + :five, y = if_not_exists(y, :five) - :five": {"n": "10", "y": "0"},
    "ADD fresh :five": {"fresh": "5"},
}


@pytest.mark.parametrize(("expression", "after"), UPDATES.items())
def test_updates_change_as_the_table_does(table: LocalTable, expression: str, after: dict[str, str | None]) -> None:
    key = {name: ITEM[name] for name in ("pk", "sk")}
    used = {kind: {name: one for name, one in values.items() if name in expression} for kind, values in NAMED.items()}
    request = {"Key": key, "UpdateExpression": expression, **{kind: some for kind, some in used.items() if some}}
    ours = updated(request, ITEM)
    table.client.put_item(TableName=table.name, Item=ITEM)
    table.client.update_item(TableName=table.name, **request)
    (theirs,) = table.items()
    for name, value in after.items():
        for item in (ours, theirs):
            got = item.get(name)
            assert (got is None) == (value is None)
            if got is not None and value is not None:
                (one,) = got.values()
                assert one == value or float(one) == float(value)
    assert set(ours) == set(theirs)


@pytest.mark.parametrize(
    "expression",
    ["SET a.b = :five", "SET x = list_append(x, :five)", "DELETE n :five", "SET n = gone", "ADD s :five", "SET n", "x"],
)
def test_an_unknown_update_is_not_guessed(expression: str) -> None:
    with pytest.raises(UnknownExpression):
        updated({**NAMED, "Key": {}, "UpdateExpression": expression}, ITEM)


def test_an_unknown_operation_is_not_carried_out(table: LocalTable) -> None:
    with pytest.raises(UnknownExpression):
        overlay_of(table)._call("scan")


def test_the_events_of_the_folder_are_told(
    table: LocalTable, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, lines = told(table, capsys, monkeypatch, EVENTS)
    assert code == 1
    assert any("bad record: payload.action" in line for line in lines)
    assert table.items() == []


def test_no_table_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_dry_run, "_DEADLINE_MS", 50.0)
    file = EVENTS / "consume_task_synced.json"
    code, _, err = run(capsys, "--dry-run", file, "--endpoint", "http://127.0.0.1:9", "--table", "none")
    assert code == 1
    assert len(err.splitlines()) == 1
