"""The configuration: what is refused, how it changes, what is remembered of it, and what a fault does to it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError
from ulid import ULID

from tests.conftest import LocalTable
from tips import telemetry
from tips.contracts.configuration import Configuration
from tips.errors import ConfigurationUnreadable, NothingToRestore, TableUnavailable
from tips.state import keys
from tips.state.configuration import Stored, change, history, read_configuration, rollback
from tips.state.table import Table

EXPERIMENT: dict[str, Any] = {
    "name": "voices",
    "kind": "prompt_version",
    "arms": {"v1": 0.5, "v2-mentor": 0.5},
    "salt": "s-1",
    "start": "2026-11-01T00:00:00Z",
    "end": "2026-12-01T00:00:00Z",
}
LATER = {"start": "2026-12-01T00:00:00Z", "end": None}


def parsed(document: Mapping[str, Any]) -> Configuration:
    return Configuration.model_validate_json(json.dumps(document))


def activate(policy: str) -> Callable[[Configuration], Configuration]:
    return lambda current: current.model_copy(update={"active_policy": policy})


def changed(table: Table, edit: Callable[[Configuration], Configuration], deadline_ms: float = 5000) -> Stored:
    return change(table, edit, command="config set", actor="ann", reason="because", deadline_ms=deadline_ms)


def rolled_back(table: Table, to: int | None = None) -> Stored:
    said: dict[str, Any] = {"command": "rollback", "actor": "ben", "reason": "", "deadline_ms": 5000}
    return rollback(table, lambda _: None, to=to, **said)


def stored(table: Table) -> Stored:
    return read_configuration(table.get(*keys.CONFIGURATION))


def active(table: Table) -> str | None:
    return stored(table).configuration.active_policy


def spoil(table: LocalTable, **attributes: Any) -> None:
    """Damage the configuration's item."""
    (item,) = [item for item in table.items() if item["pk"]["S"] == keys.CONFIGURATION[0]]
    table.client.put_item(TableName=table.name, Item={**item, **attributes})


@pytest.fixture(autouse=True)
def _counts_of_one_test() -> Iterator[None]:
    """What is counted here must not show up in another test's metrics, nor theirs here."""
    telemetry.flush()
    yield
    telemetry.flush()


# The models


def test_a_document_survives_json() -> None:
    document = {"active_policy": "lints", "shadows": ["linucb"], "experiments": [EXPERIMENT]}
    assert parsed(parsed(document).model_dump(mode="json")) == parsed(document)
    assert Configuration() == parsed({})


@pytest.mark.parametrize(
    ("document", "field", "says"),
    [
        ({"activ_policy": "x"}, "activ_policy", "not permitted"),
        ({"active_policy": ""}, "active_policy", "at least 1"),
        ({"active_policy": 7}, "active_policy", "string"),
        ({"shadows": ["a", "b", "c", "d"]}, "shadows", "at most 3"),
        ({"shadows": ["a", "b", "a"]}, "shadows", "a is named twice"),
        ({"experiments": {}}, "experiments", "array"),
        ({"experiments": [EXPERIMENT, EXPERIMENT]}, "experiments", "voices is there twice"),
        ({"experiments": [EXPERIMENT, {**EXPERIMENT, "name": "b"}]}, "experiments", "voices and b are both of kind"),
        (
            {"experiments": [{**EXPERIMENT, "end": None}, {**EXPERIMENT, "name": "b", **LATER}]},
            "experiments",
            "must not run at the same time",
        ),
        (
            {"experiments": [{**EXPERIMENT, "name": f"e{n}", "kind": "policy"} for n in range(17)]},
            "experiments",
            "at most 16",
        ),
        ({"experiments": [{**EXPERIMENT, "arms": {"a": 0.7, "b": 0.31}}]}, "experiments.0.arms", "not 1.01"),
        ({"experiments": [{**EXPERIMENT, "arms": {}}]}, "experiments.0.arms", "at least 1"),
        ({"experiments": [{**EXPERIMENT, "arms": {"a": 0}}]}, "experiments.0.arms.a", "greater than 0"),
        ({"experiments": [{**EXPERIMENT, "arms": {"a": -0.5}}]}, "experiments.0.arms.a", "greater than 0"),
        ({"experiments": [{**EXPERIMENT, "arms": {"a": float("nan")}}]}, "experiments.0.arms.a", "finite"),
        ({"experiments": [{**EXPERIMENT, "arms": {"a": True}}]}, "experiments.0.arms.a", "number"),
        ({"experiments": [{**EXPERIMENT, "kind": "colour"}]}, "experiments.0.kind", "'policy' or 'prompt_version'"),
        ({"experiments": [{**EXPERIMENT, "salt": "a\0b"}]}, "experiments.0.salt", "control characters"),
        ({"experiments": [{**EXPERIMENT, "start": 1793491200}]}, "experiments.0.start", "ISO 8601"),
        ({"experiments": [{**EXPERIMENT, "end": EXPERIMENT["start"]}]}, "experiments.0.end", "later than start"),
        ({"experiments": [{"name": "a"}]}, "experiments.0.kind", "required"),
    ],
)
def test_what_is_wrong_is_named(document: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        parsed(document)
    first = refused.value.errors()[0]
    assert ".".join(map(str, first["loc"])) == field
    assert says in first["msg"]


def test_shares_that_add_up_to_one_but_for_rounding_are_accepted() -> None:
    parsed({"experiments": [{**EXPERIMENT, "arms": {f"arm-{n}": 0.1 for n in range(10)}}]})


def test_experiments_may_follow_each_other_and_run_beside_those_of_the_other_kind() -> None:
    following = {**EXPERIMENT, "name": "b", **LATER}
    other = {**EXPERIMENT, "name": "c", "kind": "policy", "end": None}
    assert len(parsed({"experiments": [following, EXPERIMENT, other]}).experiments) == 3


# Changes


def test_nothing_stored_is_version_0_and_empty(client: Table) -> None:
    assert stored(client) == Stored(0, Configuration())
    assert history(client, 10) == []


def test_a_change_is_stored_with_its_audit_entry(client: Table, table: LocalTable) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    assert changed(client, activate("lints")) == Stored(1, Configuration(active_policy="lints"))
    assert stored(client) == Stored(1, Configuration(active_policy="lints"))
    (entry,) = history(client, 10)
    assert (entry.actor, entry.command, entry.reason) == ("ann", "config set", "because")
    assert (entry.version_from, entry.version_to, entry.origin) == (0, 1, 1)
    assert before <= entry.at <= datetime.now(UTC)
    assert Configuration.model_validate_json(entry.before) == Configuration()
    assert Configuration.model_validate_json(entry.after) == Configuration(active_policy="lints")
    assert {item["pk"]["S"] for item in table.items()} == {keys.CONFIGURATION[0], keys.AUDIT}
    assert not [item for item in table.items() if "ttl" in item], "neither expires"


def test_an_edit_that_changes_nothing_makes_no_version(client: Table) -> None:
    changed(client, activate("lints"))
    assert changed(client, activate("lints")).version == 1
    assert len(history(client, 10)) == 1


def test_an_edit_that_raises_writes_nothing(client: Table, table: LocalTable) -> None:
    def refuse(_: Configuration) -> Configuration:
        raise LookupError

    with pytest.raises(LookupError):
        changed(client, refuse)
    assert table.items() == []


def test_changes_at_the_same_time_all_land_in_order(client: Table) -> None:
    together = threading.Barrier(4)

    def add_shadow(name: str) -> None:
        first = [True]

        def edit(current: Configuration) -> Configuration:
            if first:
                first.clear()
                together.wait(10)  # all have read the same version
            return current.model_copy(update={"shadows": [*current.shadows[-2:], name]})

        changed(client, edit, deadline_ms=30_000)

    with ThreadPoolExecutor() as threads:
        list(threads.map(add_shadow, "abcd"))
    assert stored(client).version == 4
    entries = history(client, 10)
    assert [(entry.version_from, entry.version_to) for entry in entries] == [(3, 4), (2, 3), (1, 2), (0, 1)]
    documents = [Configuration().model_dump_json(), *(entry.after for entry in reversed(entries))]
    assert [entry.before for entry in reversed(entries)] == documents[:-1]
    assert Configuration.model_validate_json(documents[-1]) == stored(client).configuration


def test_entries_are_in_the_order_of_versions_even_if_a_clock_was_ahead(client: Table, table: LocalTable) -> None:
    changed(client, activate("a"))
    ahead = str(ULID.from_timestamp(time.time() + 3600))
    spoil(table, change={"S": ahead})
    changed(client, activate("b"))
    changed(client, activate("c"))
    newest, second, _ = history(client, 10)
    assert [second.version_to, newest.version_to] == [2, 3]
    assert ahead < second.id < newest.id


class Unreliable:
    """The table, whose writes report a fault: those of `lost` are carried out before, the others never."""

    def __init__(self, table: Table, lost: Sequence[bool], then: Callable[[], object] = lambda: None) -> None:
        self._table, self._lost, self._then = table, list(lost), then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def until(self, _: float) -> Unreliable:
        return self

    def transact(self, writes: Any) -> None:
        if not self._lost:
            self._table.transact(writes)
            return
        if self._lost.pop(0):
            self._table.transact(writes)
            self._then()
        raise TableUnavailable("the table did not answer", ambiguous=True)


@pytest.mark.parametrize("lost", [[True], [False], [False, True], [False, False]])
def test_a_write_in_doubt_is_made_once(client: Table, lost: list[bool]) -> None:
    unreliable: Any = Unreliable(client, lost)
    assert changed(unreliable, activate("lints")) == Stored(1, Configuration(active_policy="lints"))
    assert stored(client).version == 1
    assert len(history(client, 10)) == 1


def test_a_write_that_is_carried_out_late_is_made_once(client: Table) -> None:
    for policy in "abc":
        changed(client, activate(policy))
    late: list[Any] = []

    class Late(Unreliable):
        def transact(self, writes: Any) -> None:
            if not late:
                late.append(writes)
                raise TableUnavailable("the table did not answer", ambiguous=True)
            client.transact(writes)

        def get_all(self, wanted: Any) -> Any:
            found = client.get_all(wanted)
            if len(late) == 1:
                client.transact(late[0])
                late.append("carried out")
            return found

    slow: Any = Late(client, [])
    assert rolled_back(slow) == Stored(4, Configuration(active_policy="b"))
    assert active(client) == "b", "one change back, not two"
    assert len(history(client, 10)) == 4


def test_a_write_in_doubt_is_found_behind_a_later_one(client: Table) -> None:
    unreliable: Any = Unreliable(client, [True], then=lambda: changed(client, activate("other")))
    assert changed(unreliable, activate("lints")) == Stored(1, Configuration(active_policy="lints"))
    assert active(client) == "other"
    assert [entry.version_to for entry in history(client, 10)] == [2, 1]


def test_doubt_is_told_when_time_is_up(client: Table) -> None:
    unreliable: Any = Unreliable(client, [True, False], then=lambda: setattr(client, "get_all", away))

    def away(*_: object) -> None:
        raise TableUnavailable("the table did not answer")

    with pytest.raises(TableUnavailable) as told:
        changed(unreliable, activate("lints"), deadline_ms=200)
    assert told.value.ambiguous


# Going back


def test_rollback_restores_what_was_before_as_a_new_version(client: Table) -> None:
    changed(client, activate("a"))
    changed(client, activate("b"))
    assert rolled_back(client) == Stored(3, Configuration(active_policy="a"))
    newest = history(client, 1)[0]
    assert (newest.actor, newest.command, newest.version_from, newest.version_to) == ("ben", "rollback", 2, 3)
    assert newest.after == Configuration(active_policy="a").model_dump_json()


def test_rolling_back_again_goes_on_back_and_never_to_what_was_left(client: Table) -> None:
    for policy in "abc":
        changed(client, activate(policy))
    assert [rolled_back(client).configuration.active_policy for _ in range(3)] == ["b", "a", None]
    with pytest.raises(NothingToRestore, match="no earlier"):
        rolled_back(client)
    assert stored(client).version == 6


def test_a_change_after_a_rollback_goes_back_to_where_it_was_made(client: Table) -> None:
    for policy in "abc":
        changed(client, activate(policy))
    rolled_back(client)  # b
    changed(client, activate("d"))
    assert [rolled_back(client).configuration.active_policy for _ in range(3)] == ["b", "a", None]


def test_rollback_to_a_version_goes_on_from_there(client: Table) -> None:
    for policy in "abcd":
        changed(client, activate(policy))
    assert rolled_back(client, to=2) == Stored(5, Configuration(active_policy="b"))
    assert rolled_back(client).configuration.active_policy == "a"
    assert rolled_back(client, to=4).configuration.active_policy == "d"  # also forward, when named
    assert rolled_back(client, to=0) == Stored(8, Configuration())


@pytest.mark.parametrize("to", [2, 99])
def test_rollback_to_a_version_that_never_was(client: Table, to: int) -> None:
    changed(client, activate("a"))
    with pytest.raises(NothingToRestore, match=f"no version {to} .* the last is 1"):
        rolled_back(client, to=to)


def test_a_rollback_that_is_refused_writes_nothing(client: Table) -> None:
    changed(client, activate("a"))

    def refuse(_: Configuration) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        rollback(client, refuse, command="", actor="", reason="", deadline_ms=1000)
    assert stored(client).version == 1


# Damage

DAMAGES: list[dict[str, Any]] = [
    {"document": {"S": "{"}},
    {"document": {"S": '{"shadows": 7}'}},
    {"document": {"S": '{"from_the_future": 1}'}},
    {"document": {"N": "1"}},
    {"version": {"S": "x"}},
    {"version": {"N": "1.5"}},
    {"change": {"S": "x"}},
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_item_is_named_and_never_written_over(client: Table, table: LocalTable, damage: Any) -> None:
    changed(client, activate("a"))
    spoil(table, **damage)
    with pytest.raises(ConfigurationUnreadable):
        stored(client)
    before = table.items()
    with pytest.raises(ConfigurationUnreadable):
        changed(client, activate("b"))
    assert table.items() == before


@pytest.mark.parametrize(("to", "restored"), [(None, "a"), (2, "b"), (1, "a")])
def test_rollback_mends_a_damaged_document(
    client: Table, table: LocalTable, to: int | None, restored: str | None
) -> None:
    changed(client, activate("a"))
    changed(client, activate("b"))
    spoil(table, document={"S": "{"})
    assert rolled_back(client, to=to) == Stored(3, Configuration(active_policy=restored))
    assert history(client, 1)[0].before == "{", "what was there is not lost"
