"""Whether logs can say anything of a policy at all: how many rounds its estimate really rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offline.experiments.confidence_sequence import KAPPA, LAMBDAS
from offline.experiments.gate import DOUBTFUL
from offline.experiments.intervals import Interval, percentiles, resampled_averages

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

QUANTILES = (0.5, 0.9, 0.99, 0.999)
THRESHOLDS = (0.001, 0.01, 0.05)


@dataclass(frozen=True)
class Overlap:
    """effective_sample_size: (sum w)^2 / sum w^2, how many rounds of equal weight would be as good; ess_share: of all.

    support_below: by threshold, the share of the judged policy's probability that lies on candidates which the policy
    that chose gave less than the threshold. mean_weight is 1 but for chance where the logged probabilities are right;
    its interval is descriptive, and too narrow where weights are heavy. propensity_p_value: of `propensity_test`.
    """

    effective_sample_size: float
    ess_share: float
    max_weight: float
    weight_quantiles: Mapping[str, float]
    support_below: Mapping[str, float]
    mean_weight: float
    mean_weight_interval: Interval
    propensity_p_value: float

    @property
    def propensities_doubtful(self) -> bool:
        """Whether the weights cannot be those of the logged probabilities."""
        return self.propensity_p_value < DOUBTFUL


def effective_sample_size(weight: Array) -> float:
    """Return (sum w)^2 / sum w^2, 0 where there is no weight. Source: Kish 1965."""
    squares = float(weight @ weight)
    return float(weight.sum()) ** 2 / squares if squares else 0.0


def propensity_test(weight: Array, largest: Array) -> float:
    """Return a p-value for weights whose mean, given all before, is 1: as it is if probabilities are logged right.

    weight: (n,), in time order; largest: (n,), the largest that each could have been. Bets are laid on heavier and on
    lighter weights: each capital is a non-negative martingale from 1 if the mean is 1, and one over the largest that
    their average ever was is a p-value, whatever the weights' tails and dependence (Ville's inequality).
    """
    lambdas = np.array(LAMBDAS)
    excess = weight[:, None] - 1.0
    # No bet on lighter weights may be lost by more than a part, whichever candidate is drawn.
    bounded = np.minimum(lambdas, KAPPA / np.maximum(largest[:, None] - 1.0, KAPPA))
    capital = np.concatenate((np.log1p(lambdas * excess), np.log1p(-bounded * excess)), axis=1).cumsum(axis=0)
    average = np.logaddexp.reduce(capital, axis=1) - math.log(2 * len(lambdas))
    return math.exp(-max(0.0, float(average.max())))


def overlap(
    weight: Array,
    people: Integers,
    starts: Integers,
    logged: Array,
    judged: Array,
    *,
    alpha: float = 0.01,
    seed: int = 0,
) -> Overlap:
    """Return the diagnostics of weights: (n,), in time order. people: (n,), 0..c-1, whose round each is.

    logged, judged: the probabilities of all rounds' candidates, one after the other; those of a round begin at
    `starts`: (n,). alpha: of the mean's interval.
    """
    n = len(weight)
    size = effective_sample_size(weight)
    resampled = resampled_averages(weight[:, None], people, 1000, seed)[:, 0]
    return Overlap(
        effective_sample_size=size,
        ess_share=size / n,
        max_weight=float(weight.max()),
        weight_quantiles={f"{q:g}": float(np.quantile(weight, q)) for q in QUANTILES},
        support_below={f"{one:g}": float(judged[logged < one].sum() / n) for one in THRESHOLDS},
        mean_weight=float(weight.mean()),
        mean_weight_interval=percentiles(resampled, alpha),
        propensity_p_value=propensity_test(weight, np.maximum.reduceat(judged / logged, starts)),
    )
