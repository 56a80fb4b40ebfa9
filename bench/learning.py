"""How well the policies learn, beside their peers: `python -m bench.learning --out FILE.json [--quick]`.

Every learner first tries its eight configurations on shuffles (seeds) of their own; the one with the lowest mean cost
then plays the shuffles that are reported, the same ones for all. The wheel is tuned as one: all deltas together, at
n = 2,000. `bench.learning_tables` renders the result.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import metadata, util
from pathlib import Path
from typing import Any

from bench import classification, wheel
from bench.bar import verdicts
from bench.learners import ENTRIES, SHIPPED, Entry
from bench.learning_tables import markdown
from bench.peers import PACKAGES
from bench.problem import Configuration, Pass, Problem, lowest_reward, play

EVALUATION_SEEDS = range(1000, 1010)
TUNING_SEEDS = range(2000, 2010)

SLOW = "about {} microseconds a round, and 1.2 million rounds"
"""Why a learner does not play the long wheel."""


@dataclass(frozen=True)
class Plan:
    """One problem: how a seed becomes rounds, and which seeds.

    group: the problems that are tuned together, each on its own tuning seeds (perhaps none). skip: reasons by library
    or by name why a learner does not take part.
    """

    name: str
    generate: Callable[[int], Problem]
    evaluation: Sequence[int]
    tuning: Sequence[int]
    group: str
    skip: Sequence[tuple[str, str]] = ()
    package: str | None = None


def plans(quick: bool) -> list[Plan]:
    """Return all problems. The smaller a data set, the more shuffles of it a learner is tuned on."""
    shuffles = EVALUATION_SEEDS[:2] if quick else EVALUATION_SEEDS
    sets = [("wine", 1)] if quick else [("digits", 2), ("breast cancer", 6), ("wine", 10)]
    planned = [
        Plan(name, partial(classification.shuffle, name), shuffles, TUNING_SEEDS[:tuning], name, package="sklearn")
        for name, tuning in sets
    ]
    short, long = (300, 600) if quick else (2_000, 80_000)
    too_slow = [("MABWiser", SLOW.format(300)), ("bayesianbandits", SLOW.format(700)), ("lints", SLOW.format(150))]
    for delta in wheel.DELTAS[1:2] if quick else wheel.DELTAS:
        tuning = TUNING_SEEDS[: 1 if quick else 2]
        planned.append(Plan(wheel.name(delta, short), partial(wheel.wheel, delta, short), shuffles, tuning, "wheel"))
    for delta in wheel.DELTAS[1:2] if quick else wheel.DELTAS:
        seeds = EVALUATION_SEEDS[: 1 if quick else 3]
        skip = [*too_slow, (SHIPPED, "as on the short wheel")]
        planned.append(Plan(wheel.name(delta, long), partial(wheel.wheel, delta, long), seeds, (), "wheel", skip))
    return planned


def left_out(plan: Plan, entry: Entry, quick: bool) -> str | None:
    """Return why this learner does not play this problem, None if it does."""
    for package in (plan.package, entry.package):
        if package and not util.find_spec(package):
            if not quick:
                raise SystemExit(f"{package} is not installed; run `make bench`")
            return f"{package} is not installed"
    return next((reason for who, reason in plan.skip if who in (entry.library, entry.name)), None)


def run(plan: Plan, entry: Entry, configuration: Configuration, seed: int) -> Pass:
    problem = plan.generate(seed)
    (_, dimension), arms = problem.contexts.shape, problem.payoff.shape[1]
    return play(problem, entry.make(configuration, arms, dimension, seed), lowest_reward(configuration))


def task(plan_name: str, quick: bool, entry_index: int, configuration: Configuration, seed: int) -> Pass:
    """Do one pass in a worker process, which finds plan and learner by name: what they hold cannot be pickled."""
    plan = next(plan for plan in plans(quick) if plan.name == plan_name)
    return run(plan, ENTRIES[entry_index], configuration, seed)


def measure(quick: bool, processes: int) -> Iterator[dict[str, Any]]:
    """Yield one result after the other: dictionaries as they stand in the JSON."""
    # Spawned, so that a worker's numpy begins with the one thread that the environment allows it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        entrants = [
            (plan, index, entry)
            for plan in plans(quick)
            for index, entry in enumerate(ENTRIES)
            if left_out(plan, entry, quick) is None
        ]
        trials: dict[tuple[str, int], list[list[Future[Pass]]]] = {}
        for plan, index, entry in entrants:
            rows = trials.setdefault((plan.group, index), [[] for _ in entry.grid])
            for row, configuration in zip(rows, entry.grid, strict=True):
                if len(entry.grid) > 1:
                    row += [pool.submit(task, plan.name, quick, index, configuration, seed) for seed in plan.tuning]
        chosen: dict[tuple[str, int], Configuration] = {}
        for (group, index), rows in trials.items():
            entry = ENTRIES[index]
            costs = [sum(future.result().result for future in row) for row in rows]
            chosen[group, index] = entry.grid[costs.index(min(costs))]
            say(f"tuned on {group}: {entry.library} {entry.name}: {chosen[group, index]}")
        running = []
        for plan, index, entry in entrants:
            configuration = chosen[plan.group, index]
            passes = [pool.submit(task, plan.name, quick, index, configuration, seed) for seed in plan.evaluation]
            running.append((plan, entry, configuration, passes))
        for plan, entry, configuration, passes in running:
            yield summary(plan, entry, configuration, [one.result() for one in passes])


def summary(plan: Plan, entry: Entry, configuration: Configuration, passes: Sequence[Pass]) -> dict[str, Any]:
    values = [one.result for one in passes]
    smallest = [one.smallest for one in passes if one.smallest is not None]
    return {
        "problem": plan.name,
        "learner": entry.name,
        "library": entry.library,
        "support": entry.support,
        "configuration": dict(configuration),
        "configurations_tried": len(entry.grid),
        "tuned_on": plan.group,
        "mean": statistics.mean(values),
        "standard_error": statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None,
        "values": values,
        "smallest_probability": min(smallest) if smallest else None,
        "seconds": sum(one.seconds for one in passes),
        "rounds": sum(one.rounds for one in passes),
    }


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("numpy", "scikit-learn", *PACKAGES):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def learning(*, quick: bool = False, processes: int = 2) -> dict[str, Any]:
    """Return everything that is measured, ready for JSON."""
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"  # the matrices are small, and the processes are the parallelism
    begun = time.perf_counter()
    results = []
    for result in measure(quick, processes):
        results.append(result)
        error = result["standard_error"]
        spread = "" if error is None else f" +- {error:.4f}"
        say(f"{result['problem']}: {result['library']} {result['learner']}: {result['mean']:.4f}{spread}")
    reasons = [(plan, entry, left_out(plan, entry, quick)) for plan in plans(quick) for entry in ENTRIES]
    return {
        "quick": quick,
        "versions": versions(),
        "seeds": {
            plan.name: {"evaluation": list(plan.evaluation), "tuning": list(plan.tuning)} for plan in plans(quick)
        },
        "results": results,
        "bar": verdicts(results),
        "left_out": [
            {"problem": plan.name, "learner": entry.name, "library": entry.library, "reason": reason}
            for plan, entry, reason in reasons
            if reason
        ],
        "seconds": time.perf_counter() - begun,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.learning", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--quick", action="store_true", help="a few short problems; skips what is not installed")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    result = learning(quick=options.quick, processes=options.processes)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(markdown(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
