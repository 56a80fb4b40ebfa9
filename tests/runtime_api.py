"""Lambda's side of the runtime interface, for two clones of one snapshot, and HTTP that keeps its connections."""

from __future__ import annotations

import json
import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from devstack.http_server import LOOPBACK

CLONES = 2
START_SEC = 240.0
"""Never reached but on a machine that hangs; what fails ends at once."""
_API = "/2018-06-01/runtime"


@dataclass
class RuntimeApi:
    """Lambda's side of the runtime interface. A clone is known by the connection that it asks for events on.

    `shift_sec`: how far the clones' clock is ahead.
    """

    shift_sec: float
    errors: list[str] = field(default_factory=list)
    frozen: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    restored: threading.Event = field(default_factory=threading.Event)
    _idle: dict[int, queue.SimpleQueue[tuple[str, bytes]]] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _answers: dict[str, queue.SimpleQueue[bytes]] = field(default_factory=dict)

    def idle(self) -> list[int]:
        """Return the clones once each of them waits for an event."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.errors or len(self._idle) == CLONES, START_SEC)
            assert not self.errors
            return sorted(self._idle)

    def invoke(self, clone: int, event: Any) -> queue.SimpleQueue[bytes]:
        """Hand `event` to a clone that waits; returns where its answer will be."""
        request_id = str(uuid.uuid4())
        answer = self._answers[request_id] = queue.SimpleQueue()
        with self._changed:
            self._idle.pop(clone).put((request_id, json.dumps(event).encode()))
        return answer

    def stop(self) -> None:
        """Let every request end that waits."""
        self.restored.set()
        with self._changed:
            for mine in self._idle.values():
                mine.put(("", b"{}"))

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """Answer one request to the API."""
        path, headers, sent, status = handler.path.removeprefix(_API), {}, b"{}", 202
        if path == "/restore/next":
            self.frozen.release()
            self.restored.wait()
            status = 200
        elif path == "/invocation/next":
            mine: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
            with self._changed:
                self._idle[handler.client_address[1]] = mine
                self._changed.notify_all()
            request_id, sent = mine.get()
            headers = {
                "Lambda-Runtime-Aws-Request-Id": request_id,
                "Lambda-Runtime-Deadline-Ms": str(round((time.time() + self.shift_sec + 25) * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:clone:1",
            }
            status = 200
        elif path.endswith("/response"):
            self._answers[path.split("/")[2]].put(body)
        else:
            with self._changed:
                self.errors.append(f"{path}: {body.decode()}")
                self._changed.notify_all()
            self.frozen.release(CLONES)
        reply(handler, status, sent, {"Content-Type": "application/json", **headers})


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    handler.send_response_only(status)
    for name, value in headers.items():
        if name.lower() not in ("connection", "content-length"):
            handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def serve(answer: Callable[[BaseHTTPRequestHandler, bytes], None]) -> ThreadingHTTPServer:
    """Serve on loopback, in threads that keep their connections: werkzeug's end with each answer."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            with suppress(ConnectionError):  # clones are killed when a test ends
                super().handle()

        def do_GET(self) -> None:
            answer(self, b"")

        def do_POST(self) -> None:
            answer(self, self.rfile.read(int(self.headers.get("content-length", 0))))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


def url(server: ThreadingHTTPServer) -> str:
    return f"http://{LOOPBACK}:{server.server_address[1]}"


def stop(server: ThreadingHTTPServer) -> None:
    server.shutdown()
    server.server_close()
