"""The figures that reports have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter
from numpy.typing import NDArray

from offline.pages import COLOURS, plot
from offline.reports.means import Mean

_FEWEST_DAYS = 7
"""Of an axis: a single day would be stretched to years."""
_MOST_MARKED = 45
"""Days up to which each has a mark of its own."""


def by_day(series: Mapping[str, Mapping[date, Mean]], label: str, *, shares: bool = False) -> Figure:
    """Draw means by day, each series with a band for its intervals."""
    fig, axes = plot()
    for (name, means), colour in zip(series.items(), _colours(), strict=False):
        days = sorted(means)
        marker = "o" if len(days) <= _MOST_MARKED else None
        axes.plot(_dates(days), [means[day].mean for day in days], color=colour, marker=marker, ms=4, label=name)
        low, high = ([_or_nan(getattr(means[day], end)) for day in days] for end in ("low", "high"))
        axes.fill_between(_dates(days), low, high, color=colour, alpha=0.15, linewidth=0)
    _finish(axes, label, len(series) > 1, shares)
    return fig


def lines_by_day(series: Mapping[str, Mapping[date, float]], label: str) -> Figure:
    """Draw one line per series."""
    fig, axes = plot()
    for (name, values), colour in zip(series.items(), _colours(), strict=False):
        days = sorted(values)
        marker = "o" if len(days) <= _MOST_MARKED else None
        axes.plot(_dates(days), [values[day] for day in days], color=colour, marker=marker, ms=4, label=name)
    axes.set_ylim(bottom=0)
    _finish(axes, label, len(series) > 1, False)
    return fig


def stacked_by_day(series: Mapping[str, Mapping[date, float]], label: str) -> Figure:
    """Draw a bar per day, made of the series one on top of the other."""
    fig, axes = plot()
    days = sorted({day for values in series.values() for day in values})
    bottom = np.zeros(len(days))
    for (name, values), colour in zip(series.items(), _colours(), strict=False):
        heights = np.array([values.get(day, 0.0) for day in days])
        axes.bar(_dates(days), heights, 0.8, bottom, color=colour, label=name)
        bottom += heights
    _finish(axes, label, len(series) > 1, False)
    return fig


def dots(rows: Sequence[tuple[str, Mean]], label: str) -> Figure:
    """Draw a mean and its interval per row, first row on top."""
    fig, axes = plot(height=0.9 + 0.42 * len(rows))
    for place, (_, one) in enumerate(rows):
        if one.low is not None and one.high is not None:
            axes.plot([one.low, one.high], [place, place], color=COLOURS[0], linewidth=2.5, alpha=0.45)
        axes.plot([one.mean], [place], "o", color=COLOURS[0])
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(label)
    return fig


def histogram(values: Mapping[str, NDArray[np.float64]], edges: NDArray[np.float64], label: str) -> Figure:
    """Draw the shares of each series that lie between the edges; beyond the last edges counts as in the last bins."""
    fig, axes = plot()
    for (name, numbers), colour in zip(values.items(), _colours(), strict=False):
        counts, _ = np.histogram(np.clip(numbers, edges[0], edges[-1]), edges)
        axes.stairs(counts / max(1, len(numbers)), edges, color=colour, fill=True, alpha=0.25)
        axes.stairs(counts / max(1, len(numbers)), edges, color=colour, linewidth=1.5, label=name)
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.set_xlabel(label)
    if len(values) > 1:
        axes.legend()
    return fig


def cumulative(values: Mapping[str, NDArray[np.float64]], label: str) -> Figure:
    """Draw the share of each series that is at most so large, over a logarithmic axis; values: above 0."""
    fig, axes = plot()
    for (name, numbers), colour in zip(values.items(), _colours(), strict=False):
        # A thousand steps are finer than a screen, and keep the page small.
        shares = np.linspace(0, 1, min(len(numbers), 1000) + 1)
        axes.plot(np.quantile(numbers, shares), shares, color=colour, label=name)
    axes.set_xscale("log")
    # The usual one writes powers as formulas, which pages do not typeset.
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.set_xlabel(label)
    if len(values) > 1:
        axes.legend()
    return fig


def _finish(axes: Axes, label: str, legend: bool, shares: bool) -> None:
    locator = AutoDateLocator(minticks=2, maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    first, last = axes.dataLim.intervalx
    if last - first < _FEWEST_DAYS:
        middle = (first + last) / 2
        axes.set_xlim(middle - _FEWEST_DAYS / 2, middle + _FEWEST_DAYS / 2)
    axes.set_ylabel(label)
    if shares:
        axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    if legend:
        # Above, where it hides nothing.
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)


def _dates(days: Sequence[date]) -> NDArray[np.datetime64]:
    return np.array(days, dtype="datetime64[D]")


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _colours() -> tuple[str, ...]:
    return COLOURS * 3
