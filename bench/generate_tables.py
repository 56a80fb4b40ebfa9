"""The Markdown of what `bench.generate` measured."""

from __future__ import annotations

from typing import Any

_CALLS = {
    "direct": "`litellm.acompletion`, as it comes",
    "closed": "the same, to a server that keeps no connection",
    "gateway": "`tips.llm.gateway.complete`",
    "written": "`write_tips`: prompt, call, checks",
}


def markdown(result: dict[str, Any]) -> str:
    """Return the table. result: what `bench.generate.generate` returned, or its JSON."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return "\n\n".join(
        (
            "### One call to a model\n\n"
            "The same messages and parameters to a server on loopback that answers at once, all in turn on one event "
            "loop. LiteLLM keeps its connections; the gateway opens one per call, as a kept one would be dead after "
            "Lambda froze the process. That is counted here, without the TLS that a real server adds to it. What a "
            "call leaves to the background ends off the clock. "
            f"Median of {result['rounds']} rounds of {result['calls_per_round']} calls each, with quartiles. "
            f"At most {result['call_bar']['more_ms']:g} ms more is asked of the gateway: {_said(result['call_bar'])}.",
            _calls(result["calls"]),
            f"{result['seconds']:.0f} s; {versions}.",
        )
    )


def _said(bar: dict[str, Any]) -> str:
    return "met" if bar["met"] else "not met"


def _calls(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| | ms | more, ms | quartiles | processor, more ms | connections per call |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| {_CALLS[row['name']]} | {row['ms']:.2f} | **{row['more_ms']:.2f}** | {_spread(row)} "
            f"| {row['processor']:.2f} | {row['connections']:g} |"
        )
    return "\n".join(lines)


def _spread(row: dict[str, Any]) -> str:
    return f"{row['low']:.2f} to {row['high']:.2f}"
