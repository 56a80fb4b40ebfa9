"""How long a function's first answer takes in a new environment: `python -m bench.cold --out FILE.json [--quick]`.

What `make build` left, under Lambda's runtime interface emulator, beside the floor: the same libraries and calls
without code of ours. Only ratios within one run mean something on a shared machine. `bench.cold_tables` renders it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.cold_sides import Function, Side, functions, sides
from bench.timing import Times, ratio
from devstack.emulator import BUILD
from devstack.template import ROOT

FLOOR_RATIO = {"score": 1.15, "consume": 1.15, "generate": 1.10}
"""A first answer may take at most this many times the floor's."""
NAIVE_RATIO = {"score": 0.45}
"""And at most this share of what a build without any trouble taken needs."""
ROUNDS = 15


def alternating(compared: Mapping[str, Side], *, rounds: int) -> dict[str, Times]:
    """Start all in turn, every second round in the other order; a first round warms the disk's cache."""
    times = {name: Times([], []) for name in compared}
    for number in range(rounds + 1):
        for name in compared if number % 2 else reversed([*compared]):
            one = compared[name].start()
            if number:
                times[name].wall.append(one.wall)
                times[name].processor.append(one.processor)
    return times


def measure(function: Function, build: Path, *, rounds: int) -> dict[str, Any]:
    """Return a row for each side; ratios are of our first answer to the side's, within each round."""
    with sides(function, build) as compared:
        times = alternating(compared.sides, rounds=rounds)
    ours = times["ours"]
    rows = {
        name: {"ms": one.median() / 1000, "processor_ms": one.median_processor() / 1000, **ratio(ours, one)}
        for name, one in times.items()
    }
    bars = [
        {"side": side, "ratio": most[function.name], "met": rows[side]["ratio"] <= most[function.name]}
        for side, most in (("floor", FLOOR_RATIO), ("naive", NAIVE_RATIO))
        if function.name in most
    ]
    return {
        "function": function.name,
        "modules": compared.modules,
        "calls": compared.calls,
        "rows": [{"name": name, **row} for name, row in rows.items()],
        "bars": bars,
    }


def cold(build: Path = BUILD, *, quick: bool = False) -> dict[str, Any]:
    """Return everything that is measured, ready for JSON. Raises `FileNotFoundError` where nothing was built."""
    begun = time.perf_counter()
    rounds = 2 if quick else ROUNDS
    measured = [measure(function, build, rounds=rounds) for function in functions()]
    return {"quick": quick, "rounds": rounds, "functions": measured, "seconds": time.perf_counter() - begun}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.cold", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("--build", type=Path, default=BUILD, help="what make build left")
    options = parser.parse_args(arguments)
    # uv is there, which installs as the build does.
    os.environ["PATH"] = os.pathsep.join([str(ROOT / ".venv" / "bin"), os.environ["PATH"]])
    result = cold(options.build, quick=options.quick)
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")

    from bench.cold_tables import markdown

    print(markdown(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
