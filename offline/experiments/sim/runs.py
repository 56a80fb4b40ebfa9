"""Runs beside each other, each in a process of its own, with live progress; one that fails takes no other with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from devstack.template import ROOT
from offline.experiments.sim.run import Progress as Done
from offline.experiments.sim.run import Spec

AT_ONCE = 2
_LAST_LINES = 12


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that ended without a result, and the end of what it wrote."""

    spec: Spec
    code: int
    said: str


def run_all(
    specs: Sequence[Spec], *, at_once: int = AT_ONCE, environment: Mapping[str, str] | None = None, quiet: bool = False
) -> list[Failure]:
    """Carry out all runs, `at_once` at a time, and return those that failed. Progress goes to standard error."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[doing]}"),
        TimeElapsedColumn(),
    )
    processes: list[subprocess.Popen[str]] = []
    with ExitStack() as open_:
        console = Console(stderr=True)
        progress = open_.enter_context(Progress(*columns, console=console, disable=quiet or not console.is_terminal))
        threads = open_.enter_context(ThreadPoolExecutor(at_once))

        def carried_out(spec: Spec) -> Failure | None:
            task = progress.add_task(f"{spec.policy} seed {spec.seed}", total=None, doing="starts")

            def told(now: Done) -> None:
                progress.update(task, completed=now.done, total=now.total, doing=now.doing)

            failure = _carry_out(spec, told, processes, environment or os.environ)
            progress.update(task, doing="done" if failure is None else f"failed ({failure.code})")
            progress.stop_task(task)
            if not (quiet or console.is_terminal):
                ended = "done" if failure is None else f"failed with exit code {failure.code}"
                console.print(f"{spec.policy} seed {spec.seed}: {ended}", highlight=False)
            return failure

        try:
            results = list(threads.map(carried_out, specs))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.kill()
            raise
    return [failure for failure in results if failure is not None]


def _carry_out(
    spec: Spec, told: Callable[[Done], None], processes: list[subprocess.Popen[str]], environment: Mapping[str, str]
) -> Failure | None:
    variables = {
        **environment,
        "PYTHONPATH": os.pathsep.join((str(ROOT / "layers" / "shared"), str(ROOT))),
        # For results that repeat themselves to the bit, and runs that do not take each other's cores.
        "PYTHONHASHSEED": "0",
        "OPENBLAS_NUM_THREADS": "1",
        "POLARS_MAX_THREADS": "1",
    }
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, a module of ours
            [sys.executable, "-m", "offline.experiments.sim.run", spec.to_json()],
            cwd=ROOT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        processes.append(process)
        with process:
            for line in process.stdout or ():
                told(Done(**json.loads(line)))
        if process.returncode == 0:
            return None
        log.seek(0)
        lines = log.read().splitlines()
    return Failure(spec, process.returncode, "\n".join(lines[-_LAST_LINES:]))
