"""One environment of a built function under the emulator, called as its callers do, and ended as nobody wishes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import httpx
import pytest

from devstack.emulator import Emulated
from devstack.function_url import function_url
from devstack.http_server import HttpServer
from devstack.template import Template

_BUDGETS = {
    # moto is slow, and so may the machine be
    "SCORE_READ_BUDGET_MS": "5000",
    "SCORE_WRITE_BUDGET_MS": "5000",
    "TABLE_DEADLINE_MS": "8000",
}


@dataclass(frozen=True)
class Environment:
    """A function with at most one environment at a time. url: its function URL."""

    instances: Emulated
    url: str
    log: IO[bytes]

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """Send a request to the function's URL. body: what becomes JSON. options: those of `httpx.request`."""
        if body is not None:
            options["json"] = body
        return httpx.request(method, self.url + path, timeout=120, trust_env=False, **options)

    def invoke(self, event: Any) -> Any:
        """Return what the handler does; raises `AssertionError` where the caller would get an error."""
        outcome = self.instances.invoke(json.dumps(event).encode())
        assert not outcome.is_error, outcome.payload
        return json.loads(outcome.payload)

    def warm(self) -> None:
        """Have it started: on a busy machine that may take longer than a small time-out allows."""
        for _ in range(20):
            if self.call("GET", "/health").status_code == 200:
                return
        pytest.fail(self.logged())

    def kill(self) -> None:
        """End the function's process as a crash does, whatever it is doing."""
        for runtime in self.instances.processes():
            os.kill(runtime, signal.SIGKILL)

    def logged(self) -> str:
        """Return what the function and the emulator have written so far."""
        return os.pread(self.log.fileno(), 10**7, 0).decode()


@contextmanager
def one_environment(
    name: str,
    variables: dict[str, str],
    *,
    timeout: int = 60,
    memory_mb: int | None = None,
    path: tuple[Path, ...] = (),
) -> Iterator[Environment]:
    """Yield what was built of a function. variables: over the template's. timeout: whole seconds, start included."""
    definition = Template().functions()[name]
    definition = replace(definition, timeout=timeout, memory_mb=memory_mb or definition.memory_mb)
    environment = {**definition.environment, **_BUDGETS, **variables}
    with TemporaryFile("a+b") as log:
        instances = Emulated(definition, environment, path=path, log=log, limit=1)
        try:
            with HttpServer(name, function_url(instances)) as server:
                yield Environment(instances, server.url, log)
        finally:
            instances.close()
