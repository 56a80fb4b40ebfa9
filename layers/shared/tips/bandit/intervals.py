"""An interval for a mean that may be looked at after every observation.

A confidence sequence: with the stated probability it covers the mean at all times at once, so that nobody is misled by
looking until it pleases. Rewards of a version that a bandit serves are chosen by what was seen before; what is covered
is the average, over the rewards there are, of what each was expected to be given all before it.

Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and asymptotic confidence
sequences" (arXiv:2103.06476), theorem 2.2 with the mixture's parameter of section 2.4; the variance is drawn towards
its largest by some pseudo-observations, because the theorem promises nothing for few.
"""

from __future__ import annotations

import math

_TIGHTEST_AT = 100.0
"""Observations at which the interval is made to be as narrow as it can be."""
_PSEUDO_OBSERVATIONS = 10.0
_LARGEST_VARIANCE = 1.0
"""Of a reward between -1 and 1."""


def mean_interval(n: int, total: float, squares: float, error: float = 0.05) -> tuple[float, float]:
    """Return the interval for the mean of n >= 1 rewards in -1..1, by their sum and sum of squares.

    error: the largest probability that it ever misses.
    """
    mean = total / n
    spread = max(0.0, squares - n * mean * mean)
    variance = (spread + _PSEUDO_OBSERVATIONS * _LARGEST_VARIANCE) / (n + _PSEUDO_OBSERVATIONS)
    rho2 = (-2 * math.log(error) + math.log(-2 * math.log(error) + 1)) / _TIGHTEST_AT
    inner = n * rho2 + 1
    radius = math.sqrt(variance * 2 * inner / (n * n * rho2) * math.log(math.sqrt(inner) / error))
    return max(-1.0, mean - radius), min(1.0, mean + radius)
