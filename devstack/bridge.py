"""The bridge as a process of its own, between a local NATS and the local Invoke API."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import IO, Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from devstack.events import REGION
from devstack.template import ROOT

_START_SEC = 60.0
_STOP_SEC = 40.0


class BridgeNotStarted(RuntimeError):
    """The bridge ended, or does not become ready."""


class BridgeProcess:
    """`python -m bridge --ensure-streams`, from construction to `stop`.

    port: of its health server, 0 takes a free one. environment: the caller's, whose BRIDGE_ variables count; log: where
    its log goes, a file or its descriptor.
    """

    def __init__(
        self,
        *,
        nats_url: str,
        lambda_endpoint: str,
        dynamodb_endpoint: str,
        table_name: str,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
        log: int | IO[Any] = 2,
    ) -> None:
        if port == 0:
            with socket.create_server(("127.0.0.1", 0)) as listening:
                port = listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        chosen = {name: value for name, value in (environment or {}).items() if name.startswith("BRIDGE_")}
        others = {name: value for name, value in os.environ.items() if not name.startswith(("NATS_", "BRIDGE_"))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bridge", "--ensure-streams"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for who started us; the bridge drains in its turn
            env={
                **others,
                **chosen,
                "PYTHONPATH": os.pathsep.join([str(ROOT / "layers" / "shared"), str(ROOT)]),
                "AWS_ACCESS_KEY_ID": "local",
                "AWS_SECRET_ACCESS_KEY": "local",
                "AWS_REGION": REGION,
                "NATS_URL": nats_url,
                "CONSUME_FUNCTION": "ConsumeFunction",
                "LAMBDA_ENDPOINT": lambda_endpoint,
                "DYNAMODB_ENDPOINT": dynamodb_endpoint,
                "TABLE_NAME": table_name,
                "BRIDGE_HEALTH_HOST": "127.0.0.1",
                "BRIDGE_HEALTH_PORT": str(port),
            },
        )

    def wait_until_ready(self) -> None:
        """Return when messages can be fetched; raises `BridgeNotStarted`."""
        deadline = time.monotonic() + _START_SEC
        while not self._is_ready():
            if self._process.poll() is not None:
                raise BridgeNotStarted(f"the bridge ended with code {self._process.returncode}; its log says why")
            if time.monotonic() > deadline:
                raise BridgeNotStarted("the bridge does not become ready; its log says why")
            time.sleep(0.05)

    def stop(self) -> None:
        """Let it finish what it has begun, and end it."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SEC)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _is_ready(self) -> bool:
        try:
            with build_opener(ProxyHandler({})).open(f"{self.url}/health", timeout=10) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False
