"""How many pulls it takes to tell two policies apart by their mean reward."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

ORIGINAL_DIFFERENCE, ORIGINAL_PULLS = 0.013, 100
"""The figure of the service that this one replaces: its two policies' mean rewards after so many pulls, of one seed."""
LEVEL, POWER = 0.05, 0.80


@dataclass(frozen=True, slots=True)
class Pulls:
    """needed: pulls of each policy; half_width: of the interval of the difference after `ORIGINAL_PULLS` of each."""

    deviation: float
    needed: int
    half_width: float
    power_then: float


def pulls(first_variance: float, second_variance: float, difference: float = ORIGINAL_DIFFERENCE) -> Pulls:
    """Return how many independent pulls of each of two policies tell `difference` apart.

    With variances v1 and v2 of a reward, the difference of two means over n pulls each has the variance (v1 + v2) / n.
    A two-sided test at the level a finds a difference d with the power b where

        n = (v1 + v2) (z(1 - a/2) + z(b))^2 / d^2

    (the normal sample-size formula, e.g. Fleiss, Statistical Methods for Rates and Proportions, ch. 4). The interval
    after n pulls is the difference +- z(1 - a/2) sqrt((v1 + v2) / n). Here a = 0.05 and b = 0.80. A policy that learns
    while it is pulled makes the pulls of one run dependent, which makes this a lower bound.
    """
    normal = NormalDist()
    z, both = normal.inv_cdf(1.0 - LEVEL / 2.0), first_variance + second_variance
    needed = math.ceil(both * (z + normal.inv_cdf(POWER)) ** 2 / difference**2)
    error = math.sqrt(both / ORIGINAL_PULLS)
    power = normal.cdf(difference / error - z) + normal.cdf(-difference / error - z) if error else 1.0
    return Pulls(math.sqrt(both / 2.0), needed, z * error, power)
