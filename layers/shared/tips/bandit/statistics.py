"""Sufficient statistics of a linear reward model, kept without the prior.

Because only sums are stored, a new prior, a revised reward, forgetting and another schema are plain arithmetic on sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from tips.bandit import forgetting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tips.bandit.forgetting import Microseconds


@dataclass(frozen=True, eq=False)
class Statistics:
    """Sums over one person's learned reactions under one schema.

    With w the weight of a reaction (1, or by `forgetting` as of the landmark): xx: (d, d) float64, sum of w x x^T;
    rx: (d,) float64, sum of w reward x; weight: sum of w; rr: sum of w reward^2.
    The counts are never decayed: `pulls` reactions learned, of them `pulls_without_decision` by features alone,
    `cumulative_reward` their sum.
    """

    xx: NDArray[np.float64]
    rx: NDArray[np.float64]
    weight: float = 0.0
    rr: float = 0.0
    pulls: int = 0
    pulls_without_decision: int = 0
    cumulative_reward: float = 0.0
    half_life: Microseconds = 0
    landmark: Microseconds = 0

    @classmethod
    def empty(cls, dimension: int) -> Self:
        return cls(np.zeros((dimension, dimension)), np.zeros(dimension))

    def learn(
        self,
        x: NDArray[np.float64],
        at: Microseconds,
        old: float | None,
        new: float | None,
        *,
        counted: bool = True,
        without_decision: bool = False,
    ) -> Statistics:
        """Return the statistics with a decision's reward changed from `old` to `new`; None: not learned.

        x: (d,), the vector shown; at: the decision's time. From None it is observed, to None it is taken out again,
        else revised; what was added before cancels. counted: whether it is one of the counts.
        """
        ready = self._with_landmark_near(at)
        w = forgetting.weight(at, ready.landmark, ready.half_life)
        before, after = old or 0.0, new or 0.0
        count = (new is not None) - (old is not None)
        return Statistics(
            xx=ready.xx + (count * w) * (x[:, np.newaxis] * x) if count else ready.xx,
            rx=ready.rx + (w * (after - before)) * x,
            weight=max(0.0, ready.weight + count * w),  # taken out again, rounding may leave less than nothing
            rr=ready.rr + w * (after * after - before * before),
            pulls=ready.pulls + count * counted,
            pulls_without_decision=ready.pulls_without_decision + count * counted * without_decision,
            cumulative_reward=ready.cumulative_reward + (after - before) * counted,
            half_life=ready.half_life,
            landmark=ready.landmark,
        )

    def as_of(self, now: Microseconds) -> Statistics:
        """Return the statistics with weights as they are at `now`: 1 for a decision taken this moment."""
        if self.half_life == 0:
            return self
        return self._scaled(1.0 / max(forgetting.weight(now, self.landmark, self.half_life), 1e-300))

    def with_half_life(self, half_life: Microseconds, now: Microseconds) -> Statistics:
        """Return the same sums, worth as much at `now` as before, that decay by another half-life from then on.

        What was learned before and is revised after it is revised with the weight that the new half-life gives it.
        """
        if half_life == self.half_life:
            return self
        landmark = forgetting.landmark_for(now, half_life)
        scaled = self.as_of(now)._scaled(forgetting.weight(now, landmark, half_life))
        return replace(scaled, half_life=half_life, landmark=landmark)

    def _with_landmark_near(self, at: Microseconds) -> Statistics:
        if not forgetting.is_far(at, self.landmark, self.half_life):
            return self
        landmark = forgetting.landmark_for(at, self.half_life)
        return replace(self._scaled(forgetting.moved(self.landmark, landmark, self.half_life)), landmark=landmark)

    def _scaled(self, factor: float) -> Statistics:
        return replace(self, xx=self.xx * factor, rx=self.rx * factor, weight=self.weight * factor, rr=self.rr * factor)


def map_vector(x: NDArray[np.float64], names: Sequence[str], to_names: Sequence[str]) -> NDArray[np.float64]:
    """Return x: (d,) of one schema as a vector of another: by name, zero where the name is new."""
    places, targets = _shared(names, to_names)
    mapped = np.zeros(len(to_names))
    mapped[targets] = x[places]
    return mapped


def map_matrix(xx: NDArray[np.float64], names: Sequence[str], to_names: Sequence[str]) -> NDArray[np.float64]:
    """Return xx: (d, d) of one schema as a matrix of another: by name, zero where a name is new."""
    places, targets = _shared(names, to_names)
    mapped = np.zeros((len(to_names), len(to_names)))
    mapped[np.ix_(targets, targets)] = xx[np.ix_(places, places)]
    return mapped


def map_statistics(statistics: Statistics, names: Sequence[str], to_names: Sequence[str]) -> Statistics:
    """Return the statistics under another schema: exactly those that mapped vectors would have given."""
    return replace(
        statistics,
        xx=map_matrix(statistics.xx, names, to_names),
        rx=map_vector(statistics.rx, names, to_names),
    )


def _shared(names: Sequence[str], to_names: Sequence[str]) -> tuple[list[int], list[int]]:
    place = {name: index for index, name in enumerate(names)}
    shared = [(place[name], index) for index, name in enumerate(to_names) if name in place]
    return [old for old, _ in shared], [new for _, new in shared]
