"""What a tip is expected to bring: ridge regression, for the estimators that need a reward model.

It sees of a candidate the crossed vector (`tips.features.crossed_v3`), the mean that the policy which chose expected of
it, from that person's earlier reactions, and a constant. It is never asked about a row that it was fitted on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offline.feature_store.logs import LoggedDecision
from tips.features.crossed_v3 import CROSSED_V3
from tips.features.vectors import Candidate

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

DIMENSION = CROSSED_V3.dimension + 2
FOLDS = 5
BLOCK = 200
"""Decisions between two fits to the past."""
_RIDGE = 1.0


def vectors(decision: LoggedDecision, only: int | None = None) -> Array:
    """Return what the model sees of a decision's candidates, (k, DIMENSION); only: of that one, (1, DIMENSION)."""
    candidates: Sequence[Candidate] = decision.candidates
    mean = decision.evaluations[decision.active].mean
    if only is not None:
        candidates, mean = [candidates[only]], mean[only : only + 1]
    encoded = CROSSED_V3.encode(decision.situation, candidates)
    return np.column_stack((encoded, mean, np.ones(len(candidates))))


@dataclass(frozen=True, eq=False)
class Fits:
    """Several fits, (m, d), and for each of n rows the place of the one that may be asked about it."""

    coefficients: Array
    of_row: Integers

    def predict(self, X: Array, row: int) -> Array:
        """Return the expected rewards of a row's candidates, X: (k, d), within -1..1."""
        expected: Array = np.clip(X @ self.coefficients[self.of_row[row]], -1.0, 1.0)
        return expected


def fold_of(user_id: str, folds: int = FOLDS) -> int:
    """Return a person's fold, the same in every run."""
    return int.from_bytes(hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).digest()[:8], "big") % folds


def cross_fitted(X: Array, reward: Array, users: Sequence[str], folds: int = FOLDS) -> Fits:
    """Fit, for each fold of people, on the rounds of all others. X: (n, d), of the shown; users: of each round."""
    fold = np.array([fold_of(user, folds) for user in users])
    fits = [_ridge(X[fold != one], reward[fold != one]) for one in range(folds)]
    return Fits(np.stack(fits), fold)


def past_only(X: Array, reward: Array, decided_at: Integers, known_at: Integers, block: int = BLOCK) -> Fits:
    """Fit, for each block of rounds in time order, on the rewards that were known when its first decision was taken.

    X: (n, d), of the shown; decided_at, known_at: (n,), microseconds; decided_at does not fall.
    """
    n, d = X.shape
    order = np.argsort(known_at, kind="stable")
    firsts = np.arange(0, n, block)
    known = np.searchsorted(known_at[order], decided_at[firsts], side="left")
    xx, rx = np.zeros((d, d)), np.zeros(d)
    fits, before = [], 0
    for until in known:
        new = order[before:until]
        xx += X[new].T @ X[new]
        rx += reward[new] @ X[new]
        fits.append(np.linalg.solve(xx + _RIDGE * np.eye(d), rx))
        before = until
    return Fits(np.stack(fits), np.arange(n) // block)


def _ridge(X: Array, reward: Array) -> Array:
    fit: Array = np.linalg.solve(X.T @ X + _RIDGE * np.eye(X.shape[1]), reward @ X)
    return fit
