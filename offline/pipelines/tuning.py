"""Parameters chosen by off-policy evaluation: another combination only where it is clearly better than the default.

Each combination of the grid is judged by the doubly robust estimator on the same decisions, replayed in order of time
with priors that leave the judged person's fold out (`replay.py`). The reward model is that prior's belief as of the
decision, so it is not fitted to what it predicts either. What is compared is the difference to the policy's own
parameters, decision by decision; people, not decisions, are independent, so its error is that of a mean over people
(a ratio of sums, linearised). With m combinations each interval has the level 1 - (1 - confidence) / m (Bonferroni),
because the best of many looks better than it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from offline.experiments.diagnostics import effective_sample_size
from offline.experiments.estimators import Rounds, doubly_robust_terms
from offline.pipelines.config import STRENGTH
from offline.pipelines.intervals import Estimate, mean_over_people
from offline.pipelines.replay import Seen, replay
from tips.bandit.tuning import parameters_of, tuned

if TYPE_CHECKING:
    import polars as pl

    from tips.bandit.policy import Policy
    from tips.bandit.prior import Prior


@dataclass(frozen=True)
class Compared:
    """A combination of the grid. value: doubly robust; difference: to the default's; both with intervals."""

    point: Mapping[str, float]
    value: Estimate
    difference: Estimate
    effective_sample: float


@dataclass(frozen=True)
class Tuning:
    """What was compared, and what was chosen. winner: None where the default is kept; said: why, in words."""

    decisions: int
    people: int
    logged: Estimate | None
    default: Compared | None
    compared: Sequence[Compared]
    winner: Mapping[str, float] | None
    said: str

    def document(self) -> dict[str, Any]:
        return asdict(self)


def choose(
    frame: pl.DataFrame,
    policy: Policy,
    priors: Mapping[str, Prior | None],
    points: Sequence[Mapping[str, float]],
    *,
    max_strength: float,
    judged_until_us: int,
    confidence: float,
    min_effective_sample: float,
) -> Tuning:
    """Return which combination is to be used. policy: with its default parameters; others as in `replay`."""
    default_point = {**parameters_of(policy), STRENGTH: max_strength}
    points = [point for point in points if {**default_point, **point} != default_point]
    strengths = sorted({max_strength, *(point.get(STRENGTH, max_strength) for point in points)})
    replayed = {
        strength: replay(
            frame,
            policy.schema,
            {name: None if prior is None else prior.capped(strength) for name, prior in priors.items()},
            judged_until_us,
        )
        for strength in strengths
    }
    believed = replayed[max_strength]
    names, people = np.unique([one.decision.user_id for one in believed], return_inverse=True)
    if len(names) < 2:
        return Tuning(len(believed), len(names), None, None, [], None, "too few people were served to compare anything")
    reward = np.array([one.reward for one in believed])
    logged = mean_over_people(reward, people, confidence)

    def judge(point: Mapping[str, float]) -> Rounds:
        parameters = {name: value for name, value in point.items() if name != STRENGTH}
        return _rounds(tuned(policy, parameters), replayed[point.get(STRENGTH, max_strength)], believed)

    own = judge(default_point)
    level = 1.0 - (1.0 - confidence) / max(1, len(points))

    def compared(point: Mapping[str, float], rounds: Rounds) -> Compared:
        robust = doubly_robust_terms(rounds)
        return Compared(
            dict(point),
            mean_over_people(robust, people, confidence),
            mean_over_people(robust - doubly_robust_terms(own), people, level),
            effective_sample_size(rounds.weight),
        )

    default = compared(default_point, own)
    found = [compared(point, judge(point)) for point in points]
    enough = [one for one in found if one.effective_sample >= min_effective_sample]
    best = max(enough, key=lambda one: one.difference.low, default=None)
    if not points:
        winner, said = None, "there is nothing to choose from: the default is kept"
    elif best is None:
        winner, said = None, f"no combination has an effective sample of {min_effective_sample:g}: the default is kept"
    elif best.difference.low <= 0.0:
        winner, said = None, "no combination is clearly better than the default, which is kept"
    else:
        winner = best.point
        gain = best.difference
        said = f"clearly better than the default: by {gain.value:.4f} a decision, by {gain.low:.4f} at least"
    return Tuning(len(believed), len(names), logged, default, found, winner, said)


def _rounds(policy: Policy, seen: Sequence[Seen], believed: Sequence[Seen]) -> Rounds:
    """Return the rounds of a policy. believed: the same decisions, with the means that serve as the reward model."""
    weight, predicted, value = (np.empty(len(seen)) for _ in range(3))
    for place, (one, model) in enumerate(zip(seen, believed, strict=True)):
        propensity, chosen = one.distribution(policy).propensity, one.decision.chosen
        weight[place] = propensity[chosen] / one.shown_with
        predicted[place] = model.mean[chosen]
        value[place] = propensity @ model.mean
    return Rounds(np.array([one.reward for one in seen]), weight, predicted, value)
