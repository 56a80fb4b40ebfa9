"""The Markdown of what `bench.speed` measured."""

from __future__ import annotations

from typing import Any


def markdown(result: dict[str, Any]) -> str:
    """Return both tables. result: what `bench.speed.speed` returned, or its JSON."""
    bar = result["bar"]
    size = f"{result['rounds']} rounds of {result['calls_per_round']} calls each in turn"
    return "\n\n".join(
        (
            f"### The whole warm `/score` handler, {result['candidates']} candidates\n\n"
            "Over a floor: FastAPI, Mangum and botocore as they come, with the same two DynamoDB calls and the same "
            "answer size and no logic. The last column is over a bare one, which sends prebuilt bytes by "
            f"clients like ours. Median of {size}, with quartiles. "
            f"At most {bar['ratio']} is asked: {'met' if bar['met'] else 'not met'}.",
            _handler(result["handler"]),
            f"### Choosing: from features to a distribution over {result['candidates']} candidates\n\n"
            f"Median of {size}. Vowpal Wabbit's and MABWiser's models are trained on as many reactions as ours.",
            _choosing(result["choosing"]),
        )
    )


def _handler(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| policy | shadows | handler, µs | floor, µs | ratio | quartiles | processor time | over bare |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| {row['policy']} | {', '.join(row['shadows']) or 'none'} | {row['score_us']:.0f} "
            f"| {row['floor_us']:.0f} | **{row['ratio']:.2f}** | {_spread(row)} | {row['processor']:.2f} "
            f"| {row['over_bare']:.2f} |"
        )
    return "\n".join(lines)


def _choosing(rows: list[dict[str, Any]]) -> str:
    lines = ["| | µs | times ours | quartiles |", "| --- | ---: | ---: | ---: |"]
    for row in rows:
        lines.append(f"| {row['name']} | {row['us']:.0f} | {row['ratio']:.2f} | {_spread(row)} |")
    return "\n".join(lines)


def _spread(row: dict[str, Any]) -> str:
    return f"{row['low']:.2f} to {row['high']:.2f}"
