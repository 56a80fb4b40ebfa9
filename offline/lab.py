"""Commands that need the lab's packages (polars, MLflow and the like), which are no part of the usual environment."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from offline.command import BadInput

_ROOT = Path(__file__).resolve().parents[1]
_PYTHON = _ROOT / ".venv-lab" / "bin" / "python"
_HERE = "TIPS_IN_LAB"


def required() -> None:
    """Go on in the lab's environment: at once where this is it, else by running the same command there.

    Raises `BadInput` where it has not been made.
    """
    if find_spec("polars") is not None and find_spec("mlflow") is not None:
        return
    if not _PYTHON.exists() or os.environ.get(_HERE):
        raise BadInput(f"this command needs the lab's packages: run `make env-lab` in {_ROOT}")
    sys.stdout.flush()
    arguments = [str(_PYTHON), "-P", "-m", "offline.cli", *sys.argv[1:]]
    os.execve(_PYTHON, arguments, {**os.environ, _HERE: "1"})  # noqa: S606
