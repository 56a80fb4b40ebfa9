"""Fitting the population prior to what was learned of everybody, by empirical Bayes.

The model is that of `mixed_model.py`. Its strengths come out of how much people differ, in which features. To the
population's component comes that of the stranger, who is like nobody: without it a person of quite other habits would
be taken for an unlucky one of the usual kind for as long as the strength says, and longer. There may be a component for
each of several kinds of people; how many is decided by people who were held out: one more only if it foretells their
rewards better by more than a standard error. The result depends on nothing but the sums, their order and the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tips.bandit.mixed_model import Mixture, Sums, fit
from tips.bandit.prior import RIDGE, Prior

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tips.bandit.statistics import Statistics

MAX_KINDS = 1
"""More foretell rewards a little better, but choose no better, and each costs time at every score."""
MAX_STRENGTH = 20.0
"""In observations. The functions cap again, by their own setting."""
STRANGER_SHARE = 0.05
STRANGER_STRENGTH = 3.0
"""Around zero. With the usual noise a weight of the stranger's has a standard deviation of a third of a reward."""
FOLDS = 5
STARTS = 2
PEOPLE_PER_KIND = 20
"""Fewer people than this for each are no evidence of there being several kinds of them."""


@dataclass(frozen=True, eq=False)
class Population:
    """A fitted prior and what speaks for it.

    gain: by how much it foretells the rewards of people it was not fitted to better than no prior does, in nats per
    observation, with its standard error over people; None with fewer people than folds.
    """

    prior: Prior
    people: int
    observations: float
    gain: tuple[float, float] | None


def fit_prior(
    people: Sequence[Statistics],
    names: Sequence[str],
    *,
    max_kinds: int = MAX_KINDS,
    max_strength: float = MAX_STRENGTH,
    seed: int = 0,
    version: str = "",
) -> Prior | None:
    """Return the prior for people who are none of these; None if nobody has reacted yet.

    people: as of now (`Statistics.as_of`), all under the schema with these names; those without observations are left
    out. Of one or two people the prior is weak, but it is one.
    """
    fitted = fit_population(people, names, max_kinds=max_kinds, max_strength=max_strength, seed=seed, version=version)
    return None if fitted is None else fitted.prior


def fit_population(
    people: Sequence[Statistics],
    names: Sequence[str],
    *,
    max_kinds: int = MAX_KINDS,
    max_strength: float = MAX_STRENGTH,
    seed: int = 0,
    version: str = "",
) -> Population | None:
    """Return the prior as `fit_prior` does, with what speaks for it."""
    observed = [one for one in people if one.weight > 0]
    if not observed:
        return None
    sums = Sums.of(observed)
    folds = _folds(len(sums), seed)
    kinds, best = 1, _held_out(sums, folds, partial(_fit, kinds=1, max_strength=max_strength, seed=seed))
    for more in range(2, min(max_kinds, len(sums) // PEOPLE_PER_KIND) + 1):
        held_out = _held_out(sums, folds, partial(_fit, kinds=more, max_strength=max_strength, seed=seed))
        if not _pays(held_out - best):
            break
        kinds, best = more, held_out
    mixture = _fit(sums, kinds=kinds, max_strength=max_strength, seed=seed)
    return Population(
        prior=Prior(tuple(names), mixture.share, mixture.strength, mixture.mean, mixture.noise, version),
        people=len(sums),
        observations=float(sums.weight.sum()),
        gain=_gain(best - _without_prior(sums), sums) if len(sums) >= FOLDS else None,
    )


def cross_fitted_priors(
    people: Sequence[Statistics],
    names: Sequence[str],
    *,
    max_kinds: int = MAX_KINDS,
    max_strength: float = MAX_STRENGTH,
    seed: int = 0,
) -> list[Prior | None]:
    """Return for each person a prior that his or her own data has no part in, for judging priors on their own people.

    People are divided into folds, and each fold's prior, its number of components included, is fitted to the others.
    """
    priors: list[Prior | None] = [None] * len(people)
    for fold in _folds(len(people), seed):
        rest = [one for one, inside in zip(people, fold, strict=True) if not inside]
        prior = fit_prior(rest, names, max_kinds=max_kinds, max_strength=max_strength, seed=seed)
        for place in np.flatnonzero(fold):
            priors[place] = prior
    return priors


def _folds(people: int, seed: int) -> list[NDArray[np.bool_]]:
    """Return the folds as (u,) masks; everybody is in one."""
    order = np.random.default_rng(seed).permutation(people)
    return [order % FOLDS == fold for fold in range(min(FOLDS, people))]


def _held_out(sums: Sums, folds: Sequence[NDArray[np.bool_]], fitted: Callable[[Sums], Mixture]) -> NDArray[np.float64]:
    """Return (u,): log p of each person's rewards under what is fitted to the other folds."""
    logs = np.zeros(len(sums))
    for fold in folds:
        if not fold.all():
            logs[fold] = fitted(sums[~fold]).log_likelihood(sums[fold])
    return logs


def _pays(differences: NDArray[np.float64]) -> bool:
    """Whether the sum of (u,) differences is more than its standard error."""
    return bool(differences.sum() > np.sqrt(len(differences)) * differences.std(ddof=1))


def _gain(differences: NDArray[np.float64], sums: Sums) -> tuple[float, float]:
    error = np.sqrt(len(differences)) * differences.std(ddof=1)
    total = sums.weight.sum()
    return float(differences.sum() / total), float(error / total)


def _fit(sums: Sums, *, kinds: int, max_strength: float, seed: int) -> Mixture:
    """Return the population's components and the stranger's."""
    single, _ = fit(sums, np.ones((len(sums), 1)), max_strength=max_strength)
    return _with_stranger(single if kinds == 1 else _several(sums, single, kinds, max_strength, seed))


def _several(sums: Sums, single: Mixture, kinds: int, max_strength: float, seed: int) -> Mixture:
    """Return the best mixture of a few starts, each from a grouping of people by how they differ from their mean."""
    apart = single.deviations(sums)
    rng = np.random.default_rng(seed)
    found = [
        fit(sums, grouping, max_strength=max_strength, around=single.mean[0])
        for grouping in (_grouping(apart, kinds, rng) for _ in range(STARTS))
    ]
    return max(found, key=lambda one: float(one[1].sum()))[0]


def _with_stranger(mixture: Mixture) -> Mixture:
    d = mixture.mean.shape[1]
    return Mixture(
        share=np.append((1.0 - STRANGER_SHARE) * mixture.share, STRANGER_SHARE),
        mean=np.vstack([mixture.mean, np.zeros(d)]),
        strength=np.vstack([mixture.strength, np.full(d, STRANGER_STRENGTH)]),
        count=np.append(mixture.count, mixture.count.sum()),
        noise=mixture.noise,
    )


def _grouping(points: NDArray[np.float64], groups: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return (u, groups) one-hot: points (u, d) by the nearest of some of them that are far apart (k-means++)."""
    centres = [points[rng.integers(len(points))]]
    while len(centres) < groups:
        distance = np.min([((points - centre) ** 2).sum(axis=1) for centre in centres], axis=0)
        total = distance.sum()
        chosen = rng.choice(len(points), p=distance / total) if total > 0 else rng.integers(len(points))
        centres.append(points[chosen])
    nearest = np.argmin([((points - centre) ** 2).sum(axis=1) for centre in centres], axis=0)
    return np.eye(groups)[nearest]


def _without_prior(sums: Sums) -> NDArray[np.float64]:
    """Return (u,): log p of each person's rewards under ridge regression alone, its noise the likeliest."""
    d = sums.rx.shape[1]
    ridge = Mixture(np.ones(1), np.zeros((1, d)), np.full((1, d), RIDGE), np.zeros(1), 1.0)
    return replace(ridge, noise=ridge.likeliest_noise(sums)).log_likelihood(sums)
