"""`tips dlq ...`: what is shown of dead letters, and what becomes of them, through the real `consume`."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import field_validator
from werkzeug.wrappers import Request, Response

from devstack.events import envelope, jetstream_batch, sqs_batch
from devstack.http_server import HttpServer
from devstack.stream import removed_by_ttl
from devstack.template import ROOT
from offline import dlq_replay, dlq_report
from offline.cli import main
from offline.dlq_report import Listing, Wanted, printable
from tests.conftest import LoadedFunction, LocalTable
from tests.faulty_dynamodb import faulty_dynamodb
from tests.requests import score_request, stats
from tests.test_cli import Tips
from tests.test_dead_letters import a_letter, random_bytes
from tips.contracts.events import PAYLOADS, TipFeedback
from tips.errors import TableUnavailable
from tips.ingest import process
from tips.state import dead_letters
from tips.state.table import Table

OK: dict[str, Any] = {"batchItemFailures": []}
BAD = {"user_id": "anna", "tip_id": "report", "action": "applaud"}


@pytest.fixture
def tips(table: LocalTable, capsys: pytest.CaptureFixture[str]) -> Tips:
    return Tips(table, capsys)


@dataclass
class Lambda:
    """Lambda's Invoke API in front of `consume` in this process. `events`: what it was handed."""

    consume: LoadedFunction
    events: list[Any] = field(default_factory=list)
    url: str = ""
    raises: bool = False

    def application(self, environ: dict[str, Any], start_response: Any) -> Any:
        event = json.loads(Request(environ).get_data())
        self.events.append(event)
        if self.raises:
            response = Response(b'{"errorType": "ValueError"}', headers={"X-Amz-Function-Error": "Unhandled"})
        else:
            response = Response(json.dumps(self.consume.invoke(event)))
        return response(environ, start_response)


@pytest.fixture
def consumed(consume: LoadedFunction, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lambda]:
    lambda_ = Lambda(consume)
    server = HttpServer("invoke", lambda_.application)
    lambda_.url = server.url
    monkeypatch.setenv("LAMBDA_ENDPOINT", server.url)
    yield lambda_
    server.stop()


def said(out: str) -> list[str]:
    """The lines without those of the function's log, which runs in this process."""
    return [line for line in out.splitlines() if not line.startswith("{")]


def given_up(consume: LoadedFunction, subject: str, data: Any, **options: Any) -> None:
    assert consume.invoke(jetstream_batch([(subject, data)], num_delivered=5, **options)) == OK


def ids(tips: Tips, *arguments: str) -> list[str]:
    tips.capsys.readouterr()  # what consume logged before
    document = json.loads(tips("dlq", "list", "--json", *arguments))
    return [one["letter_id"] for one in document["letters"]]


class Lenient(TipFeedback):
    """What a fix may look like: a word that producers use is understood."""

    @field_validator("action", mode="before")
    @classmethod
    def _applause(cls, value: Any) -> Any:
        return "helpful" if value == "applaud" else value


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setitem(PAYLOADS, "feedback.tip", Lenient)
    return monkeypatch


# List


def test_a_poisonous_record_is_listed_once_it_is_given_up(tips: Tips, consume: LoadedFunction) -> None:
    assert tips("dlq", "list") == "no dead letters\n"
    event = jetstream_batch([("feedback.tip", envelope(BAD))], first_seq=77)
    for delivered in range(1, 5):
        event["records"][0]["num_delivered"] = delivered
        assert consume.invoke(event) == {"batchItemFailures": [{"itemIdentifier": "77"}]}
        assert said(tips("dlq", "list", "--all")) == ["no dead letters"]
    for delivered in (5, 6):
        event["records"][0]["num_delivered"] = delivered
        assert consume.invoke(event) == OK
    head, line = said(tips("dlq", "list"))
    assert head.split() == ["id", "stored", "subject", "record", "deliveries", "first", "last", "bytes", "reason"]
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"
    size = len(base64.b64decode(event["records"][0]["data"]))
    pattern = rf"[0-9a-f]{{12}}  {when}  feedback\.tip  feedback:77  6 +{when}  {when}  {size} +payload\.action: .+"
    assert re.fullmatch(pattern, line), line


def test_a_list_is_chosen_from(tips: Tips, client: Table) -> None:
    for number, (subject, reason) in enumerate([("a.b", "Too odd"), ("a.c", "too even"), ("b", "odd")]):
        dead_letters.store(client, a_letter(identifier=str(number), subject=subject, reason=reason), 60_000)
    listed = {one.identifier: one for one in dead_letters.letters(client)}
    newest_first = [listed[number].letter_id for number in ("2", "1", "0")]
    assert ids(tips) == ids(tips, "--days", "1") == newest_first
    assert ids(tips, "--subject", "a.") == newest_first[1:]
    assert ids(tips, "--subject", "a.", "--reason", "odd") == newest_first[2:]
    assert ids(tips, "--reason", "ODD") == [newest_first[0], newest_first[2]]
    assert dead_letters.mark_replayed(client, listed["1"], 60_000)
    assert ids(tips) == [newest_first[0], newest_first[2]]
    assert ids(tips, "--all") == newest_first
    assert "replayed" in tips("dlq", "list", "--all").splitlines()[0].split()


def test_what_is_old_is_left_out_of_the_last_days(client: Table) -> None:
    dead_letters.store(client, a_letter(), 60_000)
    (letter,) = dead_letters.letters(client)
    assert Wanted(since="2026-01-01").has(dataclasses.replace(letter, last_delivered_at="2026-01-01T00:00:00+00:00"))
    assert not Wanted(since="2026-01-02").has(dataclasses.replace(letter, last_delivered_at="2026-01-01T23:59:59"))


def test_ids_are_as_long_as_tells_them_apart_and_memory_is_bounded(
    client: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_letters.store(client, a_letter(), 60_000)
    (letter,) = dead_letters.letters(client)
    names = ["f" * 32, "a" * 20 + "f" * 12, "a" * 32, "0" * 32]
    many = [
        dataclasses.replace(letter, letter_id=name, stored_at=f"2026-11-2{day}T00:00:00+00:00")
        for day, name in enumerate(names)
    ]
    monkeypatch.setattr(dlq_report, "MOST", 3)
    listing = Listing.of(iter(many), Wanted())
    assert listing.short == 21
    assert [one.letter_id for one in listing.newest] == names[:0:-1]
    lines = listing.lines(False)
    assert [line.split()[0] for line in lines] == ["id", *(name[:21] for name in names[:0:-1]), "and"]
    assert lines[-1].startswith("and 1 older")
    assert Listing.of(iter(many[::3]), Wanted()).short == 12


# Show


def test_show_says_all_and_escapes_what_a_terminal_would_obey(tips: Tips, client: Table) -> None:
    nasty = "\x1b[31m\r\x00\u202e"
    letter = a_letter(
        subject=f"s{nasty}",
        data=f'{{"a": "é{nasty}"}}\n'.encode() + b"\xff" + b"y" * 5000,
        headers={"Nats-Msg-Id": nasty, "long": "y" * 20_000, "list": [1]},
        timestamp="2026-11-20T08:30:00Z",
    )
    dead_letters.store(client, letter, 60_000)
    out = tips("dlq", "show", letter.letter_id[:6].upper())
    assert all(line.isprintable() for line in out.splitlines())
    escaped = r"\x1b[31m\r\x00\u202e"
    rows = [(line[:21].strip(), line[21:]) for line in out.splitlines()]
    shown = dict(rows)
    assert shown["id"] == letter.letter_id
    assert shown["subject"] == f"s{escaped}"
    assert (shown["record"], shown["reason"]) == ("feedback:77", "data: is not JSON")
    assert shown["in the stream since"] == "2026-11-20T08:30:00Z"
    assert (shown["deliveries"], shown["replayed"], shown["bytes"]) == ("5", "never", str(len(letter.data)))
    headers = [value for name, value in rows if name == "header"]
    assert headers == [f"Nats-Msg-Id: {escaped}", "list: [1]", "(1 more were too long to keep)"]
    assert shown["data"].startswith(rf'{{"a": "é{escaped}"}}\n\xffyyy')
    assert shown["data"].endswith(f"y ... ({len(letter.data) - 2000} more bytes)")
    assert printable("é \u2028") == r"é \u2028"


@pytest.mark.parametrize("data", [b"", b"\x00\xff\r\n", random_bytes(900_000)])
def test_bytes_come_back_exactly(
    table: LocalTable, client: Table, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], data: bytes
) -> None:
    dead_letters.store(client, a_letter(data=data), 60_000)
    place = ("--table", table.name, "--endpoint", table.endpoint)
    (letter,) = dead_letters.letters(client)
    assert main(["dlq", "show", letter.letter_id, "--data", *place]) == 0
    assert capsysbinary.readouterr() == (data, b"")
    file = tmp_path / "letter"
    assert main(["dlq", "show", letter.letter_id, "--raw", str(file), *place]) == 0
    assert file.read_bytes() == data


def test_show_refuses(tips: Tips, client: Table, table: LocalTable, tmp_path: Path) -> None:
    letter = a_letter(data=random_bytes(400_000))
    dead_letters.store(client, letter, 60_000)
    assert "cannot be written" in tips.refused("dlq", "show", letter.letter_id, "--raw", str(tmp_path))
    assert "either" in tips.refused("dlq", "show", letter.letter_id, "--raw", "x", "--data")
    (part,) = [item for item in table.items() if item["sk"]["S"].endswith("#0001")]
    table.client.delete_item(TableName=table.name, Key={"pk": part["pk"], "sk": part["sk"]})
    assert "part 2 of 2 is missing" in tips.refused("dlq", "show", letter.letter_id, code=1)


@pytest.mark.parametrize("command", ["show", "replay", "drop"])
def test_ids_that_name_no_letter_or_several_are_refused(tips: Tips, client: Table, command: str) -> None:
    by_beginning: dict[str, int] = {}
    number = 0
    while (beginning := a_letter(identifier=str(number)).letter_id[:4]) not in by_beginning:
        by_beginning[beginning] = number
        number += 1
    for one in (by_beginning[beginning], number):
        dead_letters.store(client, a_letter(identifier=str(one)), 60_000)
    both = [a_letter(identifier=str(one)).letter_id for one in (by_beginning[beginning], number)]
    several = tips.refused("dlq", command, beginning)
    assert "several" in several
    assert all(letter_id in several for letter_id in both)
    absent = "0000" if beginning != "0000" else "ffff"
    assert f"no dead letter {absent}" in tips.refused("dlq", command, absent)
    for odd in ("abc", "xyz1", "a" * 33, "ab*d"):
        assert "4 to 32" in tips.refused("dlq", command, odd)
    assert len(ids(tips)) == 2


# Replay


def test_a_reaction_that_was_refused_is_learned_after_a_fix_and_once(
    tips: Tips, score: LoadedFunction, consumed: Lambda, fixed: pytest.MonkeyPatch
) -> None:
    with pytest.MonkeyPatch.context() as before:
        before.setitem(PAYLOADS, "feedback.tip", TipFeedback)
        body = score.call("POST", "/score", score_request()).json
        reaction = envelope({**BAD, "tip_id": body["tip_id"], "decision_id": body["decision_id"]})
        given_up(consumed.consume, "feedback.tip", reaction)
        (letter_id,) = ids(tips)
        code, out, err = tips.run("dlq", "replay", letter_id[:8])
        assert (code, err) == (1, "")
        assert said(out) == [f"{letter_id[:12]}  stays: {dlq_replay.REFUSED}", "0 of 1 letters replayed"]
        assert ids(tips) == [letter_id]
        assert stats(score) == (0, 0.0)
    assert said(tips("dlq", "replay", "--all")) == [f"{letter_id[:12]}  replayed", "1 of 1 letters replayed"]
    learned = stats(score)
    assert learned == (1, 0.5)
    assert (ids(tips), ids(tips, "--all")) == ([], [letter_id])
    assert said(tips("dlq", "replay", "--all")) == ["0 of 0 letters replayed"]
    assert said(tips("dlq", "replay", letter_id, letter_id))[-1] == "1 of 1 letters replayed"
    assert stats(score) == learned
    assert len(consumed.events) == 3
    (record,) = consumed.events[-1]["records"]
    assert (record["num_delivered"], record["stream_seq"]) == (1, "1")
    given_up(consumed.consume, "orders.created", b"{}")  # redelivered or not, what was replayed stays so
    fixed.setitem(PAYLOADS, "feedback.tip", TipFeedback)
    given_up(consumed.consume, "feedback.tip", reaction)
    assert len(ids(tips)) == 1
    assert len(ids(tips, "--all")) == 2


def test_all_is_chosen_from_and_origins_do_not_mix(
    tips: Tips, consumed: Lambda, client: Table, fixed: pytest.MonkeyPatch
) -> None:
    data = json.dumps(envelope(BAD)).encode()
    made_anew = json.dumps(envelope(BAD)).encode()
    queued = sqs_batch([("feedback.tip", data)], receive_count=5)["Records"][0]["messageId"]
    for origin, identifier, of_record in [
        ("feedback", "1", data),
        ("feedback", "1", made_anew),
        ("feedback", "2", data),
        ("signals", "1", data),
        ("tips-events", queued, data),
    ]:
        letter = a_letter(origin=origin, identifier=identifier, data=of_record, reason="payload.action: odd")
        dead_letters.store(client, letter, 60_000)
    dead_letters.store(client, a_letter(subject="feedback.tip", data=data, reason="other"), 60_000)
    dead_letters.store(client, a_letter(identifier="9", subject="orders", data=data), 60_000)
    out = tips("dlq", "replay", "--all", "--subject", "feedback.", "--reason", "ODD")
    assert said(out)[-1] == "5 of 5 letters replayed"
    assert len(ids(tips)) == 2
    handed = [
        (event.get("stream"), len(event.get("records", ())), len(event.get("Records", ()))) for event in consumed.events
    ]
    in_feedback = sorted(records for stream, records, _ in handed if stream == "feedback")
    assert sum(in_feedback) == 3
    assert len(in_feedback) == 2  # one identifier twice in one batch would be one answer for two
    assert ("signals", 1, 0) in handed
    assert (None, 0, 1) in handed
    assert len(handed) == 4


def test_batches_stay_within_what_lambda_takes(
    tips: Tips, consumed: Lambda, client: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, size in enumerate([4 * 1024 * 1024 - 600, 1_000_000, 1_000_000]):
        dead_letters.store(client, a_letter(identifier=str(number), data=random_bytes(size)), 60_000)
    code, out, _ = tips.run("dlq", "replay", "--all")
    assert code == 1
    assert said(out)[-1] == "0 of 3 letters replayed"
    assert len(consumed.events) >= 2
    assert max(len(json.dumps(event)) for event in consumed.events) < 6_000_000
    consumed.events.clear()
    monkeypatch.setattr(dlq_replay, "MAX_LETTERS", 1)
    tips.run("dlq", "replay", "--all")
    assert len(consumed.events) == 3


def test_a_letter_of_the_tables_own_stream_is_done_only_when_it_is_not_given_up_again(
    tips: Tips, consumed: Lambda, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = removed_by_ttl("tips", {"pk": {"S": "U#"}, "sk": {"S": "W#no-ulid"}})
    assert consumed.consume.invoke({"Records": [record]}) == OK
    (letter_id,) = ids(tips)
    code, out, _ = tips.run("dlq", "replay", "--all")
    assert (code, said(out)[0]) == (1, f"{letter_id[:12]}  stays: {dlq_replay.GIVEN_UP}")
    assert ids(tips) == ids(tips, "--all") == [letter_id]
    monkeypatch.setattr(process, "ended_wait", lambda record: None)
    assert said(tips("dlq", "replay", "--all"))[-1] == "1 of 1 letters replayed"
    assert consumed.events == [{"Records": [record]}] * 2
    assert ids(tips) == []


def test_what_consume_gives_up_at_once_is_not_taken_for_replayed(
    tips: Tips, load_function: Any, consumed: Lambda, client: Table
) -> None:
    consumed.consume = load_function("consume", NATS_MAX_DELIVER="1")
    dead_letters.store(client, a_letter(), 60_000)
    code, out, _ = tips.run("dlq", "replay", "--all")
    assert (code, said(out)[0].partition(": ")[2]) == (1, dlq_replay.GIVEN_UP)
    assert len(ids(tips)) == 1


def test_damaged_letters_stay_and_hold_up_nobody(
    tips: Tips, consumed: Lambda, client: Table, table: LocalTable
) -> None:
    large = a_letter(data=random_bytes(400_000))
    odd = a_letter(identifier="2", data=b"\xff", reason="data: is not base64")
    for letter in (large, odd, a_letter(identifier="3", subject="feedback.other")):
        dead_letters.store(client, letter, 60_000)
    (part,) = [item for item in table.items() if item["sk"]["S"].endswith("#0001")]
    table.client.delete_item(TableName=table.name, Key={"pk": part["pk"], "sk": part["sk"]})
    code, out, _ = tips.run("dlq", "replay", "--all")
    assert code == 1
    assert said(out)[-1] == "1 of 3 letters replayed"
    assert f"{large.letter_id[:12]}  stays: part 2 of 2 is missing" in said(out)
    assert f"{odd.letter_id[:12]}  stays: {dlq_replay.MISSHAPEN}" in said(out)


def test_replay_without_lambda_or_with_a_consume_that_raises(tips: Tips, consumed: Lambda, client: Table) -> None:
    dead_letters.store(client, a_letter(subject="feedback.other"), 60_000)
    nowhere = ("--lambda-endpoint", "http://127.0.0.1:1")
    assert "Lambda did not answer" in tips.refused("dlq", "replay", "--all", *nowhere, code=1)
    assert "--lambda-endpoint" not in tips.refused("dlq", "replay", "--all", "--lambda-endpoint", "no url")
    consumed.raises = True
    assert "consume raised: ValueError; 0 letters" in tips.refused("dlq", "replay", "--all", code=1)
    assert len(ids(tips)) == 1


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("replay",), "say which letters"),
        (("replay", "abcd", "--all"), "say which letters"),
        (("replay", "abcd", "--subject", "x"), "--subject and --reason"),
        (("drop",), "say which letters"),
        (("drop", "abcd", "--all", "--replayed"), "say which letters"),
        (("drop", "--all"), "--before or --replayed"),
        (("drop", "abcd", "--replayed"), "they with it"),
    ],
)
def test_what_makes_no_sense_is_refused(tips: Tips, arguments: tuple[str, ...], advice: str) -> None:
    assert advice in tips.refused("dlq", *arguments)


# Drop


def test_drop_deletes_all_parts_of_what_is_named(tips: Tips, client: Table, table: LocalTable) -> None:
    large, small, kept = a_letter(data=random_bytes(700_000)), a_letter(), a_letter(identifier="78")
    for letter in (large, small, kept):
        dead_letters.store(client, letter, 60_000)
    assert tips("dlq", "drop", large.letter_id[:8], small.letter_id, "--yes") == "2 letters dropped\n"
    assert [item["sk"]["S"] for item in table.items()] == [f"{kept.letter_id}#0000"]


def test_drop_by_age_and_after_replay(tips: Tips, client: Table) -> None:
    for number in range(3):
        dead_letters.store(client, a_letter(identifier=str(number)), 60_000)
    one = next(dead_letters.letters(client))
    assert dead_letters.mark_replayed(client, one, 60_000)
    assert tips("dlq", "drop", "--all", "--before", one.stored_at[:10], "--yes") == "0 letters dropped\n"
    assert tips("dlq", "drop", "--all", "--replayed", "--yes") == "1 letter dropped\n"
    assert one.letter_id not in ids(tips, "--all")
    assert tips("dlq", "drop", "--all", "--before", "2999-01-01", "--yes") == "2 letters dropped\n"
    assert ids(tips, "--all") == []


@pytest.mark.parametrize(("answer", "left", "code"), [("y\n", 0, 0), ("n\n", 1, 1)])
def test_drop_asks_on_a_terminal(
    tips: Tips, client: Table, monkeypatch: pytest.MonkeyPatch, answer: str, left: int, code: int
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    dead_letters.store(client, a_letter(), 60_000)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert "say --yes" in tips.refused("dlq", "drop", a_letter().letter_id)
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    got, out, _ = tips.run("dlq", "drop", a_letter().letter_id)
    assert got == code
    assert "Delete 1 letter for good?" in out
    assert len(ids(tips)) == left


# Faults, and the page


@pytest.mark.parametrize("command", [("list",), ("show", "abcd"), ("replay", "--all"), ("drop", "abcd", "--yes")])
def test_a_throttled_table_is_told_in_one_line(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with faulty_dynamodb("throttling") as endpoint:
        assert main(["dlq", *command, "--endpoint", endpoint]) == 1
    assert re.fullmatch(r"tips: .*the table refused the request.*\n", capsys.readouterr().err)


def test_a_drop_that_the_table_interrupts_can_be_repeated(
    tips: Tips, client: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> None:
        raise TableUnavailable("lost", ambiguous=True)

    dead_letters.store(client, a_letter(), 60_000)
    monkeypatch.setenv("TABLE_DEADLINE_MS", "20")
    with monkeypatch.context() as patch:
        patch.setattr(Table, "delete", failing)
        told = tips.refused("dlq", "drop", a_letter().letter_id, "--yes", code=1)
    assert "the same command goes on where it stopped (lost)" in told
    monkeypatch.setenv("TABLE_DEADLINE_MS", "8000")
    assert tips("dlq", "drop", a_letter().letter_id, "--yes") == "1 letter dropped\n"


_BLOCK = re.compile(r"```sh\n(.*?)```(?:\s+```text\n(.*?)```)?", re.DOTALL)


def of_no_time(text: str) -> list[str]:
    """The lines with every time the same, in whichever form."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "(minute)", text)
    return [line.rstrip() for line in re.sub(r"\d{4}-\d\d-\d\dT[\d:.+]+", "(time)", text).splitlines()]


@pytest.mark.thorough
def test_the_page_shows_what_the_commands_print(
    consumed: Lambda, table: LocalTable, client: Table, fixed: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fields = {"event_id": "e-1", "occurred_at": "2026-11-20T08:30:00Z", "producer": "app"}
    letter = a_letter(
        data=json.dumps(envelope(BAD, **fields)).encode(),
        reason="payload.action: Input should be 'done', 'dismiss', 'snooze', 'helpful' or 'not_helpful'",
        headers={"Nats-Msg-Id": "e-1"},
        timestamp="2026-11-20T08:30:01+00:00",
    )
    dead_letters.store(client, letter, 60_000)
    blocks = _BLOCK.findall((ROOT / "docs" / "dead-letters.md").read_text())
    assert len(blocks) >= 5
    end = "-- end of block --"
    script = "set -e\n" + "".join(f"{commands}echo '{end}'\n" for commands, _ in blocks)
    places = {"http://127.0.0.1:8000": table.endpoint, "http://127.0.0.1:3001": consumed.url, "/tmp/": f"{tmp_path}/"}
    for shown, real in {**places, "TABLE_NAME=tips": f"TABLE_NAME={table.name}"}.items():
        assert shown in script
        script = script.replace(shown, real)
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for (commands, shown), printed in zip(blocks, done.stdout.split(f"{end}\n"), strict=False):
        assert of_no_time(printed.replace(f"{tmp_path}/", "/tmp/")) == of_no_time(shown), (commands, printed)
