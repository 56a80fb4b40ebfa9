"""Times of several callables in one run, so that a busy machine slows all of them alike."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Times:
    """Microseconds of one callable: the median call of each round, by the clock and of processor time."""

    wall: list[float]
    processor: list[float]

    def median(self) -> float:
        return statistics.median(self.wall)

    def median_processor(self) -> float:
        return statistics.median(self.processor)


def interleaved(
    calls: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    per_round: int,
    between: Callable[[], Any] | None = None,
    all_threads: bool = False,
) -> dict[str, Times]:
    """Call all in turn, in an order drawn anew each time; the first round is a warm-up.

    `between` is called after each call, off the clock: what one leaves to the background must not slow the next.
    all_threads: whether processor time is that of the process, else of this thread.
    """
    used_ns = time.process_time_ns if all_threads else time.thread_time_ns
    rng = random.Random(1)  # noqa: S311
    times = {name: Times([], []) for name in calls}
    for number in range(rounds + 1):
        wall: dict[str, list[int]] = {name: [] for name in calls}
        processor: dict[str, list[int]] = {name: [] for name in calls}
        for _ in range(per_round):
            for name in rng.sample(list(calls), len(calls)):
                call = calls[name]
                began, used = time.perf_counter_ns(), used_ns()
                call()
                used, began = used_ns() - used, time.perf_counter_ns() - began
                wall[name].append(began)
                processor[name].append(used)
                if between is not None:
                    between()
        for name, measured in times.items():
            if number:
                measured.wall.append(statistics.median(wall[name]) / 1000)
                measured.processor.append(statistics.median(processor[name]) / 1000)
    return times


@contextmanager
def on_one_core() -> Iterator[None]:
    """Keep this thread, and those that it starts meanwhile, on one core, where the system can.

    Threads that share Python's lock cost more on several cores, and nothing is faster for it.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


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
