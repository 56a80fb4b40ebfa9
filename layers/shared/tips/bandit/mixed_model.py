"""The linear mixed model behind the population prior: people of a kind share a mean, and each differs from it.

A person of component k has weights w ~ Normal(m_k, noise * diag(1 / s_k)); a reward is Normal(x^T w, noise). The
strength s_kj is how many of a person's own observations of feature j (at value 1) the population weighs as much as: the
more people differ in a feature, the smaller it is. Everything is computed from each person's sums. With S = diag(s),
A = S + xx and r the rewards of one person:

    log p(r | m, s, noise) = -(n log(2 pi noise) + log|A| - log|S| + q / noise) / 2
    q = rr - 2 m^T rx + m^T xx m - (rx - xx m)^T A^-1 (rx - xx m)

which is the density of Normal(X m, noise * (1 + X S^-1 X^T)), n = sum w. The mean is that of generalised least squares:
it solves sum_u G_u m = sum_u g_u with G = S - S A^-1 S and g = S A^-1 rx. G grows with a person's observations only up
to S, so nobody's habit outweighs other people's by sheer volume, and that those who like something are shown it more
often does not pass for everybody's liking, as it does when observations are simply pooled.

Each person is judged with a mean that leaves his or her own G and g out. Strengths and noise maximise that likelihood,
by expectation and conditional maximisation either (ECME: the noise has a closed form). Sources: Laird & Ware 1982,
"Random-effects models for longitudinal data"; Liu & Rubin 1994, "The ECME algorithm"; Henderson 1975 for the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from tips.bandit.prior import RIDGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tips.bandit.statistics import Statistics

START_STRENGTH = 8.0
"""Where the search begins, and what holds of a feature that nobody was ever shown."""
IMAGINED_PEOPLE = 2.0
"""How many people who differ as `START_STRENGTH` says are added to the real ones: few people prove little."""
MIN_NOISE = 1e-3
MAX_STEPS = 40
TOLERANCE = 1e-4
"""Of the log-likelihood per observation, from one step to the next."""


@dataclass(frozen=True, eq=False)
class Sums:
    """The sums of u people, stacked. xx: (u, d, d); rx: (u, d); weight, rr: (u,); as in `Statistics`."""

    xx: NDArray[np.float64]
    rx: NDArray[np.float64]
    weight: NDArray[np.float64]
    rr: NDArray[np.float64]

    @classmethod
    def of(cls, people: Sequence[Statistics]) -> Self:
        return cls(
            np.stack([one.xx for one in people]),
            np.stack([one.rx for one in people]),
            np.array([one.weight for one in people]),
            np.array([one.rr for one in people]),
        )

    def __len__(self) -> int:
        return len(self.rx)

    def __getitem__(self, which: NDArray[np.bool_]) -> Self:
        return type(self)(self.xx[which], self.rx[which], self.weight[which], self.rr[which])


@dataclass(frozen=True, eq=False)
class Mixture:
    """c components. share, count (observations): (c,); mean, strength: (c, d); noise: variance of a reward."""

    share: NDArray[np.float64]
    mean: NDArray[np.float64]
    strength: NDArray[np.float64]
    count: NDArray[np.float64]
    noise: float

    def log_likelihood(self, sums: Sums) -> NDArray[np.float64]:
        """Return (u,): log p(rewards) of each person, who must not be one that the mixture was fitted to."""
        logs = [
            np.log(share) + _judge(sums, mean, strength).log_likelihood(sums, self.noise)
            for share, mean, strength in zip(self.share, self.mean, self.strength, strict=True)
        ]
        total: NDArray[np.float64] = np.logaddexp.reduce(logs, axis=0)
        return total

    def deviations(self, sums: Sums) -> NDArray[np.float64]:
        """Return (u, d): how far each person's weights are estimated to be from the first component's mean."""
        return _judge(sums, self.mean[0], self.strength[0]).deviation

    def likeliest_noise(self, sums: Sums) -> float:
        """Return the noise that maximises the likelihood of these people under the first component."""
        misfit = _judge(sums, self.mean[0], self.strength[0]).misfit.sum()
        return max(float(misfit / sums.weight.sum()), MIN_NOISE)


@dataclass(frozen=True, eq=False)
class _Judged:
    """People under one component: determinant = log|A| - log|S|, misfit = q, both (u,); how far each is estimated to be
    from the mean: deviation (u, d), in units of the noise with variances (u, d)."""

    determinant: NDArray[np.float64]
    misfit: NDArray[np.float64]
    deviation: NDArray[np.float64]
    variance: NDArray[np.float64]

    def log_likelihood(self, sums: Sums, noise: float) -> NDArray[np.float64]:
        logs: NDArray[np.float64] = -0.5 * (
            sums.weight * np.log(2.0 * np.pi * noise) + self.determinant + self.misfit / noise
        )
        return logs


def _inverse(sums: Sums, strength: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return A^-1: (u, d, d)."""
    inverse: NDArray[np.float64] = np.linalg.inv(sums.xx + np.diag(strength))
    return inverse


def _judge(
    sums: Sums,
    mean: NDArray[np.float64],
    strength: NDArray[np.float64],
    inverse: NDArray[np.float64] | None = None,
) -> _Judged:
    """Judge people by a mean: (d,), or (u, d) if it is another one for each."""
    if inverse is None:
        inverse = _inverse(sums, strength)
    own = np.broadcast_to(mean, sums.rx.shape)
    predicted = np.einsum("uij,uj->ui", sums.xx, own)
    residual = sums.rx - predicted
    deviation = np.einsum("uij,uj->ui", inverse, residual)
    misfit = sums.rr + ((predicted - 2.0 * sums.rx) * own).sum(axis=1) - (residual * deviation).sum(axis=1)
    determinant = -np.linalg.slogdet(inverse)[1] - np.log(strength).sum()
    return _Judged(determinant, misfit, deviation, np.diagonal(inverse, axis1=1, axis2=2))


def _means(
    sums: Sums,
    responsibility: NDArray[np.float64],
    strength: NDArray[np.float64],
    inverse: NDArray[np.float64],
    around: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the component's mean: (d,), and for each person the mean without him or her: (u, d).

    around: (d,), the weights of one imagined person more, which decides where there is nobody else.
    """
    share = responsibility[:, None]
    G = responsibility[:, None, None] * (np.diag(strength) - strength[:, None] * inverse * strength)
    g = share * strength * np.einsum("uij,uj->ui", inverse, sums.rx)
    all_G, all_g = G.sum(axis=0) + np.diag(strength), g.sum(axis=0) + strength * around
    mean: NDArray[np.float64] = np.linalg.solve(all_G, all_g)
    without: NDArray[np.float64] = np.linalg.solve(all_G - G, (all_g - g)[:, :, None])[:, :, 0]
    return mean, without


def fit(
    sums: Sums,
    responsibility: NDArray[np.float64],
    *,
    max_strength: float,
    around: NDArray[np.float64] | None = None,
    steps: int = MAX_STEPS,
) -> tuple[Mixture, NDArray[np.float64]]:
    """Return the mixture and log p(rewards) of each person, (u,), all judged without their own data.

    responsibility: (u, c), rows sum to 1, where the search begins; around: (d,), what components of few people are
    drawn to, zero if None. Strengths stay within RIDGE..max_strength.
    """
    people, components = responsibility.shape
    d = sums.rx.shape[1]
    centre = np.zeros(d) if around is None else around
    strength = np.full((components, d), np.clip(START_STRENGTH, RIDGE, max_strength))
    mean = np.zeros((components, d))
    logs, before = np.zeros(people), -np.inf
    share, noise = responsibility.mean(axis=0), 1.0
    for _ in range(steps):
        judged: list[_Judged] = []
        for k in range(components):
            inverse = _inverse(sums, strength[k])
            mean[k], without = _means(sums, responsibility[:, k], strength[k], inverse, centre)
            judged.append(_judge(sums, without, strength[k], inverse))
        misfit = sum((responsibility[:, k] * one.misfit).sum() for k, one in enumerate(judged))
        noise = max(float(misfit / sums.weight.sum()), MIN_NOISE)
        joint = np.log(share) + np.stack([one.log_likelihood(sums, noise) for one in judged], axis=1)
        logs = np.logaddexp.reduce(joint, axis=1)
        after = float(logs.sum() / sums.weight.sum())
        found = Mixture(share, mean.copy(), strength.copy(), responsibility.T @ sums.weight, noise)
        if after - before < TOLERANCE:
            break
        before = after
        responsibility = np.exp(joint - logs[:, None])
        share = (responsibility.sum(axis=0) + 1.0) / (people + components)
        for k, one in enumerate(judged):
            own = responsibility[:, k]
            known = own @ (1.0 - strength[k] * one.variance) + IMAGINED_PEOPLE
            spread = own @ (one.deviation**2 / noise) + IMAGINED_PEOPLE / START_STRENGTH
            strength[k] = np.clip(known / spread, RIDGE, max_strength)
    return found, logs
