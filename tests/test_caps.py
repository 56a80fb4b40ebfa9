"""Daily caps: what is admitted, by whom it is shared, what crashes, races and midnight leave of them."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import LocalTable
from tests.faulty_dynamodb import ANSWERS, faulty_dynamodb
from tests.requests import connect
from tips import telemetry
from tips.errors import CapReached, TableUnavailable
from tips.settings import Settings
from tips.state import keys
from tips.state.caps import BLOCKS, LEASE_SEC, Caps
from tips.state.erasure import erase
from tips.state.table import Item, Table

_days = itertools.count(1)


def noon() -> float:
    """The next noon (UTC), so that no test lasts over midnight."""
    today = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    return (today + timedelta(days=1)).timestamp()


NOW = noon()


def date(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).date().isoformat()


def capped(table: Table, **caps: float) -> Caps:
    """`capped(table, user_tokens=..., total_usd=...)`: another instance."""
    return Caps(table, Settings(**{f"cap_{name}": value for name, value in caps.items()}))  # type: ignore[arg-type]


def admitted(caps: Caps, tokens: int, usd: float = 0.0, user: str = "anna", now: float = NOW) -> bool:
    try:
        caps.budget(user, now).book(tokens, usd)
    except CapReached:
        return False
    return True


def spent(table: Table, user: str = "anna", now: float = NOW) -> tuple[int, int] | None:
    """Return a person's tokens and millionths of a dollar."""
    item = table.get(keys.generation(user), keys.spending(date(now)))
    return None if item is None else (int(item["tokens"]["N"]), int(item["micro_usd"]["N"]))


def blocks(table: Table, now: float = NOW) -> dict[str, tuple[int, int]]:
    """Return everybody's tokens and millionths of a dollar, by block."""
    items = table.query(keys.cap(date(now)), "00", "99", limit=1000)
    return {item["sk"]["S"]: (int(item["tokens"]["N"]), int(item["micro_usd"]["N"])) for item in items}


def total(table: Table, now: float = NOW) -> int:
    return sum(tokens for tokens, _ in blocks(table, now).values())


class Watched(Table):
    """A table that knows what was asked of it: each call's operation and the sort keys written."""

    def __init__(self, table: LocalTable) -> None:
        super().__init__(Settings(table_name=table.name, dynamodb_endpoint=table.endpoint), timeout_ms=5000)
        self.calls: list[str] = []
        self.written: Counter[tuple[str, str]] = Counter()
        self.fails: Callable[[str, Item], bool] = lambda *_: False
        self.unheard = False

    def _call(self, operation: str, *, named: bool = True, **arguments: Any) -> Any:
        self.calls.append(operation)
        if operation == "update_item":
            self.written[arguments["Key"]["pk"]["S"], arguments["Key"]["sk"]["S"]] += 1
        if self.fails(operation, arguments):
            if self.unheard:
                super()._call(operation, named=named, **arguments)
            raise TableUnavailable("away", ambiguous=True)
        return super()._call(operation, named=named, **arguments)


@pytest.fixture(autouse=True)
def _counts_of_one_test() -> Iterator[None]:
    telemetry.flush()
    yield
    telemetry.flush()


def printed_count(capsys: pytest.CaptureFixture[str], name: str) -> bool:
    capsys.readouterr()
    telemetry.flush()
    return f'"{name}":[' in capsys.readouterr().out


# What is admitted


def test_without_a_cap_no_table_is_touched() -> None:
    budget = capped(Table(Settings(dynamodb_endpoint="http://127.0.0.1:1"), timeout_ms=50)).budget("anna", NOW)
    # A table that is not there would raise, after its time; a busy machine may hold up one of them.
    times = []
    for _ in range(3):
        started = time.monotonic()
        budget.settle(budget.book(10**9, 1e6), 10**9, 1e6)
        times.append(time.monotonic() - started)
    assert min(times) < 0.05


def test_only_the_items_of_configured_caps_are_touched(new_table: Any) -> None:
    for caps, partition in (({"user_usd": 1.0}, "G#anna"), ({"total_tokens": 1000}, f"C#CAP#{date(NOW)}")):
        local = new_table()
        budget = capped(connect(local), **caps).budget("anna", NOW)
        budget.settle(budget.book(10, 0.5), 5, 0.25)
        assert [item["pk"]["S"] for item in local.items()] == [partition]


@pytest.mark.parametrize("whose", ["user", "total"])
def test_a_call_is_admitted_as_long_as_less_than_the_cap_is_used_or_booked(client: Table, whose: str) -> None:
    caps = capped(client, **{f"{whose}_tokens": 1000})
    budget = caps.budget("anna", NOW)
    first = budget.book(600, 0.0)
    assert admitted(caps, 600), "the estimate passes the cap, but what came before does not"
    assert not admitted(caps, 1)
    budget.settle(first, 100, 0.0)
    assert admitted(caps, 299)
    assert admitted(caps, 1)
    assert not admitted(caps, 1)


@pytest.mark.parametrize("whose", ["user", "total"])
def test_what_was_used_replaces_the_estimate_even_if_it_is_more(client: Table, whose: str) -> None:
    caps = capped(client, **{f"{whose}_tokens": 10_000, f"{whose}_usd": 1.0})
    for tokens, usd in ((4000, 0.9), (0, 0.0), (100, 0.00001)):
        budget = caps.budget("anna", NOW)
        budget.settle(budget.book(100, 0.01), tokens, usd)
    (kept,) = [spent(client)] if whose == "user" else [tuple(map(sum, zip(*blocks(client).values(), strict=True)))]
    assert kept == (4100, 900_010)
    assert admitted(caps, 1, 0.099989)
    assert admitted(caps, 1, 0.2)
    assert not admitted(caps, 1, 0.0)


def test_money_is_whole_millionths_rounded_up(client: Table) -> None:
    budget = capped(client, user_usd=0.29).budget("anna", NOW)
    for usd in (0.0000001, 0.000123, 0.0000021, 0.0, -1.0, float("nan"), float("inf")):
        budget.book(0, usd)
    assert spent(client) == (0, 1 + 123 + 3)


@pytest.mark.parametrize("whose", ["user", "total"])
def test_calls_of_no_known_price_end_with_the_money(client: Table, whose: str) -> None:
    for now, usd in ((NOW, 0.0002), (NOW + 86_400, 0.000001)):
        caps = capped(client, **{f"{whose}_usd": usd})
        assert admitted(caps, 10, 0.0, now=now)
        assert admitted(caps, 10, usd, now=now)
        assert not admitted(caps, 10, 0.0, now=now)


@pytest.mark.parametrize(
    ("cap", "tokens", "usd", "said"),
    [
        ({"user_tokens": 100}, 100, 0.0, "your daily cap on tokens"),
        ({"user_tokens": 100, "user_usd": 0.5}, 1, 0.5, "your daily cap on money"),
        ({"total_tokens": 100}, 100, 0.0, "everybody's daily cap on tokens"),
        ({"total_tokens": 100, "total_usd": 0.5}, 1, 0.5, "everybody's daily cap on money"),
    ],
)
def test_a_refusal_says_which_cap_and_when_it_resets(
    client: Table, cap: dict[str, float], tokens: int, usd: float, said: str
) -> None:
    caps = capped(client, **cap)
    now = datetime(2199, 12, 31, 18, 30, 0, 500_000, UTC).timestamp()
    caps.budget("anna", now).book(tokens, usd)
    with pytest.raises(CapReached) as refused:
        caps.budget("anna", now).book(1, 0.0)
    assert refused.value.message == f"{said} is reached; it resets at 2200-01-01T00:00:00Z"
    assert refused.value.retry_after_sec == 5.5 * 3600
    assert (refused.value.status, refused.value.code) == (429, "cap_reached")
    midnight = datetime(2199, 12, 31, 23, 59, 59, 999_999, UTC).timestamp()
    with pytest.raises(CapReached) as refused:
        caps.budget("anna", midnight).book(1, 0.0)
    assert refused.value.retry_after_sec == 1


def test_persons_have_caps_of_their_own(client: Table) -> None:
    caps = capped(client, user_tokens=100)
    assert admitted(caps, 100, user="anna")
    assert not admitted(caps, 1, user="anna")
    assert admitted(caps, 100, user="ben")


def test_whose_own_cap_is_reached_writes_to_nothing_that_others_share(client: Table) -> None:
    caps = capped(client, user_tokens=100, total_tokens=10_000)
    assert admitted(caps, 100)
    before = blocks(client)
    assert not admitted(caps, 50)
    assert blocks(client) == before


def test_what_everybodys_cap_refuses_is_given_back_to_the_person(client: Table) -> None:
    caps = capped(client, user_tokens=1000, total_tokens=100)
    assert admitted(caps, 100, user="ben")
    assert not admitted(caps, 50)
    assert spent(client) == (0, 0)


# Blocks


@pytest.mark.parametrize(
    ("cap", "call"), [(1, 1), (1, 40), (3, 1), (7, 40), (50, 2), (99, 5), (100, 5), (101, 7), (250, 40), (8000, 300)]
)
def test_blocks_of_any_cap_add_up_to_it(client: Table, cap: int, call: int) -> None:
    """However small a block is, calls of one size pass the cap by less than one call."""
    instances = [capped(client, total_tokens=cap, total_usd=100.0) for _ in range(3)]
    calls = 0
    while admitted(instances[calls % 3], call):
        calls += 1
    assert calls == -(-cap // call)
    assert not any(admitted(one, 1) for one in instances)


def test_tokens_and_money_that_run_out_in_different_blocks_are_used_up_all_the_same(client: Table) -> None:
    caps = capped(client, total_tokens=20, total_usd=0.00002)  # one token and one millionth a block
    day = {"pk": {"S": keys.cap(date(NOW))}}
    for number in range(20):
        tokens, micro_usd = ("1", "0") if number % 2 else ("0", "1")
        client.put({**day, "sk": {"S": f"{number:02}"}, "tokens": {"N": tokens}, "micro_usd": {"N": micro_usd}})
    for _ in range(10):
        assert admitted(caps, 1, 0.000001)
    assert not admitted(caps, 1)


def test_an_instance_books_in_its_block_with_one_write_a_call(table: LocalTable) -> None:
    watched = Watched(table)
    caps = capped(watched, total_tokens=1_000_000)
    for _ in range(10):
        budget = caps.budget("anna", NOW)
        budget.settle(budget.book(900, 0.0), 500, 0.0)
    assert watched.calls == ["query"] + ["update_item"] * 20
    assert len(watched.written) == 1
    watched.calls.clear()
    budget.settle(budget.book(100, 0.0), 100, 0.0)
    assert watched.calls == ["update_item"], "nothing to settle"
    assert total(watched) == 5100
    for _ in range(10):  # more than is left in it
        assert admitted(caps, 900)
    assert len(watched.written) == 2
    assert total(watched) == 14_100


def test_no_item_is_hot(table: LocalTable) -> None:
    """20 instances at once, 10 calls each: no item gets more than twice its share of one instance."""
    watched = [Watched(table) for _ in range(20)]
    instances = [capped(one, total_tokens=10_000_000) for one in watched]

    def work(caps: Caps) -> None:
        for _ in range(10):
            budget = caps.budget("anna", NOW)
            budget.settle(budget.book(1500, 0.001), 900, 0.0005)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, instances))
    written = sum((one.written for one in watched), Counter[tuple[str, str]]())
    assert written.total() >= 400
    assert max(written.values()) <= 0.1 * written.total()
    assert len(blocks(watched[0])) >= 20, "each has a block of its own"
    assert total(watched[0]) == 20 * 10 * 900


def test_leased_blocks_are_left_alone_until_their_lease_is_over(client: Table) -> None:
    """A hundred instances lease them all; the next one shares, and after five minutes leases."""
    for _ in range(BLOCKS):
        assert admitted(capped(client, total_tokens=1000), 2)
    assert set(blocks(client).values()) == {(2, 0)}
    assert admitted(capped(client, total_tokens=1000), 2)
    assert sorted(blocks(client).values())[-1] == (4, 0)
    later = NOW + LEASE_SEC + 1
    kept = capped(client, total_tokens=1000)
    assert admitted(kept, 2, now=later)
    assert admitted(kept, 2, now=later + LEASE_SEC - 1)
    assert total(client) == 2 * 103


def test_a_lease_that_is_over_is_used_by_nobody_who_remembers_it(table: LocalTable) -> None:
    watched = Watched(table)
    caps = capped(watched, total_tokens=100_000)
    assert admitted(caps, 1)
    watched.calls.clear()
    assert admitted(caps, 1, now=NOW + LEASE_SEC - 1), "each call prolongs it"
    assert watched.calls == ["update_item"]
    assert admitted(caps, 1, now=NOW + 2 * LEASE_SEC)
    assert watched.calls == ["update_item", "query", "update_item"]


def test_a_call_that_fits_in_no_block_takes_the_room_of_leases_first(client: Table) -> None:
    """So that nobody goes on in a leased block although all together have none left."""
    for day in range(8):
        now = NOW + day * 86_400
        one, other = capped(client, total_tokens=10_000), capped(client, total_tokens=10_000)
        assert admitted(one, 60, now=now)
        assert admitted(other, 9950, now=now)
        assert not admitted(one, 5, now=now)


def test_a_call_that_fits_in_no_block_ends_the_lease_of_its_own_instance(client: Table) -> None:
    for day in range(8):
        now = NOW + day * 86_400
        caps = capped(client, total_tokens=10_000)
        assert admitted(caps, 60, now=now)
        assert admitted(caps, 90, now=now), "in another block; the first has room for others"
        assert admitted(caps, 9900, now=now)
        assert not admitted(caps, 5, now=now)


def test_a_lease_ends_with_its_day(client: Table) -> None:
    caps = capped(client, total_tokens=10_000)
    evening, morning = NOW + 12 * 3600 - 2, NOW + 12 * 3600 + 2
    assert admitted(caps, 10, now=evening)
    ((number, _),) = blocks(client, evening).items()
    others = {"pk": {"S": keys.cap(date(morning))}, "sk": {"S": number}, "leased_until": {"N": str(morning + 60)}}
    client.put({**others, "tokens": {"N": "7"}, "micro_usd": {"N": "0"}})
    assert admitted(caps, 10, now=morning)
    assert blocks(client, morning)[number] == (7, 0)
    assert total(client, morning) == 17


# Races and crashes


def at_once(number: int, work: Callable[[int], object]) -> None:
    ready = threading.Barrier(number)

    def begin(one: int) -> object:
        ready.wait(10)
        return work(one)

    with ThreadPoolExecutor(number) as pool:
        list(pool.map(begin, range(number)))


@pytest.mark.parametrize("whose", ["user", "total"])
def test_no_booking_of_instances_at_once_is_lost(table: LocalTable, whose: str) -> None:
    """Every booking and settling is in the sums, and the cap is passed by what is in flight at most."""
    instances = [capped(connect(table), **{f"{whose}_tokens": 3000}) for _ in range(8)]
    used = [0] * 8
    refused = [0] * 8

    def work(number: int) -> None:
        for _ in range(8):
            try:
                budget = instances[number].budget("anna", NOW)
                budget.settle(budget.book(120, 0.0), 100, 0.0)
                used[number] += 100
            except CapReached:
                refused[number] += 1

    at_once(8, work)
    client = connect(table)
    kept = total(client) if whose == "total" else (spent(client) or (0, 0))[0]
    assert kept == sum(used)
    assert sum(refused) > 0
    assert 3000 - 8 * 20 <= kept <= 3000 + 8 * 120


def test_what_a_crash_left_unsettled_stays_booked(client: Table) -> None:
    for whose in ("user", "total"):
        capped(client, **{f"{whose}_tokens": 1000}).budget("anna", NOW).book(1000, 0.0)
        assert not admitted(capped(client, **{f"{whose}_tokens": 1000}), 1, now=NOW + 3600)


def test_midnight_resets_and_late_settling_goes_to_its_own_day(client: Table) -> None:
    caps = capped(client, user_tokens=100, total_tokens=100)
    evening = NOW + 12 * 3600 - 2
    budget = caps.budget("anna", evening)
    booking = budget.book(100, 0.0)
    assert not admitted(caps, 1, now=evening + 1)
    assert admitted(caps, 10, now=evening + 3)
    budget.settle(booking, 70, 0.0)
    assert (spent(client, now=evening), total(client, evening)) == ((70, 0), 70)
    assert (spent(client, now=evening + 3), total(client, evening + 3)) == ((10, 0), 10)


def test_items_are_gone_two_days_after_their_day(client: Table, table: LocalTable) -> None:
    caps = capped(client, user_tokens=100, total_tokens=100)
    assert admitted(caps, 60)  # leased
    assert admitted(caps, 60)  # booked in any block
    midnight = NOW + 12 * 3600
    assert {int(item["ttl"]["N"]) - midnight for item in table.items()} == {2 * 86_400}


def test_a_person_who_was_erased_has_a_cap_and_no_name(client: Table, table: LocalTable) -> None:
    erase(client, "anna", 5000, settled_sec=0)
    caps = capped(client, user_tokens=100)
    assert [admitted(caps, 60) for _ in range(3)] == [True, True, False]
    assert admitted(caps, 60, user="ben")
    assert admitted(caps, 60, now=NOW + 86_400)
    assert "anna" not in repr(table.items())
    assert {item["pk"]["S"][:2] for item in table.items()} == {"T#", "G#", "C#"}
    midnight = NOW + 12 * 3600
    assert {int(item["ttl"]["N"]) - midnight for item in table.items() if item["pk"]["S"] == keys.cap(date(NOW))} == {
        2 * 86_400
    }
    budget = caps.budget("anna", NOW + 2 * 86_400)
    budget.settle(budget.book(60, 0.0), 10, 0.0)
    assert [admitted(caps, 60, now=NOW + 2 * 86_400) for _ in range(3)] == [True, True, False]


def test_nothing_is_written_under_the_name_of_a_person_who_was_erased(client: Table, table: LocalTable) -> None:
    caps = capped(client, user_tokens=100, total_tokens=100_000)
    budget = caps.budget("anna", NOW)
    booking = budget.book(50, 0.0)
    erase(client, "anna", 5000, settled_sec=0)
    budget.settle(booking, 40, 0.0)
    assert spent(client) is None
    budget.settle(budget.book(50, 0.0), 30, 0.0)
    assert not [item for item in table.items() if item["pk"]["S"].startswith("G#")]
    assert total(client) == 70


def test_a_first_call_that_another_overtook_is_added_to_it(table: LocalTable, client: Table) -> None:
    overtaken = Watched(table)
    other = capped(client, user_tokens=100)

    def meddle(operation: str, _: Item) -> bool:
        if operation == "transact_write_items":
            assert admitted(other, 7)
        return False

    overtaken.fails = meddle
    assert admitted(capped(overtaken, user_tokens=100), 5)
    assert spent(client) == (12, 0)


# A table that is away


@pytest.mark.parametrize("fault", [*ANSWERS, "silent", "refused"])
@pytest.mark.parametrize("whose", ["user", "total"])
def test_a_cap_that_cannot_be_checked_is_kept_in_bounded_time(whose: str, fault: str) -> None:
    with nullcontext("http://127.0.0.1:1") if fault == "refused" else faulty_dynamodb(fault) as endpoint:
        away = Table(Settings(dynamodb_endpoint=endpoint), timeout_ms=50)
        started = time.monotonic()
        with pytest.raises(TableUnavailable):
            capped(away, **{f"{whose}_tokens": 100}).budget("anna", NOW).book(1, 0.0)
        assert time.monotonic() - started < 5


def test_settling_never_fails_and_leaves_the_estimate(
    table: LocalTable, client: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    watched = Watched(table)
    budget = capped(watched, user_tokens=1000, total_tokens=1000).budget("anna", NOW)
    booking = budget.book(100, 0.0)
    watched.fails = lambda operation, _: operation == "update_item"
    budget.settle(booking, 10, 0.0)
    assert printed_count(capsys, "SpendingNotSettled")
    assert (spent(client), total(client)) == ((100, 0), 100)


def test_a_booking_whose_answer_was_lost_is_not_repeated(table: LocalTable, client: Table) -> None:
    for whose in ("user", "total"):
        watched = Watched(table)
        caps = capped(watched, **{f"{whose}_tokens": 1000})
        caps.budget("anna", NOW).book(1, 0.0)
        watched.unheard = True
        watched.fails = lambda operation, _: operation == "update_item"
        with pytest.raises(TableUnavailable):
            caps.budget("anna", NOW).book(100, 0.0)
    assert (spent(client), total(client)) == ((101, 0), 101)


def test_a_person_gets_back_what_was_booked_when_everybodys_cap_cannot_be_checked(
    table: LocalTable, client: Table
) -> None:
    watched = Watched(table)
    watched.fails = lambda operation, _: operation == "query"
    with pytest.raises(TableUnavailable):
        capped(watched, user_tokens=1000, total_tokens=1000).budget("anna", NOW).book(100, 0.0)
    assert spent(client) == (0, 0)


# Any sequence


steps = st.lists(
    st.tuples(
        st.integers(0, 3),  # instance
        st.integers(0, 60) | st.just(700),  # estimate
        st.integers(0, 90),  # really used
        st.booleans(),  # settled at once, or never
    ),
    max_size=20,
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 6000), steps)
def test_any_sequence_is_admitted_by_the_sum_of_what_was_used_and_booked(
    client: Table, cap: int, calls: list[tuple[int, int, int, bool]]
) -> None:
    """No cap refuses early. A person's is kept exactly, and everybody's up to a call of each instance but the first."""
    now = NOW + next(_days) * 86_400
    for whose, number, slack in (("user", 4, 0), ("total", 1, 0), ("total", 4, 3 * 60)):
        instances = [capped(client, **{f"{whose}_tokens": cap}) for _ in range(number)]
        used = 0
        for instance, estimate, really, settled in calls:
            budget = instances[instance % number].budget("anna", now)
            try:
                booking = budget.book(estimate, 0.0)
            except CapReached:
                assert used >= cap
                continue
            assert used < cap + slack
            used += estimate
            if settled:
                budget.settle(booking, really, 0.0)
                used += really - estimate
        assert used == (total(client, now) if whose == "total" else (spent(client, now=now) or (0, 0))[0])
        now += 400 * 86_400
