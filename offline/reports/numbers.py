"""How numbers are written on a page."""

from __future__ import annotations

import math

from offline.reports.means import Mean

NOTHING = "\u2013"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits after the point, a dash for none."""
    if value is None or math.isnan(value):
        return NOTHING
    return f"{value + 0.0:,.{digits}f}"


def count(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"


def share(value: float | None, digits: int = 1) -> str:
    """Return a share of 0 to 1 as a percentage."""
    return NOTHING if value is None or math.isnan(value) else f"{100 * value:.{digits}f} %"


def seconds(value: float | None) -> str:
    """Return a time in the unit that people would say it in."""
    if value is None or math.isnan(value):
        return NOTHING
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if value >= 2 * size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.1f} s"


def usd(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"${value:,.2f}" if value >= 100 or value == 0 else f"${value:.4f}"


def mean_number(of: Mean | None) -> str:
    return number(None if of is None else of.mean)


def mean_share(of: Mean | None) -> str:
    return share(None if of is None else of.mean)


def interval(of: Mean | None) -> str:
    """Return the interval of a mean, a dash where there is none."""
    return NOTHING if of is None or of.low is None else f"{number(of.low)} to {number(of.high)}"


def share_interval(of: Mean | None) -> str:
    return NOTHING if of is None or of.low is None or of.high is None else f"{share(of.low)} to {share(of.high)}"
