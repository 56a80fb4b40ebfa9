"""Profile features: slow facts of a person, computed in batches and passed with a request or stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DAY_SEC = 86_400


@dataclass(frozen=True, slots=True)
class ProfileFeature:
    """One profile feature: what it means, how long it is fresh, what stands in for it when it is missing."""

    name: str
    description: str
    source: str
    invalidated_by: tuple[str, ...]
    ttl_sec: int = DAY_SEC
    dtype: Literal["float"] = "float"
    freshness: Literal["batched"] = "batched"
    fallback: float | None = 0.0


_FEEDBACK = ("signals.tip.feedback",)

PROFILE_FEATURES: tuple[ProfileFeature, ...] = (
    ProfileFeature(
        "completion_rate_30d",
        "share of the reactions of the last 30 days that were `done`, 0 to 1",
        "reactions",
        _FEEDBACK,
    ),
    ProfileFeature(
        "dismiss_rate_30d",
        "share of the reactions of the last 30 days that were `dismiss`, 0 to 1",
        "reactions",
        _FEEDBACK,
    ),
    ProfileFeature(
        "mean_dwell_ms_30d",
        "mean time spent on a tip before reacting in the last 30 days, milliseconds",
        "reactions",
        _FEEDBACK,
    ),
    ProfileFeature(
        "preferred_hour",
        "hour of day at which the person most often finishes tips, 0 to 24",
        "reactions",
        _FEEDBACK,
        ttl_sec=7 * DAY_SEC,
        fallback=None,
    ),
    ProfileFeature(
        "tip_volume_30d",
        "tips shown in the last 30 days",
        "tips shown",
        ("signals.tip.served",),
    ),
)
