"""How fast it is: `python -m bench.speed --out FILE.json [--quick]`.

The whole warm `/score` handler over a floor, and choosing alone beside other libraries. Only ratios within one run
mean something on a shared machine; microseconds are printed for orientation. `bench.speed_tables` renders the result.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in template.yaml; read when numpy is first imported

from bench.choosing import PACKAGES, choosers
from bench.score_case import CANDIDATES, case
from bench.timing import interleaved, ratio

BAR = 1.5
"""The handler may take at most this many times its floor."""

SHADOWS: tuple[tuple[str, ...], ...] = (("egreedy-v2",), ("squarecb",), ())
"""The default policy's shadows; what the bar is for comes first."""


def handler(*, rounds: int, per_round: int) -> list[dict[str, Any]]:
    """Return a row for each choice of shadows."""
    rows = []
    for shadows in SHADOWS:
        with case("igw-ucb", shadows) as measured:
            sides = {"score": measured.score, "floor": measured.floor, "bare": measured.bare}
            times = interleaved(sides, rounds=rounds, per_round=per_round)
            calls = [(one.operation, one.received, one.answered) for one in measured.table.exchanges()[-2:]]
        rows.append(
            {
                "policy": "igw-ucb",
                "shadows": list(shadows),
                "score_us": times["score"].median(),
                "floor_us": times["floor"].median(),
                "calls": [dict(zip(("operation", "sent", "answered"), call, strict=True)) for call in calls],
                **ratio(times["score"], times["floor"]),
                "over_bare": ratio(times["score"], times["bare"])["ratio"],
            }
        )
    return rows


def choosing(*, rounds: int, per_round: int) -> list[dict[str, Any]]:
    """Return a row for each chooser; ratios are to our default policy's time."""
    calls = choosers()
    times = interleaved(calls, rounds=rounds, per_round=per_round)
    base = times[next(iter(calls))]
    return [{"name": name, "us": one.median(), **ratio(one, base)} for name, one in times.items()]


def versions() -> dict[str, str]:
    found = {}
    for package in ("numpy", "fastapi", "mangum", "pydantic", "botocore", *PACKAGES):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def speed(*, quick: bool = False) -> dict[str, Any]:
    """Return everything that is measured, ready for JSON."""
    begun = time.perf_counter()
    rounds, per_round = (3, 20) if quick else (25, 60)
    rows = handler(rounds=rounds, per_round=per_round)
    return {
        "quick": quick,
        "candidates": CANDIDATES,
        "rounds": rounds,
        "calls_per_round": per_round,
        "versions": versions(),
        "handler": rows,
        "bar": {"ratio": BAR, "met": rows[0]["ratio"] <= BAR},
        "choosing": choosing(rounds=rounds, per_round=per_round),
        "seconds": time.perf_counter() - begun,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.speed", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--quick", action="store_true", help="few calls")
    options = parser.parse_args(arguments)
    result = speed(quick=options.quick)
    options.out.write_text(json.dumps(result, indent=1) + "\n")

    from bench.speed_tables import markdown

    print(markdown(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
