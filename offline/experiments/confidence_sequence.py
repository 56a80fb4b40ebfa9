"""A confidence sequence for the gain of one policy over another, valid at all times at once, on adaptive logs.

Decisions come in time order. Decision i has candidates a with logged probabilities b(a) > 0, of which one, A, was
drawn; p(a) and o(a) are what the challenger and the policy it is compared with give (o = b when that is the one that
chose), q(a) what a model expects. All of these are known before the draw. With v = (p - o) / b,

    Y_i = h_i + D_i,   h_i = sum over a of (p(a) - o(a)) q(a),   D_i = v(A) (r - q(A))

has, given all before and the candidates, the mean g_i = sum over a of (p(a) - o(a)) E[r | a]: the challenger's gain in
that very decision. Covered is (g_1 + ... + g_t) / t: the average gain over the decisions there were, whatever changes
meanwhile: people, policies, tastes.

How. Fix a number lambda > 0, let c = KAPPA / lambda, and draw q down to c / v - 1 where v > 0 and up to 1 - c / |v|
where v < 0. Then D >= -c for every action and every reward in -1..1. Such a q is as predictable as before, so Y keeps
its mean; it only varies more where weights are heavy. And since 1 + x <= exp(x),

    E[(1 + lambda D_i) exp(-lambda (g_i - h_i))] = (1 + lambda (g_i - h_i)) exp(-lambda (g_i - h_i)) <= 1,

so the products over i are non-negative supermartingales that begin at 1, and so is their average over a grid of lambda.
It ever exceeds 1 / error with probability at most `error` (Ville's inequality). It depends on the unknown gains only
through their sum, and falls in it: every sum at which it is 1 / error or more can be left out. That is a lower bound at
all times; nothing about it is asymptotic, and no moment of the weights has to be known. The upper bound is the lower
one of -Y.

Sources: Waudby-Smith, Wu, Ramdas, Karampatziakis & Mineiro 2022, "Anytime-valid off-policy inference for contextual
bandits" (arXiv:2210.10768): pseudo-outcomes that are bounded from one side because q is drawn down, and means that
change (sections 2 and 3). They bound the logarithm of the products by a quadratic, as Howard et al. 2021
(arXiv:1810.08240); here the products themselves are kept, and the grid of lambda takes the place of a mixing density.

Assumed: (1) the logged probabilities are those that were drawn by, and positive wherever p and o differ; (2) p, o and q
follow from what was known before the draw; (3) every reward lies in -1..1, and decisions are left out by time alone,
never for what became of them; (4) a reaction does not depend on what is shown later, while it is still open.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

KAPPA = 0.5
"""lambda times c: the largest share of its worth that a product can lose in one decision."""
LAMBDAS = tuple(0.0025 * 160.0 ** (step / 7) for step in range(8))
"""0.0025 to 0.4. A gain g is found soonest by lambda = g / (variance of Y)."""
ALPHA = 0.05
_GAIN = 2.0
"""No gain is larger, with rewards in -1..1."""
_HALVINGS = 60


@dataclass(frozen=True, eq=False)
class Increments:
    """What each of n decisions adds to the lower bound, for each of m values of lambda: two (n, m) arrays.

    growth: log(1 + lambda D); expected: h.
    """

    growth: Array
    expected: Array


@dataclass(frozen=True, eq=False)
class ConfidenceSequence:
    """Bounds of the average gain over the first `times` decisions: times, lows and highs: (k,), at level 1 - alpha.

    Each bounds an average of its own, so they are not to be intersected.
    """

    alpha: float
    times: Integers
    lows: Array
    highs: Array


def increments(reward: Array, shown: Integers, starts: Integers, logged: Array, gained: Array, q: Array) -> Increments:
    """Return what the decisions add to the lower bound; for the upper one give -gained.

    reward: (n,), in -1..1. The candidates of all decisions lie one after the other in logged = b, gained = p - o and
    q, which is in -1..1; those of a decision begin at `starts`: (n,), and `shown`: (n,) is the place of the one drawn.
    Raises `ValueError` for rewards or q outside of -1..1, and for a logged probability of zero where p and o differ.
    """
    if (np.abs(reward) > 1).any() or (np.abs(q) > 1).any():
        raise ValueError("rewards and expectations must lie in -1..1")
    if (logged[shown] <= 0).any() or ((logged <= 0) & (gained != 0)).any():
        raise ValueError("a candidate that a policy would show was logged with no probability")
    v = np.divide(gained, logged, out=np.zeros_like(gained), where=gained != 0)
    drawn = v[shown]
    with np.errstate(divide="ignore"):
        reach = 1.0 / np.abs(v)
    upwards = v > 0
    growth, expected = np.empty((2, len(reward), len(LAMBDAS)))
    for column, lambda_ in enumerate(LAMBDAS):
        edge = KAPPA / lambda_ * reach - 1.0
        bounded = np.where(upwards, np.minimum(q, edge), np.maximum(q, -edge))
        growth[:, column] = np.log1p(lambda_ * drawn * (reward - bounded[shown]))
        expected[:, column] = np.add.reduceat(gained * bounded, starts)
    return Increments(growth, expected)


def lower_bounds(growth: Array, expected: Array, times: Integers, error: float) -> Array:
    """Return the lower bounds of the average gain.

    growth, expected: (..., k, m), sums of increments over the first `times`: (k,) decisions; error: the largest
    probability that any of the bounds is ever above the average it bounds.
    """
    lambdas = np.array(LAMBDAS)
    fixed = growth + lambdas * expected - math.log(len(lambdas) * (1.0 / error))
    # Of sums of gains, the largest that is ruled out lies between these two.
    low = np.broadcast_to(-_GAIN * times, growth.shape[:-1]).astype(np.float64)
    high = -low
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        ruled_out = np.logaddexp.reduce(fixed - lambdas * middle[..., None], axis=-1) >= 0
        low, high = np.where(ruled_out, middle, low), np.where(ruled_out, high, middle)
    bounds: Array = low / times
    return bounds


def confidence_sequence(
    reward: Array,
    shown: Integers,
    starts: Integers,
    logged: Array,
    gained: Array,
    q: Array,
    *,
    alpha: float = ALPHA,
    every: int = 100,
) -> ConfidenceSequence:
    """Return lower and upper bounds, alpha / 2 each, after every so many decisions and after the last one.

    Arrays: as for `increments`, in time order. What is found for the first decisions stays as it is when more come.
    """
    n = len(reward)
    times = np.unique(np.append(np.arange(every, n + 1, every), n)).astype(np.int64)
    bounds = []
    for side in (1.0, -1.0):
        added = increments(reward, shown, starts, logged, side * gained, q)
        sums = [np.cumsum(one, axis=0)[times - 1] for one in (added.growth, added.expected)]
        bounds.append(side * lower_bounds(sums[0], sums[1], times, alpha / 2))
    return ConfidenceSequence(alpha, times, bounds[0], bounds[1])
