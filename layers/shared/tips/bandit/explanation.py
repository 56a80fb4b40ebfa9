"""Why a candidate was shown: contributions that add up to its score, and one plain sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tips.contracts.scoring import Explanation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tips.bandit.decision import Evaluation
    from tips.bandit.statistics import Posterior

OPTIMISM = "optimism"

# What to say of a component that spoke for the candidate: when it is above the other candidates', when below.
_PHRASES: dict[str, tuple[str, str]] = {
    "is_overdue": ("it is overdue", "it is not overdue"),
    "task_age": ("it has waited for long", "it is fresh"),
    "priority": ("it has a high priority", "it has a low priority"),
}


def explain(
    evaluation: Evaluation, posterior: Posterior, X: NDArray[np.float64], chosen: int, pulls: int
) -> Explanation:
    """Explain row `chosen` of X: (k, d). pulls: reactions of this person that the policy has learned from."""
    weights = posterior.mean
    terms = weights * X[chosen] + 0.0  # no negative zeros
    contributions = dict(zip(evaluation.names, terms.tolist(), strict=True))
    score = float(evaluation.distribution.score[chosen])
    bonus = score - float(evaluation.distribution.mean[chosen])
    if bonus:
        contributions[OPTIMISM] = bonus
    return Explanation(contributions=contributions, sentence=_sentence(evaluation, weights, X, chosen, pulls))


def _sentence(
    evaluation: Evaluation, weights: NDArray[np.float64], X: NDArray[np.float64], chosen: int, pulls: int
) -> str:
    score = evaluation.distribution.score
    if len(score) == 1:
        return "It is the only candidate."
    if pulls == 0:
        if evaluation.distribution.propensity[chosen] < 1:
            return "Nothing is known yet of what this person likes, so it was picked by chance."
        return "Nothing is known yet of what this person likes; a reaction to this one would tell the most."
    if score[chosen] < score.max():
        return (
            "It was picked to find out whether this person likes tips of its kind; "
            "another one was expected to do better."
        )
    difference = X[chosen] - X.mean(axis=0)
    gains = weights * difference
    reasons = [
        _PHRASES[name][0 if difference[column] > 0 else 1]
        for gain, column, name in sorted(
            ((gain, column, evaluation.names[column]) for column, gain in enumerate(gains.tolist())),
            reverse=True,
        )
        if gain > 1e-3 and name in _PHRASES
    ][:2]
    if not reasons:
        return "It is expected to be about as welcome as the other candidates."
    return f"{' and '.join(reasons).capitalize()}, and this person has reacted well to such tips."
