"""A whole simulation: all runs, then its summary, its report and its entries in MLflow."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offline.command import BadInput
from offline.experiments.sim.report import figure_of, page
from offline.experiments.sim.results import MEASURES, Run, read_run, summarise
from offline.experiments.sim.run import Spec
from offline.experiments.sim.runs import run_all
from offline.registry.tracking import log_run, tracking

_LEFT = ("rounds", "probes", "runs")
"""What earlier runs left, and this one replaces."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What is simulated; see `tips simulate --help`. end: seconds since 1970."""

    policies: tuple[str, ...]
    seeds: tuple[int, ...]
    personas: tuple[str, ...]
    users: int
    rounds: int
    weeks: float
    end: float
    judge: str
    out: Path
    endpoint: str | None = None
    table: str = "tips"
    at_once: int = 2

    def specs(self) -> list[Spec]:
        return [
            Spec(
                policy=policy,
                seed=seed,
                personas=self.personas,
                users=self.users,
                rounds=self.rounds,
                weeks=self.weeks,
                end=self.end,
                judge=self.judge,
                out=str(self.out.absolute()),
                endpoint=self.endpoint,
                table=self.table,
            )
            for seed in self.seeds
            for policy in self.policies
        ]


def carry_out(simulation: Simulation, tracking_uri: str | None, *, quiet: bool = False) -> int:
    """Run everything, write `summary.json` and `report.html`, and return the exit code: 1 if a run failed.

    Raises `BadInput` for a folder that cannot be written to, and a tracking store that cannot be used.
    """
    out = simulation.out
    client = tracking(tracking_uri)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in _LEFT:
            shutil.rmtree(out / name, ignore_errors=True)
    except OSError as error:
        raise BadInput(f"--out: {error}") from None
    specs = simulation.specs()
    failures = run_all(specs, at_once=simulation.at_once, quiet=quiet)
    for failure in failures:
        run = f"{failure.spec.policy} seed {failure.spec.seed}"
        print(f"{run} failed with exit code {failure.code}:\n{failure.said}", file=sys.stderr)
    failed = {id(failure.spec) for failure in failures}
    runs = [read_run(out, spec) for spec in specs if id(spec) not in failed]
    if not runs:
        return 1
    summary = summarise(runs)
    report = page(summary, runs, failures)
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    (out / "report.html").write_text(report, encoding="utf-8")
    for name in dict.fromkeys(run.spec.policy for run in runs):
        log_run(
            client,
            "simulations",
            name,
            params=_parameters(summary, name),
            metrics=_metrics(summary, name),
            tags={"policy": name, "policy_version": summary["policy_versions"][name], "code": summary["code"]},
            texts={"summary.json": json.dumps(summary, indent=1), "report.html": report},
        )
    print(as_text(summary, runs))
    print(f"Report: {out / 'report.html'}")
    return 1 if failures else 0


def _parameters(summary: Mapping[str, Any], policy: str) -> dict[str, object]:
    names = ("users", "rounds", "weeks", "judge", "ends_at")
    return {
        "policy": policy,
        **{name: summary[name] for name in names},
        "seeds": ",".join(map(str, summary["seeds"])),
        "personas": ",".join(summary["personas"]),
        "schema_hash": summary["schema_hashes"][policy],
    }


def _metrics(summary: Mapping[str, Any], policy: str) -> dict[str, float]:
    one = summary["policies"][policy]
    figures = {name: one[name] for name in (*MEASURES, "observed")}
    figures |= {f"share_{persona}": part["share"] for persona, part in one["by_persona"].items()}
    return {
        name if end == "mean" else f"{name}_{end}": value
        for name, figure in figures.items()
        for end, value in figure.items()
        if value is not None
    }


def as_text(summary: Mapping[str, Any], runs: Sequence[Run]) -> str:
    """Return the table of policies for a terminal."""
    rows = [("policy", "reward per round", "regret per round", "share of the gap")]
    for name, one in summary["policies"].items():
        rows.append((name, figure_of(one["reward"]), figure_of(one["regret"]), figure_of(one["share"], 2)))
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    count = sum(len(run.rounds) for run in runs)
    return "\n".join((*lines, f"{count} rounds of {len(runs)} runs; in brackets: 95 % over seeds."))
