"""Dead letters in the table: every byte comes back, once, or not at all; and a letter's way back to `consume`."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from devstack.events import envelope, jetstream_batch, sqs_batch
from devstack.stream import removed_by_ttl
from tests.conftest import LoadedFunction, LocalTable
from tests.faulty_dynamodb import faulty_dynamodb
from tests.requests import connect
from tests.test_table import table_on
from tips.errors import TableUnavailable
from tips.ingest.letters import event_of, letter_of
from tips.ingest.records import Record, records_of
from tips.settings import Settings
from tips.state import dead_letters, keys
from tips.state.dead_letters import (
    DeadLetter,
    LetterDamaged,
    Stored,
    drop,
    find,
    letters,
    mark_replayed,
    note,
    read,
    store,
)
from tips.state.table import Table

HEADERS: dict[str, Any] = {"\ud800": "\udfff", "nul": "\x00", "deep": {"list": [1, None]}, "infinite": float("inf")}


def a_letter(**changes: Any) -> DeadLetter:
    of: dict[str, Any] = {
        "origin": "feedback",
        "identifier": "77",
        "subject": "feedback.tip",
        "reason": "data: is not JSON",
        "data": b"no json",
        "headers": {},
        "num_delivered": 5,
    }
    return DeadLetter(**{**of, **changes})


def random_bytes(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def only(client: Table) -> Stored:
    (stored,) = letters(client)
    return stored


def back(client: Table) -> DeadLetter:
    found = read(client, only(client))
    assert found is not None
    return found[0]


def on_day(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """Let letters be stored that many days from today."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(days=days)

    monkeypatch.setattr(dead_letters, "datetime", Clock)


# Storing and reading


@pytest.mark.parametrize("size", [0, 1, 300_000, 300_001, 900_000, 4 * 1024 * 1024])
def test_every_byte_comes_back(client: Table, size: int) -> None:
    letter = a_letter(data=random_bytes(size), headers=HEADERS, timestamp="2026-11-20T08:30:00Z")
    store(client, letter, 60_000)
    returned = back(client)
    assert returned.data == letter.data
    assert returned.headers == HEADERS
    assert (returned.origin, returned.identifier, returned.subject) == ("feedback", "77", "feedback.tip")
    assert (returned.reason, returned.num_delivered) == (letter.reason, 5)
    assert returned.timestamp == "2026-11-20T08:30:00Z"
    assert returned.letter_id == letter.letter_id == only(client).letter_id
    assert only(client).size == size


@pytest.mark.parametrize("data", [b"\x00", b"{\x00\xff}", b"[" * 100_000, b"\xed\xa0\x80"])
def test_what_consume_gives_up_is_kept_byte_for_byte(consume: LoadedFunction, client: Table, data: bytes) -> None:
    event = jetstream_batch([("feedback.tip", data)], num_delivered=5)
    event["records"][0]["headers"] = HEADERS
    assert consume.invoke(event) == {"batchItemFailures": []}
    assert back(client).data == data
    assert back(client).headers == HEADERS


def test_a_record_of_900_kb_and_one_of_4_mb_become_letters(consume: LoadedFunction, client: Table) -> None:
    sizes = (900_000, 4 * 1024 * 1024)
    for place, size in enumerate(sizes, start=1):
        event = jetstream_batch([("feedback.tip", random_bytes(size))], num_delivered=5, first_seq=place)
        assert consume.invoke(event) == {"batchItemFailures": []}
    assert {found[0].data for one in letters(client) if (found := read(client, one))} == set(map(random_bytes, sizes))


def test_headers_are_kept_as_far_as_there_is_room(client: Table) -> None:
    store(client, a_letter(headers={"first": "x", "long": "y" * 20_000, "last": "z"}), 60_000)
    found = read(client, only(client))
    assert found is not None
    assert (found[0].headers, found[1]) == ({"first": "x", "last": "z"}, 1)


def test_texts_that_no_table_takes_or_that_are_too_long_are_kept_as_far_as_they_go(client: Table) -> None:
    store(client, a_letter(subject="\ud800" + "s" * 5000, reason=""), 60_000)
    assert only(client).subject == "?" + "s" * 1023
    assert back(client).data == b"no json"


def test_a_listing_asks_for_no_bytes() -> None:
    table, stub = table_on({"Items": []})
    assert list(letters(table)) == []
    assert [operation for operation, _ in stub.calls] == ["query"] * 16
    for _, arguments in stub.calls:
        assert {"data", "headers"}.isdisjoint(arguments["ExpressionAttributeNames"].values())


# Once


def test_a_letter_stored_again_on_another_day_is_the_same_and_stays_replayed(
    client: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    letter = a_letter(data=random_bytes(700_000))
    store(client, letter, 60_000)
    first = only(client)
    assert mark_replayed(client, first, 60_000)
    on_day(monkeypatch, 2)
    store(client, a_letter(data=letter.data, num_delivered=6), 60_000)
    again = only(client)
    assert (again.stored_at, again.first_delivered_at) == (first.stored_at, first.first_delivered_at)
    assert again.last_delivered_at > first.last_delivered_at
    assert again.num_delivered == 6
    assert again.replayed_at is not None
    assert back(client).data == letter.data


@pytest.mark.parametrize("change", [{"origin": "signals"}, {"identifier": "78"}, {"data": b"of a stream made anew"}])
def test_other_records_are_other_letters(client: Table, change: dict[str, Any]) -> None:
    for letter in (a_letter(), a_letter(**change), a_letter(reason="another", num_delivered=6)):
        store(client, letter, 60_000)
    assert len(list(letters(client))) == 2


def test_the_first_delivery_is_what_was_noted_first(client: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    before = datetime.now(UTC).isoformat()
    note(client, a_letter(num_delivered=1), 60_000)
    after = datetime.now(UTC).isoformat()
    assert list(letters(client)) == []
    assert find(client, a_letter().letter_id, 2) == []
    on_day(monkeypatch, 1)
    note(client, a_letter(num_delivered=2), 60_000)
    store(client, a_letter(), 60_000)
    stored = only(client)
    assert before <= stored.first_delivered_at <= after < stored.last_delivered_at
    assert stored.last_delivered_at == stored.stored_at


def test_a_note_changes_no_letter(client: Table, table: LocalTable, monkeypatch: pytest.MonkeyPatch) -> None:
    store(client, a_letter(), 60_000)
    items = table.items()
    on_day(monkeypatch, 1)
    note(client, a_letter(num_delivered=1), 60_000)
    assert table.items() == items


def test_a_queue_that_says_when_it_first_delivered_needs_no_note(client: Table, table: LocalTable) -> None:
    letter = a_letter(first_delivered_at=1_763_627_400.25)
    note(client, letter, 60_000)
    assert table.items() == []
    store(client, letter, 60_000)
    assert only(client).first_delivered_at == "2025-11-20T08:30:00.250000+00:00"
    assert back(client).first_delivered_at == 1_763_627_400.25


def test_notes_are_small_go_after_30_days_and_fall_on_many_partitions(client: Table, table: LocalTable) -> None:
    for number in range(120):
        note(client, a_letter(identifier=str(number), data=b"x" * 9000), 60_000)
    items = table.items()
    assert len(items) == 120
    assert len({item["pk"]["S"] for item in items}) > 10
    assert all(item["pk"]["S"].startswith("C#DLQ#") for item in items)
    assert all(len(json.dumps(item)) < 300 for item in items)
    assert all(abs(int(item["ttl"]["N"]) - time.time() - 30 * 86_400) < 600 for item in items)


# Faults


@pytest.mark.parametrize("carried_out", [0, 1, 2])
def test_what_a_crash_left_between_parts_is_no_letter(
    client: Table, table: LocalTable, monkeypatch: pytest.MonkeyPatch, carried_out: int
) -> None:
    letter = a_letter(data=random_bytes(900_000))  # two parts and the head
    with monkeypatch.context() as patch:
        put, update, calls = Table.put, Table.update, [0]

        def limited(call: Callable[..., None]) -> Callable[..., None]:
            def crashing(self: Table, *arguments: Any, **options: Any) -> None:
                if calls[0] == carried_out:
                    raise KeyboardInterrupt
                calls[0] += 1
                call(self, *arguments, **options)

            return crashing

        patch.setattr(Table, "put", limited(put))
        patch.setattr(Table, "update", limited(update))
        with pytest.raises(KeyboardInterrupt):
            store(client, letter, 60_000)
    assert len(table.items()) == carried_out
    assert list(letters(client)) == []
    assert find(client, letter.letter_id, 2) == []
    store(client, letter, 60_000)
    assert back(client).data == letter.data


def test_a_write_that_succeeds_but_reports_failure_changes_nothing(
    client: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubted: list[str] = []

    def doubtful(name: str) -> None:
        call = getattr(Table, name)

        def lying(self: Table, *arguments: Any, **options: Any) -> None:
            call(self, *arguments, **options)
            if name not in doubted:
                doubted.append(name)
                raise TableUnavailable("lost", ambiguous=True)

        monkeypatch.setattr(Table, name, lying)

    doubtful("put")
    doubtful("update")
    store(client, a_letter(data=random_bytes(700_000)), 60_000)
    assert back(client).data == random_bytes(700_000)
    doubted.clear()
    assert mark_replayed(client, only(client), 60_000)
    assert only(client).replayed_at is not None
    doubtful("delete")
    drop(client, only(client), 60_000)
    assert list(letters(client)) == []
    assert doubted == ["update", "delete"]


def test_a_letter_that_is_not_whole_is_never_taken_for_one(client: Table, table: LocalTable) -> None:
    letter = a_letter(data=random_bytes(700_000))
    store(client, letter, 60_000)
    pk, sk = keys.dead_letter_part(letter.letter_id, 2)
    key = {"pk": {"S": pk}, "sk": {"S": sk}}
    part = table.client.get_item(TableName=table.name, Key=key)["Item"]
    changed = b"\x00" + part["data"]["B"][1:]
    assert changed != part["data"]["B"]
    table.client.put_item(TableName=table.name, Item={**part, "data": {"B": changed}})
    with pytest.raises(LetterDamaged, match="not those that were stored"):
        back(client)
    table.client.delete_item(TableName=table.name, Key=key)
    with pytest.raises(LetterDamaged, match="part 3 of 3 is missing"):
        back(client)


@pytest.mark.parametrize("fault", ["throttling", "failing"])
def test_a_table_that_refuses_raises(fault: str) -> None:
    with faulty_dynamodb(fault) as endpoint:
        table = Table(Settings(dynamodb_endpoint=endpoint), timeout_ms=5000)
        for attempt in (store, note):
            with pytest.raises(TableUnavailable):
                attempt(table, a_letter(), 50)
        with pytest.raises(TableUnavailable):
            list(letters(table))


def test_an_expired_letter_is_not_seen_and_may_come_anew(client: Table, table: LocalTable) -> None:
    store(client, a_letter(), 60_000)
    stored = only(client)
    assert mark_replayed(client, stored, 60_000)
    (item,) = table.items()
    table.client.put_item(TableName=table.name, Item={**item, "ttl": {"N": str(int(time.time()))}})
    assert list(letters(client)) == find(client, stored.letter_id[:6], 2) == []
    assert read(client, stored) is None
    store(client, a_letter(), 60_000)
    anew = only(client)
    assert anew.stored_at > stored.stored_at
    assert anew.replayed_at is None
    assert back(client).data == b"no json"


# Marking and dropping


def test_a_letter_that_came_again_is_not_marked(client: Table) -> None:
    store(client, a_letter(), 60_000)
    before = only(client)
    store(client, a_letter(), 60_000)
    assert not mark_replayed(client, before, 60_000)
    assert only(client).replayed_at is None
    assert mark_replayed(client, only(client), 60_000)
    drop(client, only(client), 60_000)
    assert not mark_replayed(client, before, 60_000)
    assert list(letters(client)) == []


def test_a_drop_that_was_interrupted_is_finished_by_another(
    client: Table, table: LocalTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(client, a_letter(data=random_bytes(700_000)), 60_000)
    store(client, a_letter(identifier="78"), 60_000)
    large = next(one for one in letters(client) if one.parts == 3)
    with monkeypatch.context() as patch:
        delete = Table.delete
        calls: list[tuple[str, ...]] = []

        def crashing(self: Table, *key: str) -> None:
            if calls:
                raise KeyboardInterrupt
            calls.append(key)
            delete(self, *key)

        patch.setattr(Table, "delete", crashing)
        with pytest.raises(KeyboardInterrupt):
            drop(client, large, 60_000)
    assert len(table.items()) == 3
    drop(client, next(one for one in letters(client) if one.parts == 3), 60_000)
    assert only(client).identifier == "78"
    assert len(table.items()) == 1


def test_find_goes_by_the_beginning(client: Table) -> None:
    for number in range(40):
        store(client, a_letter(identifier=str(number)), 60_000)
    ids = [one.letter_id for one in letters(client)]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 40
    for letter_id in ids:
        assert [one.letter_id for one in find(client, letter_id, 5)] == [letter_id]
    assert len(find(client, ids[0][0], 1)) == 1
    assert {one.letter_id for one in find(client, ids[0][0], 99)} == {one for one in ids if one[0] == ids[0][0]}


# To consume and back


def changed(event: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The event with its one record changed; of an SQS message, the record in its body."""
    if "records" in event:
        event["records"][0].update(changes)
    else:
        message = event["Records"][0]
        message["body"] = json.dumps({**json.loads(message["body"]), **changes})
    return event


def sqs_body(body: Any) -> dict[str, Any]:
    event = sqs_batch([("feedback.tip", b"")])
    event["Records"][0]["body"] = body
    return event


EVENTS: list[Callable[[], dict[str, Any]]] = [
    lambda: jetstream_batch([("feedback.tip", envelope({"user_id": "anna"}))], first_seq=7),
    lambda: changed(jetstream_batch([("feedback.tip", b"\x00\xff")]), headers=HEADERS, stream_seq="007"),
    lambda: changed(jetstream_batch([("feedback.tip", b"")]), data="\ud800 not base64!"),
    lambda: changed(jetstream_batch([("feedback.tip", b"")]), subject=None),
    lambda: changed(jetstream_batch([("feedback.tip", b"")]), data=None, more={"any": 1.5}),
    lambda: changed(jetstream_batch([("feedback.tip", b"")]), timestamp=7),
    lambda: sqs_batch([("feedback.tip", b"\x00\xff")]),
    lambda: changed(sqs_batch([("feedback.tip", b"")]), data="%"),
    lambda: sqs_body("no record \ud800\x00"),
    lambda: sqs_body("[1]"),
    lambda: {"Records": [removed_by_ttl("tips", {"pk": {"S": "U#"}, "sk": {"S": "W#x"}})]},
]


@pytest.mark.parametrize("event", EVENTS)
def test_a_letter_becomes_the_record_that_it_was(client: Table, event: Callable[[], dict[str, Any]]) -> None:
    (record,) = records_of(event())
    store(client, letter_of(record, record.fault or "given up"), 60_000)
    letter = back(client)
    (again,) = records_of(json.loads(json.dumps(event_of([letter]))))
    assert facts(again) == facts(record)
    assert letter_of(again, "other reason").letter_id == letter.letter_id


def facts(record: Record) -> tuple[Any, ...]:
    data = json.loads(record.data) if record.fault == "data: is missing" else record.data
    kept = (record.headers, record.fault, record.in_order, record.timestamp)
    return (record.identifier, record.origin, record.subject, data, *kept)


@pytest.mark.parametrize("event", EVENTS[:-1])
def test_a_record_is_one_letter_however_often_it_is_delivered(event: Callable[[], dict[str, Any]]) -> None:
    once = event()
    again = json.loads(json.dumps(once))
    if "records" in again:
        again["records"][0].update(num_delivered=5, consumer_seq=999)
    else:
        again["Records"][0]["attributes"]["ApproximateReceiveCount"] = "5"
    (first,), (last,) = records_of(once), records_of(again)
    assert (first.num_delivered, last.num_delivered) == (1, 5)
    assert letter_of(first, "reason").letter_id == letter_of(last, "reason").letter_id


def test_records_say_when_sqs_first_delivered_them_and_the_stream_took_them() -> None:
    event = sqs_batch([("feedback.tip", b"")])
    attributes = event["Records"][0]["attributes"]
    said: dict[Any, float | None] = {
        "1763627400250": 1_763_627_400.25,
        "x": None,
        None: None,
        "-5": None,
        "9" * 30: None,
    }
    for text, seconds in said.items():
        attributes["ApproximateFirstReceiveTimestamp"] = text
        (record,) = records_of(event)
        assert record.first_delivered_at == seconds
        assert record.timestamp == json.loads(event["Records"][0]["body"])["timestamp"]
        letter = letter_of(record, "given up")
        assert (letter.first_delivered_at, letter.timestamp) == (seconds, record.timestamp)
    assert records_of(jetstream_batch([("feedback.tip", b"")]))[0].first_delivered_at is None


def test_a_connection_of_ones_own_sees_the_same_letter(client: Table, table: LocalTable) -> None:
    store(client, a_letter(), 60_000)
    assert only(connect(table)) == only(client)
