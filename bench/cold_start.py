"""How long `generate` imports at init on Lambda, beside the same imports without our code; fresh processes in turn."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.timing import Times, ratio
from devstack.events import REGION

ROOT = Path(__file__).resolve().parents[1]
OURS = ("app", "tips")
SIDES = ("app", "floor", "imports")
"""app: `import app`; imports: the same modules; floor: those, a first call by LiteLLM and a client for DynamoDB."""


def environment() -> dict[str, str]:
    """Return what a process has in place of Lambda's: nothing it could reach, and bytecode where it is."""
    folders = (ROOT / "functions" / "generate", ROOT / "layers" / "shared")
    nowhere = "http://127.0.0.1:9"
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_FUNCTION_NAME": "GenerateFunction",
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_EC2_METADATA_DISABLED": "true",
        "TABLE_NAME": "tips",
        "DYNAMODB_ENDPOINT": nowhere,
        "LITELLM_URL": nowhere,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MODE": "PRODUCTION",
        "OPENBLAS_NUM_THREADS": "1",
    }


@dataclass(frozen=True)
class Start:
    """One process. wall, processor: ms; modules: what was imported, in that order, without our own."""

    wall: float
    processor: float
    modules: list[str]


def start(side: str, names: Sequence[str] = ()) -> Start:
    """Run one process. names: what a side imports that is not `app`. Raises `CalledProcessError` when it fails."""
    command = [sys.executable, "-P", str(ROOT / "bench" / "cold_import.py"), side]
    done = subprocess.run(  # noqa: S603
        command, input="\n".join(names), env=environment(), stdout=subprocess.PIPE, text=True, check=True
    )
    times, *imported = done.stdout.splitlines()
    wall, processor = map(float, times.split())
    return Start(wall, processor, [name for name in imported if name.partition(".")[0] not in OURS])


def cold_starts(*, rounds: int) -> dict[str, Any]:
    """Return a row for each side; ratios are of neighbours in time. Raises `RuntimeError` when their imports differ."""
    names = start("app").modules  # writes the bytecode, too
    times = {side: Times([], []) for side in SIDES}
    for number in range(rounds + 1):
        for side in SIDES if number % 2 else reversed(SIDES):
            one = start(side, names)
            if other := set(names) ^ set(one.modules):
                raise RuntimeError(f"not the same imports for {side}: {sorted(other)}")
            if number:  # the first round brings everything into the disk's cache
                times[side].wall.append(one.wall * 1000)
                times[side].processor.append(one.processor * 1000)
    return {"modules": len(names), "rounds": rounds, "rows": rows(times)}


def rows(times: Mapping[str, Times]) -> list[dict[str, Any]]:
    return [{"name": side, "ms": one.median() / 1000, **ratio(times["app"], one)} for side, one in times.items()]
