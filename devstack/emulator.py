"""Built artifacts under Lambda's own runtime interface: a pool of environments, each an emulator around one process.

The emulator is the one that comes with the SAM CLI, the client in the process is `awslambdaric`, as in the cloud: init,
request ids, time-outs and the ends of processes are theirs. What the emulator lacks is added here: one request at a
time per emulator, and the memory limit. What differs from Lambda is the base image: libraries and interpreter are this
machine's.
"""

from __future__ import annotations

import http.client
import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from devstack.events import REGION
from devstack.http_server import LOOPBACK
from devstack.instances import INIT_TIMEOUT_SEC, Gone, Instance, Instances, NotLoaded
from devstack.template import ROOT, FunctionDefinition

# Artifacts are compiled for one minor version: that of the interpreter here, which `.venv-runtime` has as well. The
# runtime's own lies where `sam deploy` looks for it; `make` hands on a BUILD_DIR that was named.
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
_FOLDER = ".aws-sam/build" if MINOR == "3.13" else f".aws-sam/build-{MINOR}"
BUILD = ROOT / os.environ.get("BUILD_DIR", _FOLDER)
BUILD_COMMAND = "make build" if MINOR == "3.13" else f"make build PY={MINOR} BUILD_DIR={_FOLDER}"
_RUNTIME = ROOT / ".venv-runtime" / "bin" / "python"
_INVOKE = "/2015-03-31/functions/function/invocations"
_MEMORY_CHECK_SEC = 0.02
_START_TRIES = 5
# Whoever starts this shell holds the other end of its standard input, and with that the emulator.
_GUARD = '"$@" </dev/null & read -r _; kill -KILL $!; wait'
_TIMED_OUT = re.compile(rb"(\S+ \S+ )?Task timed out after [\d.]+ seconds\s*")


class NotInstalled(Exception):
    """What the emulator needs is not there; the message says what to do."""


def emulator_binary() -> Path:
    """Return the emulator of the SAM CLI's environment. Raises `NotInstalled`."""
    machine = {"aarch64": "arm64", "amd64": "x86_64"}.get(platform.machine().lower(), platform.machine())
    pattern = f"lib/python3*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}"
    found = sorted((ROOT / ".venv-sam").glob(pattern))
    if not found:
        raise NotInstalled(f"there is no .venv-sam/{pattern}: run `make env-sam`")
    if platform.system() != "Linux":
        raise NotInstalled("Lambda's runtime interface emulator runs on Linux only")
    if not _RUNTIME.exists():
        raise NotInstalled(f"there is no {_RUNTIME.relative_to(ROOT)}: run `make env-runtime`")
    return found[-1]


class Emulated(Instances):
    """The instances of one built function; as `Instances`, but of what lies in `build`.

    `environment`: its variables, in place of the template's. `path`: folders in front of the function's own, for what a
    test has to change inside. Raises `NotInstalled`, or `FileNotFoundError` where the function was not built.
    """

    def __init__(
        self,
        definition: FunctionDefinition,
        environment: Mapping[str, str],
        *,
        build: Path = BUILD,
        path: tuple[Path, ...] = (),
        log: int | IO[Any] = 2,
        limit: int = 8,
    ) -> None:
        super().__init__(definition, environment, log=log, limit=limit)
        self._folder, layer = (build / definition.name).resolve(), (build / "SharedLayer" / "python").resolve()
        for folder in (self._folder, layer):
            if not folder.is_dir():
                raise FileNotFoundError(f"{folder} is not there: run `{BUILD_COMMAND}`")
        self._binary = emulator_binary()
        self._variables = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "HOME": "/tmp",  # noqa: S108 (the only folder that a function may write to)
            "PYTHONPATH": os.pathsep.join(map(str, (*path, self._folder, layer))),
            "PYTHONDONTWRITEBYTECODE": "1",  # the folders are read-only in the cloud
            "LAMBDA_TASK_ROOT": str(self._folder),
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_SESSION_TOKEN": "local",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_LAMBDA_FUNCTION_NAME": definition.name,
            "AWS_LAMBDA_FUNCTION_TIMEOUT": f"{definition.timeout:g}",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(definition.memory_mb),
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",  # which the emulator leaves out
            "NO_PROXY": LOOPBACK,
            **environment,
        }

    def start(self) -> Instance:
        return _Emulator(self.definition, self._binary, self._folder, self._variables, self._log)

    def processes(self) -> list[int]:
        """Return the processes that run the handler; none of an environment that no request has reached."""
        return [runtime for one in self._all if isinstance(one, _Emulator) for runtime in one.runtimes()]


class _Emulator:
    """One emulator and, from the first request on, the function's process in it."""

    def __init__(
        self,
        definition: FunctionDefinition,
        binary: Path,
        folder: Path,
        variables: Mapping[str, str],
        log: int | IO[Any],
    ) -> None:
        self._definition = definition
        self._killed_for_memory = False
        for _ in range(_START_TRIES):  # a port that was free may be another program's by now
            self._port, runtime_port = _free_ports()
            addresses = ["--runtime-interface-emulator-address", f"{LOOPBACK}:{self._port}"]
            addresses += ["--runtime-api-address", f"{LOOPBACK}:{runtime_port}"]
            command = [str(binary), *addresses, "--log-level", "error"]
            command += [str(_RUNTIME), "-m", "awslambdaric", definition.handler]
            self.process = subprocess.Popen(
                ["sh", "-c", _GUARD, "sh", *command],
                cwd=folder,
                env=dict(variables),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            if self._is_up():
                break
            self.kill()
        else:
            raise NotLoaded('{"errorType": "Emulator", "errorMessage": "the emulator does not start"}')
        self._connection = http.client.HTTPConnection(LOOPBACK, self._port)
        threading.Thread(target=self._limit_memory, name="memory limit", daemon=True).start()

    def _is_up(self) -> bool:
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up:
            emulator = next(children(self.process.pid), None)
            try:
                socket.create_connection((LOOPBACK, self._port), timeout=1).close()
            except OSError:
                if emulator is None and self.process.poll() is not None:
                    return False
                time.sleep(0.002)
            else:
                # Else somebody else's program has answered.
                return emulator is not None
        return False

    def run(self, request_id: str, payload: bytes) -> tuple[bool, bytes]:
        """Raises `TimeoutError`, `Gone`. The request's id is the emulator's own, not `request_id`."""
        self._killed_for_memory = False
        connection = self._connection
        connection.timeout = INIT_TIMEOUT_SEC + self._definition.timeout
        try:
            connection.request("POST", _INVOKE, payload, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Gone(f"the emulator ended: {type(error).__name__}") from None
        if _TIMED_OUT.fullmatch(answer):
            raise TimeoutError
        described = _error_of(answer)
        if described is None:
            return True, answer
        if self._killed_for_memory:
            # As Lambda tells of it, while its REPORT line says that all memory was used.
            raise Gone("signal: killed")
        if described.get("errorType", "").startswith(("Runtime.ExitError", "Runtime.Unknown", "Sandbox.")):
            raise Gone(str(described.get("errorMessage", "")).rpartition("error: ")[2])
        return False, answer

    def kill(self) -> None:
        """End the function's process, then the emulator, each by its parent's leave: nothing stays behind unreaped."""
        emulators = list(children(self.process.pid))
        for runtime in [child for emulator in emulators for child in descendants(emulator)]:
            _kill(runtime)
            give_up = time.monotonic() + 5
            while Path(f"/proc/{runtime}").exists() and time.monotonic() < give_up:
                time.sleep(0.001)
        assert self.process.stdin is not None, "it is a pipe"  # noqa: S101
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if connection := getattr(self, "_connection", None):
            connection.close()

    def _limit_memory(self) -> None:
        """Kill the function's process when it holds more than the function's memory, as Lambda does."""
        limit = self._definition.memory_mb * 1024 * 1024
        runtimes: list[int] = []
        while self.process.poll() is None:
            held = {runtime: resident_bytes(runtime) for runtime in runtimes}
            for runtime in (one for one, size in held.items() if size > limit):
                self._killed_for_memory = True
                _kill(runtime)
            if not all(held.values()) or not held:
                runtimes = self.runtimes()
            time.sleep(_MEMORY_CHECK_SEC)

    def runtimes(self) -> list[int]:
        """Return the process that runs the handler, none before the first request."""
        return [runtime for emulator in children(self.process.pid) for runtime in children(emulator)]


def _error_of(answer: bytes) -> dict[str, Any] | None:
    """Return the description of an error, None for a handler's result: the emulator answers both with status 200."""
    if b'"errorType"' not in answer:
        return None
    try:
        described = json.loads(answer)
    except ValueError:
        return {"errorType": "Sandbox.Unreadable", "errorMessage": ""}
    is_error = isinstance(described, dict) and "errorType" in described and "statusCode" not in described
    return described if is_error else None


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind((LOOPBACK, 0))
        other.bind((LOOPBACK, 0))
        return one.getsockname()[1], other.getsockname()[1]


def children(pid: int) -> Iterator[int]:
    """Yield the processes that `pid` has started; none of one that is gone."""
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            yield from map(int, (task / "children").read_text().split())
    except OSError:
        return


def descendants(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from descendants(child)


def resident_bytes(pid: int) -> int:
    """Return the memory that a process holds, 0 of one that is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
