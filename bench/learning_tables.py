"""The Markdown of what `bench.learning` measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bench import wheel
from bench.bar import MARGIN, RIVALS, Result, is_wheel
from bench.learners import DEFAULT, OURS

SUPPORT = {"floor": "exact, ≥ floor", "positive": "exact, > 0", "partial": "exact, some 0", "none": "none"}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(result: Result | None) -> str:
    """Return mean and standard error: of a loss in per cent, of the wheel in its own points."""
    if result is None:
        return "-"
    scale = 1.0 if is_wheel(result["problem"]) else 100.0
    error = result["standard_error"]
    text = f"{scale * result['mean']:.2f}" + ("" if error is None else f" ± {scale * error:.2f}")
    return f"**{text}**" if (result["library"], result["learner"]) == (OURS, DEFAULT) else text


def block(
    results: Sequence[Result], problems: Sequence[str], heads: Sequence[str], more: Iterable[Sequence[str]]
) -> str:
    """Return one table: a row for each learner that plays any of the problems, a column for each problem."""
    found = {(result["library"], result["learner"], result["problem"]): result for result in results}
    learners = dict.fromkeys((r["library"], r["learner"], r["support"]) for r in results if r["problem"] in problems)
    rows = []
    for library, learner, support in learners:
        cells = [found.get((library, learner, problem)) for problem in problems]
        played = [cell for cell in cells if cell]
        micro = 1e6 * sum(cell["seconds"] for cell in played) / sum(cell["rounds"] for cell in played)
        rows.append([f"{library}: {learner}", SUPPORT[support], *map(number, cells), f"{micro:.0f}"])
    return table(["learner", "probabilities", *heads, "µs/round"], [*rows, *more])


def markdown(result: dict[str, Any]) -> str:
    """Return all tables. result: what `bench.learning.learning` returned, or its JSON."""
    results: list[Result] = result["results"]
    problems = list(dict.fromkeys(one["problem"] for one in results))
    sets = [problem for problem in problems if not is_wheel(problem)]
    passes = {one["problem"]: len(one["values"]) for one in results}
    parts = []
    if sets:
        parts.append(
            "### Classification as a bandit: progressive-validation loss, %\n\n"
            f"One pass, only the chosen class told right or wrong; {passes[sets[0]]} shuffles, ± standard error."
        )
        parts.append(block(results, sets, sets, []))
    for n in sorted({int(problem.rpartition("=")[2]) for problem in problems if is_wheel(problem)}):
        wheels = [problem for problem in problems if is_wheel(problem) and problem.endswith(f"n={n}")]
        deltas = [problem.split()[1].rstrip(",") for problem in wheels]
        published = [
            [f"published: {name}", "", *(f"{row[wheel.DELTAS.index(float(delta))]:.2f}" for delta in deltas), ""]
            for name, row in wheel.PUBLISHED.get(n, {}).items()
        ]
        parts.append(
            f"### Wheel bandit, n = {n:,}: 100 x regret / regret of uniform choice\n\n"
            f"{' / '.join(str(passes[problem]) for problem in wheels)} seeds, ± standard error; columns are delta."
        )
        parts.append(block(results, wheels, deltas, published))
    parts.append(
        "### The default against the bar\n\n"
        "Behind (+) or ahead (-) of the best other learner: of those whose probabilities have a floor, as the "
        "default's have; of all with full support, where one standard error is allowed in both cases; and of the "
        f"rest, where {100 * MARGIN:g} points are."
    )
    parts.append(_bar(result["bar"]))
    if reasons := _left_out(result["left_out"]):
        parts.append("Left out:\n\n" + reasons)
    parts.append("### Configurations chosen on the tuning shuffles\n\n" + _configurations(results))
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    parts.append(f"{result['seconds']:.0f} s; {versions}.")
    return "\n\n".join(parts) + "\n"


def _bar(verdicts: Sequence[dict[str, Any]]) -> str:
    rows = []
    for verdict in verdicts:
        scale = 1.0 if is_wheel(verdict["problem"]) else 100.0
        row = [verdict["problem"], f"{scale * verdict['default']:.2f}"]
        for question in RIVALS:
            if compared := verdict[question]:
                met = "met" if compared["met"] else "**missed**"
                behind, allowed = scale * compared["behind"], scale * compared["allowed"]
                row.append(f"{met}: {behind:+.2f} of {allowed:.2f} ({compared['rival']})")
            else:
                row.append("-")
        rows.append(row)
    return table(["problem", "default", "with a floor", "with full support", "the rest"], rows)


def _left_out(entries: Sequence[dict[str, str]]) -> str:
    problems: dict[tuple[str, str, str], list[str]] = {}
    for entry in entries:
        problems.setdefault((entry["library"], entry["learner"], entry["reason"]), []).append(entry["problem"])
    return "\n".join(
        f"- {library} {learner}: {'; '.join(names)}: {reason}" for (library, learner, reason), names in problems.items()
    )


def _configurations(results: Sequence[Result]) -> str:
    found = {(r["library"], r["learner"], r["tuned_on"]): r["configuration"] for r in results}
    tuned_on = list(dict.fromkeys(r["tuned_on"] for r in results))
    learners = dict.fromkeys((r["library"], r["learner"]) for r in results)
    rows = [
        [f"{library}: {learner}", *(_written(found.get((library, learner, group))) for group in tuned_on)]
        for library, learner in learners
    ]
    return table(["learner", *tuned_on], rows)


def _written(configuration: dict[str, float | str] | None) -> str:
    if configuration is None:
        return "-"
    return ", ".join(
        f"{key} {value:g}" if isinstance(value, float | int) else value for key, value in configuration.items()
    )
