"""Daily caps on tokens and money, a person's and everybody's, kept in the table; a day is a date in UTC.

A call is booked before it is made, with an estimate, and settled afterwards with what it used. It is admitted while
what was used and booked is below the cap, so a cap is passed by what is in flight and no more. What a crash leaves
unsettled stays booked. What a person spends after their erasure stands among the blocks, under the tombstone's hash.

Everybody's cap is cut into blocks of 1 %, so that no item is written by all. An instance leases a free block, books its
calls there on condition that they fit, and takes another when one does not. A lease is for speed and keeps instances
apart; nobody is harmed when two clocks disagree about its end. Where a call fits into no block, or leases have more
room than there is in all, the sum of all blocks decides and the call is booked in any, first where leased room makes
others believe in more. Such calls can pass the cap by what the other leases have left, less than one call each.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

from tips import telemetry
from tips.errors import CapReached, ConditionNotMet, ServiceError, TableUnavailable, WriteConflict
from tips.state import keys
from tips.state.tombstones import not_erased

if TYPE_CHECKING:
    from tips.settings import Settings
    from tips.state.table import Item, Table

BLOCKS = 100
LEASE_SEC = 300
_TTL_DAYS = 2
_TRIES = 4
"""Of a booking that others are quicker than."""
# Not the seeded generator: a restored snapshot would make every clone take the same blocks.
_chance = random.SystemRandom()

Amount = Mapping[str, int]
"""Of "tokens" and of "micro_usd", whole millionths of a dollar. As a cap it holds only what is limited."""
_WORDS = {"tokens": "tokens", "micro_usd": "money"}


@dataclass(frozen=True, slots=True)
class _Day:
    """A day (UTC) and the time in it, seconds since 1970."""

    date: str
    now: float
    resets: datetime

    @classmethod
    def of(cls, now: float) -> _Day:
        at = datetime.fromtimestamp(now, UTC)
        midnight = at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        return cls(at.date().isoformat(), now, midnight)

    def ttl(self) -> Item:
        return _number(int((self.resets + timedelta(days=_TTL_DAYS)).timestamp()))

    def refuse_if_reached(self, cap: Amount, used: Amount, whose: str) -> None:
        for name, limit in cap.items():
            if used[name] >= limit:
                raise CapReached(
                    f"{whose} daily cap on {_WORDS[name]} is reached; it resets at {self.resets:%Y-%m-%dT%H:%M:%SZ}",
                    retry_after_sec=max(1, math.ceil(self.resets.timestamp() - self.now)),
                )


@dataclass(frozen=True, slots=True)
class _Booking:
    """Where an estimate was added: the keys of items."""

    amount: Amount
    items: tuple[tuple[str, str], ...] = ()


class Caps:
    """The caps of one function instance, which keeps the lease of its block and nothing else."""

    def __init__(self, table: Table, settings: Settings) -> None:
        self._table = table
        self._of_each = _cap(settings.cap_user_tokens, settings.cap_user_usd)
        total = _cap(settings.cap_total_tokens, settings.cap_total_usd)
        self._of_all = _Blocks(table, total) if total else None

    def budget(self, user_id: str, now: float) -> Budget:
        """Return the budget of one request. now: seconds since 1970; the request counts to that day."""
        return Budget(self._table, user_id, _Day.of(now), self._of_each, self._of_all)


class Budget:
    """What one request may spend."""

    def __init__(self, table: Table, user_id: str, day: _Day, of_each: Amount, of_all: _Blocks | None) -> None:
        self._table = table
        self._user_id = user_id
        self._day = day
        self._of_each = of_each
        self._of_all = of_all

    def book(self, tokens: int, usd: float) -> object:
        """Add an estimate of what a call will use, and return what `settle` wants.

        Raises `CapReached` when a cap is used up, `TableUnavailable` when that cannot be told; the estimate may then
        stay booked.
        """
        amount = _amount(tokens, usd)
        # The person's first: whose own cap is reached writes to nothing that others share.
        person = (self._book_person(amount),) if self._of_each else ()
        if self._of_all is None:
            return _Booking(amount, person)
        try:
            block = self._of_all.book(self._day, amount)
        except ServiceError:
            self.settle(_Booking(amount, person), 0, 0.0)
            raise
        return _Booking(amount, (*person, block))

    def settle(self, booking: object, tokens: int, usd: float) -> None:
        """Replace a booking's estimate by what was used, once; a table that is away is counted and changes nothing."""
        booked = cast(_Booking, booking)
        used = _amount(tokens, usd)
        difference = {name: used[name] - booked.amount[name] for name in used}
        if not any(difference.values()):
            return
        for key in booked.items:
            try:
                # Not repeated: what timed out may have been carried out, and twice would give back too much.
                self._table.update(*key, _ADD, _values(difference), ConditionExpression="attribute_exists(pk)")
            except ConditionNotMet:
                pass  # the person was erased meanwhile
            except (TableUnavailable, WriteConflict):
                telemetry.count("SpendingNotSettled")

    def _book_person(self, amount: Amount) -> tuple[str, str]:
        """Return the key of what was written: under a hash of the id, if the person was erased."""
        own = keys.generation(self._user_id), keys.spending(self._day.date)
        try:
            return self._book_at(own, amount, [not_erased(self._user_id)])
        except ConditionNotMet:
            return self._book_at(keys.spending_of_erased(self._user_id, self._day.date), amount, [])

    def _book_at(self, key: tuple[str, str], amount: Amount, conditions: list[Item]) -> tuple[str, str]:
        """Return the key; raises `ConditionNotMet` where the item would be new and a condition on others fails."""
        below = " AND ".join(["attribute_exists(pk)", *(f"{name} < :cap_{name}" for name in self._of_each)])
        values = _values(amount) | _values(self._of_each, "cap_")
        for _ in range(_TRIES):
            with suppress(WriteConflict):
                self._table.update(*key, _ADD, values, ConditionExpression=below)
                return key
            item = self._table.get(*key)
            if item is not None:
                self._day.refuse_if_reached(self._of_each, _used(item), "your")
                continue
            first = {"pk": {"S": key[0]}, "sk": {"S": key[1]}, "ttl": self._day.ttl(), **_item(amount)}
            put = {"Put": {"Item": first, "ConditionExpression": "attribute_not_exists(pk)"}}
            try:
                self._table.transact([put, *conditions])
                return key
            except ConditionNotMet:
                if conditions and self._table.get(*key) is None:
                    raise
            except WriteConflict:
                continue
        raise TableUnavailable("too many writers at the same time")


@dataclass(frozen=True, slots=True)
class _Block:
    """What a block has left, below 0 when more was used than booked, and whether an instance leases it."""

    number: int
    room: Amount
    leased: bool

    def holds(self, amount: Amount) -> bool:
        return all(room >= max(1, amount[name]) for name, room in self.room.items())


class _Blocks:
    """Everybody's cap, in blocks that add up to it; of a tiny cap some hold nothing."""

    def __init__(self, table: Table, cap: Amount) -> None:
        self._table = table
        self._cap = cap
        self._lease: tuple[str, int, float] | None = None
        """The date, the block, and until when it is leased (seconds since 1970)."""

    def book(self, day: _Day, amount: Amount) -> tuple[str, str]:
        """Add `amount` to a block and return the block's key; raises `CapReached`."""
        if self._lease is not None and self._lease[0] == day.date and self._lease[2] > day.now:
            with suppress(WriteConflict):
                return self._add_leased(day, self._lease[1], amount, free=False)
        self._lease = None
        for _ in range(_TRIES):
            blocks = self._read(day)
            left = {name: sum(block.room[name] for block in blocks) for name in self._cap}
            day.refuse_if_reached(self._cap, {name: self._cap[name] - left[name] for name in left}, "everybody's")
            promised = [block for block in blocks if block.leased and min(block.room.values()) > 0]
            holding = [block for block in blocks if block.holds(amount)]
            free = [block for block in holding if not block.leased]
            if not holding:
                break
            block = _chance.choice(free or holding)
            if not _covered(left, [*promised, block] if free else promised):
                break
            with suppress(WriteConflict):
                return self._add_leased(day, block.number, amount, free=bool(free))
        key = _key(day, _chance.choice(promised or blocks).number)
        values = _values(amount) | {":ttl": day.ttl()}
        self._table.update(*key, f"SET #ttl = :ttl {_ADD}", values, ExpressionAttributeNames={"#ttl": "ttl"})
        return key

    def _add_leased(self, day: _Day, number: int, amount: Amount, *, free: bool) -> tuple[str, str]:
        """Book in a block that has room and lease it; raises `ConditionNotMet`. free: only if nobody leases it."""
        key = _key(day, number)
        until = day.now + LEASE_SEC
        # A call that costs nothing needs room too.
        most = {name: self._size(number, name) - max(1, amount[name]) for name in self._cap}
        values = _values(amount) | _values(most, "most_") | {":until": _number(until), ":ttl": day.ttl()}
        condition = " AND ".join(f"{name} <= :most_{name}" for name in most)
        if free:
            values[":now"] = _number(day.now)
            unleased = "attribute_not_exists(leased_until) OR leased_until <= :now"
            condition = f"attribute_not_exists(pk) OR ({condition} AND ({unleased}))"
        self._table.update(
            *key,
            f"SET leased_until = :until, #ttl = :ttl {_ADD}",
            values,
            ConditionExpression=condition,
            ExpressionAttributeNames={"#ttl": "ttl"},
        )
        self._lease = day.date, number, until
        return key

    def _size(self, number: int, name: str) -> int:
        return (number + 1) * self._cap[name] // BLOCKS - number * self._cap[name] // BLOCKS

    def _read(self, day: _Day) -> list[_Block]:
        items = {item["sk"]["S"]: item for item in self._table.query(keys.cap(day.date), "00", "99", limit=BLOCKS)}
        blocks = []
        for number in range(BLOCKS):
            item = items.get(_key(day, number)[1])
            used = _used(item)
            room = {name: self._size(number, name) - used[name] for name in self._cap}
            leased = item is not None and float(item.get("leased_until", _number(0))["N"]) > day.now
            blocks.append(_Block(number, room, leased))
        return blocks


def _covered(left: Amount, leased: Sequence[_Block]) -> bool:
    """Return whether leases can be used up without passing the cap: not if other blocks hold more than is theirs."""
    return all(sum(block.room[name] for block in leased) <= left[name] for name in left)


def _key(day: _Day, number: int) -> tuple[str, str]:
    return keys.cap(day.date), f"{number:02}"


_ADD = "ADD tokens :tokens, micro_usd :micro_usd"


def _values(amount: Amount, prefix: str = "") -> Item:
    return {f":{prefix}{name}": value for name, value in _item(amount).items()}


def _item(amount: Amount) -> Item:
    return {name: _number(value) for name, value in amount.items()}


def _number(value: float) -> Item:
    return {"N": repr(value)}


def _used(item: Item | None) -> Amount:
    """Raises `TableUnavailable` where the item is damaged: what was used cannot be told."""
    try:
        return {name: int(item[name]["N"]) if item else 0 for name in _WORDS}
    except (KeyError, TypeError, ValueError):
        telemetry.count("SpendingUnreadable")
        raise TableUnavailable("what was used today cannot be read") from None


def _amount(tokens: int, usd: float) -> Amount:
    """Return whole millionths of a dollar, rounded up; what is no amount of money counts as none."""
    micro_usd = math.ceil(round(usd * 1_000_000, 6)) if 0 < usd < math.inf else 0
    return {"tokens": max(0, tokens), "micro_usd": micro_usd}


def _cap(tokens: int | None, usd: float | None) -> Amount:
    limits = {"tokens": tokens, "micro_usd": None if usd is None else max(1, round(usd * 1_000_000))}
    return {name: limit for name, limit in limits.items() if limit is not None}
