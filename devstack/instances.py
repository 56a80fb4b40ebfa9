"""A function's instances: worker processes, one request at a time each, as Lambda's execution environments.

Nothing is shared between them in memory. What differs from Lambda: a request that finds all instances busy waits for
one instead of being throttled at once, and memory limits are not enforced.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import IO, Any

from devstack.events import REGION
from devstack.template import FunctionDefinition

INIT_TIMEOUT_SEC = 60.0
MAX_PAYLOAD_BYTES = 6 * 1024 * 1024
_WORKER = Path(__file__).with_name("worker.py")

# What a process needs of the machine; everything else of a function's environment is in the template.
_MACHINE_VARIABLES = (
    *("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)


class Busy(Exception):
    """Every instance was busy for as long as a request may take."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an invocation came to. `payload`: JSON, the handler's result or the description of an error."""

    request_id: str
    payload: bytes
    is_error: bool = False


class _Gone(Exception):
    """The worker ended before it answered."""


class _Worker:
    def __init__(self, command: list[str], environment: Mapping[str, str], log: int | IO[Any], lifeline: int) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            self.process = subprocess.Popen(
                [*command, str(theirs.fileno()), str(lifeline)],
                env=dict(environment),
                pass_fds=(theirs.fileno(), lifeline),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the parent
            )

    def receive(self, timeout: float) -> bytes:
        """Raises `TimeoutError`, or `_Gone` with how the process ended."""
        try:
            message = self._connection.recv_bytes() if self._connection.poll(timeout) else None
        except (EOFError, OSError):
            raise _Gone(self._ending()) from None
        if message is None:
            raise TimeoutError
        return message

    def send(self, *messages: bytes) -> None:
        try:
            for message in messages:
                self._connection.send_bytes(message)
        except OSError:
            raise _Gone(self._ending()) from None

    def _ending(self) -> str:
        try:
            code = self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return f"signal: {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._connection.close()


class Instances:
    """The instances of one function; they are started when needed, up to `limit` of them."""

    def __init__(
        self,
        definition: FunctionDefinition,
        environment: Mapping[str, str],
        *,
        log: int | IO[Any] = 2,
        limit: int = 8,
    ) -> None:
        self.definition = definition
        self._environment = _worker_environment(definition, environment)
        self._log = log
        self._limit = limit
        self._changed = threading.Condition()
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._starting = 0
        self._closed = threading.Event()
        self._lifeline, self._lifeline_end = os.pipe()

    def invoke(self, payload: bytes) -> Outcome:
        """Run the handler on an event (JSON). Raises `Busy` when no instance gets free in time."""
        request_id = str(uuid.uuid4())
        worker = self._take()
        if isinstance(worker, bytes):
            return Outcome(request_id, worker, is_error=True)
        definition = self.definition
        head = {
            "function_name": definition.name,
            "timeout": definition.timeout,
            "memory_limit_in_mb": definition.memory_mb,
            "aws_request_id": request_id,
        }
        deadline = time.monotonic() + definition.timeout
        try:
            worker.send(json.dumps(head).encode(), payload)
            verdict = worker.receive(definition.timeout)
            answer = worker.receive(max(1.0, deadline - time.monotonic()))
        except TimeoutError:
            self._discard(worker)
            message = f"Task timed out after {definition.timeout:.2f} seconds"
            return self._failure(request_id, "Sandbox.Timedout", message)
        except _Gone as gone:
            self._discard(worker)
            return self._failure(request_id, "Runtime.ExitError", f"Runtime exited with error: {gone}")
        except BaseException:
            self._discard(worker)
            raise
        self._give_back(worker)
        if len(answer) > MAX_PAYLOAD_BYTES:
            message = f"Response payload size ({len(answer)} bytes) exceeded {MAX_PAYLOAD_BYTES} bytes"
            return self._failure(request_id, "Function.ResponseSizeTooLarge", message)
        return Outcome(request_id, answer, is_error=verdict != b"ok")

    def warm(self, count: int = 1) -> None:
        """Start instances before the first requests come. Raises `RuntimeError` when the function cannot be loaded."""
        taken = [self._take() for _ in range(count)]
        for worker in taken:
            if isinstance(worker, bytes):
                raise RuntimeError(f"{self.definition.name} cannot be loaded: {worker.decode()}")
            self._give_back(worker)

    def close(self) -> None:
        """Kill every instance, busy or not."""
        with self._changed:
            self._closed.set()
            workers, self._all, self._idle = self._all, set(), []
            self._changed.notify_all()
        for worker in workers:
            worker.kill()
        os.close(self._lifeline)
        os.close(self._lifeline_end)

    def _failure(self, request_id: str, kind: str, message: str) -> Outcome:
        fault = {"errorType": kind, "errorMessage": f"RequestId: {request_id} Error: {message}"}
        line = f"{self.definition.name}: {fault['errorMessage']}\n".encode()
        os.write(self._log if isinstance(self._log, int) else self._log.fileno(), line)
        return Outcome(request_id, json.dumps(fault).encode(), is_error=True)

    def _take(self) -> _Worker | bytes:
        """Return an idle instance or a new one; bytes describe why the function cannot be loaded."""
        deadline = time.monotonic() + self.definition.timeout
        with self._changed:
            while not self._idle and len(self._all) + self._starting >= self._limit:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise Busy(self.definition.name)
            if self._closed.is_set():
                raise Busy(self.definition.name)
            if self._idle:
                return self._idle.pop()
            self._starting += 1
        worker, fault = None, b""
        try:
            worker, fault = self._started()
        finally:
            with self._changed:
                self._starting -= 1
                closed = self._closed.is_set()
                if worker is not None and not closed:
                    self._all.add(worker)
                self._changed.notify_all()
        if worker is None:
            return fault
        if closed:
            worker.kill()
            raise Busy(self.definition.name)
        return worker

    def _started(self) -> tuple[_Worker | None, bytes]:
        """Return a new instance that is ready, or None and why the function cannot be loaded."""
        worker = _Worker([sys.executable, "-P", str(_WORKER)], self._environment, self._log, self._lifeline)
        try:
            fault = worker.receive(INIT_TIMEOUT_SEC)
        except TimeoutError:
            fault = b'{"errorType": "Sandbox.Timedout", "errorMessage": "Init timed out"}'
        except _Gone as gone:
            fault = json.dumps({"errorType": "Runtime.ExitError", "errorMessage": f"Init: {gone}"}).encode()
        if not fault:
            return worker, b""
        worker.kill()
        return None, fault

    def _give_back(self, worker: _Worker) -> None:
        with self._changed:
            if worker in self._all:
                self._idle.append(worker)
                self._changed.notify()

    def _discard(self, worker: _Worker) -> None:
        worker.kill()
        with self._changed:
            self._all.discard(worker)
            self._changed.notify()


def _worker_environment(definition: FunctionDefinition, environment: Mapping[str, str]) -> dict[str, str]:
    machine = {name: os.environ[name] for name in _MACHINE_VARIABLES if name in os.environ}
    return {
        **machine,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_FUNCTION_NAME": definition.name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(definition.memory_mb),
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "LAMBDA_TASK_ROOT": str(definition.folder.resolve()),
        "_HANDLER": definition.handler,
        "PYTHONUNBUFFERED": "1",
        **environment,
    }
