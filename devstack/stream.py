"""The table's stream: its records of removed items, and their delivery to a function as Lambda delivers them."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from devstack.event_filter import matches
from devstack.events import ACCOUNT, REGION
from devstack.instances import Instances, Outcome
from devstack.template import StreamTrigger

Key = Mapping[str, Any]
"""An item's key attributes, typed: {"pk": {"S": ...}, "sk": {"S": ...}}."""

MAX_PENDING = 1000
_STARTED_AT = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}.000"
_sequence = itertools.count(10**20 + 1)


def removed_by_ttl(table_name: str, key: Key) -> dict[str, Any]:
    """Return the record of an item that the TTL service removed, in a stream of keys only."""
    return {
        "eventID": uuid.uuid4().hex,
        "eventName": "REMOVE",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": REGION,
        "dynamodb": {
            "ApproximateCreationDateTime": int(time.time()),
            "Keys": dict(key),
            "SequenceNumber": str(next(_sequence)),
            "SizeBytes": len(json.dumps(key)),
            "StreamViewType": "KEYS_ONLY",
        },
        "userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"},
        "eventSourceARN": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table_name}/stream/{_STARTED_AT}",
    }


def wanted(trigger: StreamTrigger, records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the records that pass one of the trigger's filters."""
    return [record for record in records if any(matches(pattern, record) for pattern in trigger.patterns)]


class StreamDelivery:
    """Hands a function a stream's records in order and in batches; after a failure, again from the first failed one.

    What differs from Lambda: there is one shard, and a record that is given up for its age leaves a line in the log
    instead of a message in a queue.
    """

    def __init__(self, trigger: StreamTrigger, instances: Instances, log: Callable[[str], None]) -> None:
        self._trigger = trigger
        self._instances = instances
        self._log = log
        self._batch_size = trigger.batch_size
        self._pending: deque[dict[str, Any]] = deque()

    @property
    def room(self) -> int:
        """How many records can still be taken: those that wait are kept in memory."""
        return MAX_PENDING - len(self._pending)

    def take(self, records: Iterable[dict[str, Any]]) -> None:
        """Put records into the stream; those that the filters refuse are left out."""
        self._pending.extend(wanted(self._trigger, records))

    def deliver(self) -> None:
        """Deliver until nothing waits or something fails, which the next call tries again.

        Raises `Busy` when no instance gets free.
        """
        self._give_up_the_old()
        while self._pending:
            batch = list(itertools.islice(self._pending, self._batch_size))
            outcome = self._instances.invoke(json.dumps({"Records": batch}).encode())
            done = _count_done(batch, outcome)
            for _ in range(done):
                self._pending.popleft()
            if done < len(batch):
                # Halving finds the one record at which a function fails as a whole.
                self._batch_size = max(1, len(batch) // 2) if outcome.is_error else self._trigger.batch_size
                return
            self._batch_size = self._trigger.batch_size

    def _give_up_the_old(self) -> None:
        oldest = time.time() - self._trigger.max_record_age_sec
        while self._pending and self._pending[0]["dynamodb"]["ApproximateCreationDateTime"] < oldest:
            record = self._pending.popleft()
            self._log(f"stream: {self._trigger.function} could not process {record['dynamodb']['SequenceNumber']}")


def _count_done(batch: Sequence[dict[str, Any]], outcome: Outcome) -> int:
    """Return how many records need not come again: those before the first that failed."""
    if outcome.is_error:
        return 0
    positions = {record["dynamodb"]["SequenceNumber"]: position for position, record in enumerate(batch)}
    try:
        failures = (json.loads(outcome.payload) or {}).get("batchItemFailures") or []
        return min((positions[failure["itemIdentifier"]] for failure in failures), default=len(batch))
    except (AttributeError, KeyError, TypeError):
        return 0  # as Lambda takes an answer that names no record of the batch
