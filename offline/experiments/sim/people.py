"""Simulated people: kinds of people, individuals that differ from their kind, and the hidden rule of what they like.

The rule is richer than any schema: liking is a sigmoid of tastes, hours count in windows and not as sines, age
saturates, and overdue, age and hour act together. No learner sees anything of it but reactions.

The numbers are made up, and set by two figures that depend on no learner here: the best policy that is the same for all
closes 0.45 of the gap between random and oracle, and exact inference with the hidden rule closes about two thirds of it
after five reactions.

Tastes are in units of log-odds of liking a candidate: +1 turns a liking of 50 % into 73 %, +2 into 88 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from offline.experiments.sim.requests import Request


@dataclass(frozen=True, eq=False)
class People:
    """n people, each trait an (n,) float64 array.

    task, advice, insight, reminder: log-odds of liking a candidate of the kind. What is added to it: overdue, if it is
    overdue; priority, times -1 (lowest) to 1 (highest); age, times -0.5 (new) to 0.5 (weeks old); focus, for tasks,
    times 1 at the hour of focus, 0 far from it; reading, the same for tips at the hour of reading; weekend_task and
    weekend_tip, on Saturday and Sunday; written, for a tip that a model wrote; mentor and few_shot, for its prompt.
    dismissive: share of what is not liked that is dismissed; slow: share of what is done that takes over two minutes.
    """

    task: NDArray[np.float64]
    advice: NDArray[np.float64]
    insight: NDArray[np.float64]
    reminder: NDArray[np.float64]
    overdue: NDArray[np.float64]
    priority: NDArray[np.float64]
    age: NDArray[np.float64]
    focus: NDArray[np.float64]
    focus_hour: NDArray[np.float64]
    reading: NDArray[np.float64]
    reading_hour: NDArray[np.float64]
    weekend_task: NDArray[np.float64]
    weekend_tip: NDArray[np.float64]
    written: NDArray[np.float64]
    mentor: NDArray[np.float64]
    few_shot: NDArray[np.float64]
    dismissive: NDArray[np.float64]
    slow: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.task)

    def __getitem__(self, which: slice) -> Self:
        return type(self)(**{one.name: getattr(self, one.name)[which] for one in fields(self)})

    def opposite(self) -> Self:
        """Return people who like what these dislike, at the hours at which these do not."""
        turned = {one.name: -getattr(self, one.name) for one in fields(self) if one.name not in NO_TASTES}
        shifted = {name: (getattr(self, name) + 12.0) % 24.0 for name in ("focus_hour", "reading_hour")}
        return type(self)(**turned, **shifted, dismissive=self.dismissive, slow=self.slow)


KIND_NAMES = ("task", "advice", "insight", "reminder")
NO_TASTES = ("focus_hour", "reading_hour", "dismissive", "slow")

AVERAGE: Mapping[str, float] = {
    "task": 0.0,
    "advice": -0.6,
    "insight": -0.8,
    "reminder": -0.6,
    "overdue": 0.3,
    "priority": 0.7,
    "age": -0.3,
    "focus": 1.4,
    "focus_hour": 10.0,
    "reading": 0.6,
    "reading_hour": 20.0,
    "weekend_task": -0.5,
    "weekend_tip": 0.2,
    "written": 0.2,
    "mentor": 0.0,
    "few_shot": 0.0,
    "dismissive": 0.5,
    "slow": 0.3,
}
"""A person of no particular kind."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Some people's habit: their share of the population, and what is added to the average (hours, shares: instead)."""

    name: str
    share: float
    traits: Mapping[str, float]


KINDS: Sequence[Kind] = (
    Kind("average", 0.16, {}),
    Kind("deadline-driven", 0.14, {"task": 0.4, "overdue": 3.0, "priority": 1.2, "age": 0.5}),
    Kind("overdue-avoider", 0.14, {"task": 0.7, "overdue": -3.0, "age": -2.0, "reminder": -1.7}),
    Kind("early bird", 0.12, {"task": -0.5, "focus": 3.5, "focus_hour": 7.5, "priority": 1.0}),
    Kind("night owl", 0.10, {"task": -0.5, "focus": 3.5, "focus_hour": 21.0, "reading": 1.7, "reading_hour": 11.0}),
    Kind("advice lover", 0.14, {"task": -2.0, "advice": 2.0, "insight": 1.7, "written": 1.0, "mentor": 0.7}),
    Kind(
        "small steps",
        0.10,
        {"task": 0.7, "priority": -2.4, "age": -1.0, "advice": -1.7, "insight": -2.0, "dismissive": 0.8},
    ),
    Kind("weekend person", 0.10, {"task": -1.2, "weekend_task": 2.6, "weekend_tip": -1.2, "advice": 0.7}),
)

SPREAD: Mapping[str, float] = {
    "task": 0.5,
    "advice": 0.6,
    "insight": 0.6,
    "reminder": 0.6,
    "overdue": 0.6,
    "priority": 0.4,
    "age": 0.4,
    "focus": 0.4,
    "focus_hour": 1.5,
    "reading": 0.3,
    "reading_hour": 1.5,
    "weekend_task": 0.4,
    "weekend_tip": 0.3,
    "written": 0.4,
    "mentor": 0.4,
    "few_shot": 0.4,
}
"""Standard deviation of an individual around its kind; `dismissive` and `slow` are drawn from beta distributions."""

WINDOW_HOURS = 3.5
"""How far from its hour a window has sunk to 1/e."""
SATURATION_DAYS = 7.0
GUILT = -0.6
"""What everyone feels about a task that is overdue and old, in log-odds."""
LATE = -0.5
"""What everyone feels about an important task after nine in the evening or before seven."""
DISMISSIVE_WEIGHT = 6.0
"""Of the beta distributions: the sum of their parameters."""


def draw_people(count: int, rng: np.random.Generator, kinds: Sequence[Kind] = KINDS) -> People:
    """Return `count` people of kinds drawn by their shares, each an individual variation of its kind."""
    shares = np.array([kind.share for kind in kinds])
    drawn = rng.choice(len(kinds), size=count, p=shares / shares.sum())
    traits: dict[str, NDArray[np.float64]] = {}
    for name, average in AVERAGE.items():
        if name in ("dismissive", "slow"):
            mean = np.array([kind.traits.get(name, average) for kind in kinds])[drawn]
            traits[name] = rng.beta(DISMISSIVE_WEIGHT * mean, DISMISSIVE_WEIGHT * (1.0 - mean))
            continue
        offset = name not in NO_TASTES
        mean = np.array([kind.traits.get(name, 0.0 if offset else average) for kind in kinds])[drawn]
        traits[name] = (average if offset else 0.0) + mean + SPREAD[name] * rng.standard_normal(count)
    return People(**traits)


def liking(people: People, request: Request) -> NDArray[np.float64]:
    """Return (n, k): the probability that each of n people likes each of the request's k candidates."""

    def of(trait: NDArray[np.float64]) -> NDArray[np.float64]:
        return trait[:, None]

    weekend = float(request.day_of_week >= 5)
    task, tip = request.is_kind("task"), ~request.is_kind("task")
    age = 1.0 - np.exp(-request.age_days / SATURATION_DAYS)
    important = request.priority - 2.5
    late = float(request.hour_of_day >= 21 or request.hour_of_day < 7)
    odds = np.zeros((len(people), len(request.candidates)))
    for kind in KIND_NAMES:
        odds += of(getattr(people, kind)) * request.is_kind(kind)
    odds += task * (
        of(people.overdue) * request.overdue
        + of(people.priority) * important / 1.5
        + of(people.age) * (age - 0.5)
        + of(people.focus * _window(people.focus_hour, request.hour_of_day))
        + of(people.weekend_task) * weekend
        + GUILT * request.overdue * age
        + LATE * late * (important > 0)
    )
    odds += tip * (
        of(people.reading * _window(people.reading_hour, request.hour_of_day))
        + of(people.weekend_tip) * weekend
        + of(people.written) * request.is_written
        + of(people.mentor) * request.is_prompt("v2-mentor")
        + of(people.few_shot) * request.is_prompt("v3-few-shot")
    )
    probability: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-odds))
    return probability


def _window(hour: NDArray[np.float64], now: float) -> NDArray[np.float64]:
    apart = (now - hour + 12.0) % 24.0 - 12.0
    return np.exp(-((apart / WINDOW_HOURS) ** 2))
