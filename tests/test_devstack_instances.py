"""Instances of a function: processes that serve one request at a time, are replaced, and die with their parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from devstack.instances import Busy, Instances
from devstack.template import ROOT, FunctionDefinition

Tiny = Callable[..., FunctionDefinition]

CODE = """
import os, sys, time
served = 0

def handler(event, context):
    global served
    served += 1
    action = event.get("do")
    if action == "sleep":
        start = time.time()
        time.sleep(event["seconds"])
        return {"pid": os.getpid(), "start": start, "end": time.time()}
    if action == "exit":
        os._exit(3)
    if action == "raise":
        raise ValueError("no such thing")
    if action == "object":
        return {"value": object()}
    if action == "large":
        return "x" * (7 * 1024 * 1024)
    if action == "print":
        print("to stdout"); print("to stderr", file=sys.stderr)
    if action == "environment":
        return dict(os.environ)
    if action == "path":
        return sys.path
    return {"pid": os.getpid(), "served": served, "id": context.aws_request_id,
            "name": context.function_name, "left": context.get_remaining_time_in_millis()}
"""


@contextmanager
def running(definition: FunctionDefinition, log: IO[Any] | int = 2, limit: int = 4, **env: str) -> Iterator[Any]:
    instances = Instances(definition, env, log=log, limit=limit)

    def call(**event: Any) -> Any:
        outcome = instances.invoke(json.dumps(event).encode())
        answer = json.loads(outcome.payload)
        return {"error": answer} if outcome.is_error else answer

    call.instances = instances  # type: ignore[attr-defined]
    try:
        yield call
    finally:
        instances.close()


def test_one_instance_is_used_again_and_gets_its_context(tiny_function: Tiny) -> None:
    with running(tiny_function(CODE, timeout=5)) as call:
        first, second = call(), call()
    assert second["served"] == 2
    assert first["pid"] == second["pid"] != os.getpid()
    assert first["id"] != second["id"]
    assert first["name"] == "TinyFunction"
    assert 0 < first["left"] <= 5000


def test_requests_at_the_same_time_run_in_instances_of_their_own(tiny_function: Tiny) -> None:
    with running(tiny_function(CODE)) as call, ThreadPoolExecutor(2) as executor:
        one, other = executor.map(lambda _: call(do="sleep", seconds=0.6), range(2))
    assert one["pid"] != other["pid"]
    assert max(one["start"], other["start"]) < min(one["end"], other["end"])


@pytest.mark.thorough
def test_at_the_limit_requests_wait_and_at_last_are_refused(tiny_function: Tiny) -> None:
    with running(tiny_function(CODE, timeout=3), limit=1) as call, ThreadPoolExecutor(4) as executor:
        call()
        waiting = list(executor.map(lambda _: call(do="sleep", seconds=0.1), range(3)))
        assert len({answer["pid"] for answer in waiting}) == 1
        slow = executor.submit(call, do="sleep", seconds=2)
        time.sleep(0.1)
        others = [executor.submit(call, do="sleep", seconds=2) for _ in range(2)]
        assert slow.result()["pid"]
        refused = [error for other in others if (error := other.exception()) is not None]
        assert [type(error) for error in refused] == [Busy]


def test_a_request_over_time_is_killed_and_the_next_one_served(tiny_function: Tiny, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as file, running(tiny_function(CODE, timeout=0.3), file) as call:
        first = call()
        answer = call(do="sleep", seconds=60)
        assert answer["error"]["errorType"] == "Sandbox.Timedout"
        assert "Task timed out after 0.30 seconds" in answer["error"]["errorMessage"]
        assert call()["pid"] != first["pid"]
        with pytest.raises(ProcessLookupError):
            os.kill(first["pid"], 0)
    assert "timed out" in log.read_text()


def test_a_crash_is_an_error_of_that_request_alone(tiny_function: Tiny) -> None:
    with running(tiny_function(CODE)) as call:
        first = call()
        assert call(do="exit")["error"]["errorType"] == "Runtime.ExitError"
        assert call()["pid"] != first["pid"]


def test_an_exception_is_described_and_the_instance_lives_on(tiny_function: Tiny) -> None:
    with running(tiny_function(CODE)) as call:
        first = call()
        error = call(do="raise")["error"]
        assert (error["errorType"], error["errorMessage"]) == ("ValueError", "no such thing")
        assert "app.py" in error["stackTrace"][-1]
        assert call(do="object")["error"]["errorType"] == "Runtime.MarshalError"
        assert call(do="large")["error"]["errorType"] == "Function.ResponseSizeTooLarge"
        assert call()["pid"] == first["pid"]


def test_a_function_that_cannot_be_loaded_says_why(tiny_function: Tiny) -> None:
    with running(tiny_function("import no_such_module")) as call:
        assert call()["error"]["errorType"] == "ModuleNotFoundError"
        assert call()["error"]["errorType"] == "ModuleNotFoundError"
        with pytest.raises(RuntimeError, match="no_such_module"):
            call.instances.warm()


def test_output_goes_to_the_log_and_not_into_answers(tiny_function: Tiny, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as file, running(tiny_function(CODE), file) as call:
        assert "pid" in call(do="print")
    assert log.read_text().split("\n")[:2] == ["to stdout", "to stderr"]


def test_the_environment_is_the_functions_own(tiny_function: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "x")
    with running(tiny_function(CODE), TABLE_NAME="tips") as call:
        environment, path = call(do="environment"), call(do="path")
    assert environment["TABLE_NAME"] == "tips"
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == "TinyFunction"
    assert "SECRET_OF_THE_CALLER" not in environment
    assert "AWS_EXECUTION_ENV" not in environment
    assert path[0].endswith("TinyFunction")
    assert path[1] == str(ROOT / "layers" / "shared")
    assert str(ROOT) not in path


@pytest.mark.parametrize("busy", [False, True])
def test_instances_die_with_a_parent_that_is_killed(busy: bool, tiny_function: Tiny) -> None:
    definition = tiny_function(CODE, timeout=100)
    parent_code = f"""
import json, threading, time
from pathlib import Path
from devstack.instances import Instances
from devstack.template import FunctionDefinition
instances = Instances(FunctionDefinition("F", Path({str(definition.folder)!r})), {{}})
pid = json.loads(instances.invoke(b"{{}}").payload)["pid"]
if {busy}:
    threading.Thread(target=instances.invoke, args=[b'{{"do": "sleep", "seconds": 50}}'], daemon=True).start()
    time.sleep(0.2)
print(pid, flush=True)
time.sleep(60)
"""
    path = os.pathsep.join([str(ROOT), str(ROOT / "layers" / "shared")])
    with subprocess.Popen(
        [sys.executable, "-c", parent_code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        os.kill(worker, 0)
        parent.send_signal(signal.SIGKILL)
    assert _gone(worker)


def _gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True  # nobody has reaped it yet
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False
