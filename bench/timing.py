"""Times of several callables in one run, so that a busy machine slows all of them alike."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Times:
    """Microseconds of one callable: the median call of each round, by the clock and of this thread's processor time."""

    wall: list[float]
    processor: list[float]

    def median(self) -> float:
        return statistics.median(self.wall)


def interleaved(
    calls: Mapping[str, Callable[[], Any]], *, rounds: int, per_round: int, between: Callable[[], Any] | None = None
) -> dict[str, Times]:
    """Call all in turn, in an order drawn anew each time; the first round is a warm-up.

    `between` is called after each call, off the clock: what one leaves to the background must not slow the next.
    """
    rng = random.Random(1)  # noqa: S311
    times = {name: Times([], []) for name in calls}
    for number in range(rounds + 1):
        wall: dict[str, list[int]] = {name: [] for name in calls}
        processor: dict[str, list[int]] = {name: [] for name in calls}
        for _ in range(per_round):
            for name in rng.sample(list(calls), len(calls)):
                call = calls[name]
                began, used = time.perf_counter_ns(), time.thread_time_ns()
                call()
                used, began = time.thread_time_ns() - used, time.perf_counter_ns() - began
                wall[name].append(began)
                processor[name].append(used)
                if between is not None:
                    between()
        for name, measured in times.items():
            if number:
                measured.wall.append(statistics.median(wall[name]) / 1000)
                measured.processor.append(statistics.median(processor[name]) / 1000)
    return times


def ratio(times: Times, base: Times) -> dict[str, float]:
    """Return the median of the rounds' ratios, their quartiles, and the median for processor time alone."""
    low, middle, high = _quartiles([one / other for one, other in zip(times.wall, base.wall, strict=True)])
    used = [one / other for one, other in zip(times.processor, base.processor, strict=True)]
    return {"ratio": middle, "low": low, "high": high, "processor": statistics.median(used)}


def more(times: Times, base: Times) -> dict[str, float]:
    """Return the median of the rounds' differences, their quartiles, and the median for processor time alone, in ms."""
    low, middle, high = _quartiles([(one - other) / 1000 for one, other in zip(times.wall, base.wall, strict=True)])
    used = [(one - other) / 1000 for one, other in zip(times.processor, base.processor, strict=True)]
    return {"more_ms": middle, "low": low, "high": high, "processor": statistics.median(used)}


def _quartiles(values: list[float]) -> list[float]:
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
