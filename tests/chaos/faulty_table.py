"""Between a function and its table: throttles, drops connections, is silent, reports failure where it succeeded."""

from __future__ import annotations

import io
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from devstack.http_server import Application

_PREFIX = "com.amazonaws.dynamodb.v20120810#"
_PERSON = re.compile(rb'"U#[^"]+"')
_HOT_EVERY, _FIRST_HOT = 5_000, 300
"""In requests: a short run has one as well, a long one not too many, because each takes its time."""
WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"})


class _Draw:
    """Says which: one of each `every` in a row, so that a short run has its share as well."""

    def __init__(self, share: float) -> None:
        self._every = round(1 / share) if share else 0
        self._row: list[bool] = []
        self.count = 0

    def due(self, rng: random.Random) -> bool:
        if not self._every:
            return False
        if not self._row:
            self._row = [True] + [False] * (self._every - 1)
            rng.shuffle(self._row)
        due = self._row.pop()
        self.count += due
        return due


class FaultyTable:
    """A WSGI application before the table's.

    refused: share of the requests that are not carried out, by an error, a dropped connection or no answer at all;
    from time to time a person's partition gets hot, and all that names it is throttled for `hot_sec` seconds.
    misreported: share of the writes that are carried out, and answered by an error or a dropped connection. silence:
    seconds for which nothing is answered, longer than any client waits.
    """

    def __init__(
        self, table: Application, seed: int, *, refused: float, misreported: float, silence: float, hot_sec: float
    ) -> None:
        self._table = table
        self._rng = random.Random(seed)
        self._refusals = _Draw(refused)
        self._misreports = _Draw(misreported)
        self._silence = silence
        self._hot_sec = hot_sec
        self._gets_hot = False
        self._hot: tuple[bytes, float] = b"", 0.0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.requests: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()

    def stop(self) -> None:
        """Let go of who still waits in silence."""
        self._over.set()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        fault = self._draw(operation, body)
        match fault:
            case "throttled" | "partition hot":
                return _error(start_response, 400, "ProvisionedThroughputExceededException")
            case "throttled account":
                return _error(start_response, 400, "ThrottlingException")
            case "throttled in part":
                return _nothing_processed(start_response, body)
            case "transaction throttled" | "transaction in conflict":
                reason = "ThrottlingError" if fault == "transaction throttled" else "TransactionConflict"
                parts = len(json.loads(body)["TransactItems"])
                reasons = [{"Code": "None"}] * (parts - 1) + [{"Code": reason}]
                return _error(start_response, 400, "TransactionCanceledException", CancellationReasons=reasons)
            case "dropped":
                raise ConnectionResetError("the request is lost")
            case "silent":
                self._over.wait(self._silence)
                raise ConnectionResetError("the request was never answered")
            case "done, reported failed" | "done, dropped":
                return self._carried_out(environ, start_response, dropped=fault == "done, dropped")
        return self._table(environ, start_response)

    def _draw(self, operation: str, body: bytes) -> str | None:
        with self._lock:
            self.requests[operation] += 1
            fault = "partition hot" if self._is_hot(body) else self._drawn(operation)
            if fault is not None:
                self.faults[fault] += 1
            return fault

    def _is_hot(self, body: bytes) -> bool:
        self._gets_hot = self._gets_hot or (self._hot_sec > 0 and self.requests.total() % _HOT_EVERY == _FIRST_HOT)
        if self._gets_hot and (named := _PERSON.search(body)) is not None:
            self._hot, self._gets_hot = (named[0], time.monotonic() + self._hot_sec), False
        name, until = self._hot
        return time.monotonic() < until and name in body

    def _drawn(self, operation: str) -> str | None:
        rng = self._rng
        if self._refusals.due(rng):
            # The second is silent, so that there always is one; many would be a test of patience.
            if self._refusals.count == 2 or rng.random() < 0.004:
                return "silent"
            kinds = ["throttled", "throttled", "throttled account", "dropped"]
            if operation == "TransactWriteItems":
                kinds += ["transaction throttled", "transaction in conflict"]
            if operation == "BatchGetItem":
                kinds.append("throttled in part")
            return rng.choice(kinds)
        if operation in WRITES and self._misreports.due(rng):
            return rng.choice(("done, reported failed", "done, dropped"))
        return None

    def _carried_out(self, environ: dict[str, Any], start_response: Any, *, dropped: bool) -> Iterable[bytes]:
        answered: list[tuple[Any, ...]] = []
        answer = list(self._table(environ, lambda *head: answered.append(head)))
        if not str(answered[0][0]).startswith("200"):
            # It was refused by the table itself: that is told as it is.
            with self._lock:
                self.faults["done, dropped" if dropped else "done, reported failed"] -= 1
            start_response(*answered[0])
            return answer
        if dropped:
            raise ConnectionResetError("the answer is lost")
        return _error(start_response, 500, "InternalServerError")


def _error(start_response: Any, status: int, kind: str, **more: Any) -> Iterable[bytes]:
    return _answer(start_response, status, {"__type": _PREFIX + kind, "message": "not now", **more})


def _nothing_processed(start_response: Any, body: bytes) -> Iterable[bytes]:
    asked = json.loads(body)["RequestItems"]
    return _answer(start_response, 200, {"Responses": {name: [] for name in asked}, "UnprocessedKeys": asked})


def _answer(start_response: Any, status: int, document: Any) -> Iterable[bytes]:
    text = json.dumps(document).encode()
    headers = [
        ("content-type", "application/x-amz-json-1.0"),
        ("content-length", str(len(text))),
        ("x-amzn-requestid", "made-up"),
    ]
    start_response(f"{status} {'OK' if status == 200 else 'Refused'}", headers)
    return [text]
