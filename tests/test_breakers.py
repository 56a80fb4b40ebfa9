"""The breakers that instances share: when they open, who may probe, what late and lost answers do to them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import LocalTable
from tests.faulty_dynamodb import ANSWERS, faulty_dynamodb
from tests.requests import connect
from tips import telemetry
from tips.settings import Settings
from tips.state import keys
from tips.state.breakers import TableBreaker, breaker_keys
from tips.state.table import Item, Table

MODEL = "tip-generator"
_models = itertools.count()


@dataclass
class Clock:
    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now


@dataclass
class Fleet:
    """Every `one()` is another instance's request that begins now."""

    table: Table
    clock: Clock = field(default_factory=Clock)
    model: str = MODEL

    def one(self, skew_sec: float = 0.0) -> TableBreaker:
        return TableBreaker(self.table, [self.model], clock=lambda: self.clock() + skew_sec)

    def admits(self) -> bool:
        return self.one().admits(self.model)

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            self.one().failed(self.model)

    def pause(self) -> int:
        return self.one().retry_after_sec(self.model)

    def item(self) -> Item:
        found = self.table.get(*keys.breaker(self.model))
        assert found is not None
        return found


class Counting(Table):
    """A table that counts its calls."""

    def __init__(self, table: LocalTable) -> None:
        super().__init__(Settings(table_name=table.name, dynamodb_endpoint=table.endpoint), timeout_ms=5000)
        self.calls: list[str] = []

    def _call(self, operation: str, *, named: bool = True, **arguments: Any) -> Any:
        self.calls.append(operation)
        return super()._call(operation, named=named, **arguments)


@pytest.fixture
def fleet(client: Table) -> Fleet:
    return Fleet(client)


@pytest.fixture(autouse=True)
def _counts_of_one_test() -> Iterator[None]:
    telemetry.flush()
    yield
    telemetry.flush()


def printed_count(capsys: pytest.CaptureFixture[str], name: str) -> bool:
    capsys.readouterr()
    telemetry.flush()
    return f'"{name}":[' in capsys.readouterr().out


# Opening


def test_five_failures_in_a_row_open_it_for_half_a_minute(fleet: Fleet) -> None:
    fleet.fail(4)
    assert fleet.admits()
    fleet.fail()
    assert not fleet.admits()
    assert fleet.pause() == 30
    fleet.clock.now += 29.5
    assert not fleet.admits()
    assert fleet.pause() == 1
    fleet.clock.now += 0.5
    assert fleet.admits()


def test_failures_count_for_a_minute_whenever_they_began(fleet: Fleet) -> None:
    start = fleet.clock.now
    for after in (0, 50, 55, 58, 61):
        fleet.clock.now = start + after
        fleet.fail()
    assert fleet.admits(), "four of them within a minute"
    fleet.clock.now = start + 62
    fleet.fail()
    assert not fleet.admits()


def test_a_success_ends_the_row(fleet: Fleet) -> None:
    fleet.fail(4)
    fleet.one().succeeded(MODEL)
    fleet.fail(4)
    assert fleet.admits()
    fleet.fail()
    assert not fleet.admits()


def test_models_have_breakers_of_their_own(client: Table, table: LocalTable) -> None:
    clock = Clock()
    for _ in range(5):
        TableBreaker(client, ["a", "b"], clock=clock).failed("b")
    both = TableBreaker(client, ["a", "b", "a"], clock=clock)
    assert (both.admits("a"), both.admits("b")) == (True, False)
    assert breaker_keys(["a", "b", "a"]) == [("C#BREAKER", "a"), ("C#BREAKER", "b")]
    items: Sequence[Item | None] = client.get_all(breaker_keys(["b", "a", "b"]))
    counting = Counting(table)
    read_before = TableBreaker(counting, ["b", "a", "b"], items, clock)
    assert (read_before.admits("a"), read_before.admits("b")) == (True, False)
    assert counting.calls == []


def test_a_healthy_call_writes_nothing(table: LocalTable) -> None:
    counting = Counting(table)
    clock = Clock()
    for prepare in (lambda _: None, lambda one: one.failed(MODEL)):
        prepare(TableBreaker(counting, [MODEL], clock=clock))
        TableBreaker(counting, [MODEL], clock=clock).succeeded(MODEL)  # forgets the failure, if there is one
        counting.calls.clear()
        one = TableBreaker(counting, [MODEL], clock=clock)
        assert one.admits(MODEL)
        one.succeeded(MODEL)
        assert counting.calls == ["batch_get_item"]


def test_no_failure_of_several_instances_at_once_is_lost(table: LocalTable) -> None:
    clock = Clock()
    fleets = [Fleet(connect(table), clock) for _ in range(4)]
    ones = [fleet.one() for fleet in fleets]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: one.failed(MODEL), ones))
    assert fleets[0].admits()
    fleets[0].fail()
    assert not fleets[0].admits()


def test_failures_of_many_instances_at_once_open_it_once(table: LocalTable) -> None:
    clock = Clock()
    ones = [Fleet(connect(table), clock).one() for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda one: one.failed(MODEL), ones))
    assert Fleet(connect(table), clock).pause() == 30


def test_a_refused_key_opens_it_at_once_and_many_refusals_once(fleet: Fleet) -> None:
    ones = [fleet.one() for _ in range(4)]
    for one in ones:
        one.refused(MODEL)
    assert fleet.pause() == 60
    assert not fleet.admits()


# Half-open


def half_open(fleet: Fleet) -> None:
    fleet.fail(5)
    fleet.clock.now += 30


def test_exactly_one_instance_gets_the_probe(table: LocalTable) -> None:
    fleet = Fleet(connect(table))
    half_open(fleet)
    ones = [Fleet(connect(table), fleet.clock).one() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        admitted = list(pool.map(lambda one: one.admits(MODEL), ones))
    assert admitted.count(True) == 1
    assert not fleet.admits(), "nor anybody who comes later"
    assert fleet.pause() == 20
    assert ones[admitted.index(True)].admits(MODEL), "who has it keeps it"


def test_clocks_that_differ_still_make_one_probe(fleet: Fleet) -> None:
    half_open(fleet)
    ones = [fleet.one(skew_sec) for skew_sec in (2.0, 0.0, 1.0, 2.0)]
    assert [one.admits(MODEL) for one in ones] == [True, False, False, False]


def test_a_probe_that_succeeds_closes_it_and_forgets_how_often_it_opened(fleet: Fleet) -> None:
    half_open(fleet)
    probe = fleet.one()
    assert probe.admits(MODEL)
    probe.failed(MODEL)
    assert fleet.pause() == 60
    fleet.clock.now += 60
    probe = fleet.one()
    assert probe.admits(MODEL)
    probe.succeeded(MODEL)
    assert all(fleet.admits() for _ in range(3))
    fleet.fail(4)
    assert fleet.admits()
    fleet.fail()
    assert fleet.pause() == 30


@pytest.mark.parametrize(
    ("ends", "pauses"),
    [("failed", [30, 60, 120, 240, 480, 600, 600]), ("refused", [60, 120, 240, 480, 600, 600])],
)
def test_each_failed_probe_doubles_the_pause_up_to_ten_minutes(fleet: Fleet, ends: str, pauses: list[int]) -> None:
    if ends == "failed":
        fleet.fail(5)
    else:
        fleet.one().refused(MODEL)
    for pause in pauses:
        assert fleet.pause() == pause
        assert not fleet.admits()
        fleet.clock.now += pause
        probe = fleet.one()
        assert probe.admits(MODEL)
        getattr(probe, ends)(MODEL)
        assert not probe.admits(MODEL)


def test_a_probe_that_is_refused_waits_at_least_as_long_as_any_refusal(fleet: Fleet) -> None:
    half_open(fleet)
    probe = fleet.one()
    assert probe.admits(MODEL)
    probe.refused(MODEL)
    assert fleet.pause() == 60


def test_a_probe_that_crashed_makes_room_for_the_next_and_decides_nothing_afterwards(fleet: Fleet) -> None:
    half_open(fleet)
    crashed = fleet.one()
    assert crashed.admits(MODEL)
    fleet.clock.now += 19.5
    assert not fleet.admits()
    fleet.clock.now += 0.5
    following = fleet.one()
    assert following.admits(MODEL)
    for late in (crashed.succeeded, crashed.failed, crashed.refused):
        late(MODEL)
        assert not fleet.admits()
        assert fleet.pause() == 20
    following.succeeded(MODEL)
    assert fleet.admits()


def test_a_probe_that_is_given_back_leaves_it_to_the_next(fleet: Fleet) -> None:
    half_open(fleet)
    prober, other = fleet.one(), fleet.one()
    assert prober.admits(fleet.model)
    assert not fleet.admits()
    other.released(fleet.model)
    assert not fleet.admits(), "it was not the other's"
    prober.released(fleet.model)
    following = fleet.one()
    assert following.admits(fleet.model)
    assert not fleet.admits()
    prober.succeeded(fleet.model)
    assert not fleet.admits(), "nor any more the first one's"
    following.succeeded(fleet.model)
    assert fleet.admits()


def test_a_late_answer_to_a_call_that_began_before_changes_nothing(fleet: Fleet) -> None:
    fleet.fail(3)
    late = [fleet.one() for _ in range(3)]
    fleet.fail(2)
    before = fleet.item()
    late[0].succeeded(MODEL)
    late[1].failed(MODEL)
    late[2].refused(MODEL)
    assert fleet.item() == before
    fleet.clock.now += 30
    probe = fleet.one()
    assert probe.admits(MODEL)
    assert not late[0].admits(MODEL), "it knows by now that it is open"


# The table


def test_a_breaker_is_forgotten_an_hour_after_its_pause(fleet: Fleet, table: LocalTable) -> None:
    fleet.fail(5)
    item = fleet.item()
    assert 3600 <= int(item["ttl"]["N"]) - float(item["open_until"]["N"]) <= 3601
    # Expired, but TTL has not removed it yet.
    expired = {**item, "ttl": {"N": str(int(time.time()) - 10)}, "pause_sec": {"N": "480"}}
    table.client.put_item(TableName=table.name, Item=expired)
    assert fleet.admits()
    fleet.fail(4)
    assert fleet.admits()
    fleet.fail()
    assert fleet.pause() == 30


@pytest.mark.parametrize("attributes", [{}, {"failures": {"S": "many"}}, {"open_until": {"N": "1"}}])
def test_an_item_that_cannot_be_read_is_closed_and_left_alone(
    fleet: Fleet, table: LocalTable, capsys: pytest.CaptureFixture[str], attributes: Item
) -> None:
    pk, sk = keys.breaker(MODEL)
    item = {"pk": {"S": pk}, "sk": {"S": sk}, **attributes}
    table.client.put_item(TableName=table.name, Item=item)
    one = fleet.one()
    assert one.admits(MODEL)
    for answer in (one.failed, one.refused, one.succeeded):
        answer(MODEL)
    assert table.items() == [item]
    assert one.retry_after_sec(MODEL) == 1
    assert printed_count(capsys, "BreakerNotRead")


@pytest.mark.parametrize("fault", [*ANSWERS, "silent", "refused"])
def test_a_table_that_is_away_counts_as_closed(fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    with nullcontext("http://127.0.0.1:1") if fault == "refused" else faulty_dynamodb(fault) as endpoint:
        away = Table(Settings(dynamodb_endpoint=endpoint), timeout_ms=50)
        started = time.monotonic()
        one = TableBreaker(away, [MODEL])
        assert one.admits(MODEL)
        assert printed_count(capsys, "BreakerNotRead")
        for answer in (one.failed, one.refused):
            answer(MODEL)
            assert printed_count(capsys, "BreakerNotWritten")
        one.succeeded(MODEL)
        assert one.admits(MODEL)
        assert one.retry_after_sec(MODEL) == 1
        assert time.monotonic() - started < 10


def test_a_table_that_goes_away_while_it_is_half_open_admits(fleet: Fleet) -> None:
    half_open(fleet)
    items = fleet.table.get_all(breaker_keys([MODEL]))
    away = Table(Settings(dynamodb_endpoint="http://127.0.0.1:1"), timeout_ms=50)
    one = TableBreaker(away, [MODEL], items, fleet.clock)
    assert one.admits(MODEL)
    one.succeeded(MODEL)
    assert fleet.admits(), "the probe was not taken"


# Any sequence


@dataclass
class Reference:
    """A breaker of one instance whose every call is answered before the next begins."""

    failures: list[float] = field(default_factory=list)
    open_until: float | None = None
    pause: float = 0.0

    def admits(self, now: float) -> bool:
        return self.open_until is None or now >= self.open_until

    def answered(self, answer: str, now: float) -> None:
        if answer == "succeeded":
            self.failures, self.open_until, self.pause = [], None, 0.0
            return
        self.failures = [at for at in [*self.failures, now] if at > now - 60]
        if answer == "refused" or self.open_until is not None or len(self.failures) >= 5:
            self.pause = min(max(60 if answer == "refused" else 30, 2 * self.pause), 600)
            self.failures, self.open_until = [], now + self.pause


answers = st.sampled_from(["failed", "failed", "failed", "failed", "succeeded", "refused"])
waits = st.sampled_from([0, 0, 0, 1, 14, 30, 59, 60, 120, 600])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(waits, answers), max_size=40))
def test_any_sequence_of_answers_is_that_of_one_instance(client: Table, calls: list[tuple[int, str]]) -> None:
    fleet = Fleet(client, model=f"model-{next(_models)}")
    reference = Reference()
    for wait, answer in calls:
        fleet.clock.now += wait
        one = fleet.one()
        assert one.admits(fleet.model) == reference.admits(fleet.clock.now)
        if reference.admits(fleet.clock.now):
            getattr(one, answer)(fleet.model)
            reference.answered(answer, fleet.clock.now)
