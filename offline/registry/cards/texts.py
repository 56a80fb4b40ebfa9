"""What a card says of a policy that neither code nor logs can tell: what it is meant for, and what it is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Texts:
    """use: intended use; limits: where it must not be relied on, one sentence each."""

    use: str
    limits: tuple[str, ...]


_LINEAR = "Rewards are taken to be linear in the features, with one noise for everybody."
_PLAIN = (
    "No feature is crossed with another: hour, weekday and profile add the same to every candidate and cannot change "
    "which is best."
)
_NO_SUPPORT = (
    "Its own log says little of other policies: candidates that it does not hold best are next to never shown."
)

TEXTS: Mapping[str, Texts] = {
    "linucb": Texts(
        "The original baseline: a deterministic choice where decisions need not support the evaluation of others.",
        (_LINEAR, _PLAIN, _NO_SUPPORT),
    ),
    "egreedy-v1": Texts(
        "Callers of the original service that name it in the path; a comparison with a known share of chance.",
        (_LINEAR, _PLAIN, "One decision in ten is uniform chance, however clear the best candidate is."),
    ),
    "egreedy-v2": Texts(
        "Callers of the original service that name it in the path; a cheap shadow beside the default.",
        (
            _LINEAR,
            _PLAIN,
            "One decision in ten is uniform chance, however clear the best candidate is.",
            "Profile features are only known of people who have reacted within 30 days.",
        ),
    ),
    "lints": Texts(
        "Shadows and experiments that explore by posterior probability.",
        (
            _LINEAR,
            "Probabilities come from an integral on a grid that takes candidates' rewards to be independent.",
            _NO_SUPPORT,
        ),
    ),
    "squarecb": Texts(
        "Experiments and shadows that explore by estimated means alone.",
        (
            _LINEAR,
            "It has no bonus for candidates of which little is known, and no floor under its probabilities.",
        ),
    ),
    "igw-ucb": Texts(
        "The default: which tip to show one person now, with a probability for every candidate that supports the "
        "evaluation of other policies.",
        (
            _LINEAR,
            "The floor under its probabilities (MIN_EXPLORE) costs reward where the best candidate is clear.",
            "Regret bounds of its two parts are not claimed for their combination.",
            "Not for choices with consequences beyond a shown tip: rewards stand for liking, not for a person's good.",
        ),
    ),
}
