"""Simulated requests: a moment, and the candidates that a recommender would have for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tips.features.vectors import Candidate

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_TASKS, MAX_TASKS = 3, 6
MIN_TIPS, MAX_TIPS = 2, 4
FIRST_HOUR, LAST_HOUR = 7, 22
OVERDUE_SHARE = 0.4
MEAN_AGE_DAYS = 8.0
PRIORITIES = (1, 1, 2, 3, 4)
TIP_KINDS = ("advice", "advice", "insight", "reminder")
TIP_SOURCES = ("llm", "llm", "llm", "advice", "fallback")
PROMPTS = ("v1", "v2-mentor", "v3-few-shot")


@dataclass(frozen=True, eq=False)
class Request:
    """k candidates at an hour (0..23) of a day (Monday = 0)."""

    hour_of_day: int
    day_of_week: int
    candidates: tuple[Candidate, ...]

    def is_kind(self, kind: str) -> NDArray[np.bool_]:
        return np.array([one.kind == kind for one in self.candidates])

    def is_prompt(self, version: str) -> NDArray[np.bool_]:
        return np.array([one.prompt_version == version for one in self.candidates])

    @cached_property
    def is_written(self) -> NDArray[np.bool_]:
        return np.array([one.source == "llm" for one in self.candidates])

    @cached_property
    def overdue(self) -> NDArray[np.float64]:
        return self._feature("is_overdue", 0.0)

    @cached_property
    def age_days(self) -> NDArray[np.float64]:
        return self._feature("task_age_days", 0.0)

    @cached_property
    def priority(self) -> NDArray[np.float64]:
        """1 (lowest) to 4."""
        return self._feature("priority", 1.0)

    def _feature(self, name: str, default: float) -> NDArray[np.float64]:
        return np.array([float(one.features.get(name) or default) for one in self.candidates])


def draw_request(rng: np.random.Generator) -> Request:
    """Return a request: open tasks and a few tips, most of them written by a model under one of the prompts."""
    tasks = [_task(rng) for _ in range(rng.integers(MIN_TASKS, MAX_TASKS, endpoint=True))]
    tips = [draw_tip(rng) for _ in range(rng.integers(MIN_TIPS, MAX_TIPS, endpoint=True))]
    hour, day = int(rng.integers(FIRST_HOUR, LAST_HOUR, endpoint=True)), int(rng.integers(7))
    return Request(hour, day, (*tasks, *tips))


def _task(rng: np.random.Generator) -> Candidate:
    overdue = bool(rng.random() < OVERDUE_SHARE)
    features = {
        "is_overdue": overdue,
        "task_age_days": float(np.floor(rng.exponential(MEAN_AGE_DAYS)) + overdue),
        "priority": PRIORITIES[rng.integers(len(PRIORITIES))],
    }
    return Candidate(features, "task", "todoist")


def draw_tip(rng: np.random.Generator) -> Candidate:
    """Return a tip of some kind and source; what a model wrote has a prompt version."""
    kind = TIP_KINDS[rng.integers(len(TIP_KINDS))]
    source = TIP_SOURCES[rng.integers(len(TIP_SOURCES))]
    prompt = PROMPTS[rng.integers(len(PROMPTS))] if source == "llm" else None
    return Candidate({}, kind, source, prompt)
