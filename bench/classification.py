"""Classification data sets as bandits: the arms are the classes, and only the chosen one is told right or wrong.

Protocol of Bietti, Agarwal & Langford 2021 (arXiv:1802.04064): one pass over a shuffle, cost 0 or 1. The data sets
come with scikit-learn; nothing is downloaded.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from bench.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

DATA_SETS = {"digits": "load_digits", "breast cancer": "load_breast_cancer", "wine": "load_wine"}


def standardised(X: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return z-scores, cut off at three deviations and divided by three, so that all are within -1..1. X: (n, d)."""
    deviation = X.std(axis=0)
    z = (X - X.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    return np.clip(z, -3.0, 3.0) / 3.0


@cache
def load(name: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return contexts (n, d) and classes (n,), in their own order. Raises ImportError without scikit-learn."""
    loader = getattr(import_module("sklearn.datasets"), DATA_SETS[name])
    X, classes = loader(return_X_y=True)
    return standardised(np.asarray(X, dtype=np.float64)), np.asarray(classes, dtype=np.int64)


def as_bandit(name: str, X: NDArray[np.float64], classes: NDArray[np.int64], seed: int) -> Problem:
    """Return the data set in the order of one shuffle. X: (n, d); classes: (n,), 0..k-1."""
    order = np.random.default_rng(seed).permutation(len(classes))
    payoff = np.eye(int(classes.max()) + 1)[classes[order]]
    return Problem(name, seed, X[order], payoff, 1.0 - payoff, float(len(classes)))


def shuffle(name: str, seed: int) -> Problem:
    return as_bandit(name, *load(name), seed)
