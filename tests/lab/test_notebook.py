"""The notebook runs from its first cell to its last, keeps nothing of any one run, and nothing imports it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "offline" / "notebooks").glob("*"))


def cells() -> list[dict[str, Any]]:
    (notebook,) = NOTEBOOKS
    found: list[dict[str, Any]] = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return found


def test_the_notebook_runs() -> None:
    (notebook,) = NOTEBOOKS
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TIPS_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbmake", "--nbmake-timeout=240"]
    # Not this project's options: they are for tests in Python, and its conftest for those of the functions.
    apart = ["-c", os.devnull, "--rootdir", str(notebook.parent), str(notebook)]
    done = subprocess.run([*command, *apart], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_notebook_is_kept_without_what_one_run_printed() -> None:
    of_code = [cell for cell in cells() if cell["cell_type"] == "code"]
    assert len(of_code) >= 8
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in of_code)


def test_nothing_imports_a_notebook() -> None:
    assert [one.suffix for one in NOTEBOOKS] == [".ipynb"], "no module lies beside it that could be imported"
    folders = ("layers", "functions", "offline", "bench", "bridge", "devstack", "scripts", "tests")
    modules = [one for folder in folders for one in (ROOT / folder).rglob("*.py") if one != Path(__file__)]
    assert len(modules) > 300
    for module in modules:
        assert not re.search(r"offline[./]notebooks|import\s+notebooks", module.read_text(encoding="utf-8")), module
