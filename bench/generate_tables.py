"""The Markdown of what `bench.generate` measured."""

from __future__ import annotations

from typing import Any

_CALLS = {
    "direct": "`litellm.acompletion`, as it comes",
    "closed": "the same, to a server that keeps no connection",
    "gateway": "`tips.llm.gateway.complete`",
    "written": "`write_tips`: prompt, call, checks",
}
_STARTS = {
    "app": "`import app`",
    "floor": "floor: the same imports, LiteLLM's first call, a botocore client",
    "imports": "the same imports alone",
}


def markdown(result: dict[str, Any]) -> str:
    """Return both tables. result: what `bench.generate.generate` returned, or its JSON."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    starts = result["import"]
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
            "### Import at a cold start\n\n"
            f"Fresh processes in turn, with bytecode, as at init on Lambda; {starts['modules']} modules that are not "
            "ours, imported by name in the order in which the function did, and the first call that it makes there. "
            f"Interpreter and environment excluded. Median of {starts['rounds']} rounds, with quartiles. "
            f"At most {result['import_bar']['ratio']} times the floor is asked: {_said(result['import_bar'])}.",
            _starts(starts["rows"]),
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


def _starts(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| | ms | `import app` over it | quartiles | processor time |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| {_STARTS[row['name']]} | {row['ms']:.0f} | **{row['ratio']:.2f}** | {_spread(row)} "
            f"| {row['processor']:.2f} |"
        )
    return "\n".join(lines)


def _spread(row: dict[str, Any]) -> str:
    return f"{row['low']:.2f} to {row['high']:.2f}"
