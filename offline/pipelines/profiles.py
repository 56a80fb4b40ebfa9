"""The five profile features in batch: counted anew from exported decisions, by the counters that count them online.

What logs can tell: of each decision the reaction that counts, and when its tip was first shown. What they cannot:
reactions that found no decision, and tips that were reported as shown without one, or more than once; online these are
counted too. So a day of which the stored counts hold more than the logs do is left as it is stored.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import polars as pl

from offline.feature_store.logs import microseconds
from tips.features.profile_counters import CountedReaction, ProfileCounters, ReactionsOfDay, day_of
from tips.features.profile_schema import PROFILE_FEATURES, WINDOW_DAYS

if TYPE_CHECKING:
    from datetime import datetime

    from offline.feature_store.logs import Logs

Status = Literal["equal", "different", "missing", "more stored", "neither"]
_CLOSE = 1e-9


@dataclass
class Events:
    """What the logs tell of a person: reactions with when they occurred, and when tips were first shown, microseconds
    since 1970."""

    reactions: list[tuple[int, CountedReaction]] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)

    def counters(self, reactions_at: int, shown_at: int) -> ProfileCounters:
        """Return the counts of the window up to the one and the other moment, as `ProfileCounters` keeps them."""
        days: dict[int, ReactionsOfDay] = {}
        first = day_of(reactions_at) - WINDOW_DAYS + 1
        for at_us, one in self.reactions:
            if at_us <= reactions_at and one.day >= first:
                days[one.day] = days.get(one.day, ReactionsOfDay()).plus(one, 1)
        first = day_of(shown_at) - WINDOW_DAYS + 1
        shown = Counter(day for at_us in self.shown if at_us <= shown_at and (day := day_of(at_us)) >= first)
        return ProfileCounters(days, dict(shown), reactions_at if days else 0, shown_at if shown else 0)


def events_of(logs: Logs) -> dict[str, Events]:
    """Return what the logs tell of everybody. A reset forgets what was learned, not a person's habits."""
    found: defaultdict[str, Events] = defaultdict(Events)
    frame = logs.decisions.select("user_id", "reward_source", "action", "dwell_ms", "reacted_at", "shown_at")
    for user_id, source, action, dwell_ms, reacted_at, shown_at in frame.iter_rows():
        # An explicit reward says nothing about habits.
        if source == "reaction" and action is not None:
            at_us = microseconds(reacted_at)
            found[user_id].reactions.append((at_us, CountedReaction.at(at_us, action, dwell_ms)))
        if shown_at is not None:
            found[user_id].shown.append(microseconds(shown_at))
    return dict(found)


def compared(logs: Logs) -> Iterator[tuple[str, str, Status]]:
    """Yield person, feature and how the stored value compares with the logs', as of the person's last update.

    "missing": the logs tell of one and none is stored; "more stored": of tips shown, more were counted than the logs
    know of.
    """
    events = events_of(logs)
    stored = {row["user_id"]: row for row in logs.profiles.iter_rows(named=True)}
    for user_id in sorted(events.keys() | stored.keys()):
        row, told = stored.get(user_id), events.get(user_id, Events())
        reactions_at, shown_at = (_moment(row, name) for name in ("reactions_at", "shown_at"))
        last = max((at for at, _ in told.reactions), default=0), max(told.shown, default=0)
        batch = told.counters(reactions_at or last[0], shown_at or last[1]).features()
        for feature in PROFILE_FEATURES:
            own = None if row is None else row[feature.name]
            value = batch[feature.name].value if feature.name in batch else None
            yield user_id, feature.name, _status(feature.name, own, value)


def _moment(row: Mapping[str, datetime | None] | None, name: str) -> int:
    at = None if row is None else row[name]
    return 0 if at is None else microseconds(at)


def _status(name: str, stored: float | None, batch: float | None) -> Status:
    if stored is None or batch is None:
        if stored is batch:
            return "neither"
        return "missing" if stored is None else "more stored" if name == "tip_volume_30d" else "different"
    if abs(stored - batch) <= _CLOSE * max(1.0, abs(batch)):
        return "equal"
    return "more stored" if name == "tip_volume_30d" and stored > batch else "different"


@dataclass(frozen=True)
class Refill:
    """What becomes of a person's stored counts. why: None where they stay as they are."""

    counters: ProfileCounters
    why: Literal["missing", "different", "stale"] | None


def refilled(stored: ProfileCounters | None, told: Events, as_of_us: int) -> Refill | None:
    """Return what should be stored of a person; None where the counts have moved since `as_of_us`, or nothing is known.

    stored: None where there are none. as_of_us: when the logs were exported, microseconds since 1970.
    """
    before = stored or ProfileCounters()
    if max(before.reactions_at, before.shown_at) > as_of_us:
        return None
    # A manifest names the second, and its logs may know what happened later in it.
    as_of_us = max([as_of_us, *(at for at, _ in told.reactions), *told.shown])
    batch, kept = told.counters(as_of_us, as_of_us), _pruned(before, as_of_us)
    fuller = {day: one for day, one in kept.reactions.items() if one.reactions > _reactions(batch, day)}
    reactions = {**batch.reactions, **fuller}
    shown = {day: max(kept.shown.get(day, 0), batch.shown.get(day, 0)) for day in sorted({*kept.shown, *batch.shown})}
    if not reactions and not shown:
        return None  # nothing to know of the last days: no reason to keep anything longer
    after = ProfileCounters(
        reactions,
        shown,
        as_of_us if reactions else before.reactions_at,
        as_of_us if shown else before.shown_at,
    )
    if stored is None:
        return Refill(after, "missing")
    if (after.reactions, after.shown) != (kept.reactions, kept.shown):
        return Refill(after, "different")
    return Refill(after, "stale" if _is_stale(before, as_of_us) else None)


def _reactions(counters: ProfileCounters, day: int) -> int:
    return counters.reactions[day].reactions if day in counters.reactions else 0


def _pruned(counters: ProfileCounters, as_of_us: int) -> ProfileCounters:
    first = day_of(as_of_us) - WINDOW_DAYS + 1
    return replace(
        counters,
        reactions={day: one for day, one in counters.reactions.items() if day >= first},
        shown={day: one for day, one in counters.shown.items() if day >= first},
    )


def _is_stale(counters: ProfileCounters, as_of_us: int) -> bool:
    stored = counters.features()
    return any(
        not stored[feature.name].is_fresh(feature.ttl_sec, as_of_us)
        for feature in PROFILE_FEATURES
        if feature.name in stored
    )


def summary(logs: Logs) -> pl.DataFrame:
    """Return how many people's features compare how: one row per feature, one column per status."""
    rows = [(feature, status) for _, feature, status in compared(logs)]
    statuses: tuple[Status, ...] = ("equal", "different", "missing", "more stored", "neither")
    counted = Counter(rows)
    names = [feature.name for feature in PROFILE_FEATURES]
    by_status: dict[str, list[int]] = {status: [counted[name, status] for name in names] for status in statuses}
    return pl.DataFrame({"feature": names, **by_status})
