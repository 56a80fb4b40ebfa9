"""What each request of `bench.load` took, and which part of that was the table's and the handler's."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import IO, Any

from bench.load_table import Wait

# As bench/handled/sitecustomize.py writes it.
_HANDLED = re.compile(rb"^HANDLED (\d+) (\d+) (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Done:
    """One request: when it was due, began and ended (ns), what went wrong or ""; and of the handler, as it was told.

    handled: how long it took, None where it came to no end. ran: for how long of this its thread ran (ns).
    """

    route: str
    environment: int
    due: int
    began: int
    ended: int
    fault: str
    handled: int | None = None
    ran: int = 0


def told(done: Sequence[Done], environment: int, log: IO[bytes]) -> list[Done]:
    """Return an environment's requests with what its log tells of each.

    Raises `KeyError` where it tells nothing of one that was answered.
    """
    log.seek(0)
    calls = [tuple(map(int, found)) for found in _HANDLED.findall(log.read())]
    own = sorted((one for one in done if one.environment == environment), key=lambda one: one.began)
    return [_with_call(one, calls) for one in own]


def _with_call(one: Done, calls: Sequence[tuple[int, ...]]) -> Done:
    first = bisect_left(calls, (one.began,))
    if first == len(calls) or calls[first][1] > one.ended:
        if one.fault:
            return one
        raise KeyError(f"no call of the handler in a request of {one.route}")
    began, ended, ran = calls[first]
    return replace(one, handled=ended - began, ran=ran)


def row_of(route: str, done: Sequence[Done], waits: Sequence[Sequence[Wait]]) -> dict[str, Any]:
    """Return the percentiles of a route. waits: of each environment for the table, in order of time."""
    own = [(one, _waited(one, waits[one.environment])) for one in done if one.route == route]
    handled = [(one.handled - waited, one.ran) for one, waited in own if one.handled is not None]
    return {
        "route": route,
        "requests": len(own),
        "whole": percentiles([one.ended - one.due for one, _ in own]),
        "begun_late": percentiles([one.began - one.due for one, _ in own]),
        "table": percentiles([waited for _, waited in own]),
        "handler": percentiles([took for took, _ in handled]),
        "on_a_core": percentiles([ran for _, ran in handled]),
    }


def _waited(one: Done, waits: Sequence[Wait]) -> int:
    """Return for how long (ns) an environment waited for the table during a request."""
    first = bisect_left(waits, (one.began, 0))
    return sum(ended - began for began, ended in waits[first : bisect_left(waits, (one.ended, 0))])


def percentiles(times: Sequence[int]) -> dict[str, float]:
    """Return p50, p95, p99 and the greatest of nanoseconds, in ms: the time that so many percent do not exceed."""
    ordered = sorted(times)
    places = {f"p{share}": -(-share * len(ordered) // 100) - 1 for share in (50, 95, 99)}
    return {name: ordered[place] / 1e6 for name, place in {**places, "max": len(ordered) - 1}.items()}
