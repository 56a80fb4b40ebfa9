"""Built functions under Lambda's runtime interface emulator: what their callers get, and that nothing is left over."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack.emulator import Emulated, descendants
from devstack.instances import Outcome
from devstack.template import FunctionDefinition

pytestmark = pytest.mark.emulator

CODE = """
import os, sys, time

def handler(event, context):
    match event.get("do"):
        case "sleep":
            time.sleep(60)
        case "exit":
            os._exit(3)
        case "raise":
            raise ValueError("no such thing")
        case "grow":
            held = bytearray(200 * 1024 * 1024)
            for place in range(0, len(held), 4096):
                held[place] = 1
            time.sleep(60)
        case "answer":
            return "x" * event["length"]
        case "text":
            return {"statusCode": 200, "body": "Task timed out after 2.00 seconds, 'errorType'"}
    here = {"pid": os.getpid(), "path": sys.path, "left": context.get_remaining_time_in_millis()}
    return here | {"environment": dict(os.environ), "name": context.function_name}
"""

Invoke = Callable[..., Outcome]


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Emulated]:
    (tmp_path / "Tiny").mkdir()
    (tmp_path / "Tiny" / "app.py").write_text(CODE)
    (tmp_path / "SharedLayer" / "python").mkdir(parents=True)
    definition = FunctionDefinition("Tiny", tmp_path, timeout=4.0, memory_mb=128)
    with (tmp_path / "log").open("wb") as log:
        instances = Emulated(definition, {"COLOUR": "green"}, build=tmp_path, log=log, limit=2)
        yield instances
        started = [pid for one in instances._all for pid in (one.process.pid, *descendants(one.process.pid))]  # type: ignore[attr-defined]
        instances.close()
    assert started
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == [], "a process was left"


def call(instances: Emulated, **event: Any) -> Any:
    return json.loads(instances.invoke(json.dumps(event).encode()).payload)


def test_a_function_finds_its_folders_and_variables_and_nothing_of_ours(tiny: Emulated, tmp_path: Path) -> None:
    found = call(tiny)
    assert found["name"] == "Tiny"
    assert 0 < found["left"] <= 4000
    assert found["environment"]["COLOUR"] == "green"
    assert found["environment"]["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.13"
    assert found["environment"]["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"
    own = [entry for entry in found["path"] if "site-packages" in entry or str(tmp_path) in entry]
    layer = str(tmp_path / "SharedLayer" / "python")
    assert [entry for entry in own if "site-packages" not in entry][-2:] == [str(tmp_path / "Tiny"), layer]
    assert [Path(entry).parents[2].name for entry in own if "site-packages" in entry] == [".venv-runtime"]
    assert call(tiny)["pid"] == found["pid"], "the environment was not used again"


def test_what_a_handler_raises_is_an_error_of_an_environment_that_goes_on(tiny: Emulated) -> None:
    pid = call(tiny)["pid"]
    outcome = tiny.invoke(b'{"do": "raise"}')
    assert outcome.is_error
    assert json.loads(outcome.payload)["errorType"] == "ValueError"
    assert call(tiny)["pid"] == pid


def test_a_result_that_speaks_of_errors_and_time_outs_is_none(tiny: Emulated) -> None:
    outcome = tiny.invoke(b'{"do": "text"}')
    assert not outcome.is_error
    assert json.loads(outcome.payload)["statusCode"] == 200


@pytest.mark.parametrize(
    ("event", "kind", "message"),
    [
        ({"do": "exit"}, "Runtime.ExitError", "Runtime exited with error: exit status 3"),
        ({"do": "grow"}, "Runtime.ExitError", "Runtime exited with error: signal: killed"),
        ({"do": "sleep"}, "Sandbox.Timedout", "Task timed out after 4.00 seconds"),
    ],
)
def test_after_a_bad_end_the_next_request_has_a_new_process(
    tiny: Emulated, event: dict[str, Any], kind: str, message: str
) -> None:
    before = call(tiny)["pid"]
    outcome = tiny.invoke(json.dumps(event).encode())
    assert outcome.is_error
    described = json.loads(outcome.payload)
    assert described["errorType"] == kind
    assert described["errorMessage"].endswith(message)
    assert call(tiny)["pid"] != before


def test_an_answer_over_6_mb_is_refused_and_a_smaller_one_is_whole(tiny: Emulated) -> None:
    assert len(call(tiny, do="answer", length=5_900_000)) == 5_900_000
    outcome = tiny.invoke(b'{"do": "answer", "length": 7000000}')
    assert outcome.is_error
    assert json.loads(outcome.payload)["errorType"] == "Function.ResponseSizeTooLarge"
    assert call(tiny)["name"] == "Tiny"


def test_nobody_is_left_when_the_starter_dies(tmp_path: Path, tiny: Emulated) -> None:
    pid = call(tiny)["pid"]
    (instance,) = tiny._all
    instance.process.stdin.close()  # type: ignore[attr-defined]
    give_up = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < give_up:
        time.sleep(0.01)
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or ") Z " in state.read_text()


def test_a_function_that_was_not_built_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make build"):
        Emulated(FunctionDefinition("Tiny", tmp_path), {}, build=tmp_path)
