"""Recorded events go through the real handler again: from files and archives, in batches, at a rate, twice as once."""

from __future__ import annotations

import base64
import gzip
import json
import re
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from offline import event_archive, event_commands, event_sending
from offline.cli import main
from offline.event_archive import Recorded, read
from offline.event_sending import Report, send
from tests.conftest import LoadedFunction, LocalTable
from tests.requests import connect, score_request, stats
from tips.ingest.handover import MAX_BATCH_BYTES, HandoverFailed, Message, batch_event, failed_identifiers
from tips.state import dead_letters

EVENTS = Path(__file__).resolve().parents[1] / "events"
AT = "2026-11-20T08:30:00Z"


class HandlerClient:
    """Hands over to a handler in this process, in the form that Lambda carries."""

    def __init__(self, function: LoadedFunction) -> None:
        self._function = function
        self.batches: list[list[Message]] = []
        self.at: list[float] = []
        self.faults: list[Exception | None] = []

    def hand_over(self, stream: str, consumer: str, messages: Collection[Message]) -> frozenset[int]:
        self.batches.append(list(messages))
        self.at.append(time.monotonic())
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault
        event = json.loads(json.dumps(batch_event(stream, consumer, messages)))
        answer = json.dumps(self._function.invoke(event)).encode()
        return frozenset(map(int, failed_identifiers(answer, {str(one.stream_seq) for one in messages})))


@pytest.fixture
def handler(consume: LoadedFunction, monkeypatch: pytest.MonkeyPatch) -> HandlerClient:
    """What `tips replay` hands over to."""
    client = HandlerClient(consume)
    monkeypatch.setattr(event_commands, "ConsumeClient", lambda *_, **__: client)
    monkeypatch.setattr(event_sending, "_PAUSE_SEC", 0.001)
    return client


def envelope(number: int, **payload: Any) -> dict[str, Any]:
    at = f"2999-01-01T00:00:{number % 60:02}Z"
    return {"event_id": f"e-{number}", "occurred_at": at, "schema_version": 1, "producer": "test", "payload": payload}


def feedback(number: int, decision: dict[str, Any], action: str = "done", **changes: Any) -> dict[str, Any]:
    payload = {"user_id": "anna", "tip_id": decision["tip_id"], "decision_id": decision["decision_id"]}
    return {"subject": "feedback.tip", "event": envelope(number, **{**payload, "action": action, **changes})}


def archive(file: Path, *records: Any) -> Path:
    text = "".join(json.dumps(one) + "\n" for one in records)
    file.write_bytes(gzip.compress(text.encode()) if file.suffix == ".gz" else text.encode())
    return file


def decide(score: LoadedFunction, count: int, user_id: str = "anna") -> list[dict[str, Any]]:
    return [score.call("POST", "/score", score_request(user_id=user_id)).json for _ in range(count)]


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["replay", *map(str, arguments)])
    out, err = capsys.readouterr()
    # The handler's metrics go to the same place.
    return code, "\n".join(line for line in out.splitlines() if not line.startswith("{")), err


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_an_archive_teaches_and_again_changes_nothing(
    score: LoadedFunction,
    handler: HandlerClient,
    table: LocalTable,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    decisions = decide(score, 7)
    file = archive(tmp_path / name, *(feedback(n, one) for n, one in enumerate(decisions)))
    code, out, err = run(capsys, file, "--batch", "3")
    assert (code, err) == (0, "")
    assert out.splitlines() == ["read 7 events", "  7 feedback.tip", "done 7, failed 0"]
    assert [len(batch) for batch in handler.batches] == [3, 3, 1]
    assert stats(score) == pytest.approx((7, 7 * 0.6))
    before = table.items()
    assert run(capsys, file)[0] == 0
    assert sorted(table.items(), key=repr) == sorted(before, key=repr)


def test_a_folder_is_replayed_and_what_is_no_event_is_counted(
    score: LoadedFunction, handler: HandlerClient, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, EVENTS)
    calls = [file for file in EVENTS.glob("*.json") if not file.name.startswith("consume_")]
    assert f"skipped {len(calls) + 1} files without events" in out  # and the table's own stream
    bad = EVENTS / "consume_mixed_one_bad.json"
    assert f"  {bad}#3: failed 4 times" in out
    assert code == 1
    # A bad record is tried again, and no other.
    assert [len(batch) for batch in handler.batches[1:]] == [1, 1, 1]


def test_a_replay_leaves_no_dead_letter(
    handler: HandlerClient, table: LocalTable, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, EVENTS / "consume_mixed_one_bad.json")[0] == 1
    assert run(capsys, EVENTS / "consume_mixed_one_bad.json")[0] == 1
    assert list(dead_letters.letters(connect(table))) == []


@pytest.mark.parametrize("name", ["score.json", "generate.json", "consume_reward_wait_over.json"])
def test_a_file_without_events_is_refused_when_it_is_named(
    handler: HandlerClient, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    code, _, err = run(capsys, EVENTS / "consume_task_synced.json", EVENTS / name)
    assert code == 2
    assert str(EVENTS / name) in err
    assert handler.batches == []


def test_every_form_of_a_record_is_the_same_event(tmp_path: Path) -> None:
    event = envelope(1, user_id="u")
    data = base64.b64encode(json.dumps(event).encode()).decode()
    whole = {"subject": "signals.x", "stream_seq": 4, "headers": {"H": "1"}, "timestamp": AT, "data": data}
    forms: dict[str, Any] = {
        "batch.json": {"source": "nats.jetstream", "stream": "signals", "records": [whole]},
        "sqs.json": {"Records": [{"eventSource": "aws:sqs", "messageId": "m", "body": json.dumps(whole)}]},
        "record.json": whole,
        "envelope.json": {**whole, "data": event},
        "event.json": {"subject": "signals.x", "event": event, "headers": {"H": "1"}, "timestamp": AT[:-1]},
    }
    found: list[Recorded] = []
    for name, form in forms.items():
        (tmp_path / name).write_text(json.dumps(form))
        found += read(tmp_path / name)
    (tmp_path / "lines.jsonl").write_text(
        "\ufeff" + "\r\n\n".join(json.dumps(forms[one]) for one in ("record.json", "event.json"))
    )
    found += read(tmp_path / "lines.jsonl")
    assert len(found) == 7
    assert {one.data for one in found} == {json.dumps(event).encode()}
    assert {(one.subject, one.timestamp.isoformat(), one.headers["H"]) for one in found} == {
        ("signals.x", "2026-11-20T08:30:00+00:00", "1")
    }
    assert [one.place.removeprefix(str(tmp_path)) for one in found] == [
        *("/batch.json#1", "/sqs.json#1", "/record.json", "/envelope.json", "/event.json"),
        *("/lines.jsonl:1", "/lines.jsonl:3"),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "is not JSON"),
        ("[1]", "must be an object"),
        ('{"data": ""}', "subject is missing"),
        ('{"subject": "", "event": {}}', "subject is missing"),
        ('{"subject": "signals.x"}', "data must be base64, or the event itself"),
        ('{"subject": "signals.x", "data": "@"}', "data is not base64"),
        ('{"subject": "signals.x", "data": "", "event": {}}', "either data or event"),
        ('{"subject": "signals.x", "event": {}, "timestamp": "soon"}', "timestamp is no ISO 8601 time"),
        ('{"subject": "signals.x", "event": {}, "headers": []}', "headers must be an object"),
        ("\ud800", "is not JSON"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_sent(
    handler: HandlerClient, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, reason: str
) -> None:
    good = json.dumps({"subject": "signals.x", "event": {}})
    file = tmp_path / "a.jsonl"
    file.write_bytes(f"{good}\n\n{line}\n".encode("utf-8", "surrogatepass"))
    code, _, err = run(capsys, EVENTS, file)
    assert code == 2
    assert f"{file}:3: " in err
    assert reason in err
    assert handler.batches == []


def test_headers_are_read_as_they_were_recorded(tmp_path: Path) -> None:
    headers = {"one": "1", "several": ["1", "2"], "number": 3}
    (record,) = read(archive(tmp_path / "a.jsonl", {"subject": "signals.x", "event": {}, "headers": headers}))
    assert record.headers == {"one": "1", "several": ["1", "2"], "number": "3"}


def test_a_damaged_archive_is_named(handler: HandlerClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = archive(tmp_path / "a.jsonl.gz", *({"subject": "signals.x", "event": {"n": n}} for n in range(50)))
    file.write_bytes(file.read_bytes()[:-20])
    code, _, err = run(capsys, file)
    assert code == 2
    assert re.search(rf"{re.escape(str(file))}:\d+: the archive is damaged", err)
    (tmp_path / "b.jsonl.gz").write_bytes(b"no gzip")
    assert run(capsys, tmp_path / "b.jsonl.gz")[0] == 2
    assert handler.batches == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "either which files or which --stream"),
        (["no such file.jsonl"], "no such file.jsonl: there is no such file or folder"),
        (["x.txt"], "x.txt: there is no such file or folder"),
        (["pyproject.toml"], "pyproject.toml: is none of .json, .jsonl, .jsonl.gz"),
        (["events", "--stream", "signals"], "either which files or which --stream"),
        (["--stream", "signals"], "--stream needs --since"),
        (["--stream", "signals", "--since", "yesterday"], "--since must be an ISO 8601 time"),
        (["--stream", "signals", "--since", AT], "no NATS server is named"),
        (["events", "--since", AT], "go with --stream"),
        (["events", "--rate", "0"], "--rate must be above 0"),
        (["events", "--rate", "nan"], "--rate must be above 0"),
        (["events", "--batch", "0"], "--batch"),
    ],
)
def test_what_makes_no_sense_is_refused(
    handler: HandlerClient,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(EVENTS.parent)
    monkeypatch.delenv("NATS_URL", raising=False)
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert "Traceback" not in err
    assert said in err
    assert handler.batches == []


# Sending


def some_events(tmp_path: Path, count: int, size: int = 0) -> list[Any]:
    records = [{"subject": "signals.x", "event": {"n": n, "fill": "x" * size}} for n in range(count)]
    return list(read(archive(tmp_path / "some.jsonl", *records)))


def test_the_rate_is_not_exceeded(consume: LoadedFunction, tmp_path: Path) -> None:
    client, report = HandlerClient(consume), Report()
    started = time.monotonic()
    send(some_events(tmp_path, 60), client, report, batch=100, rate=120)
    assert report.done == 60
    assert time.monotonic() - started >= 59 / 120
    client = HandlerClient(consume)
    send(some_events(tmp_path, 6), client, Report(), batch=100, rate=8.5)
    assert [len(one) for one in client.batches] == [6]
    assert client.at[0] >= 5 / 8.5


def test_a_slow_rate_sends_a_seconds_events_at_most(
    consume: LoadedFunction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    for rate, sizes in ((3.0, [3, 3, 1]), (0.5, [1] * 7), (1000.0, [7])):
        client = HandlerClient(consume)
        send(some_events(tmp_path, 7), client, Report(), batch=100, rate=rate)
        assert [len(one) for one in client.batches] == sizes


def test_batches_are_bounded_by_bytes_and_what_fits_into_none_is_told(consume: LoadedFunction, tmp_path: Path) -> None:
    client, report = HandlerClient(consume), Report()
    events = some_events(tmp_path, 5, MAX_BATCH_BYTES // 2 - 1000)
    huge = some_events(tmp_path, 1, MAX_BATCH_BYTES)
    send([*events[:2], *huge, *events[2:]], client, report, batch=100)
    assert [len(one) for one in client.batches] == [2, 2, 1]
    assert all(sum(message.size for message in one) <= MAX_BATCH_BYTES for one in client.batches)
    assert (report.done, report.read) == (5, 6)
    assert report.failures == [(huge[0].place, event_sending.TOO_LARGE)]


def test_what_fails_for_a_while_is_done_in_the_end(
    score: LoadedFunction, handler: HandlerClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler.faults = [HandoverFailed("Lambda did not answer: X")] * 3
    file = archive(tmp_path / "a.jsonl", *(feedback(n, one) for n, one in enumerate(decide(score, 2))))
    assert run(capsys, file)[:2] == (0, "read 2 events\n  2 feedback.tip\ndone 2, failed 0")
    assert stats(score)[0] == 2


def test_a_replay_stops_when_nothing_is_taken(
    score: LoadedFunction, handler: HandlerClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler.faults = [None, *[HandoverFailed("Lambda refused: Z")] * event_sending.TRIES]
    file = archive(tmp_path / "a.jsonl", *(feedback(n, one) for n, one in enumerate(decide(score, 5))))
    code, out, _ = run(capsys, file, "--batch", "2")
    assert code == 1
    assert "done 2, failed 2" in out
    assert f"  {file}:3: Lambda refused: Z" in out
    assert "stopped: Lambda refused: Z; 1 not sent" in out
    assert stats(score)[0] == 2


def test_a_file_that_changes_meanwhile_says_how_far_it_came(
    score: LoadedFunction,
    handler: HandlerClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = archive(tmp_path / "a.jsonl", *({"subject": "signals.x", "event": {}} for _ in range(4)))
    surveyed: Callable[..., Any] = event_archive.survey

    def then_changed(paths: Any) -> Any:
        found = surveyed(paths)
        file.write_text(file.read_text() + "{")
        return found

    monkeypatch.setattr(event_archive, "survey", then_changed)
    code, out, err = run(capsys, file, "--batch", "1")
    assert code == 2
    assert f"{file}:5: is not JSON" in err
    assert "interrupted: 3 events were done before" in out


def test_no_lambda_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_sending, "_PAUSE_SEC", 0.001)
    code, out, err = run(capsys, EVENTS / "consume_task_synced.json", "--lambda-endpoint", "http://127.0.0.1:9")
    assert code == 1
    assert "stopped: Lambda did not answer" in out
    assert "Traceback" not in err
