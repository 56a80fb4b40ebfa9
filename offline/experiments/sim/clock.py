"""Simulated time: the clock of this process stands still until it is told the next moment, and chance has a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import time_machine
import ulid

DAY_SEC = 86_400.0


@dataclass
class Clock:
    """Where this process is in time. Seconds since 1970; time never goes back."""

    now: float
    _traveller: Any

    def move_to(self, at: float) -> None:
        """Make it `at`; an earlier moment changes nothing."""
        if at > self.now:
            self.now = at
            self._traveller.move_to(at)

    @property
    def moment(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)


@contextmanager
def travelling(start: float, seed: str) -> Iterator[Clock]:
    """Within it, wall clocks read what the yielded clock says and ULIDs are drawn from `seed`.

    Decisions are drawn from their ids, so that time and seed make a run repeat itself. Monotonic clocks go on, and with
    them every time-out.
    """
    chance = random.Random(seed)  # noqa: S311 - ids that repeat are the point
    generator = ulid.default_generator
    before = generator.randomness_source
    generator.randomness_source = lambda _: chance.randbytes(10)
    try:
        with time_machine.travel(start, tick=False) as traveller:
            yield Clock(start, traveller)
    finally:
        generator.randomness_source = before
