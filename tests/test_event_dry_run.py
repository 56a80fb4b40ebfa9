"""A dry run writes nothing, and what it says is what the run then does: the same code, over a table in memory."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from offline import event_dry_run
from offline.event_archive import Recorded
from offline.event_dry_run import COUNTED, DryRun
from offline.event_expressions import UnknownExpression, holds, updated
from offline.event_overlay import OverlayTable
from offline.event_sending import Report, send
from tests.conftest import LoadedFunction, LocalTable
from tests.deciding import remember
from tests.requests import connect, stats
from tests.test_event_replay import EVENTS, HandlerClient, archive, decide, envelope, feedback, handler, run
from tests.test_prompt_arms import written as written_tip
from tips.errors import ConditionNotMet
from tips.settings import Settings
from tips.state import keys
from tips.state.generations import generation_item
from tips.state.learning import read_learning
from tips.state.profiles import read_profile
from tips.state.table import Table
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
        "unknown decision: counted in the profile",
        f"learned: 0.6, decision {second['decision_id']}",
        "bad record: payload.action: Input should be 'done', 'dismiss', 'snooze', 'helpful' or 'not_helpful'",
        "other event",
        "bad record: subject: is under neither signals. nor feedback.",
        "tip shown: counted in the profile",
        "nothing new",
        "tip not shown",
    ]
    assert lines[0].startswith(f"{file}:1  feedback.tip  anna  ")
    assert lines[12] == "dry run of 12 events, nothing was written"
    assert "  2 learned" in lines
    assert "  2 bad record" in lines
    there = lines.index("13 items would change, for 1 person")
    of_no_hour = [" ".join(line.split()) for line in lines[there + 1 :] if "  preferred_hour  " not in line]
    assert of_no_hour == [
        "6 event mark",
        "3 decision",
        "2 note of a bad record",
        "1 learning",
        "1 profile",
        "user features pulls cumulative reward",
        "anna crossed-v3 0 -> 2 0 -> 0.7",
        "user profile feature value",
        "anna completion_rate_30d not known -> 0.666667",
        "anna dismiss_rate_30d not known -> 0",
        "anna tip_volume_30d not known -> 1",
        "user items",
        "anna 3 decision, 6 event mark, 1 learning, 1 profile",
    ]


def test_a_late_reaction_is_told(
    table: LocalTable, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    two_days_ago = time.time_ns() // 1000 - 2 * 86_400_000_000
    decision = remember(connect(table), "anna", two_days_ago, [{"id": "a"}])
    reaction = feedback(1, {"tip_id": "a", "decision_id": decision.decision_id})
    _, lines = told(table, capsys, monkeypatch, archive(tmp_path / "a.jsonl", reaction))
    assert lines[0].endswith("  late")


def test_of_many_people_the_first_are_listed_and_all_are_counted(
    table: LocalTable, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = {"tip_id": "t", "decision_id": "01M805GPZWJY8F34V2FHXDD4RE"}
    records = [served(n, nowhere, user_id=f"{n:02}") for n in range(25)]
    _, lines = told(table, capsys, monkeypatch, archive(tmp_path / "a.jsonl", *records))
    assert {line.split("  ")[-1] for line in lines[:25]} == {"counted in the profile"}
    assert lines[25:30] == [
        "dry run of 25 events, nothing was written",
        "  25 counted in the profile",
        "50 items would change, for 25 people",
        "  25 event mark",
        "  25 profile",
    ]
    features = lines.index("user  profile feature  value")
    assert lines[features + 20 : features + 22] == ["19    tip_volume_30d   not known -> 1", "and 5 more"]
    assert lines[-2:] == ["19    1 event mark, 1 profile", "and 5 more"]


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
    predicted = {line.split()[0]: line.split() for line in lines if " crossed-v3 " in line}
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
    assert again[-1] == "nothing would change"


PEOPLE = ("anna", "ben", "carla#1")
HOUR_US = 3_600_000_000
_SILENT = {"nothing new", "duplicate", "other event", "tip not shown", "erased"}
_WRITTEN = {
    "learning": ("U#", "L"), "decision": ("U#", "D#"), "reward wait": ("U#", "W#"), "event mark": ("U#", "E#"),
    "source": ("U#", "S#"), "learning of prompts": ("G#", "A"), "profile": ("G#", "P"), "shown text": ("G#", "X#"),
    "prompt counts": ("C#PROMPTS#", ""), "prompt showing": ("C#SHOWN#", "V#"), "note of a bad record": ("C#DLQ#", ""),
}  # fmt: skip


def history(chance: random.Random, real: Table, now_us: int) -> list[dict[str, Any]]:
    """Have people shown tips: tasks and written ones, at once and deferred, some too long ago to react in time."""
    shown = []
    for number in range(12):
        user = chance.choice(PEOPLE)
        tip: dict[str, Any] = {"id": f"tip-{number % 5}"}
        if chance.random() < 0.5:
            generation = written_tip(user)
            real.put(generation_item(generation))
            tip |= {"source": "llm", "kind": "advice", "prompt_version": generation.version,
                    "generation_id": generation.generation_id}  # fmt: skip
        at_us = now_us - chance.choice([3, 5, 40]) * HOUR_US
        decision = remember(real, user, at_us, [tip], deferred=chance.random() < 0.4)
        shown.append({"user_id": user, "tip_id": tip["id"], "decision_id": decision.decision_id})
    return shown


def story(chance: random.Random, shown: list[dict[str, Any]], now_us: int, length: int) -> list[dict[str, Any]]:
    """Return events of these people, in any order, some of them told again, and some of nothing that is known.

    They occurred between the decisions and now, so that nothing depends on when they are carried out.
    """
    records: list[dict[str, Any]] = []
    while len(records) < length:
        about: dict[str, Any] = dict(chance.choice(shown))
        match chance.randrange(6):
            case 0:
                del about["decision_id"]
            case 1:
                about["decision_id"] = "01M805GPZWJY8F34V2FHXDD4RE"
            case 2:
                about["tip_id"] = "another"
        hours = chance.choice([0.5, 1, 2, 2.5, 45 * 24])
        at = datetime.fromtimestamp((now_us - hours * HOUR_US) / 1e6, UTC).isoformat()
        user, subject, more = {"user_id": about["user_id"]}, "feedback.tip", {}
        match chance.randrange(9):
            case 0:
                subject, more = "signals.tip.reward_failed", {**about, "reward": 0.25}
            case 1 | 2:
                subject, more = "signals.tip.served", {**about, "shown_at": at}
            case 3:
                subject, more = "signals.task.synced", {**user, "task_count": 3, "synced_at": at}
            case 4:
                subject, more = "signals.integration.token_expired", {**user, "source": chance.choice("ab")}
            case 5 if records:
                records.append(chance.choice(records))
                continue
            case 6:
                subject, more = chance.choice(["signals.tip.invented", "signals.tip.served"]), dict(user)
            case _:
                dwell = chance.choice([None, 3000, 150_000, 300_000])
                more = {**about, "action": chance.choice(["done", "dismiss", "snooze"]), "dwell_ms": dwell}
        event = envelope(chance.randrange(2 * length), **more)
        records.append({"subject": subject, "event": {**event, "occurred_at": at}})
    return records


Items = Mapping[tuple[str, str], dict[str, Any]]


def by_key(table: LocalTable) -> Items:
    return {(item["pk"]["S"], item["sk"]["S"]): item for item in table.items()}


def differing(before: Items, after: Items) -> set[tuple[str, str]]:
    return {key for key in {*before, *after} if before.get(key) != after.get(key)}


def kinds_of(different: set[tuple[str, str]]) -> dict[str | None, Counter[str]]:
    found: dict[str | None, Counter[str]] = {}
    for pk, sk in different:
        user = None if pk.startswith("C#") else pk[2:]
        (kind,) = (one for one, (role, start) in _WRITTEN.items() if pk.startswith(role) and sk.startswith(start))
        found.setdefault(user, Counter())[kind] += 1
    return found


def sums_of(items: Items) -> dict[tuple[str, str], tuple[int, float]]:
    """Return pulls and cumulative reward by person and schema."""
    return {
        (pk[2:], one.schema_name): (one.statistics.pulls, one.statistics.cumulative_reward)
        for (pk, sk), item in items.items()
        if sk in (keys.LEARNING, keys.ARMS)
        for one in read_learning(item).schemas.values()
    }


def features_of(items: Items) -> dict[tuple[str, str], float]:
    """Return profile features by person and name, of profiles that have not expired."""
    return {
        (pk[2:], name): one.value
        for (pk, sk), item in items.items()
        if sk == keys.PROFILE and int(item["ttl"]["N"]) > time.time()
        for name, one in read_profile(item).features().items()
    }


@pytest.mark.parametrize("seed", [0, *(pytest.param(one, marks=pytest.mark.thorough) for one in (5, 11))])
def test_what_a_dry_run_says_changes_is_what_differs_in_the_table_after_the_run(
    handler: HandlerClient, table: LocalTable, seed: int
) -> None:
    chance, real, now_us = random.Random(seed), connect(table), time.time_ns() // 1000
    shown = history(chance, real, now_us)
    events = [
        Recorded(f"x:{n}", one["subject"], json.dumps(one["event"]).encode(), datetime.now(UTC))
        for n, one in enumerate(story(chance, shown, now_us, 60))
    ]
    send(events[:15], handler, Report(), batch=1)  # something is there already
    real.update(
        *keys.profile("ben"), "SET #ttl = :past", {":past": {"N": "1"}}, ExpressionAttributeNames={"#ttl": "ttl"}
    )
    if seed == 0:
        real.put({"pk": {"S": keys.tombstone("anna")[0]}, "sk": {"S": keys.tombstone("anna")[1]}})
    tables = [by_key(table)]
    run_dry = DryRun(overlay_of(table), LearningRules())
    predictions = list(run_dry.predict(events))
    assert by_key(table) == tables[0]
    send(events, handler, Report(), batch=1, on_progress=lambda _: tables.append(by_key(table)))
    for one, before, after in zip(predictions, tables[:-1], tables[1:], strict=True):
        different = differing(before, after)
        assert bool(different) <= (one.outcome not in _SILENT), (one, different)
        profile = any(sk == keys.PROFILE for _, sk in different)
        assert (COUNTED in (one.outcome, one.detail)) == (profile and one.outcome not in ("learned", "revised")), one
    start, after = tables[0], tables[-1]
    different = differing(start, after)
    assert run_dry.written() == kinds_of(different)
    sums, now = sums_of(start), sums_of(after)
    movements = {(moved.user_id, moved.schema): moved for moved in run_dry.movements()}
    assert {key for key, value in now.items() if sums.get(key) != value} <= set(movements)
    for place, moved in movements.items():
        there, here = sums.get(place, (0, 0.0)), now[place]
        assert moved.pulls == (there[0], here[0])
        assert moved.reward == pytest.approx((there[1], here[1]), abs=1e-9)
    known, knows = features_of(start), features_of(after)
    assert {(one.user_id, one.name): (one.before, one.after) for one in run_dry.features()} == {
        key: (known.get(key), knows.get(key)) for key in {*known, *knows} if known.get(key) != knows.get(key)
    }
    again = DryRun(overlay_of(table), LearningRules())
    assert {one.outcome for one in again.predict(events)} <= _SILENT | {"unknown decision", "bad record"}
    assert again.written() == {}


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
