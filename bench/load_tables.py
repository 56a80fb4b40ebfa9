"""The Markdown of what `bench.load` measured."""

from __future__ import annotations

from typing import Any


def markdown(result: dict[str, Any]) -> str:
    """Return the table. result: what `bench.load.load` returned, or its JSON."""
    errors = ", ".join(f"{kind}: {count}" for kind, count in result["errors"].items()) or "none"
    bar, goal = result["bar"], result["goal"]
    return "\n\n".join(
        (
            f"### `/score` with {result['candidates']} candidates and `/reward`, {result['per_sec']:g} requests/s",
            f"For {result['load_sec']:g} s, two of `/score` to one of `/reward` (each for a decision made before) of "
            f"{result['people']} people who have taught, to {result['environments']} environments of the built "
            "function under Lambda's runtime interface emulator, which one request at a time goes to; warm-up not "
            "counted. Requests come by the clock, whatever became of those before. ms, and the load, the emulators and "
            "the table share the cores. Whole: from when a request was due to its answer, the wait for a free "
            "environment included. Table: of this, what the environment waited for moto, in another process behind "
            "connections that are kept and a lock, that wait included. Handler: from when Lambda's runtime client "
            "called it until it returned, less the table. On a core: for how long, of this, its thread ran. The rest "
            "of the whole is the runtime client, the emulator and the wait for a free environment.",
            _rows(result["rows"]),
            f"Errors, degraded or unlogged decisions, rewards that were not applied: {errors}. Asked of the handler's "
            f"share at p99: under {bar['handler_ms']:g} ms, {_met(bar)}; the goal for the whole at p99: under "
            f"{goal['whole_ms']:g} ms, {_met(goal)}.",
        )
    )


def _met(asked: dict[str, Any]) -> str:
    return "met" if asked["met"] else "not met"


def _rows(rows: list[dict[str, Any]]) -> str:
    shares = ("whole", "table", "handler", "on a core")
    lines = [
        f"| | requests | {' | '.join(f'{share} p50 | p95 | p99' for share in shares)} |",
        f"| --- |{' ---: |' * (1 + 3 * len(shares))}",
    ]
    for row in rows:
        parts = [row[share.replace(" ", "_")] for share in shares]
        times = [f"{part[name]:.1f}" for part in parts for name in ("p50", "p95", "p99")]
        times[8] = f"**{times[8]}**"
        lines.append(f"| `{row['route']}` | {row['requests']} | {' | '.join(times)} |")
    return "\n".join(lines)
