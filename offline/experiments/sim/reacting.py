"""What an individual does with a tip: reacts in one way or another, soon or late, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from offline.experiments.sim.people import liking
from offline.experiments.sim.personas import LIKED_SHARE
from offline.experiments.sim.reactions import rewards_by_liking, when_liked, when_not_liked
from tips.bandit.rewards import reward_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from offline.experiments.sim.people import People
    from offline.experiments.sim.personas import Persona
    from offline.experiments.sim.requests import Request
    from tips.contracts.common import Action

_DWELL_SPREAD = 0.15
"""Of dwell times, in log: none is carried into another reward by it."""


@dataclass(frozen=True, slots=True)
class Response:
    """A reaction. dwell_ms: milliseconds; delay_sec: from showing the tip."""

    action: Action
    dwell_ms: int | None
    delay_sec: float

    @property
    def reward(self) -> float:
        return reward_of(self.action, self.dwell_ms)


def expected(people: People, personas: Sequence[Persona], request: Request, default: float) -> NDArray[np.float64]:
    """Return (n, k): the exact mean of what showing each candidate to each of n people teaches.

    A tip without a reaction, or with one after the reward wait, teaches `default`. personas: of the n people.
    """
    ignores = np.array([persona.ignores for persona in personas])[:, None]
    in_time = np.array([persona.in_time for persona in personas])[:, None]
    likes = liking(people, request)
    liked, disliked = rewards_by_liking(people, request)
    reacts_liked, reacts_disliked = in_time * (1.0 - LIKED_SHARE * ignores), in_time * (1.0 - ignores)
    return likes * (reacts_liked * liked + (1.0 - reacts_liked) * default) + (1.0 - likes) * (
        reacts_disliked * disliked + (1.0 - reacts_disliked) * default
    )


def respond(
    people: People, persona: Persona, request: Request, chosen: int, rng: np.random.Generator
) -> Response | None:
    """Return the reaction of one person (of arrays of one) to candidate `chosen`, None if there is none."""
    task = request.candidates[chosen].kind == "task"
    # Always the same draws, whatever comes of them: what follows in a life must not depend on it.
    likes, ignored, which, late, dwell = rng.random(3).tolist() + rng.standard_normal(2).tolist()
    liked = likes < liking(people, request)[0, chosen]
    if ignored < persona.ignores * (LIKED_SHARE if liked else 1.0):
        return None
    reactions = when_liked(task, float(people.slow[0])) if liked else when_not_liked(task, float(people.dismissive[0]))
    cumulative = np.cumsum([probability for _, probability in reactions])
    reaction = reactions[min(int(np.searchsorted(cumulative, which, side="right")), len(reactions) - 1)][0]
    dwell_ms = None if reaction.dwell_ms is None else _varied(reaction.dwell_ms, dwell)
    return Response(
        reaction.action, dwell_ms, 60.0 * persona.delay_minutes * float(np.exp(persona.delay_spread * late))
    )


def _varied(dwell_ms: int, normal: float) -> int:
    return round(dwell_ms * float(np.exp(_DWELL_SPREAD * np.clip(normal, -2.0, 2.0))))
