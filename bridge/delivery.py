"""One delivery of a message, what it weighs, and when it comes again after a failure."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tips.ingest.handover import MAX_BATCH_BYTES, Message

if TYPE_CHECKING:
    from bridge.client import StreamMsg

MAX_EVENT_BYTES = 6 * 1024 * 1024 - 4096
"""Of the JSON of a batch's records: what Lambda takes in one invocation, less what stands around them."""
ACK = b"+ACK"
IN_PROGRESS = b"+WPI"
_RECORD_JSON = 256
"""What stands around the values of a record, its numbers and its time stamp included."""


@dataclass(slots=True)
class Delivery:
    """A message that the server waits to hear of at `reply`, which a later delivery of the same message replaces."""

    message: Message
    reply: str
    num_delivered: int
    event_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        texts = json.dumps([self.message.subject, dict(self.message.headers)])  # escapes count as well
        self.event_bytes = len(texts) + 4 * -(-len(self.message.data) // 3) + _RECORD_JSON

    @property
    def sequence(self) -> int:
        return self.message.stream_seq

    @property
    def fits(self) -> bool:
        """Whether a batch could hold it at all."""
        return self.message.size <= MAX_BATCH_BYTES and self.event_bytes <= MAX_EVENT_BYTES


def delivery_of(msg: StreamMsg) -> Delivery:
    """Return a delivery as the client gave it."""
    about = msg.metadata
    message = Message(
        subject=msg.subject,
        stream_seq=about.sequence.stream,
        data=msg.data,
        timestamp=about.timestamp,
        consumer_seq=about.sequence.consumer,
        num_delivered=about.num_delivered,
        headers=msg.carried,
    )
    return Delivery(message, msg.reply, about.num_delivered)


def nak(delay_sec: float = 0) -> bytes:
    """Return the answer that asks for another delivery, after `delay_sec`."""
    return b"-NAK" + (json.dumps({"delay": round(delay_sec * 1e9)}).encode() if delay_sec else b"")


def nak_delay_sec(num_delivered: int, shortest: float, longest: float) -> float:
    """Return how long a failed message waits: twice as long each time, and half of that is chance.

    Chance parts messages that failed together, so that one that breaks its batch soon breaks another.
    """
    whole = min(longest, shortest * 2.0 ** min(num_delivered - 1, 60))
    return random.uniform(whole / 2, whole)


class Batch:
    """Messages of one invocation, bounded by their number, their bytes and the bytes of the event."""

    def __init__(self, max_messages: int) -> None:
        self.deliveries: list[Delivery] = []
        self._max_messages = max_messages
        self._bytes = 0
        self._event_bytes = 0

    @property
    def room(self) -> int:
        """How many more messages it takes, if they are small."""
        return self._max_messages - len(self.deliveries)

    def add(self, delivery: Delivery) -> bool:
        """Take a message in, or say that it does not fit any more."""
        total = self._bytes + delivery.message.size
        event = self._event_bytes + delivery.event_bytes
        if self.room < 1 or total > MAX_BATCH_BYTES or event > MAX_EVENT_BYTES:
            return False
        self.deliveries.append(delivery)
        self._bytes, self._event_bytes = total, event
        return True
