"""Profile features: slow facts of a person, each with the definition by which it is computed, online and in batches.

They are computed from counts by UTC day: of reactions, each decision's being the one that counts, and of tips shown.
A reaction has its place on the day, and in the hour, at which it occurred. A reaction without an action (an explicit
reward) says nothing about habits and is in no count. A feature of which there is no reaction or showing is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

DAY_SEC = 86_400
WINDOW_DAYS = 30


@dataclass(frozen=True, slots=True)
class Window:
    """Counts over `WINDOW_DAYS` days: reactions, of them `done` and `dismissed`; those that told how long they took,
    and how long in all (milliseconds); `done` by hour of the day (UTC); tips shown."""

    reactions: int = 0
    done: int = 0
    dismissed: int = 0
    with_dwell: int = 0
    dwell_ms: int = 0
    done_by_hour: Mapping[int, int] = field(default_factory=dict)
    shown: int = 0


@dataclass(frozen=True, slots=True)
class ProfileFeature:
    """One profile feature: what it means, how long it is fresh, what stands in for it when it is missing.

    compute: its value from the counts, None when they do not tell.
    """

    name: str
    description: str
    source: Literal["reactions", "tips shown"]
    invalidated_by: tuple[str, ...]
    compute: Callable[[Window], float | None]
    ttl_sec: int = DAY_SEC
    dtype: Literal["float"] = "float"
    freshness: Literal["batched"] = "batched"
    fallback: float | None = 0.0


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _preferred_hour(window: Window) -> float | None:
    """Of hours with equally many tips finished, the earliest."""
    if not window.done_by_hour:
        return None
    return float(min(window.done_by_hour, key=lambda hour: (-window.done_by_hour[hour], hour)))


_FEEDBACK = ("signals.tip.feedback",)

PROFILE_FEATURES: tuple[ProfileFeature, ...] = (
    ProfileFeature(
        "completion_rate_30d",
        "share of the reactions of the last 30 days that were `done`, 0 to 1",
        "reactions",
        _FEEDBACK,
        lambda window: _ratio(window.done, window.reactions),
    ),
    ProfileFeature(
        "dismiss_rate_30d",
        "share of the reactions of the last 30 days that were `dismiss`, 0 to 1",
        "reactions",
        _FEEDBACK,
        lambda window: _ratio(window.dismissed, window.reactions),
    ),
    ProfileFeature(
        "mean_dwell_ms_30d",
        "mean time spent on a tip before reacting in the last 30 days, milliseconds",
        "reactions",
        _FEEDBACK,
        lambda window: _ratio(window.dwell_ms, window.with_dwell),
    ),
    ProfileFeature(
        "preferred_hour",
        "hour of day at which the person most often finishes tips, 0 to 24",
        "reactions",
        _FEEDBACK,
        _preferred_hour,
        ttl_sec=7 * DAY_SEC,
        fallback=None,
    ),
    ProfileFeature(
        "tip_volume_30d",
        "tips shown in the last 30 days",
        "tips shown",
        ("signals.tip.served",),
        lambda window: float(window.shown),
    ),
)
