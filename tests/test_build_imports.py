"""What the built functions import before their first call, by `-X importtime`: names, no times that vary."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from devstack.template import Template
from scripts.artifacts import FUNCTIONS, LAYER, packages
from tests.built import built
from tests.test_imports import FORBIDDEN

pytestmark = pytest.mark.build

_LINE = re.compile(r"import time: +(\d+) \| +(\d+) \| +(\S+)", re.MULTILINE)
_FOLDERS = {"ScoreFunction": "score", "GenerateFunction": "generate", "ConsumeFunction": "consume"}


@cache
def imports(function: str) -> dict[str, int]:
    """Return the microseconds of each module that the import of `app` brings, with what it imports itself.

    Names that were looked for in vain are among them: that takes time too.
    """
    folders = [str(packages(built(), function)), str(packages(built(), LAYER))]
    environment = dict(Template().functions()[function].environment) | {
        "AWS_REGION": "eu-west-1",
        "PATH": os.environ["PATH"],
    }
    code = f"import sys; sys.path[:0] = {folders!r}; import app"
    command: list[str | Path] = [sys.executable, "-X", "importtime", "-I", "-S", "-B", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: int(total) for _, total, name in _LINE.findall(done.stderr)}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_built_function_imports_nothing_that_it_does_not_need(function: str) -> None:
    times = imports(function)
    largest = [(name, times[name] / 1000) for name in sorted(times, key=times.__getitem__, reverse=True)][1:6]
    print(f"{function}: {len(times)} modules; " + ", ".join(f"{name} {ms:.0f} ms" for name, ms in largest))
    assert {"app", "tips.settings", "botocore.session"} <= times.keys()
    forbidden = FORBIDDEN[_FOLDERS[function]]
    found = {name for name in times if any(name == one or name.startswith(f"{one}.") for one in forbidden)}
    assert found == set()
