"""Whether rewards are what the active policy predicts of the tips that it shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import f as fisher
from scipy.stats import t as student

from offline.reports.means import LEVEL, Mean, mean, means

TOLERATED = 0.15
"""Root mean square of the gaps between prediction and reward that is no alarm; rewards lie between -1 and 1."""
FALSE_ALARMS = 0.01
_MOST_BINS = 10
_DECISIONS_PER_BIN = 25
FEWEST_DECISIONS, FEWEST_PEOPLE = 100, 10


@dataclass(frozen=True)
class Bin:
    """Decisions of similar predictions: the mean prediction, and the mean reward with its interval by person."""

    predicted: float
    observed: Mean


@dataclass(frozen=True)
class Calibration:
    """gap: mean of reward minus prediction. slope: of reward on prediction, with its interval by person.

    error: root mean square of the bins' gaps, less what chance adds to it (Kumar, Liang, Ma, "Verified uncertainty
    calibration", NeurIPS 2019, section 5); p_value: how likely such gaps are if there are none. None: too few people.
    """

    policy: str
    decisions: int
    people: int
    gap: Mean | None
    slope: tuple[float, float, float] | None
    error: float | None
    p_value: float | None
    bins: tuple[Bin, ...]
    alarm: bool


def calibration(settled: pl.DataFrame) -> list[Calibration]:
    """Return the calibration of each policy that was active in decisions whose reward is known."""
    active = pl.col("evaluations").list.filter(pl.element().struct.field("role") == "active").list.first()
    predicted = (
        settled.filter(pl.col("reward").is_not_null())
        .with_columns(active.struct.field("mean").list.get("chosen", null_on_oob=True).alias("predicted"))
        .drop_nulls("predicted")
        .with_columns((pl.col("reward") - pl.col("predicted")).alias("gap"))
        .select("user_id", "policy", "predicted", "reward", "gap")
    )
    parts = sorted(predicted.partition_by("policy", as_dict=True).items(), key=str)
    return [_calibration(str(policy[0]), frame) for policy, frame in parts]


def _calibration(policy: str, frame: pl.DataFrame) -> Calibration:
    people = frame["user_id"].n_unique()
    parts = min(_MOST_BINS, 1 + len(frame) // _DECISIONS_PER_BIN)
    edges = np.unique(np.quantile(frame["predicted"].to_numpy(), np.linspace(0, 1, parts + 1)[1:-1]))
    frame = frame.with_columns(pl.Series("bin", np.searchsorted(edges, frame["predicted"].to_numpy(), side="left")))
    centres = dict(frame.group_by("bin").agg(pl.col("predicted").mean()).iter_rows())
    observed = {key[0]: of for key, of in means(frame, "reward", ["bin"])}
    gaps = {key[0]: of for key, of in means(frame, "gap", ["bin"], (-2.0, 2.0)) if of.error is not None}
    bins = tuple(Bin(centres[at], observed[at]) for at in sorted(centres))
    whole = mean(frame, "gap", (-2.0, 2.0))
    error = p_value = None
    if gaps and len(frame) >= FEWEST_DECISIONS and people >= FEWEST_PEOPLE:
        weight = sum(of.n for of in gaps.values())
        squares = sum(of.n * (of.mean**2 - (of.error or 0.0) ** 2) for of in gaps.values()) / weight
        error = max(0.0, squares) ** 0.5
        # F and not chi-squared: the standard errors are estimates themselves, by as many people as a bin has.
        statistic = sum((of.mean / (of.error or 1.0)) ** 2 for of in gaps.values()) / len(gaps)
        p_value = float(fisher.sf(statistic, len(gaps), min(of.people for of in gaps.values()) - 1))
    return Calibration(
        policy,
        len(frame),
        people,
        whole,
        _slope(frame),
        error,
        p_value,
        bins,
        error is not None and p_value is not None and error > TOLERATED and p_value < FALSE_ALARMS,
    )


def _slope(frame: pl.DataFrame) -> tuple[float, float, float] | None:
    """Return the slope and its interval, with a variance by person (Liang and Zeger, Biometrika 73, 1986)."""
    x, y = frame["predicted"].to_numpy(), frame["reward"].to_numpy()
    people = frame["user_id"].n_unique()
    centred = x - x.mean()
    if people < 3 or float(centred @ centred) < 1e-9:
        return None
    slope = float(centred @ y / (centred @ centred))
    residual = y - y.mean() - slope * centred
    scores = pl.DataFrame({"user_id": frame["user_id"], "score": centred * residual}).group_by("user_id").sum()["score"]
    error = float((scores**2).sum() * people / (people - 1)) ** 0.5 / float(centred @ centred)
    radius = float(student.ppf((1 + LEVEL) / 2, people - 1)) * error
    return slope, slope - radius, slope + radius
