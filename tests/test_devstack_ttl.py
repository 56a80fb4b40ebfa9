"""Time to live on the local table: what is due goes, and the function behind the stream hears of the markers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devstack import stream
from devstack.event_filter import matches
from devstack.instances import Busy, Outcome
from devstack.stack import Stack
from devstack.stream import StreamDelivery, removed_by_ttl
from devstack.template import StreamTrigger, Template
from devstack.ttl import TimeToLive, expire, remove_due

NOW = 2_000_000_000
TRIGGER = Template().stream_trigger()


def key(sk: str, pk: str = "U#anna") -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def put(table: Any, sk: str, ttl: float | None, pk: str = "U#anna") -> None:
    item = key(sk, pk) | ({} if ttl is None else {"ttl": {"N": str(int(ttl))}})
    table.client.put_item(TableName=table.name, Item=item)


def left(table: Any) -> list[str]:
    return sorted(item["sk"]["S"] for item in table.items())


def sort_keys(event: Any) -> list[str]:
    return [record["dynamodb"]["Keys"]["sk"]["S"] for record in event["Records"]]


def test_everything_that_is_due_goes_and_markers_are_told_of(table: Any) -> None:
    for sk, ttl in (("W#1", NOW), ("W#2", NOW + 1), ("D#1", NOW - 5), ("E#1", NOW), ("L", None), ("W#0", 1)):
        put(table, sk, ttl)
    (event,) = expire(table, NOW)
    assert left(table) == ["L", "W#2"]
    assert sorted(sort_keys(event)) == ["W#0", "W#1"]
    assert expire(table, NOW) == []
    (event,) = expire(table, NOW + 1)
    assert sort_keys(event) == ["W#2"]


def test_without_a_time_it_is_now(table: Any) -> None:
    put(table, "W#1", time.time() - 1)
    put(table, "W#2", time.time() + 60)
    (event,) = expire(table)
    assert sort_keys(event) == ["W#1"]


def test_events_hold_no_more_than_a_batch_and_numbers_rise(table: Any) -> None:
    count = 2 * TRIGGER.batch_size + 50
    items = [key(f"W#{number:04}") | {"ttl": {"N": str(NOW)}} for number in range(count)]
    for start in range(0, count, 25):
        requests = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
        table.client.batch_write_item(RequestItems={table.name: requests})
    events = expire(table, NOW)
    assert [len(event["Records"]) for event in events] == [TRIGGER.batch_size, TRIGGER.batch_size, 50]
    numbers = [int(record["dynamodb"]["SequenceNumber"]) for event in events for record in event["Records"]]
    assert numbers == sorted(set(numbers))
    assert left(table) == []


def test_an_item_whose_time_was_moved_stays(table: Any) -> None:
    put(table, "W#1", NOW)
    put(table, "W#2", NOW)

    class MovesFirst:
        """The table's client, with somebody who is faster than the removal."""

        def __getattr__(self, name: str) -> Any:
            return getattr(table.client, name)

        def delete_item(self, **arguments: Any) -> Any:
            put(table, "W#1", NOW + 100)
            return table.client.delete_item(**arguments)

    assert remove_due(MovesFirst(), table.name, Template(), NOW) == [key("W#2")]
    assert left(table) == ["W#1"]


def test_no_more_goes_at_once_than_is_asked_for(table: Any) -> None:
    for number in range(5):
        put(table, f"W#{number}", NOW)
    assert len(remove_due(table.client, table.name, Template(), NOW, limit=3)) == 3
    assert len(left(table)) == 2


def test_a_record_passes_the_filter_that_the_trigger_has() -> None:
    passes = removed_by_ttl("tips", key("W#1"))
    assert stream.wanted(TRIGGER, [passes, removed_by_ttl("tips", key("D#1"))]) == [passes]
    for name, value in (("eventName", "MODIFY"), ("userIdentity", {"type": "Root"}), ("dynamodb", None)):
        assert stream.wanted(TRIGGER, [{**passes, name: value}]) == []


@pytest.mark.parametrize(
    ("pattern", "event", "expected"),
    [
        ({"a": ["x", "y"]}, {"a": "y", "b": 1}, True),
        ({"a": ["x"]}, {"b": "x"}, False),
        ({"a": [None]}, {}, False),
        ({"a": ["x"]}, "x", False),
        ({"a": {"b": ["x"]}}, {"a": {"b": "x"}}, True),
        ({"a": {"b": ["x"]}}, {"a": "x"}, False),
        ({"a": {"b": ["x"]}}, {}, False),
        ({"a": [{"prefix": "W#"}]}, {"a": "W#1"}, True),
        ({"a": [{"prefix": "W#"}]}, {"a": "w#1"}, False),
        ({"a": [{"prefix": "W#"}]}, {"a": 1}, False),
        ({"a": ["x"], "b": ["y"]}, {"a": "x", "b": "z"}, False),
    ],
)
def test_filter_patterns(pattern: Any, event: Any, expected: bool) -> None:
    assert matches(pattern, event) is expected


def test_a_filter_rule_that_is_not_known_is_an_error() -> None:
    with pytest.raises(ValueError, match="not supported locally"):
        matches({"a": [{"anything-but": "x"}]}, {"a": "y"})


class Consumer:
    """Stands in for a function's instances; `answers` are called with the keys of each batch until none is left."""

    def __init__(self, *answers: Callable[[list[dict[str, Any]]], Any]) -> None:
        self.answers = list(answers)
        self.batches: list[list[str]] = []

    def invoke(self, payload: bytes) -> Outcome:
        event = json.loads(payload)
        self.batches.append(sort_keys(event))
        if not self.answers:
            return Outcome("", b'{"batchItemFailures": []}')
        answer = self.answers.pop(0)(event["Records"])
        return Outcome("", json.dumps(answer).encode(), is_error=answer == "error")


def fails(*positions: int) -> Callable[[list[dict[str, Any]]], Any]:
    def answer(records: list[dict[str, Any]]) -> Any:
        return {
            "batchItemFailures": [
                {"itemIdentifier": records[position]["dynamodb"]["SequenceNumber"]} for position in positions
            ]
        }

    return answer


def delivery(consumer: Any, *sks: str, batch_size: int = 4, log: Callable[[str], None] = print) -> StreamDelivery:
    trigger = StreamTrigger("ConsumeFunction", TRIGGER.patterns, batch_size, TRIGGER.max_record_age_sec)
    made = StreamDelivery(trigger, consumer, log)
    made.take(removed_by_ttl("tips", key(sk)) for sk in sks)
    return made


def test_a_stream_is_delivered_in_order_and_in_batches() -> None:
    consumer = Consumer()
    delivery(consumer, "W#1", "W#2", "D#1", "W#3", "W#4", "W#5").deliver()
    assert consumer.batches == [["W#1", "W#2", "W#3", "W#4"], ["W#5"]]


@pytest.mark.parametrize(
    ("answer", "again"),
    [
        (fails(), []),
        (lambda _: None, []),
        (lambda _: {}, []),
        (fails(1), ["W#2", "W#3"]),
        (fails(2, 1), ["W#2", "W#3"]),
        (fails(0), ["W#1", "W#2", "W#3"]),
        (lambda _: {"batchItemFailures": [{"itemIdentifier": "7"}]}, ["W#1", "W#2", "W#3"]),
        (lambda _: {"batchItemFailures": [{"itemIdentifier": ""}]}, ["W#1", "W#2", "W#3"]),
        (lambda _: {"batchItemFailures": ["7"]}, ["W#1", "W#2", "W#3"]),
        (lambda _: ["nonsense"], ["W#1", "W#2", "W#3"]),
    ],
)
def test_after_a_failure_it_starts_again_from_the_first_that_failed(answer: Any, again: list[str]) -> None:
    consumer = Consumer(answer)
    made = delivery(consumer, "W#1", "W#2", "W#3")
    made.deliver()
    assert consumer.batches == [["W#1", "W#2", "W#3"]]
    made.deliver()
    assert consumer.batches[1:] == ([again] if again else [])


def test_a_function_that_fails_as_a_whole_gets_smaller_batches() -> None:
    consumer = Consumer(*[lambda _: "error"] * 3)
    made = delivery(consumer, "W#1", "W#2", "W#3", "W#4", "W#5")
    for _ in range(4):
        made.deliver()
    sizes = [len(batch) for batch in consumer.batches]
    assert sizes == [4, 2, 1, 1, 4]  # the last call delivers until nothing waits
    assert made.room == stream.MAX_PENDING


def test_a_record_that_got_too_old_is_given_up_and_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    consumer = Consumer(lambda _: "error")
    made = delivery(consumer, "W#1", log=logged.append)
    made.deliver()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + TRIGGER.max_record_age_sec + 2)
    made.take([removed_by_ttl("tips", key("W#2"))])
    made.deliver()
    assert consumer.batches == [["W#1"], ["W#2"]]
    assert len(logged) == 1


@pytest.fixture
def time_to_live(table: Any) -> Iterator[Callable[..., TimeToLive]]:
    started: list[TimeToLive] = []

    def start(consumer: Any, log: Callable[[str], None] = print, client: Any = None) -> TimeToLive:
        made = TimeToLive(client or table.client, table.name, Template(), consumer, interval=0.02, log=log)
        made.start()
        started.append(made)
        return made

    yield start
    for one in started:
        one.stop()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_thread_removes_what_is_due_and_tries_again_what_failed(table: Any, time_to_live: Any) -> None:
    put(table, "W#1", time.time() - 1)
    put(table, "D#1", time.time() - 1)
    put(table, "D#2", time.time() + 1000)

    def busy(_: Any) -> Any:
        raise Busy("ConsumeFunction")

    def broken(_: Any) -> Any:
        raise RuntimeError("broken")

    logged: list[str] = []
    consumer = Consumer(fails(0), busy, broken, lambda _: "error")
    time_to_live(consumer, logged.append)
    wait_until(lambda: len(consumer.batches) == 5)
    put(table, "W#2", time.time() - 1)
    wait_until(lambda: ["W#2"] in consumer.batches)
    assert consumer.batches == [["W#1"]] * 5 + [["W#2"]]
    assert left(table) == ["D#2"]
    assert logged == ["ttl: RuntimeError: broken"]


def test_as_long_as_the_stream_is_full_items_stay(
    table: Any, time_to_live: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_PENDING", 2)
    for number in range(5):
        put(table, f"W#{number}", time.time() - 1)
    let_through = threading.Event()

    def stuck(_: Any) -> Any:
        return {} if let_through.is_set() else "error"

    consumer = Consumer(*[stuck] * 10_000)
    time_to_live(consumer)
    wait_until(lambda: len(consumer.batches) > 5)
    assert len(left(table)) == 3
    let_through.set()
    wait_until(lambda: left(table) == [])
    wait_until(lambda: {sk for batch in consumer.batches for sk in batch} == {f"W#{number}" for number in range(5)})


def test_a_table_that_fails_is_logged_and_asked_again(table: Any, time_to_live: Any) -> None:
    class FailsOnce:
        failed = False

        def __getattr__(self, name: str) -> Any:
            if name == "scan" and not self.failed:
                self.failed = True
                raise ConnectionError("the table is down")
            return getattr(table.client, name)

    put(table, "W#1", time.time() - 1)
    logged: list[str] = []
    consumer = Consumer()
    time_to_live(consumer, logged.append, FailsOnce())
    wait_until(lambda: consumer.batches == [["W#1"]])
    assert logged == ["ttl: ConnectionError: the table is down"]


def test_a_stopped_thread_touches_nothing(table: Any, time_to_live: Any) -> None:
    consumer = Consumer()
    time_to_live(consumer).stop()
    put(table, "W#1", time.time() - 1)
    time.sleep(0.2)
    assert left(table) == ["W#1"]


def test_in_the_stack_consume_gets_the_record(tmp_path: Any) -> None:
    from devstack.table import client

    with (tmp_path / "log").open("w") as log, Stack(table_name="tips-ttl", ttl_interval=0.1, log=log) as stack:
        dynamodb = client(stack.table_endpoint)
        item = {**key("W#no-ulid"), "ttl": {"N": str(int(time.time()) - 1)}}
        dynamodb.put_item(TableName=stack.table_name, Item=item)

        def letters() -> list[Any]:
            items: list[Any] = dynamodb.scan(TableName=stack.table_name)["Items"]
            return [one for one in items if one["pk"]["S"].startswith("C#DLQ#")]

        wait_until(lambda: len(letters()) == 1)  # a marker of no decision is a dead letter
        assert json.loads(letters()[0]["data"]["B"])["dynamodb"]["Keys"] == key("W#no-ulid")
    threads = [thread.name for thread in threading.enumerate()]
    assert "ttl" not in threads
