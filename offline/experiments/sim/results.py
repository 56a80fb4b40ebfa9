"""What runs come to: mean reward, regret and share of the gap, with intervals over seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from scipy import stats

import tips
from offline.experiments.sim.pulls import ORIGINAL_DIFFERENCE, ORIGINAL_PULLS, pulls
from tips.bandit.registry import POLICIES

if TYPE_CHECKING:
    from offline.experiments.sim.run import Spec

RANDOM, ORACLE = "random", "oracle"
CONFIDENCE = 0.95
MEASURES = ("reward", "regret", "share")

Figure = dict[str, float | None]


@dataclass(frozen=True, eq=False)
class Run:
    """What one run has left. rounds: in the order of time."""

    spec: Spec
    rounds: pl.DataFrame
    said: Mapping[str, Any]


def interval(values: Sequence[float]) -> Figure:
    """Return mean and Student's 95 % interval over seeds; no interval of one seed."""
    known = np.array(values, dtype=np.float64)
    mean = float(known.mean())
    if len(known) < 2:
        return {"mean": mean, "low": None, "high": None}
    half = float(stats.t.ppf((1.0 + CONFIDENCE) / 2.0, len(known) - 1) * known.std(ddof=1) / math.sqrt(len(known)))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def measures(rounds: pl.DataFrame, of: str = "value") -> dict[str, float]:
    """Return what one run came to per round: exact mean reward, regret against the oracle, share of the gap.

    of: the column that is measured. share: (reward - random) / (oracle - random), summed over rounds.
    """
    value, oracle, chance = (rounds[name].to_numpy() for name in (of, ORACLE, RANDOM))
    gap = float((oracle - chance).sum())
    share = float((value - chance).sum()) / gap if gap > 0.0 else 1.0
    return {"reward": float(value.mean()), "regret": float((oracle - value).mean()), "share": share}


def summarise(runs: Sequence[Run]) -> dict[str, Any]:
    """Return `summary.json`. Raises `ValueError` where there is no run."""
    if not runs:
        raise ValueError("there is no run to summarise")
    spec = runs[0].spec
    policies = list(dict.fromkeys(run.spec.policy for run in runs))
    seeds = sorted({run.spec.seed for run in runs})
    by_policy = {name: [run for run in runs if run.spec.policy == name] for name in policies}
    table = {name: _of_policy(own, "value") for name, own in by_policy.items()}
    # Each policy meets candidates of its own making; the references are taken over what all of them met.
    table[RANDOM], table[ORACLE] = _of_policy(runs, RANDOM), _of_policy(runs, ORACLE)
    for name, own in by_policy.items():
        table[name]["observed"] = interval([float(run.rounds["taught"].to_numpy().mean()) for run in own])
    return {
        "policies": table,
        "differences": _differences(by_policy),
        "seeds": seeds,
        "users": spec.users,
        "rounds": spec.rounds,
        "weeks": spec.weeks,
        "ends_at": spec.end,
        "judge": spec.judge,
        "judged": _judged(by_policy),
        "personas": list(spec.personas),
        "code": tips.__version__,
        "policy_versions": {name: POLICIES[own[0].spec.served_by].version for name, own in by_policy.items()},
        "schema_hashes": {name: POLICIES[own[0].spec.served_by].schema.hash for name, own in by_policy.items()},
        "priors": {name: [run.said["prior"] for run in own] for name, own in by_policy.items() if own[0].said["prior"]},
        "pulls": _pulls(by_policy),
    }


def _of_policy(runs: Sequence[Run], column: str) -> dict[str, Any]:
    def over_seeds(chosen: Callable[[pl.DataFrame], pl.DataFrame]) -> dict[str, Figure]:
        by_seed: dict[int, list[dict[str, float]]] = {}
        for run in runs:
            by_seed.setdefault(run.spec.seed, []).append(measures(chosen(run.rounds), column))
        return {
            name: interval([float(np.mean([one[name] for one in by_seed[seed]])) for seed in sorted(by_seed)])
            for name in MEASURES
        }

    personas = runs[0].spec.personas
    return {
        **over_seeds(lambda rounds: rounds),
        "by_persona": {name: over_seeds(_only(name)) for name in personas if _everywhere(runs, name)},
    }


def _only(persona: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda rounds: rounds.filter(pl.col("persona") == persona)


def _everywhere(runs: Sequence[Run], persona: str) -> bool:
    return all(len(_only(persona)(run.rounds)) for run in runs)


def _differences(by_policy: Mapping[str, Sequence[Run]]) -> list[dict[str, Any]]:
    """Return each policy's mean reward less that of the first, seed by seed: the people are the same.

    seeds: those in which both runs ended well.
    """
    first, *others = by_policy
    base = {run.spec.seed: measures(run.rounds)["reward"] for run in by_policy[first]}
    found = []
    for name in others:
        pairs = [(measures(run.rounds)["reward"], base.get(run.spec.seed)) for run in by_policy[name]]
        apart = [own - other for own, other in pairs if other is not None]
        if apart:
            found.append({"policy": name, "against": first, "seeds": len(apart), **interval(apart)})
    return found


def _judged(by_policy: Mapping[str, Sequence[Run]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for runs in by_policy.values():
        for run in runs:
            for name, count in run.said["judge"].items():
                total[name] = total.get(name, 0) + count
    return total


def _pulls(by_policy: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    """Return how the original's figure fares, by the variance of a reward that was measured here."""
    variances = {
        name: float(np.concatenate([run.rounds["taught"].to_numpy() for run in runs]).var(ddof=1))
        for name, runs in by_policy.items()
        if sum(len(run.rounds) for run in runs) > 1
    }
    if not variances:
        return {}
    first, *others = list(variances.values())
    second = others[0] if others else first
    found = pulls(first, second)
    return {
        "variances": variances,
        "compared": list(variances)[:2],
        "difference": ORIGINAL_DIFFERENCE,
        "original_pulls": ORIGINAL_PULLS,
        "needed": found.needed,
        "half_width": found.half_width,
        "power": found.power_then,
    }


def read_run(out: Path, spec: Spec) -> Run:
    """Read what a run has left."""
    rounds = pl.read_parquet(out / "rounds" / spec.folder / "part-0.parquet", hive_partitioning=False)
    said = json.loads((out / "runs" / spec.folder / "run.json").read_text(encoding="utf-8"))
    return Run(spec, rounds, said)
