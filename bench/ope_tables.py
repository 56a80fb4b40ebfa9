"""The Markdown of what `bench.ope` measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

NAMES = {"dm": "DM", "ips": "IPW", "snips": "SNIPW", "dr": "DR", "sndr": "SNDR", "dros": "DRos, lambda by SLOPE"}
TITLES = {
    "digits": "Digits as a bandit, {runs} runs",
    "obd": "Open Bandit Dataset (the sample inside obp), random -> Bernoulli TS, all campaigns, {runs} bootstraps",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown(results: dict[str, Any]) -> str:
    """Return all tables. results: what is in ope.json."""
    parts = [
        "# Off-policy evaluation",
        "Written by `make bench-ope`" + (" (quick: too short to mean anything)." if results["quick"] else "."),
        "## The published tables of Open Bandit Pipeline",
        "Relative error of the estimated value, mean over the runs. obp 0.5.7 makes the logs and the reward model and "
        "estimates in an environment of its own; ours are computed from the same logs. Standard errors are those of "
        "the published means; within: ours is at most two of them away.",
    ]
    for experiment, one in results["reproduced"].items():
        rows = [
            [
                NAMES[row["estimator"]],
                f"{row['published']:.4f}",
                f"{row['obp']:.4f}",
                f"{row['ours']:.4f}",
                f"{row['standard_error']:.4f}",
                "yes" if row["within"] else "**no**",
            ]
            for row in one["rows"]
        ]
        agreed = "at most" if one["agrees"] else "**DISAGREE**:"
        parts += [
            f"### {TITLES[experiment].format(runs=one['runs'])}",
            table(["", "published", "obp here", "ours", "s.e.", "within"], rows),
            f"Ours and obp's differ, over all estimates (lambda 100 too), by {agreed} {one['largest_difference']:.1g}; "
            f"{one['seconds']:.0f} s.",
        ]
    if results["sequence"] is not None:
        parts += _sequence(results["sequence"])
    return "\n\n".join(parts) + "\n"


def _sequence(measured: dict[str, Any]) -> list[str]:
    peek, level = measured["peek"], 1 - measured["alpha"]
    equal = [
        [
            f"{one['scenario']}; {one['runs']} runs of {one['decisions']:,} decisions",
            f"**{one['sequence']:.1%}**",
            f"{one['asymptotic']:.1%}",
            f"{one['naive']:.1%}",
        ]
        for one in measured["equal"]
    ]
    gain = [
        [
            one["scenario"],
            f"{one['gain']:.3f}",
            f"{one['variance']:.1f}",
            f"{one['decisions']:,}",
            f"**{one['found']['sequence']:.0%}**",
            *(_decisions(one[share]["sequence"]) for share in ("half", "most")),
            _decisions(one["most"]["asymptotic"]),
            _decisions(one["not_worse"]),
            f"{one['missed']:.1%}",
        ]
        for one in measured["gain"]
    ]
    return [
        "## The confidence sequence",
        f"`bench.ope_adaptive`: logs of learning policies, looked at every {peek} decisions, {level:.0%} intervals.",
        "### No difference: share of the runs in which some look finds one",
        table(["", "the sequence", "asymptotic sequence", "t-interval"], equal),
        "### A gain of 0.1: found",
        table(
            [
                *("", "gain", "variance", "decisions", "found"),
                *("half found after", "80 % after", "80 %, asymptotic", "80 % not worse by 0.05 after", "gain missed"),
            ],
            gain,
        ),
        f"{measured['seconds']:.0f} s.",
    ]


def _decisions(count: float | None) -> str:
    return "-" if count is None else f"{count:,.0f}"
