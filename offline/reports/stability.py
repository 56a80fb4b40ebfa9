"""Population stability index of a feature between two windows, with the noise that it has when nothing changed.

PSI = sum over bins of (q - p) ln(q / p), with p and q the shares of training and of now. It is never below zero, so
that few observations alone make it large: without drift it is near a sum of squares (Yurdakul and Naranjo,
"Statistical properties of the population stability index", Journal of Risk Model Validation 14(4), 2020). Their
observations are independent; here one person gives many that are alike. So its expectation and its tail come from the
covariance of the shares over people, by the second-order correction and F distribution of Rao and Scott ("On
chi-squared tests for multiway contingency tables", Annals of Statistics 12, 1984), for the difference of the windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import f as fisher

MODERATE, LARGE = 0.1, 0.25
"""The customary limits of PSI."""
FALSE_ALARMS = 0.01
"""Probability of any false alarm over all features of one look."""
FEWEST_PEOPLE = 10
_DECILES = np.arange(0.1, 0.95, 0.1)
_MOST_VALUES = 10
"""Distinct values up to which each is a bin of its own."""
_MOST_NAMES = 20
_MISSING, _OTHER = "missing", "other"

Verdict = Literal["stable", "watch", "drift", "cannot tell"]


@dataclass(frozen=True)
class Bin:
    """A bin, and its share of either window."""

    label: str
    before: float
    now: float


@dataclass(frozen=True)
class Stability:
    """How much a feature's distribution changed. people: in training and now.

    expected: mean of the PSI if nothing changed; noise: what it then stays under in all but `FALSE_ALARMS` of looks;
    p_value: how likely a PSI of this size then is.
    """

    group: str
    feature: str
    psi: float
    expected: float
    noise: float
    p_value: float
    people: tuple[int, int]
    rows: tuple[int, int]
    bins: tuple[Bin, ...]
    verdict: Verdict


def stability(group: str, feature: str, before: pl.DataFrame, now: pl.DataFrame, looked_at: int = 1) -> Stability:
    """Compare two windows, each with columns `user_id` and `value` (numbers or texts; null is a bin of its own).

    looked_at: how many features share the probability of a false alarm.
    """
    binned_before, binned_now = _binned(before, now)
    people = (before["user_id"].n_unique(), now["user_id"].n_unique())
    labels = sorted({*binned_before["bin"].unique(), *binned_now["bin"].unique()})
    p, q = _shares(binned_before, labels), _shares(binned_now, labels)
    psi = float(((q - p) * np.log(q / p)).sum()) if len(labels) > 1 else 0.0
    bins = tuple(
        Bin(label.partition("|")[2], float(one), float(other)) for label, one, other in zip(labels, p, q, strict=True)
    )
    rows = (len(before), len(now))
    if min(people) < FEWEST_PEOPLE:
        return Stability(group, feature, psi, float("nan"), float("nan"), 1.0, people, rows, bins, "cannot tell")
    if len(labels) == 1:
        return Stability(group, feature, 0.0, 0.0, 0.0, 1.0, people, rows, bins, "stable")
    expected, freedom = _noise(binned_before, binned_now, labels, (p + q) / 2)
    others = freedom * (min(people) - 1)
    noise = expected * float(fisher.isf(FALSE_ALARMS / looked_at, freedom, others))
    p_value = float(fisher.sf(psi / expected, freedom, others))
    verdict: Verdict = "stable"
    if psi > noise and psi >= MODERATE:
        verdict = "drift" if psi >= LARGE else "watch"
    elif noise > LARGE:
        verdict = "cannot tell"
    return Stability(group, feature, psi, expected, noise, p_value, people, rows, bins, verdict)


def _noise(
    before: pl.DataFrame, now: pl.DataFrame, labels: list[str], share: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the PSI's mean without drift and its degrees of freedom, from the covariance of the shares over people.

    share: (bins,), what is expected of either window. A person who is in both adds the difference of their two parts.
    """
    person = pl.concat((before["user_id"], now["user_id"])).rank("dense").to_numpy() - 1
    people = int(person.max()) + 1
    residuals = np.zeros((people, len(labels)))
    alone = np.zeros((len(labels), len(labels)))
    place = {label: at for at, label in enumerate(labels)}
    for window, of_rows, sign in ((before, person[: len(before)], -1), (now, person[len(before) :], 1)):
        counts = np.zeros_like(residuals)
        np.add.at(counts, (of_rows, window["bin"].replace_strict(place, return_dtype=pl.Int64).to_numpy()), 1)
        residuals += sign * (counts - counts.sum(axis=1, keepdims=True) * share) / len(window)
        alone += (np.diag(share) - np.outer(share, share)) / len(window)
    spread = residuals.T @ residuals * people / (people - 1)
    scale = 1 / np.sqrt(share)
    # Never less than that of as many independent observations: people who all agree by chance prove nothing.
    spread = max(spread, alone, key=lambda one: float((scale * one.diagonal() * scale).sum())) * np.outer(scale, scale)
    trace = float(np.trace(spread))
    return trace, trace**2 / float((spread**2).sum())


def _shares(window: pl.DataFrame, labels: list[str]) -> NDArray[np.float64]:
    """Return the share of each bin; half an observation more in each keeps the logarithm finite."""
    counts = dict(window.group_by("bin").len().iter_rows())
    numbers = np.array([counts.get(label, 0) for label in labels], dtype=np.float64) + 0.5
    return np.asarray(numbers / numbers.sum())


def _binned(before: pl.DataFrame, now: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return both windows with a column `bin`, "<order>|<label>", of bins that the first one decides."""
    value = pl.col("value")
    known = before["value"].drop_nulls()
    counted = known.value_counts(sort=True) if known.dtype == pl.String else known.unique().sort().to_frame()
    if known.dtype != pl.String and len(counted) > _MOST_VALUES:
        edges = np.unique(np.quantile(known.to_numpy(), _DECILES))
        labels = [f"{at:02}|{label}" for at, label in enumerate(_spans(edges))]

        def of_interval(window: pl.DataFrame) -> pl.DataFrame:
            at = np.searchsorted(edges, window["value"].fill_null(0.0).to_numpy(), side="left")
            named = pl.Series("bin", labels).gather(at)
            return window.with_columns(
                pl.when(value.is_null()).then(pl.lit(f"99|{_MISSING}")).otherwise(named).alias("bin")
            )

        return of_interval(before), of_interval(now)
    names = {one: f"{at:02}|{_said(one)}" for at, one in enumerate(counted["value"][:_MOST_NAMES].to_list())}

    def of_value(window: pl.DataFrame) -> pl.DataFrame:
        named = value.replace_strict(names, default=f"98|{_OTHER}", return_dtype=pl.String)
        return window.with_columns(
            pl.when(value.is_null()).then(pl.lit(f"99|{_MISSING}")).otherwise(named).alias("bin")
        )

    return of_value(before), of_value(now)


def _spans(edges: NDArray[np.float64]) -> list[str]:
    said = [f"{edge:,.0f}" if abs(edge) >= 1000 else f"{edge:.3g}" for edge in edges]
    inner = [f"{low} to {high}" for low, high in pairwise(said)]
    return [f"≤ {said[0]}", *inner, f"> {said[-1]}"]


def _said(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
