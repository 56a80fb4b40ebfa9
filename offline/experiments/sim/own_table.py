"""A DynamoDB table of this process alone: moto behind botocore's clients, without a socket between them."""

from __future__ import annotations

import io
import threading
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from moto.core.botocore_stubber import MockRawResponse
from moto.moto_server.werkzeug_app import create_backend_app

from devstack import moto_table

ENDPOINT = "http://table.invalid"
"""Where clients think that it is; without the hooks below, nobody answers there."""
_EVENT = "before-send.dynamodb"


class OwnTable:
    """Answers the requests of sessions and clients that `serve` was called with; moto takes one at a time."""

    def __init__(self) -> None:
        moto_table.install()
        self._application = create_backend_app("dynamodb")
        self._lock = threading.Lock()

    def serve(self, events: Any) -> None:
        """Answer what a botocore session makes clients for, or a client's `meta.events`."""
        events.register(_EVENT, self._answer, unique_id="own-table")

    def release(self, events: Any) -> None:
        events.unregister(_EVENT, unique_id="own-table")

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        body = request.body or b""
        target = urlsplit(request.url)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": target.path or "/",
            "QUERY_STRING": target.query,
            "SERVER_NAME": target.hostname,
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in request.headers.items():
            key = name.upper().replace("-", "_")
            text = value.decode() if isinstance(value, bytes) else value
            environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = text
        started: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
            started.extend((int(status.split()[0]), HTTPHeaders.from_pairs(headers)))

        with self._lock:
            content = b"".join(self._application(environ, start))
        status, headers = started
        return AWSResponse(request.url, status, headers, MockRawResponse(content))
