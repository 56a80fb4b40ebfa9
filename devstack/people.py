"""Simulated people: what they like to be shown, how they react, and the candidates that they have."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tips.bandit.rewards import reward_of
from tips.contracts.common import Action

Candidate = Mapping[str, Any]

_TITLES = (
    *(
        "Pay the rent",
        "Call the dentist",
        "Answer Mira's letter",
        "Book the train",
        "Fix the bicycle",
        "Water the plants",
    ),
    *(
        "Send the invoice",
        "Read the contract",
        "Clean the kitchen",
        "Plan the trip",
        "Renew the passport",
        "Back up photos",
    ),
)


@dataclass(frozen=True, slots=True)
class Persona:
    """A habit: the probability of liking a candidate is `base` plus `weights` times its features, within 0.05..0.95.

    Features are scaled to 0..1: `is_overdue`, `task_age_days` / 30, (`priority` - 1) / 3; a tip has none of them.
    """

    name: str
    habit: str
    base: float
    weights: Mapping[str, float]

    def liking(self, candidate: Candidate) -> float:
        features: Mapping[str, float] = candidate["features"]
        scaled = {
            "is_overdue": float(features.get("is_overdue", False)),
            "task_age_days": features.get("task_age_days", 0) / 30,
            "priority": (features.get("priority", 1) - 1) / 3,
        }
        liking = self.base + sum(weight * scaled[name] for name, weight in self.weights.items())
        return min(max(liking, 0.05), 0.95)


PERSONAS = (
    Persona("deadline-driven", "does what is overdue", 0.25, {"is_overdue": 0.7}),
    Persona("ambitious", "does what matters most", 0.25, {"priority": 0.7}),
    Persona("easy starter", "does what matters least", 0.9, {"priority": -0.85, "is_overdue": -0.2}),
    Persona("fresh mind", "does the newest first", 0.9, {"task_age_days": -0.9}),
    Persona("archaeologist", "does the oldest first", 0.25, {"task_age_days": 0.7}),
    Persona(
        "tip lover",
        "wants advice, not tasks",
        0.95,
        {"is_overdue": -0.4, "task_age_days": -0.8, "priority": -0.6},
    ),
)


@dataclass(frozen=True, slots=True)
class Reaction:
    """`dwell_ms`: milliseconds; None where the person does not get that far."""

    action: Action
    dwell_ms: int | None = None

    @property
    def reward(self) -> float:
        return reward_of(self.action, self.dwell_ms)


# Reactions to a candidate that is liked and to one that is not, each with its probability.
_Reactions = Sequence[tuple[float, Reaction]]
_TO_TASK: tuple[_Reactions, _Reactions] = (
    ((0.8, Reaction("done", 60_000)), (0.2, Reaction("done", 240_000))),
    ((0.9, Reaction("dismiss")), (0.1, Reaction("snooze"))),
)
_TO_TIP: tuple[_Reactions, _Reactions] = (
    ((0.8, Reaction("done", 30_000)), (0.2, Reaction("helpful"))),
    ((0.8, Reaction("dismiss")), (0.2, Reaction("not_helpful"))),
)


def _reactions(candidate: Candidate) -> tuple[_Reactions, _Reactions]:
    return _TO_TASK if candidate["kind"] == "task" else _TO_TIP


@dataclass
class Person:
    """One simulated person. The same seed gives the same candidates, and the same reactions to the same choices."""

    user_id: str
    persona: Persona
    seed: int
    tips: Sequence[Mapping[str, Any]] = ()
    _chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._chance = random.Random(f"{self.seed}/{self.user_id}")

    def tasks(self, count: int = 5) -> list[dict[str, Any]]:
        """Return the tasks that are open now, as candidates."""
        chance = self._chance
        return [
            {
                "id": f"task-{chance.getrandbits(40):010x}",
                "kind": "task",
                "source": "todoist",
                "content": title,
                "features": {
                    "is_overdue": chance.random() < 0.4,
                    "task_age_days": round(30 * chance.betavariate(0.5, 0.5)),
                    "priority": chance.choice((1, 1, 2, 3, 4, 4)),
                },
            }
            for title in chance.sample(_TITLES, count)
        ]

    def candidates(self) -> list[dict[str, Any]]:
        """Return today's choice: open tasks and, when there are any, two tips."""
        tips = self._chance.sample(list(self.tips), min(2, len(self.tips)))
        return [*self.tasks(), *({**tip, "features": {}} for tip in tips)]

    def react(self, candidate: Candidate) -> Reaction:
        liked = self._chance.random() < self.persona.liking(candidate)
        reactions = _reactions(candidate)[0 if liked else 1]
        return self._chance.choices([r for _, r in reactions], [p for p, _ in reactions])[0]

    def expected_reward(self, candidate: Candidate) -> float:
        """Return the exact mean reward of showing `candidate` to this person."""
        liking = self.persona.liking(candidate)
        liked, disliked = (sum(p * r.reward for p, r in reactions) for reactions in _reactions(candidate))
        return liking * liked + (1 - liking) * disliked


def population(per_persona: int, seed: int) -> list[Person]:
    """Return `per_persona` people of every persona. User ids carry the seed, so populations do not mix in a table."""
    return [
        Person(f"{persona.name.replace(' ', '-')}-{seed}-{number}", persona, seed)
        for number in range(1, per_persona + 1)
        for persona in PERSONAS
    ]
