"""What `generate` adds of its own: `python -m bench.generate --out FILE.json [--quick]`.

A call through the gateway over the same call by LiteLLM alone. Only differences within one run mean something on a
shared machine. `bench.generate_tables` renders the result; what a cold start takes is measured by `bench.cold`.
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

from bench.gateway_case import case, connections
from bench.timing import interleaved, more

MORE_MS = 1.0
"""A call through the gateway may take at most this much longer."""
PACKAGES = ("litellm", "openai", "httpx", "httpcore", "aiohttp", "fastapi", "botocore")


def calls(*, rounds: int, per_round: int) -> list[dict[str, Any]]:
    """Return a row for each side of the call; differences are to LiteLLM's own, as it comes."""
    with case() as measured:
        opened = connections(measured)
        times = interleaved(measured.sides(), rounds=rounds, per_round=per_round, between=measured.rest)
    base = times["direct"]
    return [
        {"name": name, "ms": one.median() / 1000, **more(one, base), "connections": opened[name]}
        for name, one in times.items()
    ]


def generate(*, quick: bool = False) -> dict[str, Any]:
    """Return everything that is measured, ready for JSON."""
    begun = time.perf_counter()
    rounds, per_round = (3, 10) if quick else (25, 40)
    called = calls(rounds=rounds, per_round=per_round)
    gateway = next(row for row in called if row["name"] == "gateway")
    return {
        "quick": quick,
        "versions": {package: metadata.version(package) for package in PACKAGES},
        "rounds": rounds,
        "calls_per_round": per_round,
        "calls": called,
        "call_bar": {"more_ms": MORE_MS, "met": gateway["more_ms"] <= MORE_MS},
        "seconds": time.perf_counter() - begun,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.generate", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--quick", action="store_true", help="few calls")
    options = parser.parse_args(arguments)
    result = generate(quick=options.quick)
    options.out.write_text(json.dumps(result, indent=1) + "\n")

    from bench.generate_tables import markdown

    print(markdown(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
