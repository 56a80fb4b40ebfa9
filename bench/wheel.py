"""The wheel bandit: how far a learner goes to find rewards that are rare and high.

Contexts are uniform on the unit disc. Arm 4 is safe (mean 1.2), arms 0 to 3 give 1.0, but beyond the radius delta one
of them, by quadrant, gives 50. Riquelme, Tucker & Snoek 2018 (arXiv:1802.09127), section 5.4.
"""

from __future__ import annotations

import numpy as np

from bench.problem import Problem

DELTAS = (0.5, 0.7, 0.9, 0.95, 0.99)
SAFE, SMALL, BIG = 1.2, 1.0, 50.0
NOISE = 0.01
SAFE_ARM = 4

PUBLISHED = {
    2_000: {
        "MAML, pre-trained": (1.79, 2.10, 6.08, 16.80, 55.53),
        "Bayesian meta-learner, pre-trained": (1.36, 1.59, 3.51, 7.21, 35.04),
    },
    80_000: {
        "NeuralLinear": (0.95, 1.60, 4.65, 9.56, 49.63),
        "MAML, pre-trained": (0.20, 0.34, 1.02, 2.10, 9.81),
        "Bayesian meta-learner, pre-trained": (0.22, 0.29, 0.66, 1.03, 4.66),
    },
}
"""By n, in the order of DELTAS: as the authors of the meta-learners, which had seen other wheels before, print it."""


def wheel(delta: float, n: int, seed: int) -> Problem:
    """Return n rounds. The context is (1, x, y); payoffs are divided by 50; the result is 100 x regret / uniform's."""
    random = np.random.default_rng(seed)
    radius = np.sqrt(random.random(n))
    angle = 2 * np.pi * random.random(n)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    mean = np.full((n, 5), SMALL)
    mean[:, SAFE_ARM] = SAFE
    far = radius > delta
    quadrant = 2 * (x < 0) + (y < 0)
    mean[far, quadrant[far]] = BIG
    reward = mean + random.normal(0.0, NOISE, mean.shape)
    regret = mean.max(axis=1, keepdims=True) - mean
    contexts = np.stack([np.ones(n), x, y], axis=1)
    return Problem(name(delta, n), seed, contexts, reward / BIG, regret, float(regret.mean(axis=1).sum()) / 100.0)


def name(delta: float, n: int) -> str:
    return f"wheel {delta:g}, n={n}"
