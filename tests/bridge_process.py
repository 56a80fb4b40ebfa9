"""What the tests of the bridge share: a stand-in for `consume`, the bridge as a process, and publishing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import nats
from werkzeug.wrappers import Request, Response

from devstack.http_server import HttpServer
from devstack.template import ROOT

Handler = Callable[[dict[str, Any]], Any]


def takes_all(event: dict[str, Any]) -> Any:
    return {"batchItemFailures": []}


class FakeConsume(HttpServer):
    """Lambda's Invoke API with one function, a callable of the test's; what raises is a function error."""

    def __init__(self, handler: Handler = takes_all) -> None:
        self.handler = handler
        self.events: list[dict[str, Any]] = []
        super().__init__("consume", self._application)

    @property
    def records(self) -> list[dict[str, Any]]:
        return [record for event in list(self.events) for record in event["records"]]

    def _application(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        event = json.loads(Request(environ).get_data())
        self.events.append(event)
        headers = {}
        try:
            payload = json.dumps(self.handler(event))
        except Exception as error:
            headers = {"X-Amz-Function-Error": "Unhandled"}
            payload = json.dumps({"errorType": type(error).__name__, "errorMessage": str(error)})
        return Response(payload, 200, headers, content_type="application/json")(environ, start_response)


class BridgeProcess:
    """`python -m bridge`, from construction to the context's end. lines: what it logged.

    program: Python to run instead.
    """

    def __init__(self, environment: dict[str, str], *arguments: str, program: str | None = None) -> None:
        path = os.pathsep.join([str(ROOT / "layers" / "shared"), str(ROOT)])
        self.process = subprocess.Popen(
            [sys.executable, *(("-m", "bridge") if program is None else ("-c", program)), *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, "BRIDGE_HEALTH_PORT": "0", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._url: str | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    @property
    def url(self) -> str:
        """Address of its health server."""

        def said() -> str | None:
            found = [json.loads(line).get("health") for line in list(self.lines) if line.startswith("{")]
            return next(filter(None, found), None)

        if self._url is None:
            self._url = eventually(said).removesuffix("/health")
        return self._url

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, trust_env=False, timeout=20)

    def health(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.get("/health").json()
        return answer

    def ready(self) -> Self:
        eventually(lambda: self.get("/health").status_code == 200)
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it and return its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        self._reader.join(10)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(60)
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


def eventually(condition: Callable[[], Any], within: float = 60.0) -> Any:
    """Return what `condition` says once it is true; raises `AssertionError` when it stays false."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
    return value


async def publish(url: str, *messages: tuple[str, bytes], **options: Any) -> None:
    """Publish to JetStream, each (subject, data); options: those of `nats.connect`."""
    client = await nats.connect(url, **options)
    try:
        js = client.jetstream(timeout=20)
        for subject, data in messages:
            await js.publish(subject, data)
    finally:
        await client.close()


def publish_raw(url: str, *messages: tuple[bytes, bytes | None, bytes]) -> None:
    """Publish (subject, block of headers, data) past any client's checks, and wait until the server has them."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(b'CONNECT {"verbose":false,"headers":true}\r\n')
        for subject, block, data in messages:
            if block is None:
                line = b"PUB %b %d\r\n" % (subject, len(data))
            else:
                line = b"HPUB %b %d %d\r\n" % (subject, len(block), len(block) + len(data))
            connection.sendall(line + (block or b"") + data + b"\r\n")
        connection.sendall(b"PING\r\n")
        said = b""
        while not said.endswith(b"PONG\r\n"):
            more = connection.recv(4096)
            assert more, said
            said += more
        assert b"-ERR" not in said
