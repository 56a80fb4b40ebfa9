"""Counts by day from which profile features are computed, kept so that whatever was counted can be taken out again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from tips.features.profile_schema import DAY_SEC, PROFILE_FEATURES, WINDOW_DAYS, Window

_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US


@dataclass(frozen=True, slots=True)
class CountedReaction:
    """What the counts hold of one reaction. day: since 1970; hour: of that day (UTC)."""

    day: int
    hour: int
    action: str
    dwell_ms: int | None = None

    @classmethod
    def at(cls, at_us: int, action: str, dwell_ms: int | None) -> Self:
        """Return what a reaction counts as that occurred at `at_us`, microseconds since 1970."""
        return cls(day_of(at_us), at_us % _DAY_US // _HOUR_US, action, dwell_ms)


def day_of(at_us: int) -> int:
    """Return the UTC day, as days since 1970, of microseconds since 1970."""
    return at_us // _DAY_US


@dataclass(frozen=True, slots=True)
class ReactionsOfDay:
    """Counts of one day's reactions, as in `Window`."""

    reactions: int = 0
    done: int = 0
    dismissed: int = 0
    with_dwell: int = 0
    dwell_ms: int = 0
    done_by_hour: Mapping[int, int] = field(default_factory=dict)

    def plus(self, one: CountedReaction, sign: int) -> ReactionsOfDay:
        """Return the counts with one reaction more (1) or less (-1); what was lost is not taken out."""
        done = sign * (one.action == "done")
        by_hour = dict(self.done_by_hour)
        by_hour[one.hour] = by_hour.get(one.hour, 0) + done
        return ReactionsOfDay(
            max(0, self.reactions + sign),
            max(0, self.done + done),
            max(0, self.dismissed + sign * (one.action == "dismiss")),
            max(0, self.with_dwell + sign * (one.dwell_ms is not None)),
            max(0, self.dwell_ms + sign * (one.dwell_ms or 0)),
            {hour: count for hour, count in by_hour.items() if count > 0},
        )


_NONE = ReactionsOfDay()


@dataclass(frozen=True, slots=True)
class StoredFeature:
    """A profile feature as kept. updated_at: when its counts last moved, microseconds since 1970."""

    value: float
    updated_at: int

    def age_sec(self, now_us: int) -> float:
        return max(0, now_us - self.updated_at) / 1_000_000

    def is_fresh(self, ttl_sec: int, now_us: int) -> bool:
        return self.age_sec(now_us) <= ttl_sec


@dataclass(frozen=True, slots=True)
class ProfileCounters:
    """One person's counts, by day since 1970, of the `WINDOW_DAYS` days up to the last update.

    reactions_at, shown_at: when reactions and tips shown were last counted, microseconds since 1970; 0: never.
    What would fall on an older day is not counted, and what has become older is dropped.
    """

    reactions: Mapping[int, ReactionsOfDay] = field(default_factory=dict)
    shown: Mapping[int, int] = field(default_factory=dict)
    reactions_at: int = 0
    shown_at: int = 0

    def with_reaction(
        self, before: CountedReaction | None, after: CountedReaction | None, now_us: int
    ) -> ProfileCounters:
        """Return the counts with a decision's reaction changed from `before` to `after`; None: not counted."""
        at_us = max(now_us, self.reactions_at)
        first = _first_day(at_us)
        days = {day: counts for day, counts in self.reactions.items() if day >= first}
        for one, sign in ((before, -1), (after, 1)):
            # A day that has been dropped holds nothing that could be taken out.
            if one is not None and one.day >= first and (sign > 0 or one.day in days):
                counts = days.get(one.day, _NONE).plus(one, sign)
                days[one.day] = counts
                if counts == _NONE:
                    del days[one.day]
        return ProfileCounters(days, self.shown, at_us, self.shown_at)

    def with_shown(self, shown_at_us: int, now_us: int) -> ProfileCounters:
        """Return the counts with one tip more that was shown."""
        at_us = max(now_us, self.shown_at)
        days = Counter(self.shown)
        days[day_of(shown_at_us)] += 1
        return replace(
            self, shown={day: count for day, count in days.items() if day >= _first_day(at_us)}, shown_at=at_us
        )

    def window(self) -> Window:
        """Return the sums over the days up to the last update."""
        days = self.reactions.values()
        by_hour: Counter[int] = Counter()
        for day in days:
            by_hour.update(day.done_by_hour)
        return Window(
            sum(day.reactions for day in days),
            sum(day.done for day in days),
            sum(day.dismissed for day in days),
            sum(day.with_dwell for day in days),
            sum(day.dwell_ms for day in days),
            by_hour,
            sum(self.shown.values()),
        )

    def features(self) -> dict[str, StoredFeature]:
        """Return the features that are known, by name."""
        window = self.window()
        updated = {"reactions": self.reactions_at, "tips shown": self.shown_at}
        return {
            feature.name: StoredFeature(value, updated[feature.source])
            for feature in PROFILE_FEATURES
            if updated[feature.source] and (value := feature.compute(window)) is not None
        }


def _first_day(at_us: int) -> int:
    return day_of(at_us) - WINDOW_DAYS + 1


KEPT_SEC = (WINDOW_DAYS + 10) * DAY_SEC
"""How long counts that nothing moves are kept: longer than any feature of theirs is fresh."""
