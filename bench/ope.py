"""Our off-policy estimators beside Open Bandit Pipeline's, on its own published experiments: `make bench-ope`.

obp makes the logs, the reward model and its own estimates, in .venv-obp; ours are computed here from the same logs.
With --sequence, which takes minutes, the confidence sequence too: false alarms without a difference, and how soon a
true gain is found; without, what was measured before stays. Writes ope.json and ope.md beside this file (with --quick
elsewhere) and prints the tables.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from bench import ope_adaptive
from bench.ope_tables import markdown
from offline.experiments.estimators import Rounds, estimates, tuned_shrinkage

HERE = Path(__file__).resolve().parent
REFEREE = HERE.parent / ".venv-obp" / "bin" / "python"
RUNS = 30
FIXED = 100.0
AGREEMENT = 1e-8
"""Largest difference from obp's estimate of the same logs."""

# Means and standard deviations over 30 runs, from examples/multiclass/README.md and examples/obd/README.md of obp.
PUBLISHED: dict[str, dict[str, tuple[float, float]]] = {
    "digits": {
        "dm": (0.436541, 0.017629),
        "ips": (0.030288, 0.024506),
        "snips": (0.022764, 0.017917),
        "dr": (0.016156, 0.012679),
        "sndr": (0.022082, 0.016865),
        "dros": (0.015868, 0.012537),
    },
    "obd": {
        "dm": (0.156876, 0.109898),
        "ips": (0.311082, 0.311170),
        "snips": (0.311795, 0.334736),
        "dr": (0.292464, 0.315485),
        "sndr": (0.302407, 0.328434),
        "dros": (0.159520, 0.109660),
    },
}


def refereed(*arguments: str) -> Iterator[dict[str, Any]]:
    """Yield what obp says of each run, while it goes on; a run's file of logs is gone afterwards.

    arguments: of `ope_referee`, without the folder. Raises `CalledProcessError` when it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [str(REFEREE), str(HERE / "ope_referee.py"), *arguments, folder]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": ""}
        with (Path(folder) / "errors").open("w+") as errors:
            process = subprocess.Popen(  # noqa: S603
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )
            with process:
                for line in process.stdout or ():
                    answer = json.loads(line)
                    yield answer
                    Path(answer["file"]).unlink()
            if process.returncode:
                errors.seek(0)
                raise subprocess.CalledProcessError(process.returncode, command, stderr=errors.read())


def rounds_of(file: Path) -> Rounds:
    """Return what our estimators need of a run's logs."""
    with np.load(file) as logs:
        rows, action = np.arange(len(logs["action"])), logs["action"]
        judged, expected = logs["action_dist"], logs["expected"]
        return Rounds(
            logs["reward"].astype(np.float64),
            judged[rows, action] / logs["pscore"],
            expected[rows, action],
            (judged * expected).sum(axis=1),
        )


def ours(rounds: Rounds) -> dict[str, float]:
    """Return our estimates under the names by which the referee gives its own."""
    values = estimates(rounds, tuned_shrinkage(rounds))
    return {**values, f"dros, lambda {FIXED:g}": estimates(rounds, FIXED)["dros"]}


def reproduced(experiment: str, runs: int) -> dict[str, Any]:
    """Return one published table beside what obp and we get, as relative errors of the estimated value."""
    errors: dict[str, dict[str, list[float]]] = {"obp": {}, "ours": {}}
    apart, began = 0.0, time.monotonic()
    for answer in refereed(experiment, str(runs)):
        got = ours(rounds_of(Path(answer["file"])))
        for name, theirs in answer["estimates"].items():
            apart = max(apart, abs(theirs - got[name]))
            for who, value in (("obp", theirs), ("ours", got[name])):
                errors[who].setdefault(name, []).append(abs(value - answer["truth"]) / abs(answer["truth"]))
        print(f"{experiment}: run {answer['run'] + 1} of {runs}", file=sys.stderr)
    rows = []
    for name, (mean, deviation) in PUBLISHED[experiment].items():
        error = deviation / math.sqrt(RUNS)
        own = float(np.mean(errors["ours"][name]))
        rows.append(
            {
                "estimator": name,
                "published": mean,
                "obp": float(np.mean(errors["obp"][name])),
                "ours": own,
                "standard_error": error,
                "within": abs(own - mean) <= 2 * error,
            }
        )
    seconds = time.monotonic() - began
    return {"rows": rows, "runs": runs, "largest_difference": apart, "agrees": apart < AGREEMENT, "seconds": seconds}


def _before() -> dict[str, Any] | None:
    """Return what was measured of the sequence last time."""
    file = HERE / "ope.json"
    before: dict[str, Any] | None = json.loads(file.read_text())["sequence"] if file.exists() else None
    return before


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.ope", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small run, to see that everything works")
    parser.add_argument("--sequence", action="store_true", help="measure the confidence sequence anew")
    parser.add_argument("--into", type=Path, help="folder for ope.json and ope.md")
    options = parser.parse_args(arguments)
    if not REFEREE.exists():
        parser.error("Open Bandit Pipeline is not installed: run `make env-obp`")
    if options.quick and options.into is None:
        options.into = Path(tempfile.mkdtemp(prefix="bench-"))
    folder: Path = options.into or HERE
    folder.mkdir(parents=True, exist_ok=True)
    runs = 2 if options.quick else RUNS
    with ThreadPoolExecutor() as pool:
        reproduction = dict(zip(PUBLISHED, pool.map(lambda one: reproduced(one, runs), PUBLISHED), strict=True))
    results = {
        "quick": options.quick,
        "reproduced": reproduction,
        "sequence": ope_adaptive.measured(options.quick) if options.sequence else _before(),
    }
    tables = markdown(results)
    (folder / "ope.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "ope.md").write_text(tables)
    print(tables)
    print(f"Written: {folder / 'ope.json'} and ope.md", file=sys.stderr)
    agrees = all(one["agrees"] for one in reproduction.values())
    within = options.quick or all(row["within"] for one in reproduction.values() for row in one["rows"])
    return 0 if agrees and within else 1


if __name__ == "__main__":
    sys.exit(main())
