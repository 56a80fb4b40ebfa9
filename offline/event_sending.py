"""Recorded events handed to `consume` again: in batches, in their order, at a chosen rate."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from offline.event_archive import Recorded
from tips.ingest.handover import MAX_BATCH_BYTES, HandoverFailed, Message

ORIGIN = "replay"
"""What stands for stream and consumer in what is handed over."""
TRIES = 4
_PAUSE_SEC = 0.25
"""Before the second try; twice as long before each one that follows."""
TOO_LARGE = f"larger than a batch may be ({MAX_BATCH_BYTES} bytes)"
FAILED = f"failed {TRIES} times; the log of consume says why"


class Consume(Protocol):
    """Where records are handed over."""

    def hand_over(self, stream: str, consumer: str, messages: Collection[Message]) -> frozenset[int]:
        """Return the sequences that failed; raises `HandoverFailed`."""


@dataclass
class Report:
    """What came of a replay. stopped: why it ended early; then `failures` hold what of the last batch is not done."""

    done: int = 0
    subjects: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
    stopped: str | None = None

    @property
    def read(self) -> int:
        return self.subjects.total()


def send(
    events: Iterable[Recorded],
    consume: Consume,
    report: Report,
    *,
    batch: int,
    rate: float | None = None,
    on_progress: Callable[[int], None] = lambda count: None,
) -> None:
    """Hand events over, adding to `report` as it goes; what fails is tried again `TRIES` - 1 times.

    rate: events per second; None is as fast as they are taken. It ends at a batch of which nothing is known to be done.
    """
    # A second's events at most, so that a slow replay is even.
    most = batch if rate is None else max(1, min(batch, int(rate)))
    started = time.monotonic()
    for some in _batches(events, most, report):
        if rate is not None:
            # A batch goes when its last event is due.
            due = started + (report.read - 1) / rate
            time.sleep(max(0.0, due - time.monotonic()))
        _hand_over(some, consume, report)
        on_progress(len(some))
        if report.stopped is not None:
            return


def _batches(events: Iterable[Recorded], most: int, report: Report) -> Iterator[dict[int, tuple[str, Message]]]:
    """Yield batches by number of the event; what no batch can hold is a failure at once."""
    batch: dict[int, tuple[str, Message]] = {}
    size = 0
    for number, one in enumerate(events, 1):
        message = Message(one.subject, number, one.data, one.timestamp, headers=one.headers)
        if message.size > MAX_BATCH_BYTES:
            report.subjects[one.subject] += 1
            report.failures.append((one.place, TOO_LARGE))
            continue
        if batch and (len(batch) >= most or size + message.size > MAX_BATCH_BYTES):
            yield batch
            batch, size = {}, 0
        report.subjects[one.subject] += 1
        batch[number] = one.place, message
        size += message.size
    if batch:
        yield batch


def _hand_over(batch: dict[int, tuple[str, Message]], consume: Consume, report: Report) -> None:
    left = batch
    pause = _PAUSE_SEC
    for attempt in range(TRIES):
        if attempt:
            time.sleep(pause)
            pause *= 2
        fault = None
        try:
            failed = consume.hand_over(ORIGIN, ORIGIN, [message for _, message in left.values()])
        except HandoverFailed as error:
            fault = str(error)
            continue
        left = {number: left[number] for number in sorted(failed)}
        if not left:
            break
    report.done += len(batch) - len(left)
    report.failures += [(place, fault or FAILED) for place, _ in left.values()]
    report.stopped = fault
