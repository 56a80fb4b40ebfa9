"""The Markdown of what `bench.cold` measured."""

from __future__ import annotations

from typing import Any

_SIDES = {
    "ours": "`{}`: process started, to the first answer",
    "floor": "floor: the same modules and calls, no code of ours",
    "spared": "that floor without garbage collection in its init, as ours",
    "bare": "floor with an application of one route",
    "naive": "naive build: no bytecode, packages whole, boto3, threads not pinned",
    "/health": "to a first `GET /health`",
    "/prompts": "to a first `GET /prompts`",
}
_MODEL = " and a completion by LiteLLM as it comes"


def markdown(result: dict[str, Any]) -> str:
    """Return a table for each function. result: what `bench.cold.cold` returned, or its JSON."""
    parts = [
        "What was built, in new processes under Lambda's runtime interface emulator: from sending the first event "
        "until its answer. The floor imports the same modules, in the same order, from the same folders, and makes the "
        "same calls to a table that answers at once. "
        f"Median of {result['rounds']} rounds in alternating order, ratios within each round, with quartiles."
    ]
    for one in result["functions"]:
        calls = ", ".join(f"{count} {kind}" for kind, count in one["calls"].items())
        model = _MODEL if one["function"] == "generate" else ""
        bars = "; ".join(f"at most {bar['ratio']:g} of the {bar['side']}: {_said(bar)}" for bar in one["bars"])
        parts += [
            f"### {one['function']}\n\n{one['modules']} modules; {calls}{model}. Asked is {bars}.",
            _rows(one["function"], one["rows"]),
        ]
    return "\n\n".join([*parts, f"{result['seconds']:.0f} s."])


def _said(bar: dict[str, Any]) -> str:
    return "met" if bar["met"] else "not met"


def _rows(function: str, rows: list[dict[str, Any]]) -> str:
    lines = [
        "| | ms | processor, ms | ours over it | quartiles | processor time |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| {_SIDES[row['name']].format(function)} | {row['ms']:.0f} | {row['processor_ms']:.0f} "
            f"| **{row['ratio']:.2f}** | {row['low']:.2f} to {row['high']:.2f} | {row['processor']:.2f} |"
        )
    return "\n".join(lines)
