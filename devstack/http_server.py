"""A WSGI application on a port of loopback, or of another address that is asked for, in a thread."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, Self

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

LOOPBACK = "127.0.0.1"
_IP_FREEBIND = 15  # of Linux; the module socket does not name it

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class QuietHandler(WSGIRequestHandler):
    """Logs nothing of a request: paths hold user ids."""

    def handle_expect_100(self) -> bool:
        # werkzeug answers "100 Continue" itself; twice would be one too many for a strict client.
        return True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


class HttpServer:
    """Serves `application` from construction to `stop`; port 0 takes a free one.

    host: an IPv4 address of this machine, or one that it is going to have. Raises `OSError` when the port is taken.
    """

    def __init__(
        self,
        name: str,
        application: Application,
        port: int = 0,
        handler: type[WSGIRequestHandler] = QuietHandler,
        *,
        host: str = LOOPBACK,
    ) -> None:
        self.application = application
        # Bound here because werkzeug prints and exits when a port is taken.
        with socket.socket() as bound:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sys.platform == "linux":
                # podman's bridge has its address only while a container runs.
                bound.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            bound.bind((host, port))
            bound.listen(128)
            self._server: BaseWSGIServer = make_server(
                host, port, application, threaded=True, request_handler=handler, fd=bound.fileno()
            )
        self.port = int(self._server.server_address[1])
        self.url = f"http://{host}:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name=name, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
