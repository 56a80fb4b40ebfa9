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
from typing import IO, Any, Protocol

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


class Gone(Exception):
    """An instance ended before it answered; the message says how."""


class NotLoaded(Exception):
    """An instance cannot be started; the message is the description (JSON) of why."""


class Instance(Protocol):
    """One execution environment of a function."""

    def run(self, request_id: str, payload: bytes) -> tuple[bool, bytes]:
        """Return whether the handler succeeded, and its result or error; raises `TimeoutError` or `Gone`."""
        ...

    def kill(self) -> None: ...


class _Worker:
    """A process that has loaded the handler from where its source lies."""

    def __init__(
        self, definition: FunctionDefinition, environment: Mapping[str, str], log: int | IO[Any], lifeline: int
    ) -> None:
        """Start a process and wait until it is ready. Raises `NotLoaded`."""
        self._definition = definition
        self._connection, theirs = Pipe()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(_WORKER), str(theirs.fileno()), str(lifeline)],
                env=dict(environment),
                pass_fds=(theirs.fileno(), lifeline),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the parent
            )
        try:
            fault = self._receive(INIT_TIMEOUT_SEC).decode()
        except TimeoutError:
            fault = '{"errorType": "Sandbox.Timedout", "errorMessage": "Init timed out"}'
        except Gone as gone:
            fault = json.dumps({"errorType": "Runtime.ExitError", "errorMessage": f"Init: {gone}"})
        if fault:
            self.kill()
            raise NotLoaded(fault)

    def run(self, request_id: str, payload: bytes) -> tuple[bool, bytes]:
        definition = self._definition
        head = {
            "function_name": definition.name,
            "timeout": definition.timeout,
            "memory_limit_in_mb": definition.memory_mb,
            "aws_request_id": request_id,
        }
        deadline = time.monotonic() + definition.timeout
        self._send(json.dumps(head).encode(), payload)
        verdict = self._receive(definition.timeout)
        return verdict == b"ok", self._receive(max(1.0, deadline - time.monotonic()))

    def _receive(self, timeout: float) -> bytes:
        """Raises `TimeoutError`, or `Gone` with how the process ended."""
        try:
            message = self._connection.recv_bytes() if self._connection.poll(timeout) else None
        except (EOFError, OSError):
            raise Gone(self._ending()) from None
        if message is None:
            raise TimeoutError
        return message

    def _send(self, *messages: bytes) -> None:
        try:
            for message in messages:
                self._connection.send_bytes(message)
        except OSError:
            raise Gone(self._ending()) from None

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
        self._idle: list[Instance] = []
        self._all: set[Instance] = set()
        self._starting = 0
        self._closed = threading.Event()
        self._lifeline, self._lifeline_end = os.pipe()

    def invoke(self, payload: bytes) -> Outcome:
        """Run the handler on an event (JSON). Raises `Busy` when no instance gets free in time."""
        request_id = str(uuid.uuid4())
        try:
            instance = self._take()
        except NotLoaded as fault:
            return Outcome(request_id, str(fault).encode(), is_error=True)
        try:
            ok, answer = instance.run(request_id, payload)
        except TimeoutError:
            self._discard(instance)
            message = f"Task timed out after {self.definition.timeout:.2f} seconds"
            return self._failure(request_id, "Sandbox.Timedout", message)
        except Gone as gone:
            self._discard(instance)
            return self._failure(request_id, "Runtime.ExitError", f"Runtime exited with error: {gone}")
        except BaseException:
            self._discard(instance)
            raise
        self._give_back(instance)
        if len(answer) > MAX_PAYLOAD_BYTES:
            message = f"Response payload size ({len(answer)} bytes) exceeded {MAX_PAYLOAD_BYTES} bytes"
            return self._failure(request_id, "Function.ResponseSizeTooLarge", message)
        return Outcome(request_id, answer, is_error=not ok)

    def warm(self, count: int = 1) -> None:
        """Start instances before the first requests come. Raises `RuntimeError` when the function cannot be loaded."""
        taken: list[Instance] = []
        try:
            for _ in range(count):
                taken.append(self._take())
        except NotLoaded as fault:
            raise RuntimeError(f"{self.definition.name} cannot be loaded: {fault}") from None
        finally:
            for instance in taken:
                self._give_back(instance)

    def close(self) -> None:
        """Kill every instance, busy or not."""
        with self._changed:
            self._closed.set()
            instances, self._all, self._idle = self._all, set(), []
            self._changed.notify_all()
        for instance in instances:
            instance.kill()
        os.close(self._lifeline)
        os.close(self._lifeline_end)

    def _failure(self, request_id: str, kind: str, message: str) -> Outcome:
        fault = {"errorType": kind, "errorMessage": f"RequestId: {request_id} Error: {message}"}
        line = f"{self.definition.name}: {fault['errorMessage']}\n".encode()
        os.write(self._log if isinstance(self._log, int) else self._log.fileno(), line)
        return Outcome(request_id, json.dumps(fault).encode(), is_error=True)

    def _take(self) -> Instance:
        """Return an idle instance or a new one. Raises `Busy` or `NotLoaded`."""
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
        instance: Instance | None = None
        try:
            instance = self.start()
        finally:
            with self._changed:
                self._starting -= 1
                closed = self._closed.is_set()
                if instance is not None and not closed:
                    self._all.add(instance)
                self._changed.notify_all()
        if closed:
            instance.kill()
            raise Busy(self.definition.name)
        return instance

    def start(self) -> Instance:
        """Return a new instance that is ready. Raises `NotLoaded`."""
        return _Worker(self.definition, self._environment, self._log, self._lifeline)

    def _give_back(self, instance: Instance) -> None:
        with self._changed:
            if instance in self._all:
                self._idle.append(instance)
                self._changed.notify()

    def _discard(self, instance: Instance) -> None:
        instance.kill()
        with self._changed:
            self._all.discard(instance)
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
