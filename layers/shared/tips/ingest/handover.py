"""How records are handed to `consume`, and how its answer is read: the bridge and the command line do both.

An answer that is not a partial batch response, or that names a record nobody sent, says nothing about any record: then
all count as failed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from tips import __version__
from tips.ingest.records import JETSTREAM_SOURCE

if TYPE_CHECKING:
    from datetime import datetime

MAX_BATCH_BYTES = 4 * 1024 * 1024
"""Of a batch's records before base64: Lambda takes 6 MB, and base64 makes four bytes of three."""
RECORD_BYTES = 400
"""What a record weighs in a batch besides its data, subject and headers."""

Headers = Mapping[str, str | list[str]]
"""By name, as they were published: a list, in their order, where a name has several values."""


class HandoverFailed(Exception):
    """No record of the batch is known to be done; the text says why, and nothing of what the records hold."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a stream. timestamp: when the stream took it."""

    subject: str
    stream_seq: int
    data: bytes
    timestamp: datetime
    consumer_seq: int = 0
    num_delivered: int = 1
    headers: Headers = field(default_factory=dict)

    @property
    def size(self) -> int:
        """What the message weighs against `MAX_BATCH_BYTES`."""
        named = sum(
            len(name.encode()) + len(value.encode())
            for name, values in self.headers.items()
            for value in ([values] if isinstance(values, str) else values)
        )
        return len(self.data) + len(self.subject.encode()) + named + RECORD_BYTES


def batch_event(stream: str, consumer: str, messages: Iterable[Message]) -> dict[str, Any]:
    """Return the event that hands messages to `consume`."""
    return {
        "source": JETSTREAM_SOURCE,
        "stream": stream,
        "consumer": consumer,
        "records": [
            {
                "subject": one.subject,
                "stream_seq": one.stream_seq,
                "consumer_seq": one.consumer_seq,
                "num_delivered": one.num_delivered,
                "timestamp": one.timestamp.isoformat(),
                "headers": dict(one.headers),
                "data": base64.b64encode(one.data).decode(),
            }
            for one in messages
        ],
    }


def failed_identifiers(answer: bytes, sent: Collection[str]) -> frozenset[str]:
    """Return which of the records sent have failed; raises `HandoverFailed` on an answer that does not tell."""
    try:
        failures = json.loads(answer)["batchItemFailures"]
        identifiers = [one["itemIdentifier"] for one in failures]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise HandoverFailed("consume's answer is no partial batch response") from None
    if not isinstance(failures, list):  # an empty object or text holds no failures, and no answer
        raise HandoverFailed("consume's answer is no partial batch response")
    if not all(isinstance(one, str) and one in sent for one in identifiers):
        raise HandoverFailed("consume's answer names a record that was not sent")
    return frozenset(identifiers)


class ConsumeClient:
    """`consume`, through Lambda's Invoke API. Its methods may be called from several threads.

    endpoint: None is AWS's own. timeout_sec: of a whole invocation; above the function's own.
    """

    def __init__(
        self,
        function_name: str,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        timeout_sec: float = 70.0,
        connections: int = 10,
    ) -> None:
        self._function = function_name
        self._client: Any = Session().create_client(
            "lambda",
            region_name=region,
            endpoint_url=endpoint,
            config=Config(
                connect_timeout=min(5.0, timeout_sec),
                read_timeout=timeout_sec,
                # Whoever hands over tries again in its own time, and Lambda may have carried out what failed.
                retries={"total_max_attempts": 1},
                max_pool_connections=connections,
                tcp_keepalive=True,
                user_agent_extra=f"oo-tips/{__version__}",
            ),
        )

    def invoke(self, event: Mapping[str, Any]) -> bytes:
        """Return the handler's answer to an event; raises `HandoverFailed` when there is none."""
        try:
            answer = self._client.invoke(FunctionName=self._function, Payload=json.dumps(event).encode())
            payload: bytes = answer["Payload"].read()
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "unknown")
            raise HandoverFailed(f"Lambda refused: {code}") from None
        except (BotoCoreError, OSError, KeyError, ValueError) as error:
            raise HandoverFailed(f"Lambda did not answer: {type(error).__name__}") from None
        if "FunctionError" in answer:
            raise HandoverFailed(f"consume raised: {_error_type(payload)}")
        return payload

    def hand_over(self, stream: str, consumer: str, messages: Collection[Message]) -> frozenset[int]:
        """Return the stream sequences that failed; raises `HandoverFailed` when none is known to be done."""
        answer = self.invoke(batch_event(stream, consumer, messages))
        sent = {str(one.stream_seq) for one in messages}
        return frozenset(int(one) for one in failed_identifiers(answer, sent))


def _error_type(payload: bytes) -> str:
    try:
        return str(json.loads(payload)["errorType"])[:64]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "unknown"
