"""Builds the artifacts once and calls them as Lambda would, with nothing else on the path."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from devstack.emulator import BUILD, MINOR
from devstack.template import ROOT, Template
from scripts.artifacts import LAYER, packages


@dataclass(frozen=True)
class Ran:
    """One process of a built function. `imported`: the files of the artifacts that it loaded as modules."""

    answer: Any
    imported: frozenset[Path]


@cache
def built() -> Path:
    """Return the folder of the artifacts of this tree, built once in a run of the tests."""
    return run_build(BUILD)


def run_build(folder: Path, minor: str = MINOR, arch: str = "", umask: int = -1) -> Path:
    """Run `make build`; returns `folder`."""
    # The caller's PYTHONPATH is for the tree, not for the tools that build.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = ["make", "build", f"PY={minor}", f"BUILD_DIR={folder}", *([f"ARCH={arch}"] if arch else [])]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, umask=umask, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def refused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def event(name: str) -> dict[str, Any]:
    """Return an event of `events/`."""
    found: dict[str, Any] = json.loads((ROOT / "events" / name).read_text())
    return found


def run(function: str, folder: Path, events: Sequence[Any], **variables: str) -> Ran:
    """Call a built function once per event, in one process; `folder` is scratch.

    Nothing answers where its table should be, unless `variables` say otherwise.
    """
    request = {"folders": [str(packages(built(), function)), str(packages(built(), LAYER))], "events": list(events)}
    (folder / "request.json").write_text(json.dumps(request))
    environment = dict(Template().functions()[function].environment) | {
        "DYNAMODB_ENDPOINT": f"http://127.0.0.1:{refused_port()}",
        "TABLE_DEADLINE_MS": "200",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": "eu-west-1",
        "PATH": os.environ["PATH"],
        **variables,
    }
    # -I and -S: nothing of this environment's packages, of the tree or of the user is on the path.
    command: list[str | Path] = [sys.executable, "-I", "-S", "-B", ROOT / "tests" / "built_function.py"]
    command += [folder / "request.json", folder / "result.json"]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    assert result["strangers"] == {}, "a module came from outside the artifact"
    assert result["compiled"] == [], "the shipped bytecode was not used"
    return Ran(result["answer"], frozenset(map(Path, result["imported"])))
