"""Why a candidate was shown: contributions that add up to its score, and one plain sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tips.contracts.scoring import Explanation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tips.bandit.decision import Evaluation
    from tips.bandit.posterior import Posterior

OPTIMISM = "optimism"
MAX_REASONS = 2

# What to say of a component, or of a sine and a cosine together, that spoke for the candidate: when its value is above
# the other candidates', when below. Descriptions come first, sentences about the person after them.
_DESCRIPTIONS: dict[str, tuple[str, str]] = {
    "is_overdue": ("overdue", "not overdue"),
    "task_age": ("waiting for long", "fresh"),
    "priority": ("of high priority", "of low priority"),
    "kind_task": ("a task", "not a task"),
    "kind_advice": ("a piece of advice", "not advice"),
    "kind_insight": ("an insight", "not an insight"),
    "kind_reminder": ("a reminder", "not a reminder"),
    "source_llm": ("written for you", "not written by a model"),
    "source_advice": ("from the advice collection", "not from the advice collection"),
    "source_fallback": ("from the standing tips", "not from the standing tips"),
    "source_other": ("from another app", "not from another app"),
}
_HABITS: dict[str, tuple[str, str]] = {
    "hour:task": ("you usually finish tasks around this hour", "you seldom finish tasks around this hour"),
    "hour:other": (
        "you usually welcome something other than a task around this hour",
        "you seldom welcome anything but tasks around this hour",
    ),
    "hour:overdue": (
        "you usually take up what is overdue around this hour",
        "you seldom take up what is overdue around this hour",
    ),
    "hour:priority": (
        "you usually take up what is important around this hour",
        "you seldom take up what is important around this hour",
    ),
    "weekend:task": ("you usually finish tasks on such a day", "you seldom finish tasks on such a day"),
    "weekend:other": (
        "you usually welcome something other than a task on such a day",
        "you seldom welcome anything but tasks on such a day",
    ),
    "weekend:priority": (
        "you usually take up what is important on such a day",
        "you seldom take up what is important on such a day",
    ),
    "completion_rate:task": (
        "tasks suit how much you usually finish",
        "tasks suit how much you usually finish less",
    ),
    "preferred_hour:task": ("tasks suit you at this distance from your usual hour",) * 2,
    "dismiss_rate:other": ("it suits how often you dismiss tips",) * 2,
    "mean_dwell:other": ("it suits the time you take for tips",) * 2,
    "tip_volume:other": ("it suits the number of tips you see",) * 2,
    **{
        f"prompt_{version}": ("you like how such tips are written", "you like tips written otherwise less")
        for version in ("v1", "v2-mentor", "v3-few-shot", "other")
    },
}


def explain(
    evaluation: Evaluation, posterior: Posterior, X: NDArray[np.float64], chosen: int, *, known: bool
) -> Explanation:
    """Explain row `chosen` of X: (k, d). known: whether anything has been learned of this person."""
    weights = posterior.mean
    terms = weights * X[chosen] + 0.0  # no negative zeros
    contributions = dict(zip(evaluation.names, terms.tolist(), strict=True))
    score = float(evaluation.distribution.score[chosen])
    bonus = score - float(evaluation.distribution.mean[chosen])
    if bonus:
        contributions[OPTIMISM] = bonus
    return Explanation(contributions=contributions, sentence=_sentence(evaluation, weights, X, chosen, known))


def _sentence(
    evaluation: Evaluation, weights: NDArray[np.float64], X: NDArray[np.float64], chosen: int, known: bool
) -> str:
    score = evaluation.distribution.score
    if len(score) == 1:
        return "It is the only candidate."
    if not known and not weights.any():
        if evaluation.distribution.propensity.min() == evaluation.distribution.propensity.max():
            return "Nothing is known yet of what you like, so it was picked by chance."
        if score[chosen] < score.max():
            return "Nothing is known yet of what you like, and it was picked to see what you make of it."
        return "Nothing is known yet of what you like; your reaction to this one would tell the most."
    if score[chosen] < score.max():
        return "It was picked to find out whether you like tips of its kind; another one was expected to do better."
    reasons = _reasons(evaluation.names, weights, X, chosen)
    if not reasons:
        return "It is expected to be about as welcome as the other candidates."
    text = ", and ".join(reasons)
    if not known:
        return f"Going by what other people like: {text}."
    return f"{text[0].upper()}{text[1:]}."


def _reasons(names: tuple[str, ...], weights: NDArray[np.float64], X: NDArray[np.float64], chosen: int) -> list[str]:
    """Return what speaks most for the chosen row against the mean of all, as words; at most `MAX_REASONS`."""
    difference = X[chosen] - X.mean(axis=0)
    gains: dict[str, float] = {}
    above: dict[str, bool] = {}
    for column, name in enumerate(names):
        group = name.replace("hour_sin:", "hour:").replace("hour_cos:", "hour:")
        gain = float(weights[column] * difference[column])
        gains[group] = gains.get(group, 0.0) + gain
        # Of a cross the sign is the hour's or the day's; what counts is whether the candidate has what is crossed.
        size = np.abs(X[:, column]) if ":" in name else X[:, column]
        above[group] = above.get(group, False) or bool(size[chosen] > size.mean())
    # What the candidate has says more to a person than what it has not.
    weight = {name: gain if above[name] else gain / 3 for name, gain in gains.items()}
    best = [name for name in sorted(weight, key=lambda name: -weight[name]) if weight[name] > 1e-3]
    told = [name for name in best if name in _DESCRIPTIONS or name in _HABITS][:MAX_REASONS]
    described = [_DESCRIPTIONS[name][0 if above[name] else 1] for name in told if name in _DESCRIPTIONS]
    habits = [_HABITS[name][0 if above[name] else 1] for name in told if name in _HABITS]
    return described + habits
