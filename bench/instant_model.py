"""A language model that answers at once: OpenAI-compatible, over loopback HTTP, from a process of its own.

python -m bench.instant_model < ANSWER.json: prints its port, then serves until its standard input ends. Under
`/closing` it ends each connection after one answer, as a server does that keeps none.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import urllib.request
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Self

MODEL = "gpt-4o-mini"
"""What it says it is: a model that LiteLLM has a price of, so that each call is priced."""

THREADS = 16
"""Connections at once. The threads are there before: starting one would be time of the call's."""


@dataclass(frozen=True)
class Heard:
    """What was asked since the last time: calls, the connections opened for them, and the last body."""

    calls: int
    connections: int
    body: dict[str, Any]


class InstantModel:
    """The server's process, for as long as the context lasts. content: the text of each of its answers."""

    def __init__(self, content: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.instant_model"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[1],
            text=True,
        )
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(json.dumps(content) + "\n")
        self._process.stdin.flush()
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def heard(self) -> Heard:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.url}/", timeout=10) as answer:
            return Heard(**json.load(answer))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


class _Server:
    def __init__(self, content: str) -> None:
        choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 900, "completion_tokens": 120, "total_tokens": 1020}
        head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": MODEL}
        completion = json.dumps({**head, "choices": [choice], "usage": usage}).encode()
        self._answers = {keep: _http(completion, keep) for keep in (True, False)}
        self._calls = self._connections = 0
        self._body = b"{}"
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=THREADS)
        self.port = self._listening.getsockname()[1]

    def serve(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection, connection.makefile("rb") as stream, suppress(ConnectionError):
                self._serve_one(connection, stream)

    def _serve_one(self, connection: socket.socket, stream: BufferedIOBase) -> None:
        kept, first = True, True
        while kept and (request := stream.readline()):
            method, path, _ = request.split(b" ", 2)
            length, kept = 0, not path.startswith(b"/closing")
            while (line := stream.readline().rstrip().lower()) != b"":
                name, _, value = line.partition(b":")
                if name == b"content-length":
                    length = int(value)
                elif name == b"connection":
                    kept = kept and value.strip() != b"close"
            body = stream.read(length)
            if method == b"POST":
                self._calls, self._connections = self._calls + 1, self._connections + first
                self._body, first = body, False
                connection.sendall(self._answers[kept])
            else:
                connection.sendall(self._report())

    def _report(self) -> bytes:
        heard = Heard(self._calls, self._connections, json.loads(self._body))
        self._calls = self._connections = 0
        return _http(json.dumps(asdict(heard)).encode(), keep=True)


def _http(body: bytes, keep: bool) -> bytes:
    lines = ("HTTP/1.1 200 OK", "Content-Type: application/json", f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, f"Connection: {'keep-alive' if keep else 'close'}", "", "")).encode() + body


if __name__ == "__main__":
    server = _Server(json.loads(sys.stdin.readline()))
    for _ in range(THREADS):
        threading.Thread(target=server.serve, daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.read()
