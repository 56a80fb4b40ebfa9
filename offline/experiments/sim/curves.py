"""Curves over a person's reactions: cumulative regret and mean reward, with bands over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from offline.experiments.sim.results import Run, interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 8
REACHED_SHARE = 0.5
"""A curve goes on as long as so many of the persona's people have had so many reactions."""


@dataclass(frozen=True, eq=False)
class Curve:
    """x: reactions so far. mean, low, high: over seeds, each (n,); low and high are the mean of one seed."""

    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def _longest(runs: Sequence[pl.DataFrame]) -> int:
    last = np.concatenate([one.group_by("user").agg(pl.col("reactions").max())["reactions"].to_numpy() for one in runs])
    return int(np.quantile(last, 1.0 - REACHED_SHARE))


def _banded(x: Sequence[float], by_seed: Sequence[Sequence[float]]) -> Curve:
    figures = [interval([values[place] for values in by_seed]) for place in range(len(x))]
    mean = np.array([one["mean"] for one in figures], dtype=np.float64)
    low, high = (
        np.array([one["mean"] if one[name] is None else one[name] for one in figures], dtype=np.float64)
        for name in ("low", "high")
    )
    return Curve(np.array(x, dtype=np.float64), mean, low, high)


def regret_curve(runs: Sequence[pl.DataFrame]) -> Curve:
    """Return a person's regret up to and with the round at so many reactions.

    It is summed up over what is added from one reaction to the next, the mean of those who get so far: who ends early
    takes nothing away. runs: one persona's rounds under one policy, one frame per seed.
    """
    longest = _longest(runs)

    def of_seed(rounds: pl.DataFrame) -> list[float]:
        people: list[NDArray[np.float64]] = []
        for user in rounds.partition_by("user", maintain_order=True):
            regret = np.cumsum(user["oracle"].to_numpy() - user["value"].to_numpy())
            had = user["reactions"].to_numpy()
            # The last round at r reactions; who skipped r, as two came at once, is counted by the round before.
            last = np.searchsorted(had, np.arange(min(longest, int(had[-1])) + 1), side="right") - 1
            people.append(np.diff(regret[np.maximum(last, 0)], prepend=0.0))
        added = [[one[r] for one in people if r < len(one)] for r in range(longest + 1)]
        return np.cumsum([float(np.mean(those)) if those else 0.0 for those in added]).tolist()

    return _banded(range(longest + 1), [of_seed(rounds) for rounds in runs])


def reward_curve(runs: Sequence[pl.DataFrame], of: str = "value") -> Curve:
    """Return the exact mean reward of rounds by the reactions before them, in bins."""
    longest = _longest(runs)
    edges = np.unique(np.linspace(0, longest + 1, BINS + 1).astype(int))
    centres = [(first + beyond - 1) / 2.0 for first, beyond in pairwise(edges.tolist())]

    def of_seed(rounds: pl.DataFrame) -> list[float]:
        had, value = rounds["reactions"].to_numpy(), rounds[of].to_numpy()
        means = []
        for first, beyond in pairwise(edges.tolist()):
            inside = value[(had >= first) & (had < beyond)]
            means.append(float(inside.mean()) if len(inside) else float(value.mean()))
        return means

    return _banded(centres, [of_seed(rounds) for rounds in runs])


def of_persona(runs: Sequence[Run], persona: str) -> Mapping[str, list[pl.DataFrame]]:
    """Return the persona's rounds by policy, one frame per seed."""
    found: dict[str, list[pl.DataFrame]] = {}
    for run in runs:
        rounds = run.rounds.filter(pl.col("persona") == persona)
        if len(rounds):
            found.setdefault(run.spec.policy, []).append(rounds)
    return found
