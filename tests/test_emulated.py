"""Which tests `--emulated` chooses: some of each listed module, and no name of one that has gone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from devstack.template import ROOT
from tests.emulated import CONTRACT, EXCLUDED


def test_every_listed_module_and_excluded_test_is_there() -> None:
    for name in CONTRACT:
        assert (ROOT / "tests" / f"{name}.py").is_file(), name
    for excluded in EXCLUDED:
        module, _, test = excluded.partition("::")
        assert module in CONTRACT
        assert f"def {test}(" in (ROOT / "tests" / f"{module}.py").read_text(), excluded


@pytest.mark.emulator
def test_each_listed_module_has_tests_that_run_on_what_was_built() -> None:
    files = [f"tests/{name}.py" for name in CONTRACT]
    command = [sys.executable, "-m", "pytest", "--emulated", "-m", "emulator", "--collect-only", "-q", *files]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    chosen = [line for line in done.stdout.splitlines() if "::" in line]
    tests = Counter(line.partition("::")[0] for line in chosen)
    assert tests.keys() == set(files)
    excluded = {f"tests/{one.replace('::', '.py::')}" for one in EXCLUDED}
    assert not excluded & {line.partition("[")[0] for line in chosen}
