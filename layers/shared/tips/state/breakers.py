"""The circuit breaker of each model, shared by all instances: one item a model, changed by conditional writes.

closed -> open: after `FAILURES` failures in a row within `WINDOW_SEC`, or at once when the key is refused.
open -> half-open: when the pause is over; one instance gets the probe, a lease of `PROBE_SEC`.
half-open -> closed when its probe succeeds, open again with twice the pause when it fails.

Only who holds the probe can end a breaker's being open, so a late answer to a call that began before cannot. Each
change is a new version of the item on condition that the one it follows from is still there: whatever the instances'
clocks say, there is one probe and no failure is lost. Clocks that differ by a second or two move a pause or a lease by
as much, and a lease outlasts the longest request by that.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tips import telemetry
from tips.errors import TableUnavailable, WriteConflict
from tips.state import keys

if TYPE_CHECKING:
    from tips.state.table import Item, Table

FAILURES = 5
WINDOW_SEC = 60.0
PAUSE_SEC = 30.0
REFUSED_PAUSE_SEC = 60.0
LONGEST_PAUSE_SEC = 600.0
PROBE_SEC = 20.0
_TTL_SEC = 3600
"""After its pause a breaker is remembered for so long, that its next pause may be longer."""
_TRIES = 10
"""Every lost race is somebody else's change, and after `FAILURES` failures there is nothing left to count."""


@dataclass(frozen=True, slots=True)
class _State:
    """What an item says. Times are seconds since 1970; `failures`: of the last ones in a row, none while open."""

    failures: tuple[float, ...] = ()
    open_until: float | None = None
    """None: closed."""
    pause_sec: float = 0.0
    probe: str | None = None
    """Who asks the model while it is half-open."""
    probe_until: float = 0.0
    version: int = 0

    def opened(self, first_pause_sec: float, now: float) -> _State:
        pause_sec = min(max(first_pause_sec, 2 * self.pause_sec), LONGEST_PAUSE_SEC)
        return _State(open_until=now + pause_sec, pause_sec=pause_sec)

    def free_at(self) -> float:
        """When the next one may ask."""
        return max(self.open_until or 0.0, self.probe_until)


_CLOSED = _State()


def breaker_keys(models: Sequence[str]) -> list[tuple[str, str]]:
    """Return the keys of the items that a `TableBreaker` of these models wants, each once."""
    return [keys.breaker(model) for model in dict.fromkeys(models)]


class TableBreaker:
    """The breakers of some models, for one request.

    items: what the table holds under `breaker_keys(models)`, in that order; None: read here. A table that does not
    answer is counted and never stands in the way: what it would have said is taken for closed. clock: seconds since
    1970.
    """

    def __init__(
        self,
        table: Table,
        models: Sequence[str],
        items: Sequence[Item | None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._table = table
        self._clock = clock
        self._probes: dict[str, str] = {}
        self._states: dict[str, _State] = {}
        if items is None:
            try:
                items = table.get_all(breaker_keys(models))
            except TableUnavailable:
                telemetry.count("BreakerNotRead")
                return
        self._states = {model: _state(item) for model, item in zip(dict.fromkeys(models), items, strict=True)}

    def admits(self, model: str) -> bool:
        """Return whether the model may be asked; False: open, or half-open and somebody else asks it."""
        state = self._seen(model)
        if state.open_until is None or self._holds_probe(model, state):
            return True
        if state.free_at() > self._clock():
            return False
        probe = self._probes[model] = secrets.token_hex(8)

        def take(state: _State, now: float) -> _State:
            if state.open_until is None or state.free_at() > now:
                return state
            return replace(state, probe=probe, probe_until=now + PROBE_SEC)

        after = self._change(model, take)
        return after is None or after.open_until is None or self._holds_probe(model, after)

    def succeeded(self, model: str) -> None:
        def close(state: _State, now: float) -> _State:
            return _CLOSED if self._holds_probe(model, state) or _recent(state, now) else state

        self._change(model, close)

    def failed(self, model: str) -> None:
        """Count one time-out, refused connection or answer of 5xx."""

        def count(state: _State, now: float) -> _State:
            if state.open_until is not None:
                return state.opened(PAUSE_SEC, now) if self._holds_probe(model, state) else state
            failures = (*_recent(state, now), now)
            return state.opened(PAUSE_SEC, now) if len(failures) >= FAILURES else replace(state, failures=failures)

        self._change(model, count)

    def refused(self, model: str) -> None:
        """Open at once: the key is out of budget or refused."""

        def stop(state: _State, now: float) -> _State:
            if state.open_until is not None and not self._holds_probe(model, state):
                return state
            return state.opened(REFUSED_PAUSE_SEC, now)

        self._change(model, stop)

    def released(self, model: str) -> None:
        """Give the probe back, if this request holds it and has learned nothing: the next one may ask."""

        def give_back(state: _State, now: float) -> _State:
            return replace(state, probe=None, probe_until=0.0) if self._holds_probe(model, state) else state

        self._change(model, give_back)

    def retry_after_sec(self, model: str) -> int:
        """Return whole seconds until the model may be asked again, at least 1."""
        return max(1, math.ceil(self._seen(model).free_at() - self._clock()))

    def _seen(self, model: str) -> _State:
        return self._states.get(model, _CLOSED)

    def _holds_probe(self, model: str, state: _State) -> bool:
        return state.probe is not None and state.probe == self._probes.get(model)

    def _change(self, model: str, step: Callable[[_State, float], _State]) -> _State | None:
        """Carry out `step` and return what the item then says; None: nobody knows."""
        try:
            after = self._carry_out(model, step)
        except TableUnavailable:
            telemetry.count("BreakerNotWritten")
            return None
        self._states[model] = after
        return after

    def _carry_out(self, model: str, step: Callable[[_State, float], _State]) -> _State:
        pk, sk = keys.breaker(model)
        for _ in range(_TRIES):
            state = self._seen(model)
            now = self._clock()
            after = step(state, now)
            if after == state:
                return state
            after = replace(after, version=state.version + 1)
            try:
                _write(self._table, pk, sk, after, now)
                return after
            except WriteConflict:
                self._states[model] = _state(self._table.get(pk, sk))
        raise TableUnavailable("too many writers at the same time")


def _recent(state: _State, now: float) -> tuple[float, ...]:
    return tuple(at for at in state.failures if at > now - WINDOW_SEC)


def _write(table: Table, pk: str, sk: str, state: _State, now: float) -> None:
    """Store a state on condition that the one before it is still there; raises `WriteConflict`."""
    attributes: Item = {
        "failures": {"L": [_number(at) for at in state.failures]},
        "open_until": {"NULL": True} if state.open_until is None else _number(state.open_until),
        "pause_sec": _number(state.pause_sec),
        "probe": {"NULL": True} if state.probe is None else {"S": state.probe},
        "probe_until": _number(state.probe_until),
        "version": _number(state.version),
        "ttl": _number(math.ceil(max(now, state.open_until or 0.0)) + _TTL_SEC),
    }
    # An item past its time is as good as none, though TTL may remove it days later.
    absent = "attribute_not_exists(pk) OR #ttl <= :now"
    condition, values = (
        (absent, {":now": _number(now)})
        if state.version == 1
        else ("#version = :before", {":before": _number(state.version - 1)})
    )
    table.update(
        pk,
        sk,
        "SET " + ", ".join(f"#{name} = :{name}" for name in attributes),
        {**{f":{name}": value for name, value in attributes.items()}, **values},
        ConditionExpression=condition,
        ExpressionAttributeNames={f"#{name}": name for name in attributes},
    )


def _number(value: float) -> Item:
    return {"N": repr(value)}


def _state(item: Item | None) -> _State:
    if item is None:
        return _CLOSED
    try:
        return _State(
            failures=tuple(float(at["N"]) for at in item["failures"]["L"]),
            open_until=float(item["open_until"]["N"]) if "N" in item["open_until"] else None,
            pause_sec=float(item["pause_sec"]["N"]),
            probe=item["probe"].get("S"),
            probe_until=float(item["probe_until"]["N"]),
            version=int(item["version"]["N"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        # Damaged, or of another version of this service: never a reason for a request to fail, nor to write over it.
        telemetry.count("BreakerNotRead")
        return _CLOSED
