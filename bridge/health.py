"""GET /health and GET /metrics, from a thread of their own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bridge.metrics import CONTENT_TYPE

_HEADER_SEC = 10


class AddressUnusable(Exception):
    """Nothing can listen on the health server's address; the text says why."""


class HealthServer:
    """Listens from construction to `stop`; port 0 takes a free one. Raises `AddressUnusable` when it cannot.

    health: whether the bridge can do its work, and what to show; metrics: the text. Both are called in threads.
    """

    def __init__(
        self,
        host: str,
        port: int,
        health: Callable[[], tuple[bool, dict[str, Any]]],
        metrics: Callable[[], bytes],
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = _HEADER_SEC

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/health":
                    well, shown = health()
                    self._send(200 if well else 503, json.dumps(shown).encode(), "application/json")
                elif path == "/metrics":
                    self._send(200, metrics(), CONTENT_TYPE)
                else:
                    self._send(404, b'{"error": "only /health and /metrics are served"}', "application/json")

            def _send(self, status: int, body: bytes, content_type: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing: a check every few seconds is no event."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Nothing: a client that went away is no event either."""

        try:
            self._server = Server((host, port), Handler)
        except OSError as error:
            raise AddressUnusable(str(error)) from error
        self.port = int(self._server.server_address[1])
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="health", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
