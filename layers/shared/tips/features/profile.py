"""Which value of each profile feature counts: the request's, else the stored one while it is fresh, else none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from tips.features.clock import hour_there
from tips.features.profile_counters import ProfileCounters
from tips.features.profile_schema import PROFILE_FEATURES

ProfileSource = Literal["request", "stored", "fallback"]


@dataclass(frozen=True, slots=True)
class Profile:
    """A person's profile features as a decision saw them, and where each came from.

    What is a fallback is not among the features: each schema says what stands for a value that is not known.
    """

    features: Mapping[str, float | bool | None] = field(default_factory=dict)
    sources: Mapping[str, ProfileSource] = field(default_factory=dict)


def profile_of(
    given: Mapping[str, float | bool | None] | None,
    counters: ProfileCounters | None,
    timezone: str | None,
    now: datetime,
) -> Profile:
    """Return the features that count.

    given: the request's, one by one; a null says that it is not known, and nothing stored takes its place. counters:
    what is stored, None where that is not known. timezone: of the person, into which the preferred hour is brought, as
    hours are counted in UTC. Raises `InvalidField` for a time zone that does not exist.
    """
    features = dict(given or {})
    sources: dict[str, ProfileSource] = {}
    stored = {} if counters is None else counters.features()
    now_us = round(now.timestamp() * 1_000_000)
    for feature in PROFILE_FEATURES:
        name = feature.name
        kept = stored.get(name)
        if name in features:
            sources[name] = "request"
        elif kept is not None and kept.is_fresh(feature.ttl_sec, now_us):
            features[name] = hour_there(kept.value, timezone, now) if name == "preferred_hour" else kept.value
            sources[name] = "stored"
        else:
            sources[name] = "fallback"
    return Profile(features, sources)
