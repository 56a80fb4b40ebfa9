"""Means of a log, with intervals by person: the decisions of one person are alike, so it is people that count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from scipy.stats import t as student

LEVEL = 0.95
FEWEST_PEOPLE = 5
"""From whom on there is an interval: the spread of fewer tells next to nothing."""
_PERSON, _ALL = "user_id", "_all"


@dataclass(frozen=True)
class Mean:
    """A mean over `n` decisions of `people`, and the interval that covers it at `LEVEL`, where there can be one.

    error: the standard error, None where there is no interval.
    """

    n: int
    people: int
    mean: float
    low: float | None = None
    high: float | None = None
    error: float | None = None


def means(
    frame: pl.DataFrame, value: str, by: Sequence[str] = (), bounds: tuple[float, float] = (-1.0, 1.0)
) -> list[tuple[tuple[object, ...], Mean]]:
    """Return the mean of a column, by the values of others, sorted by these; rows without a value are left out.

    The interval is that of a ratio of two sums, linearised, whose observations are people (Cochran, "Sampling
    Techniques", 3rd ed., chapter 6), with the quantile of Student's t for as many people. There is none for fewer
    than `FEWEST_PEOPLE`, and none where all values are equal, of which nobody knows how rare others are.
    """
    names = list(by) or [_ALL]
    sums = (
        frame.filter(pl.col(value).is_not_null())
        .with_columns(pl.lit(0).alias(_ALL))
        .group_by([*names, _PERSON])
        .agg(pl.len().alias("n"), pl.col(value).cast(pl.Float64).sum().alias("sum"))
    )
    grouped = (
        sums.group_by(names)
        .agg(
            pl.col("n").sum().alias("rows"),
            pl.len().alias("people"),
            (pl.col("sum").sum() / pl.col("n").sum()).alias("mean"),
            (pl.col("sum") - pl.col("sum").sum() / pl.col("n").sum() * pl.col("n")).pow(2).sum().alias("squares"),
        )
        .sort(names, nulls_last=True)
    )
    found = []
    for row in grouped.iter_rows(named=True):
        key = tuple(row[name] for name in by)
        found.append((key, _mean(row["rows"], row["people"], row["mean"], row["squares"], bounds)))
    return found


def mean(frame: pl.DataFrame, value: str, bounds: tuple[float, float] = (-1.0, 1.0)) -> Mean | None:
    """Return the mean of a column over the whole frame, None where it has no value."""
    found = means(frame, value, bounds=bounds)
    return found[0][1] if found else None


def _mean(n: int, people: int, value: float, squares: float, bounds: tuple[float, float]) -> Mean:
    if people < FEWEST_PEOPLE or squares <= 1e-12:
        return Mean(n, people, value)
    error = (squares * people / (people - 1)) ** 0.5 / n
    radius = float(student.ppf((1 + LEVEL) / 2, people - 1)) * error
    return Mean(n, people, value, max(bounds[0], value - radius), min(bounds[1], value + radius), error)
