"""`sam local` as a person would run it: its variables, one invocation, and start-lambda while a context lasts."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devstack.events import REGION
from devstack.http_server import LOOPBACK
from devstack.stack import LOCAL_BUDGETS
from devstack.template import ROOT, FunctionDefinition
from scripts.sam_local_engine import ARCHITECTURE, Engine

FUNCTIONS = {
    "score": "ScoreFunction",
    "reward": "ScoreFunction",
    "generate": "GenerateFunction",
    "consume": "ConsumeFunction",
}
"""By the first word of an event's file name."""
_TIMEOUT_SEC = 120
_INVOKE_SEC = 240  # SAM builds an image of the layer each time
_START_SEC = 180
_STOP_SEC = 60
_CONTAINER = re.compile(r"SAM_CONTAINER_ID: ([0-9a-f]{12,64})")


class NoAnswer(Exception):
    """`sam local` printed no JSON; the text is the end of what it said instead."""


def events(folder: Path = ROOT / "events") -> list[tuple[str, Path]]:
    """Return every event with the function that it belongs to; raises `ValueError` on one that belongs to none."""
    found = []
    for path in sorted(folder.glob("*.json")):
        function = FUNCTIONS.get(re.split(r"[._-]", path.name)[0])
        if function is None:
            raise ValueError(f"{path.name} belongs to no function: its first word is none of {', '.join(FUNCTIONS)}")
        found.append((function, path))
    return found


def variables(definition: FunctionDefinition, table_name: str, endpoint: str) -> dict[str, str]:
    """Return what differs from the template for local work, of the variables that the template declares."""
    local = {**LOCAL_BUDGETS, "TABLE_NAME": table_name, "DYNAMODB_ENDPOINT": endpoint}
    return {name: value for name, value in local.items() if name in definition.environment}


def patient_template(build: Path) -> str:
    """Return the built template, to be read from any folder, with time-outs that only what hangs reaches.

    A container's time includes the function's start, which a busy machine draws out as the cloud never does.
    """
    text = (build / "template.yaml").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^( +(?:CodeUri|ContentUri): )(\S+)$", lambda found: f"{found[1]}{build / found[2]}", text)
    return re.sub(r"(?m)^( +Timeout: )\d+$", rf"\g<1>{_TIMEOUT_SEC}", text)


@dataclass(frozen=True, slots=True)
class SamLocal:
    """build: the folder of `make build`. functions: the template's. work: a folder for what SAM reads."""

    engine: Engine
    build: Path
    functions: Mapping[str, FunctionDefinition]
    work: Path

    def invoke(self, function: str, event: Path, table_name: str, endpoint: str) -> Any:
        """Return what a function answers in a container of its own; raises `NoAnswer`."""
        command = self._command("invoke", function, "--event", str(event), table=(table_name, endpoint))
        log = self.work / "invoke.log"
        with log.open("wb") as errors:
            process = self._started(command, subprocess.PIPE, errors)
            try:
                out, _ = process.communicate(timeout=_INVOKE_SEC)
            except subprocess.TimeoutExpired:
                out = b""
            finally:
                self._end(process, log)
        try:
            # Errors, too, are printed and end with code 0; a time-out prints nothing.
            return json.loads(out)
        except ValueError:
            raise NoAnswer(log.read_text(errors="replace")[-2000:]) from None

    @contextmanager
    def lambda_api(self, table_name: str, endpoint: str) -> Iterator[str]:
        """Yield the URL of `sam local start-lambda`; raises `NoAnswer` when it does not start."""
        with socket.create_server((LOOPBACK, 0)) as free:
            port: int = free.getsockname()[1]
        where = ("--host", LOOPBACK, "--port", str(port))
        log = self.work / "start-lambda.log"
        with log.open("wb") as output:
            process = self._started(self._command("start-lambda", *where, table=(table_name, endpoint)), output, output)
            try:
                _wait_for(port, process, log)
                yield f"http://{LOOPBACK}:{port}"
            finally:
                self._end(process, log)

    def _command(self, *arguments: str, table: tuple[str, str]) -> list[str]:
        env_vars = self.work / "env.json"
        template = self.work / "template.yaml"
        template.write_text(patient_template(self.build), encoding="utf-8")
        chosen = {name: variables(definition, *table) for name, definition in self.functions.items()}
        env_vars.write_text(json.dumps(chosen), encoding="utf-8")
        return [
            str(ROOT / "scripts" / "sam_offline.sh"),
            *("local", *arguments),
            *("--template", str(template)),
            *("--parameter-overrides", f"Architecture={ARCHITECTURE}"),
            *("--env-vars", str(env_vars), "--skip-pull-image"),
        ]

    def _started(self, command: list[str], out: Any, errors: Any) -> subprocess.Popen[bytes]:
        # SAM takes a variable that the template declares from its own environment as well, so it gets a bare one.
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        environment |= {
            "DOCKER_HOST": self.engine.address,
            # SAM locks the building of an image by a file there, and waits for minutes where a killed one left it.
            "TMPDIR": str(self.work),
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": REGION,
        }
        return subprocess.Popen(
            command,
            cwd=self.work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            start_new_session=True,
        )

    def _end(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """End SAM as Ctrl-C would, so that it removes its containers, and remove those that it left."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(_STOP_SEC)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.stdout is not None:
            process.stdout.close()
        for container in set(_CONTAINER.findall(log.read_text(errors="replace"))):
            self.engine.remove(container)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SEC
    while True:
        try:
            socket.create_connection((LOOPBACK, port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise NoAnswer(log.read_text(errors="replace")[-2000:]) from None
            time.sleep(0.1)
