"""Intervals of means over decisions whose people, and not they themselves, are independent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Estimate:
    """A value, reward per decision, with the ends of its interval."""

    value: float
    low: float
    high: float


def mean_over_people(values: NDArray[np.float64], people: NDArray[np.intp], level: float) -> Estimate:
    """Return the mean of (n,) values with a t interval over people: (n,), which of two or more each value is of."""
    from scipy import stats

    groups = int(people.max()) + 1
    sums, sizes = np.bincount(people, values, groups), np.bincount(people, minlength=groups)
    mean = float(sums.sum() / sizes.sum())
    error = np.sqrt(np.square(sums - mean * sizes).sum() * groups / (groups - 1)) / sizes.sum()
    half = float(stats.t(groups - 1).ppf(0.5 + level / 2) * error)
    return Estimate(mean, mean - half, mean + half)


def difference_over_people(
    values: NDArray[np.float64], inside: NDArray[np.bool_], people: NDArray[np.intp], level: float
) -> Estimate:
    """Return the mean of those inside less that of the others, with a t interval over people, who may be in both.

    values, inside, people: (n,); there must be some on either side.
    """
    from scipy import stats

    groups = int(people.max()) + 1
    influence = np.zeros(groups)
    means = []
    for sign, part in ((1.0, inside), (-1.0, ~inside)):
        sums = np.bincount(people[part], values[part], groups)
        sizes = np.bincount(people[part], minlength=groups)
        means.append(float(sums.sum() / sizes.sum()))
        influence += sign * (sums - means[-1] * sizes) / sizes.sum()
    error = np.sqrt(np.square(influence).sum() * groups / max(1, groups - 1))
    half = float(stats.t(max(1, groups - 1)).ppf(0.5 + level / 2) * error)
    difference = means[0] - means[1]
    return Estimate(difference, difference - half, difference + half)
