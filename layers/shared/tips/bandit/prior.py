"""The population prior: what is known of a person before any reaction, from everybody else's.

A prior is one or a few components, each the sums per observation of people of one kind, and a strength: how many of a
person's own observations it is worth. `offline` fits it (`population.py`), the table carries it, policies use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tips.bandit.posterior import RIDGE
from tips.bandit.statistics import map_matrix, map_vector

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Prior:
    """A mixture of c components over the weights of a schema with d names.

    share: (c,), sums to 1; strength: (c,), observations; count: (c,), observations behind each component;
    xx: (c, d, d) and rx: (c, d), the population's sums per observation; noise: variance of a reward around its mean.
    """

    names: tuple[str, ...]
    share: NDArray[np.float64]
    strength: NDArray[np.float64]
    count: NDArray[np.float64]
    xx: NDArray[np.float64]
    rx: NDArray[np.float64]
    noise: float
    version: str = ""

    def capped(self, max_strength: float) -> Prior:
        """Return the prior with no component worth more than `max_strength` observations."""
        return replace(self, strength=np.minimum(self.strength, max_strength))

    def for_schema(self, names: Sequence[str]) -> Prior | None:
        """Return the prior under another schema, by name; None when the two share no name."""
        if tuple(names) == self.names:
            return self
        if not set(names) & set(self.names):
            return None
        return replace(
            self,
            names=tuple(names),
            xx=np.stack([map_matrix(xx, self.names, names) for xx in self.xx]),
            rx=np.stack([map_vector(rx, self.names, names) for rx in self.rx]),
        )

    @cached_property
    def precision(self) -> NDArray[np.float64]:
        """P: (c, d, d) = identity + strength * xx."""
        return RIDGE * np.eye(len(self.names)) + self.strength[:, None, None] * self.xx

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """m: (c, d), the ridge estimate from all observations behind each component."""
        ridge = RIDGE / np.maximum(self.count, 1e-9)
        system = self.xx + ridge[:, None, None] * np.eye(len(self.names))
        mean: NDArray[np.float64] = np.linalg.solve(system, self.rx[:, :, None])[:, :, 0]
        return mean

    @cached_property
    def shift(self) -> NDArray[np.float64]:
        """P m: (c, d)."""
        return np.einsum("kij,kj->ki", self.precision, self.mean)

    @cached_property
    def energy(self) -> NDArray[np.float64]:
        """m^T P m: (c,)."""
        energy: NDArray[np.float64] = (self.mean * self.shift).sum(axis=1)
        return energy

    @cached_property
    def log_determinant(self) -> NDArray[np.float64]:
        """log|P|: (c,)."""
        determinant: NDArray[np.float64] = np.linalg.slogdet(self.precision)[1]
        return determinant
