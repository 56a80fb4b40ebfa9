"""Personas: habits of simulated people, and the individuals of which each is a variation.

A persona is a kind of the hidden rule (`offline.experiments.sim.people`) with the habits of a whole life: when tips are
looked at, how often there is no reaction, how long one takes to come, how tastes change and tire.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist

import numpy as np

from offline.experiments.sim.people import NO_TASTES, Kind, People, draw_people

WAIT_MINUTES = 24 * 60
"""The service's reward wait: what comes later is not learned."""
LIKED_SHARE = 0.5
"""What is liked is left without a reaction half as often as what is not."""
FATIGUE_DAYS = 2.0
"""How long ago a shown tip has sunk to 1/e of its weight in fatigue."""
DRIFT_BEGINS, DRIFT_ENDS = 0.3, 0.7
"""Shares of the simulated time between which tastes change, where they do."""


@dataclass(frozen=True, slots=True)
class Persona:
    """A habit. traits: what is added to the average person (hours and shares: instead), as in `people.Kind`.

    later: traits at the end of the simulated time, where tastes change. hours: first and last hour (0..23) at which
    tips are looked at, past midnight where the last is smaller. ignores: probability of no reaction to what is not
    liked. delay_minutes: median time to a reaction, lognormal with `delay_spread`. fatigue: log-odds of liking that
    each tip shown just now costs. rounds: share of the run's rounds that such a person takes part in, the last ones.
    any_taste: whether the traits are those of the other personas in turn.
    likes, dislikes: the habit in words, for a model that plays the person.
    """

    name: str
    description: str
    traits: Mapping[str, float] = field(default_factory=dict)
    later: Mapping[str, float] | None = None
    hours: tuple[int, int] = (7, 22)
    ignores: float = 0.15
    delay_minutes: float = 12.0
    delay_spread: float = 1.2
    fatigue: float = 0.0
    rounds: float = 1.0
    any_taste: bool = False
    likes: tuple[str, ...] = ()
    dislikes: tuple[str, ...] = ()

    @property
    def in_time(self) -> float:
        """Probability that a reaction comes before the reward wait ends."""
        return NormalDist().cdf(math.log(WAIT_MINUTES / self.delay_minutes) / self.delay_spread)

    def is_awake(self, hour: int) -> bool:
        first, last = self.hours
        return first <= hour <= last if first <= last else hour >= first or hour <= last


PERSONAS: Mapping[str, Persona] = {
    persona.name: persona
    for persona in (
        Persona(
            "consistent-responder",
            "Reacts to nearly every tip within minutes, and likes to get important tasks done.",
            {"task": 0.5, "priority": 1.0},
            ignores=0.03,
            delay_minutes=3.0,
            delay_spread=0.7,
            likes=("important", "task"),
        ),
        Persona(
            "overdue-ignorer",
            "Does not want to be reminded of what is overdue or old; fresh tasks are welcome.",
            {"task": 0.7, "overdue": -3.0, "age": -2.0, "reminder": -1.7},
            ignores=0.35,
            likes=("new",),
            dislikes=("overdue", "old", "reminder"),
        ),
        Persona(
            "deadline-driven",
            "Gets going when something is overdue or urgent, and only then.",
            {"task": 0.4, "overdue": 3.0, "priority": 1.2, "age": 0.5},
            likes=("overdue", "important"),
            dislikes=("insight",),
        ),
        Persona(
            "evening-relaxed",
            "Works through tasks in the morning and wants nothing but a thought to read in the evening.",
            {"task": -0.8, "focus": 3.0, "focus_hour": 9.0, "advice": 0.4, "reading": 2.4, "reading_hour": 20.5},
            delay_minutes=40.0,
            likes=("morning", "evening advice", "evening insight"),
            dislikes=("evening task",),
        ),
        Persona(
            "low-priority-first",
            "Starts with small, unimportant things and puts the big ones off.",
            {"task": 0.7, "priority": -2.4, "age": -1.0, "advice": -1.7, "insight": -2.0, "dismissive": 0.8},
            likes=("unimportant",),
            dislikes=("important", "advice", "insight"),
        ),
        Persona(
            "drifting",
            "Lives by the task list at first; over the weeks advice takes its place.",
            {"task": 1.0, "overdue": 1.2, "advice": -1.2, "insight": -1.0},
            later={"task": -1.8, "overdue": -1.2, "advice": 2.0, "insight": 1.6, "written": 0.8},
            likes=("task", "overdue"),
            dislikes=("insight",),
        ),
        Persona(
            "weekend",
            "Has time for tasks on Saturday and Sunday alone.",
            {"task": -1.2, "weekend_task": 2.6, "weekend_tip": -1.2, "advice": 0.7},
            delay_minutes=60.0,
            likes=("weekend task", "weekday advice"),
            dislikes=("weekday task",),
        ),
        Persona(
            "new-user",
            "Joined near the end and has reacted a few times; of the tastes of any other persona.",
            ignores=0.25,
            rounds=0.2,
            any_taste=True,
        ),
        Persona(
            "tip-tired",
            "Likes a thought to read, but anything less the more tips there were in the last days.",
            {"task": -0.6, "priority": -1.2, "advice": 1.8, "insight": 2.0, "reminder": 1.4},
            ignores=0.4,
            fatigue=0.8,
            likes=("advice", "insight", "reminder"),
            dislikes=("important",),
        ),
        Persona(
            "night-shift",
            "Looks at tips between evening and morning, and gets tasks done around midnight.",
            {"task": -0.5, "focus": 3.5, "focus_hour": 0.0, "reading": 1.7, "reading_hour": 6.0},
            hours=(18, 6),
            delay_minutes=90.0,
            likes=("night task",),
            dislikes=("evening task",),
        ),
        Persona(
            "advice-lover",
            "Wants ideas and encouragement, best in a mentor's voice, and has no use for a list of chores.",
            {"task": -2.0, "advice": 2.0, "insight": 1.7, "written": 1.0, "mentor": 1.4, "few_shot": -0.8},
            likes=("advice", "insight"),
            dislikes=("task",),
        ),
    )
}


_SETTLED = [persona.name for persona in PERSONAS.values() if not persona.any_taste and persona.later is None]


@dataclass(frozen=True, eq=False)
class Individual:
    """One person. people: their traits as an array of one, at the beginning and, where tastes change, at the end."""

    user_id: str
    persona: Persona
    people: People
    later: People | None = None

    def at(self, progress: float, load: float) -> People:
        """Return the traits of now. progress: share of the simulated time; load: tips shown lately, see `load_of`."""
        people = self.people
        if self.later is not None:
            share = min(1.0, max(0.0, (progress - DRIFT_BEGINS) / (DRIFT_ENDS - DRIFT_BEGINS)))
            people = _between(people, self.later, share)
        if self.persona.fatigue:
            tired = self.persona.fatigue * load
            kinds = ("task", "advice", "insight", "reminder")
            people = replace(people, **{name: getattr(people, name) - tired for name in kinds})
        return people


def load_of(days_ago: Sequence[float]) -> float:
    """Return how many tips were shown lately: each counts less the longer ago it was."""
    return math.fsum(math.exp(-days / FATIGUE_DAYS) for days in days_ago)


def _between(one: People, other: People, share: float) -> People:
    tastes = [name for name in vars(one) if name not in NO_TASTES]
    return replace(one, **{name: (1.0 - share) * getattr(one, name) + share * getattr(other, name) for name in tastes})


def draw_individuals(count: int, names: Sequence[str], rng: np.random.Generator, prefix: str) -> list[Individual]:
    """Return `count` people, the personas in turn. prefix: of their user ids, which no other run may have."""
    individuals = []
    for number in range(count):
        persona = PERSONAS[names[number % len(names)]]
        taste = persona
        if persona.any_taste:
            taste = PERSONAS[_SETTLED[number // len(names) % len(_SETTLED)]]
        people = draw_people(1, rng, [Kind(persona.name, 1.0, taste.traits)])
        later = None
        if persona.later is not None:
            moved = {name: persona.later.get(name, 0.0) - persona.traits.get(name, 0.0) for name in persona.later}
            later = replace(people, **{name: getattr(people, name) + by for name, by in moved.items()})
        individuals.append(Individual(f"{prefix}-{persona.name}-{number}", persona, people, later))
    return individuals
