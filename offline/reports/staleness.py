"""Whether profile features were there when decisions needed them, and whether what is stored keeps up with events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from offline.reports.means import Mean, mean
from tips.features.profile_schema import PROFILE_FEATURES, ProfileFeature

MORE_MISSING = 0.1
"""By how much the share of decisions without a feature may grow."""
_SURE = 2.58
"""Standard errors by which it must have grown, 1 % of false alarms."""
BEHIND = 0.05
"""Share of the people whose stored value may lag behind their events."""
FEWEST_PEOPLE = 10


@dataclass(frozen=True)
class ProfileHealth:
    """One profile feature. missing: share of the decisions that did not know it; sources: where it came from now.

    stored: people of now with a stored value; past_ttl: share of them whose value is older than its ttl at export;
    behind: share of those with events whose value is older than their last event by more than the ttl.
    """

    feature: str
    ttl_sec: int
    missing_before: Mean | None
    missing_now: Mean | None
    sources: dict[str, float]
    stored: int
    past_ttl: float | None
    behind: float | None
    with_events: int
    alarms: tuple[str, ...]


def profile_health(
    before: pl.DataFrame, now: pl.DataFrame, profiles: pl.DataFrame, exported_at: datetime
) -> list[ProfileHealth]:
    """Return the health of each profile feature; profiles: as they are at `exported_at`."""
    return [_health(feature, before, now, profiles, exported_at) for feature in PROFILE_FEATURES]


def _health(
    feature: ProfileFeature, before: pl.DataFrame, now: pl.DataFrame, profiles: pl.DataFrame, exported_at: datetime
) -> ProfileHealth:
    absent = pl.col(feature.name).is_null().alias("_absent")
    then, today = (mean(window.with_columns(absent), "_absent", (0.0, 1.0)) for window in (before, now))
    alarms = []
    if then and today and min(then.people, today.people) >= FEWEST_PEOPLE:
        error = ((then.error or 0.0) ** 2 + (today.error or 0.0) ** 2) ** 0.5
        if today.mean - then.mean > max(MORE_MISSING, _SURE * error):
            alarms.append("missing")
    past_ttl, stored, behind, with_events = _stored(feature, now, profiles, exported_at)
    if behind is not None and behind > BEHIND and with_events >= FEWEST_PEOPLE:
        alarms.append("stale")
    return ProfileHealth(
        feature.name,
        feature.ttl_sec,
        then,
        today,
        _sources(feature.name, now),
        stored,
        past_ttl,
        behind,
        with_events,
        tuple(alarms),
    )


def _sources(name: str, now: pl.DataFrame) -> dict[str, float]:
    told = now.select(pl.col("profile_sources").map.get(name).alias("source"))["source"].drop_nulls().value_counts()
    total = int(told["count"].sum())
    return {str(source): count / total for source, count in sorted(told.iter_rows())}


def _stored(
    feature: ProfileFeature, now: pl.DataFrame, profiles: pl.DataFrame, exported_at: datetime
) -> tuple[float | None, int, float | None, int]:
    if feature.source == "reactions":
        stamp, events = "reactions_at", now.filter(pl.col("action").is_not_null()).select("user_id", at="reacted_at")
    else:
        stamp, events = "shown_at", now.select("user_id", at="shown_at")
    ttl = timedelta(seconds=feature.ttl_sec)
    of_now = profiles.join(now.select("user_id").unique(), on="user_id", how="semi").drop_nulls(stamp)
    past = (pl.lit(exported_at) - pl.col(stamp) > ttl).mean()
    last = events.drop_nulls("at").group_by("user_id").agg(pl.col("at").max())
    # A person with events and no stored value at all is the furthest behind.
    compared = last.join(profiles.select("user_id", stamp), on="user_id", how="left")
    late = (pl.col(stamp).is_null() | (pl.col("at") - pl.col(stamp) > ttl)).mean()
    return (
        of_now.select(past).item() if len(of_now) else None,
        len(of_now),
        compared.select(late).item() if len(compared) else None,
        len(compared),
    )
