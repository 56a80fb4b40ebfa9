"""The population prior: what is known of a person before any reaction, from everybody else's.

Of each weight it says what is usual and how many of a person's own observations of that feature (at value 1) the
population is worth. `offline` fits it (`population.py`), the table carries it, policies use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tips.bandit.statistics import map_vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

RIDGE = 1.0
"""Strength, around zero, of a weight of which no prior says anything."""


@dataclass(frozen=True, eq=False)
class Prior:
    """A mixture of c components over the weights of a schema with d names.

    A person of component k has weights Normal(mean_k, noise * diag(1 / strength_k)). share: (c,), sums to 1; strength,
    observations, and mean: (c, d); noise: variance of a reward around its mean. Raises `ValueError` if it is no such
    thing.
    """

    names: tuple[str, ...]
    share: NDArray[np.float64]
    strength: NDArray[np.float64]
    mean: NDArray[np.float64]
    noise: float
    version: str = ""

    def __post_init__(self) -> None:
        shape = (len(self.share), len(self.names))
        if self.strength.shape != shape or self.mean.shape != shape or not len(self.share):
            raise ValueError(f"strength and mean of a prior must be {shape}")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.strength).all() and (self.strength > 0).all()):
            raise ValueError("a prior's means must be finite, its strengths positive")
        if not ((self.share > 0).all() and abs(self.share.sum() - 1.0) < 1e-6 and 0.0 < self.noise < np.inf):
            raise ValueError("a prior's shares must be positive and sum to 1, its noise positive")

    def capped(self, max_strength: float) -> Prior:
        """Return the prior with no weight worth more than `max_strength` observations, and none less than by ridge."""
        return replace(self, strength=np.minimum(self.strength, max(max_strength, RIDGE)))

    def for_schema(self, names: Sequence[str]) -> Prior | None:
        """Return the prior under another schema, by name: a new name has ridge's; None when the two share no name."""
        if tuple(names) == self.names:
            return self
        if not set(names) & set(self.names):
            return None
        new = np.array([name not in self.names for name in names])
        return replace(
            self,
            names=tuple(names),
            strength=np.stack([map_vector(one, self.names, names) for one in self.strength]) + RIDGE * new,
            mean=np.stack([map_vector(one, self.names, names) for one in self.mean]),
        )

    @cached_property
    def precision(self) -> NDArray[np.float64]:
        """P: (c, d, d) = diag(strength)."""
        return self.strength[:, :, None] * np.eye(len(self.names))

    @cached_property
    def shift(self) -> NDArray[np.float64]:
        """P m: (c, d)."""
        return self.strength * self.mean

    @cached_property
    def energy(self) -> NDArray[np.float64]:
        """m^T P m: (c,)."""
        energy: NDArray[np.float64] = (self.mean * self.shift).sum(axis=1)
        return energy

    @cached_property
    def log_determinant(self) -> NDArray[np.float64]:
        """log|P|: (c,)."""
        determinant: NDArray[np.float64] = np.log(self.strength).sum(axis=1)
        return determinant

    @cached_property
    def observations(self) -> NDArray[np.float64]:
        """What each component is worth in observations of a person's own, over the features: (c,)."""
        worth: NDArray[np.float64] = self.strength.mean(axis=1)
        return worth
