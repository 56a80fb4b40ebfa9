"""Consume on the table's stream: which records end a reward wait, what is reported, and what never stops a shard."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from devstack.stream import removed_by_ttl
from tips.errors import LearningUnreadable, TableUnavailable
from tips.state import waits
from tips.state.changes import Outcome

DECISION = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
OK: dict[str, Any] = {"batchItemFailures": []}


def key(pk: str = "U#anna", sk: str = f"W#{DECISION}") -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def record(**parts: str) -> dict[str, Any]:
    return removed_by_ttl("tips", key(**parts))


def event(*records: dict[str, Any]) -> dict[str, Any]:
    return {"Records": list(records)}


def sequence(one: dict[str, Any]) -> str:
    return str(one["dynamodb"]["SequenceNumber"])


def failed(one: dict[str, Any]) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": sequence(one)}]}


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The waits that were ended, as (user, decision), in place of what ending one does to the table."""
    calls: list[tuple[str, str]] = []

    def carry_out(self: waits.WaitOver, person: Any) -> Outcome:
        user_id = self.user_id
        calls.append((user_id, self.decision_id))
        faults: dict[str, Exception] = {
            "table-is-down": TableUnavailable("the table refused the request"),
            "unreadable": LearningUnreadable("of a later version"),
            "our-fault": RuntimeError("anna@example.org"),
        }
        if user_id in faults:
            raise faults[user_id]
        return Outcome(True, moved=True)

    monkeypatch.setattr(waits.WaitOver, "carry_out", carry_out)
    return calls


def test_the_end_of_a_wait_reaches_its_decision(consume: Any, ended: list[tuple[str, str]], capsys: Any) -> None:
    assert consume.invoke(event(record(), record(pk="U#U#ben#W#"))) == OK
    assert sorted(ended) == [("U#ben#W#", DECISION), ("anna", DECISION)]
    assert "DefaultRewardLearned" in capsys.readouterr().out


def test_the_settings_decide_what_is_learned(load_function: Any, table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def carry_out(self: waits.WaitOver, person: Any) -> Outcome:
        seen.append(person.rules)
        return Outcome(True)

    monkeypatch.setattr(waits.WaitOver, "carry_out", carry_out)
    load_function("consume", DEFAULT_REWARD="-0.5", HALF_LIFE_DAYS="30").invoke(event(record()))
    (rules,) = seen
    assert rules.default_reward == -0.5
    assert rules.half_life > 0


def not_by_ttl(one: dict[str, Any]) -> None:
    del one["userIdentity"]


def deleted_by_somebody(one: dict[str, Any]) -> None:
    one["userIdentity"] = {"type": "Root", "principalId": "AIDAEXAMPLE"}


def removed_by_another_service(one: dict[str, Any]) -> None:
    one["userIdentity"]["principalId"] = "replication.dynamodb.amazonaws.com"


def written(one: dict[str, Any]) -> None:
    one["eventName"] = "INSERT"


def changed(one: dict[str, Any]) -> None:
    one["eventName"] = "MODIFY"


def a_decision(one: dict[str, Any]) -> None:
    one["dynamodb"]["Keys"] = key(sk=f"D#{DECISION}")


def a_dead_letter(one: dict[str, Any]) -> None:
    one["dynamodb"]["Keys"] = key(pk="C#DLQ#2026-11-20", sk="0")


Change = Callable[[dict[str, Any]], None]


@pytest.mark.parametrize(
    "change",
    [not_by_ttl, deleted_by_somebody, removed_by_another_service, written, changed, a_decision, a_dead_letter],
)
def test_what_ends_no_wait_is_done_and_teaches_nothing(
    consume: Any, table: Any, ended: list[tuple[str, str]], capsys: Any, change: Change
) -> None:
    other = record()
    change(other)
    assert consume.invoke(event(other)) == OK
    assert ended == []
    assert table.items() == []
    assert "StreamRecordIgnored" in capsys.readouterr().out


def no_keys(one: dict[str, Any]) -> None:
    del one["dynamodb"]["Keys"]


def keys_of_another_table(one: dict[str, Any]) -> None:
    one["dynamodb"]["Keys"] = {"id": {"N": "1"}}


def keys_of_another_type(one: dict[str, Any]) -> None:
    one["dynamodb"]["Keys"] = {"pk": {"B": "VSM="}, "sk": {"S": "W#"}}


def nobody(one: dict[str, Any]) -> None:
    one["dynamodb"]["Keys"] = key(pk="U#")


def no_user(one: dict[str, Any]) -> None:
    one["dynamodb"]["Keys"] = key(pk="C#CONFIG")


def no_decision(one: dict[str, Any]) -> None:
    one["dynamodb"]["Keys"] = key(sk="W#no-ulid")


@pytest.mark.parametrize("change", [no_keys, keys_of_another_table, keys_of_another_type, nobody, no_user, no_decision])
def test_a_record_of_the_wrong_shape_is_a_dead_letter_at_once_and_stops_nobody(
    consume: Any, table: Any, ended: list[tuple[str, str]], capsys: Any, change: Change
) -> None:
    bad = record(pk="U#bad")
    change(bad)
    assert consume.invoke(event(bad, record())) == OK
    assert ended == [("anna", DECISION)]
    (letter,) = table.items()
    assert letter["pk"]["S"].startswith("C#DLQ#")
    assert letter["identifier"]["S"] == sequence(bad)
    assert letter["reason"]["S"].startswith("dynamodb.Keys")
    assert json.loads(letter["data"]["B"]) == bad
    assert "EventInvalid" in capsys.readouterr().out


def test_of_several_failures_the_first_is_reported(consume: Any, ended: list[tuple[str, str]]) -> None:
    # All that follows it comes again, which changes nothing for those that are done.
    records = [record(pk=f"U#{name}") for name in ("anna", "table-is-down", "ben", "table-is-down")]
    assert consume.invoke(event(*records)) == failed(records[1])
    assert {"anna", "table-is-down"} <= {user for user, _ in ended}


@pytest.mark.parametrize("fault", ["unreadable", "our-fault"])
def test_a_fault_in_one_record_never_stops_the_shard(
    consume: Any, table: Any, ended: list[tuple[str, str]], capsys: Any, fault: str
) -> None:
    poisoned = record(pk=f"U#{fault}")
    assert consume.invoke(event(record(), poisoned, record(pk="U#ben"))) == OK
    assert sorted(user for user, _ in ended) == sorted(["anna", fault, "ben"])
    (letter,) = table.items()
    # It can be replayed when the fault is mended.
    assert json.loads(letter["data"]["B"]) == poisoned
    printed = capsys.readouterr().out
    assert "UnforeseenError" in printed
    assert "anna@example.org" not in printed


def test_a_dead_letter_that_cannot_be_stored_is_a_failure(load_function: Any) -> None:
    consume = load_function("consume", DYNAMODB_ENDPOINT="http://127.0.0.1:1", TABLE_DEADLINE_MS="50")
    bad = record(sk="W#no-ulid")
    assert consume.invoke(event(bad, record())) == failed(bad)


def test_an_unreachable_table_fails_the_first_record(load_function: Any) -> None:
    consume = load_function("consume", DYNAMODB_ENDPOINT="http://127.0.0.1:1", TABLE_DEADLINE_MS="50")
    records = [record(), record(pk="U#ben")]
    assert consume.invoke(event(*records)) == failed(records[0])


def test_without_time_left_the_first_record_is_reported(consume: Any, ended: list[tuple[str, str]]) -> None:
    records = [record(), record(pk="U#ben")]
    assert consume.invoke(event(*records), timeout=1.0) == failed(records[0])
    assert ended == []


@pytest.mark.parametrize("identifier", [None, "", 7, True, "1-2", "²", ["1"]])
def test_a_record_without_a_usable_sequence_number_raises(
    consume: Any, ended: list[tuple[str, str]], identifier: Any
) -> None:
    bad = record()
    bad["dynamodb"]["SequenceNumber"] = identifier
    with pytest.raises(ValueError, match="SequenceNumber"):
        consume.invoke(event(record(), bad))
    assert ended == []


@pytest.mark.parametrize("change", [None, "text", [], {}])
def test_a_record_without_its_change_raises(consume: Any, change: Any) -> None:
    with pytest.raises(ValueError, match="SequenceNumber"):
        consume.invoke(event({**record(), "dynamodb": change}))


def test_sources_that_are_mixed_raise(consume: Any, ended: list[tuple[str, str]]) -> None:
    other = copy.deepcopy(record())
    other["eventSource"] = "aws:sqs"
    with pytest.raises(ValueError, match="event"):
        consume.invoke(event(record(), other))
    assert ended == []


def test_a_jetstream_record_cannot_pose_as_one_of_the_stream(
    consume: Any, table: Any, ended: list[tuple[str, str]]
) -> None:
    from devstack.events import jetstream_batch

    assert consume.invoke(jetstream_batch([("REMOVE", record())])) == {"batchItemFailures": [{"itemIdentifier": "1"}]}
    assert ended == []


def test_logs_hold_no_key(consume: Any, ended: list[tuple[str, str]], caplog: Any, capsys: Any) -> None:
    consume.invoke(event(record(pk="U#secret", sk="W#secret"), record(pk="U#table-is-down")))
    for line in caplog.records:
        assert "secret" not in repr(line.__dict__)
    printed = capsys.readouterr().out
    assert "secret" not in printed
    assert "table-is-down" not in printed
