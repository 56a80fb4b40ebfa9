"""Forgetting by forward decay: what a decision taught counts half as much one half-life later.

Rules, each mending the flaw of the one before:
1. Multiply the sums by a factor at each reaction: then the order of arrival changes the result.
2. Weight each reaction by 2^(t / half-life), t the *decision's* time: order no longer matters, but weights overflow.
3. Weight by 2^((t - landmark) / half-life): bounded, if the landmark follows. It lies on whole multiples of the
   half-life and is moved by whole half-lives, so the sums are multiplied by a power of two, which is exact, and the
   weight of one decision is the same float up to that power however the landmark moved: a revision cancels exactly.

Source: Cormode et al. 2009, "Forward decay: a practical time decay model for streaming systems".
"""

from __future__ import annotations

import math

MAX_HALF_LIVES = 64
"""How far a decision may be after the landmark before the landmark moves."""

Microseconds = int
"""Times since 1970 and half-lives; a half-life of 0 stands for infinity: nothing is forgotten."""


def half_life_us(days: float) -> Microseconds:
    return 0 if math.isinf(days) else max(1, round(days * 86_400_000_000))


def weight(at: Microseconds, landmark: Microseconds, half_life: Microseconds) -> float:
    """Return 2^((at - landmark) / half_life); 1 when nothing is forgotten. The landmark: a multiple of half_life."""
    if half_life == 0:
        return 1.0
    whole, rest = divmod(at, half_life)
    return math.ldexp(2.0 ** (rest / half_life), _bounded(whole - landmark // half_life))


def landmark_for(at: Microseconds, half_life: Microseconds) -> Microseconds:
    """Return the last landmark at or before `at`."""
    return 0 if half_life == 0 else at // half_life * half_life


def is_far(at: Microseconds, landmark: Microseconds, half_life: Microseconds) -> bool:
    """Whether a decision at `at` is so long after the landmark that the landmark has to move."""
    return half_life != 0 and at - landmark > MAX_HALF_LIVES * half_life


def moved(landmark: Microseconds, new_landmark: Microseconds, half_life: Microseconds) -> float:
    """Return the power of two that sums are multiplied by when their landmark moves."""
    return math.ldexp(1.0, _bounded((landmark - new_landmark) // half_life)) if half_life else 1.0


def _bounded(exponent: int) -> int:
    # Beyond it is zero, or would overflow; ldexp takes no arbitrary integers.
    return max(-2000, min(exponent, 1000))
