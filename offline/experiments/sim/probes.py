"""Probes: fresh requests that are scored for a person, and never shown, once so many reactions have been learned.

They go through `/score` as deferred decisions that are never activated, which teach nothing; the returned
probabilities give the exact mean reward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from offline.experiments.sim.people import People
from offline.experiments.sim.personas import draw_individuals
from offline.experiments.sim.reacting import expected
from offline.experiments.sim.requests import draw_request
from offline.experiments.sim.tasks import bodies_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from offline.experiments.sim.lived import Lived, World
    from offline.experiments.sim.personas import Individual
    from offline.experiments.sim.requests import Request

REFERENCE = 1100
"""People over whom the hidden rule is averaged for the best policy that is the same for all."""


@dataclass
class Probes:
    """at: counts of reactions, ascending; a person is done after the last. each: requests per person and count."""

    at: Sequence[int]
    each: int
    personas: Sequence[str]
    seed: int
    rows: list[dict[str, Any]] = field(default_factory=list)

    def reached(self, life: Lived, world: World) -> None:
        if not self.at or life.reactions not in self.at or life.done:
            return
        # The same for each policy and at each count, so that they differ by what was learned and nothing else.
        rng = np.random.default_rng([*life.seed, 4])
        for number in range(self.each):
            request = draw_request(rng)
            bodies = bodies_of(request, f"{life.individual.user_id}/probe/{life.reactions}/{number}")
            _, propensity = world.ask(life, request, bodies, defer=True)
            rewards = world.rewards(life, request)
            self.rows.append(
                {
                    "persona": life.individual.persona.name,
                    "user": life.individual.user_id,
                    "reactions": life.reactions,
                    "value": float(propensity @ rewards),
                    "random": float(rewards.mean()),
                    "oracle": float(rewards.max()),
                    "single": float(rewards[self._best_for_all(request, world.service.settings.default_reward)]),
                }
            )
        life.done = life.reactions == self.at[-1]

    @cached_property
    def _reference(self) -> list[Individual]:
        return draw_individuals(REFERENCE, self.personas, np.random.default_rng([self.seed, 13]), "reference")

    @cached_property
    def _reference_people(self) -> People:
        return together([one.people for one in self._reference])

    def _best_for_all(self, request: Request, default: float) -> int:
        """Return what the hidden rule says is best for people of whom nothing is known."""
        means: NDArray[np.float64] = expected(
            self._reference_people, [one.persona for one in self._reference], request, default
        ).mean(axis=0)
        return int(means.argmax())


def together(groups: Sequence[People]) -> People:
    """Return all people of some groups as one."""
    return People(
        **{one.name: np.concatenate([getattr(group, one.name) for group in groups]) for one in fields(People)}
    )
