"""The pooled goal through the real handlers: how soon newcomers are served well once a population prior is in use.

Per seed, people of all personas (`offline.experiments.sim`) are served by `igw-ucb` from nothing for four simulated
weeks; a prior is trained on what was learned of them, stored and taken into use. New people then look at tips. After
0, 1, 2, 5 and 10 reactions of a person, fresh requests are put to `/score`, never shown, and the mean reward of the
returned probabilities is computed by the hidden rule, exactly.

    python -m bench.pooled --out bench [--seeds 10] [--quick]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from offline.experiments.sim.personas import PERSONAS
from offline.experiments.sim.results import interval
from offline.experiments.sim.run import Spec
from offline.experiments.sim.runs import run_all

CHECKPOINTS = (0, 1, 2, 5, 10)
GOAL_AT, GOAL = 5, 0.5
POOLED, ALONE, SINGLE = "igw-ucb+prior", "igw-ucb", "best policy that is the same for all (hidden rule)"
END = 1_767_225_600.0
"""2026-01-01: decisions are drawn from their ids, which hold the time, so that the same end gives the same figures."""


@dataclass(frozen=True, slots=True)
class Size:
    """users: judged people of a seed; logged, rounds: those a prior comes from, and how often they look at tips.

    As many are behind the prior as in `bench.mission`.
    """

    users: int = 44
    probes: int = 8
    logged: int = 300
    rounds: int = 25


QUICK = Size(users=11, probes=3, logged=22, rounds=8)


def specs(seeds: Sequence[int], size: Size, out: str) -> list[Spec]:
    return [
        Spec(
            policy=policy,
            seed=seed,
            personas=tuple(PERSONAS),
            users=size.users,
            rounds=60,
            weeks=8.0,
            end=END,
            judge="rule",
            out=out,
            warm_users=size.logged,
            warm_rounds=size.rounds,
            probe_at=CHECKPOINTS,
            probes=size.probes,
        )
        for policy in (POOLED, ALONE)
        for seed in seeds
    ]


def share(frame: pl.DataFrame, column: str) -> float:
    """Return the share of the gap between random and oracle that is closed."""
    value, chance, oracle = (float(frame[name].sum()) for name in (column, "random", "oracle"))
    return (value - chance) / (oracle - chance)


def summarise(probes: Mapping[tuple[str, int], pl.DataFrame], size: Size, seeds: Sequence[int]) -> dict[str, Any]:
    """Return all figures, JSON-ready. probes: by policy and seed."""

    def at(policy: str, reactions: int, column: str) -> dict[str, float | None]:
        frames = [probes[policy, seed].filter(pl.col("reactions") == reactions) for seed in seeds]
        return interval([share(frame, column) for frame in frames])

    contestants = {name: {str(n): at(name, n, "value") for n in CHECKPOINTS} for name in (POOLED, ALONE)}
    contestants[SINGLE] = {str(n): at(POOLED, n, "single") for n in CHECKPOINTS}
    reached = {
        str(n): sum(probes[POOLED, seed].filter(pl.col("reactions") == n)["user"].n_unique() for seed in seeds)
        for n in CHECKPOINTS
    }
    pooled, single = (contestants[name][str(GOAL_AT)]["mean"] for name in (POOLED, SINGLE))
    return {
        "size": {name: getattr(size, name) for name in Size.__dataclass_fields__},
        "seeds": list(seeds),
        "personas": list(PERSONAS),
        "people_by_reactions": reached,
        "share": contestants,
        "goal": {
            "reactions": GOAL_AT,
            "pooled_share": pooled,
            "single_share": single,
            "reached": bool(pooled is not None and single is not None and pooled >= GOAL > single),
        },
    }


def as_markdown(result: Mapping[str, Any]) -> str:
    goal, size = result["goal"], result["size"]
    rows = [["", *map(str, CHECKPOINTS)], ["---", *["---:"] * len(CHECKPOINTS)]]
    for name, figures in result["share"].items():
        rows.append([name, *(_cell(figures[str(at)]) for at in CHECKPOINTS)])
    rows.append(["people", *(str(result["people_by_reactions"][str(at)]) for at in CHECKPOINTS)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    said = "reached" if goal["reached"] else "missed"
    return f"""# Newcomers with a population prior, through the real handlers

`python -m bench.pooled --out bench` in the lab's environment. {len(result["seeds"])} seeds; of each,
{size["logged"]} people served from nothing for four simulated weeks, from whom the prior is trained, and
{size["users"]} others who are judged. Share of the gap between choosing at random and an oracle that is closed, by a
person's reactions so far (mean over seeds, 95 % interval in brackets):

{table}

Goal: after {goal["reactions"]} reactions `{POOLED}` closes at least half of the gap, and the best policy that is
the same for all people less than half: {said} ({goal["pooled_share"]:.2f}; {goal["single_share"]:.2f}).
"""


def _cell(figure: Mapping[str, float | None]) -> str:
    if figure["low"] is None:
        return f"{figure['mean']:.2f}"
    return f"{figure['mean']:.2f} ({figure['low']:.2f} to {figure['high']:.2f})"


def run(seeds: Sequence[int], size: Size) -> dict[str, Any]:
    """Carry out all runs; raises `RuntimeError` if one fails."""
    with tempfile.TemporaryDirectory() as folder:
        planned = specs(seeds, size, folder)
        if failures := run_all(planned):
            raise RuntimeError("\n\n".join(f"{one.spec.policy} seed {one.spec.seed}: {one.said}" for one in failures))
        probes = {
            (spec.policy, spec.seed): pl.read_parquet(
                Path(folder) / "probes" / spec.folder / "part-0.parquet", hive_partitioning=False
            )
            for spec in planned
        }
    return summarise(probes, size, seeds)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.pooled", description="The pooled goal.")
    parser.add_argument("--out", type=Path, required=True, help="folder for pooled.json and pooled.md")
    parser.add_argument("--seeds", type=int, default=10, help="seeds 0 to N - 1 (10)")
    parser.add_argument("--quick", action="store_true", help="a small run, to see that everything works")
    options = parser.parse_args(arguments)
    result = run(range(options.seeds), QUICK if options.quick else Size())
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "pooled.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (options.out / "pooled.md").write_text(as_markdown(result), encoding="utf-8")
    print(as_markdown(result))
    return 0 if result["goal"]["reached"] else 1


if __name__ == "__main__":
    sys.exit(main())
