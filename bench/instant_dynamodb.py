"""DynamoDB that answers at once: prebuilt answers over loopback HTTP, from a process of its own.

python -m bench.instant_dynamodb < RULES.json: prints its port, then serves until its standard input ends.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import urllib.request
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

KEPT = 512
"""Exchanges that are remembered: of a batch that `consume` carries out, all."""
_KEY = re.compile(rb'"pk":\s*\{"S":\s*"([^"]*)"\},\s*"sk":\s*\{"S":\s*"([^"]*)"\}')


ITEMS = "$items"


@dataclass(frozen=True)
class Rule:
    """How to answer one operation, if `containing` is in the request's body.

    items: by "pk sk", in DynamoDB's JSON; those that are asked for take the place of `ITEMS` in the answer.
    """

    operation: str
    answer: str
    containing: str = ""
    items: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Exchange:
    """One call. received, answered: bytes of the bodies."""

    operation: str
    received: int
    answered: int
    body: str


class InstantDynamoDB:
    """The stub's process, for as long as the context lasts."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.instant_dynamodb"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[1],
            text=True,
        )
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(json.dumps([asdict(rule) for rule in rules]) + "\n")
        self._process.stdin.flush()
        self.endpoint = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def exchanges(self) -> list[Exchange]:
        """Return the calls since the last time this was asked, at most the last `KEPT`."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.endpoint}/", timeout=10) as answer:
            return [Exchange(**one) for one in json.load(answer)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


class _Server:
    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = [
            (rule.operation.encode(), rule.containing.encode(), _http(rule.answer), _template(rule)) for rule in rules
        ]
        self._exchanges: deque[Exchange] = deque(maxlen=KEPT)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]

    def serve(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve_one, args=(connection,), daemon=True).start()

    def _serve_one(self, connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        while stream.readline():
            operation, length = b"", 0
            while (line := stream.readline().rstrip()) != b"":
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
                elif name.lower() == b"x-amz-target":
                    operation = value.rpartition(b".")[2]
            body = stream.read(length)
            connection.sendall(self._answer(operation, body) if operation else self._report())

    def _answer(self, operation: bytes, body: bytes) -> bytes:
        for known, containing, (head, answer), template in self._rules:
            if known == operation and containing in body:
                if template is not None:
                    before, after, items = template
                    asked = [items[key] for one in _KEY.findall(body) if (key := b" ".join(one)) in items]
                    head, answer = _http_of(before + b",".join(asked) + after)
                self._exchanges.append(Exchange(operation.decode(), len(body), len(answer), body.decode()))
                return head + answer
        return b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"

    def _report(self) -> bytes:
        head, body = _http(json.dumps([asdict(one) for one in self._exchanges]))
        self._exchanges.clear()
        return head + body


def _template(rule: Rule) -> tuple[bytes, bytes, dict[bytes, bytes]] | None:
    if not rule.items:
        return None
    before, _, after = rule.answer.encode().partition(ITEMS.encode())
    return before, after, {key.encode(): item.encode() for key, item in rule.items.items()}


def _http(text: str) -> tuple[bytes, bytes]:
    return _http_of(text.encode())


def _http_of(body: bytes) -> tuple[bytes, bytes]:
    """Return an answer with the headers that DynamoDB sends."""
    headers = {
        "Server": "Server",
        "Date": "Fri, 20 Nov 2026 08:30:00 GMT",
        "Content-Type": "application/x-amz-json-1.0",
        "Content-Length": str(len(body)),
        "Connection": "keep-alive",
        "x-amzn-RequestId": "IO9TTDR5PTL5VAFSR0BEVCUH9BVV4KQNSO5AEMVJF66Q9ASUAAJG",
        "x-amz-crc32": str(zlib.crc32(body)),
    }
    lines: list[Any] = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode(), body


if __name__ == "__main__":
    server = _Server([Rule(**one) for one in json.loads(sys.stdin.readline())])
    threading.Thread(target=server.serve, daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.read()
