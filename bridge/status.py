"""What is known of one consumer, for health, metrics and the heartbeat."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

LAG_KEPT_SEC = 15.0
"""How long what the server said of a consumer is shown: three times as long as it is looked up."""
_BOUNDS_SEC = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass
class Histogram:
    """How long invocations took. counts: by bound, the last for what is above all of them."""

    bounds: tuple[float, ...] = _BOUNDS_SEC
    counts: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS_SEC) + 1))
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        above = next((place for place, bound in enumerate(self.bounds) if seconds <= bound), len(self.bounds))
        self.counts[above] += 1
        self.total += seconds


@dataclass
class ConsumerStatus:
    """Counts since the bridge started, and what the server last said of the consumer."""

    durable: str
    problem: str | None = "not connected"
    """Why nothing can be fetched; None when it can."""
    ready_at: float = 0.0
    """When `problem` was last found to be None, by the monotonic clock."""
    looked_up_at: float | None = None
    """When the server was last heard on `pending`, `ack_pending` and `oldest`, by the monotonic clock."""
    last_message: float | None = None
    """Unix time of the last message that arrived."""
    processed: int = 0
    """Messages that were acked."""
    failed: dict[str, int] = field(default_factory=lambda: {"record": 0, "batch": 0, "size": 0})
    """Messages that were nak'ed: `consume` failed the record, gave no answer for its batch, or could never take it."""
    redelivered: int = 0
    """Messages that arrived and had been delivered before."""
    batches: dict[str, int] = field(default_factory=lambda: {"ok": 0, "failed": 0})
    in_flight: int = 0
    """Batches that are with `consume` now."""
    invoke: Histogram = field(default_factory=Histogram)
    pending: int = 0
    """Messages of the stream that were never delivered to this consumer."""
    ack_pending: int = 0
    """Messages that were delivered and are not done."""
    oldest: float | None = None
    """Unix time at which the stream took the oldest message that is not done; None when all are."""

    @property
    def lag_known(self) -> bool:
        """Whether `lag_messages` and `lag_seconds` are of now."""
        return self.looked_up_at is not None and time.monotonic() - self.looked_up_at <= LAG_KEPT_SEC

    @property
    def fault(self) -> str | None:
        """Why nothing can be fetched, or why nobody can know whether it is; None when all is well."""
        if self.problem is None and not self.lag_known and time.monotonic() - self.ready_at > LAG_KEPT_SEC:
            return f"JetStream has not said for more than {LAG_KEPT_SEC:g} s how far the consumer is"
        return self.problem

    @property
    def lag_messages(self) -> int:
        return self.pending + self.ack_pending

    @property
    def lag_seconds(self) -> float:
        return 0.0 if self.oldest is None else max(0.0, time.time() - self.oldest)

    @property
    def last_msg_ts(self) -> str | None:
        if self.last_message is None:
            return None
        return datetime.fromtimestamp(self.last_message, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    @property
    def errors(self) -> int:
        return sum(self.failed.values())

    def view(self) -> dict[str, Any]:
        """Return what /health shows; what the server would have to say is None when it has not."""
        fault, known = self.fault, self.lag_known
        return {
            "ready": fault is None,
            "problem": fault,
            "consumer": self.durable,
            "last_msg_ts": self.last_msg_ts,
            "processed": self.processed,
            "failed": self.errors,
            "redelivered": self.redelivered,
            "pending": self.pending if known else None,
            "ack_pending": self.ack_pending if known else None,
            "lag_messages": self.lag_messages if known else None,
            "lag_seconds": round(self.lag_seconds, 3) if known else None,
            "in_flight": self.in_flight,
        }
