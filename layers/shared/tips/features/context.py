"""Just-in-time context: what a request says of this moment, and what of it a prompt gets to see."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Literal

from tips.contracts.generation import PromptContext, PromptTask
from tips.features.clock import local_time
from tips.features.profile_schema import PROFILE_FEATURES

MAX_TASKS = 12
MAX_TITLE = 160
MAX_DUE = 40
MAX_AGE_DAYS = 3650
MAX_SNIPPETS = 8
MAX_SNIPPET = 240
MAX_PREFERENCES = 300

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class ContextFeature:
    """One fact of the moment. `fallback` stands in for it when the request leaves it out and nothing else tells."""

    name: str
    description: str
    source: str
    fallback: int | tuple[()] | None
    freshness: Literal["jit"] = "jit"


CONTEXT_FEATURES: tuple[ContextFeature, ...] = (
    ContextFeature(
        "hour_of_day", "hour of the person's clock, 0 to 23", "request, else the clock in its timezone", None
    ),
    ContextFeature(
        "day_of_week", "day of the person's week, Monday = 0", "request, else the clock in its timezone", None
    ),
    ContextFeature("tasks", "open tasks of the connected apps", "request", ()),
)


def build_context(
    given: PromptContext,
    profile_features: Mapping[str, float | bool | None] | None,
    now: datetime,
    preferences: str | None = None,
) -> dict[str, Any]:
    """Return what a prompt sees, JSON-ready; what is not known is left out.

    preferences: what was learned of the person, in one line.

    Overdue tasks come first, then urgent ones, then old ones. Numbers and lengths are limited, so that the result
    has at most some 5,000 characters. `now`, with its offset, tells hour and day where the request names only a zone.
    Raises `InvalidField` for a time zone that does not exist.
    """
    context: dict[str, Any] = {}
    hour, day = local_time(given.hour_of_day, given.day_of_week, given.timezone, now)
    if hour is not None:
        context |= {"hour_of_day": hour, "part_of_day": part_of_day(hour)}
    if day is not None:
        context["weekday"] = WEEKDAYS[day]
    tasks = iter(sorted(given.tasks or (), key=_most_pressing_first))
    shown = list(islice((task for task in map(_described, tasks) if task["title"]), MAX_TASKS))
    if shown:
        context["tasks"] = shown
    if left := len(list(tasks)):
        context["further_tasks"] = left
    lines = (one_line(snippet, MAX_SNIPPET) for snippet in given.snippets or ())
    snippets = list(islice((line for line in lines if line), MAX_SNIPPETS))
    if snippets:
        context["snippets"] = snippets
    profile = profile_features or {}
    habits = {
        feature.name: round(float(value), 3)
        for feature in PROFILE_FEATURES
        if (value := profile.get(feature.name)) is not None
    }
    if habits:
        context["habits"] = habits
    if preferences:
        context["preferences"] = one_line(preferences, MAX_PREFERENCES)
    return context


def part_of_day(hour: int) -> str:
    """Return the name of the part of the day that `hour` (0 to 23) belongs to."""
    if 5 <= hour < 12:
        return "morning"
    if 12 <= hour < 17:
        return "afternoon"
    return "evening" if 17 <= hour < 22 else "night"


def one_line(text: str, limit: int) -> str:
    """Return `text` on one line, without control and formatting characters, cut to `limit` characters."""
    spaced = "".join(" " if character.isspace() else character for character in text)
    visible = "".join(character for character in spaced if not _is_hidden(character))
    line = " ".join(visible.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _is_hidden(character: str) -> bool:
    # Bidirectional overrides and the like (Cf) go; the joiners that scripts and emoji need stay.
    return unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in "\u200c\u200d"


def _most_pressing_first(task: PromptTask) -> tuple[bool, int, float]:
    return not task.is_overdue, -(task.priority or 1), -float(task.task_age_days or 0)


def _described(task: PromptTask) -> dict[str, Any]:
    described: dict[str, Any] = {"title": one_line(task.content, MAX_TITLE)}
    if task.is_overdue:
        described["overdue"] = True
    if task.task_age_days is not None:
        described["age_days"] = math.floor(min(task.task_age_days, MAX_AGE_DAYS))
    if task.priority is not None:
        described["priority"] = task.priority
    if task.due and (due := one_line(task.due, MAX_DUE)):
        described["due"] = due
    return described
