"""What must be left of the chaos test's events: one ordered pass in plain Python, which imports nothing of `tips`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.chaos.facts import DAY_US, Decided, Fact, Generated

WINDOW_DAYS = 30
_HOUR_US = DAY_US // 24
_REWARDS = {"dismiss": -1.0, "snooze": 0.1, "helpful": 0.5, "not_helpful": -0.5}


@dataclass
class Sums:
    """Of what one person's decisions taught under one schema. xx, rx: by component name."""

    names: tuple[str, ...]
    xx: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    rx: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    weight: float = 0.0
    rr: float = 0.0
    pulls: int = 0
    cumulative: float = 0.0

    def learn(self, x: Mapping[str, float], reward: float, *, own: bool) -> None:
        """own: whether the decision is one of the schema's policies, and so one of its counts."""
        values = [(name, x.get(name, 0.0)) for name in self.names]
        values = [(name, value) for name, value in values if value]
        for name, value in values:
            self.rx[name] += reward * value
            for other, factor in values:
                self.xx[name, other] += value * factor
        self.weight += 1.0
        self.rr += reward * reward
        self.pulls += own
        self.cumulative += reward * own


@dataclass
class Profile:
    """Counts by day since 1970. reactions: n, done, dismiss, with dwell, sum of dwell, and `done` by hour (UTC)."""

    reactions: dict[int, list[Any]] = field(default_factory=dict)
    served: dict[int, int] = field(default_factory=dict)

    def count(self, at_us: int, action: str, dwell_ms: int | None) -> None:
        day = self.reactions.setdefault(at_us // DAY_US, [0, 0, 0, 0, 0, {}])
        day[0] += 1
        day[1] += action == "done"
        day[2] += action == "dismiss"
        day[3] += dwell_ms is not None
        day[4] += dwell_ms or 0
        if action == "done":
            hour = at_us % DAY_US // _HOUR_US
            day[5][hour] = day[5].get(hour, 0) + 1

    def features(self) -> dict[str, float | None]:
        """Return the five features; of one that is not known, what stands in for it."""
        days = list(self.reactions.values())
        n, done, dismiss, with_dwell, dwell = (sum(day[at] for day in days) for at in range(5))
        hours: dict[int, int] = defaultdict(int)
        for day in days:
            for hour, count in day[5].items():
                hours[hour] += count
        return {
            "completion_rate_30d": done / n if n else 0.0,
            "dismiss_rate_30d": dismiss / n if n else 0.0,
            "mean_dwell_ms_30d": dwell / with_dwell if with_dwell else 0.0,
            "preferred_hour": min(hours, key=lambda hour: (-hours[hour], hour), default=None),
            "tip_volume_30d": float(sum(self.served.values())),
        }


@dataclass
class Counts:
    """Of one prompt version, over all people."""

    settled: int = 0
    total: float = 0.0
    squares: float = 0.0


@dataclass
class Expected:
    """learned: the reward of every decision, None where it taught nothing. sums: by person and the schema's hash."""

    learned: dict[str, float | None]
    sums: dict[str, dict[str, Sums]]
    prompts: dict[str, Sums]
    counts: dict[str, Counts]
    profiles: dict[str, Profile]
    late: int
    """Reactions after the reward wait."""
    revised: int
    """Decisions with more than one reaction in time."""


def reward_of(fact: Fact) -> float:
    if fact.reward is not None:
        return fact.reward
    assert fact.action is not None
    if fact.action != "done":
        return _REWARDS[fact.action]
    if fact.dwell_ms is None:
        return 0.6
    minutes = fact.dwell_ms / 60_000
    if minutes < 0.25:
        return -0.3
    if minutes < 2:
        return 1.0
    return 0.6 if minutes <= 10 else 0.3


def expected(
    decided: Sequence[Decided],
    logged: Mapping[str, Mapping[str, Mapping[str, float]]],
    generated: Iterable[Generated],
    facts: Iterable[Fact],
    wait_us: int,
    today: int,
) -> Expected:
    """Return what is left when every fact has been learned once.

    logged: by decision and the schema's hash, the vector by component name. today: days since 1970.
    """
    ordered = sorted(facts, key=lambda one: (one.at_us, one.event_id))
    by_id = {one.decision_id: one for one in decided}
    began = {one.decision_id: one.at_us for one in decided if not one.deferred}
    reactions: dict[str, list[tuple[int, Fact]]] = defaultdict(list)
    profiles: dict[str, Profile] = defaultdict(Profile)
    for fact in ordered:
        if fact.kind == "other":
            continue
        found = _decision_of(fact, by_id, decided)
        if fact.kind == "served":
            days = profiles[fact.user_id].served
            days[fact.at_us // DAY_US] = days.get(fact.at_us // DAY_US, 0) + 1
        elif found is None and fact.action is not None:
            profiles[fact.user_id].count(fact.at_us, fact.action, fact.dwell_ms)
        if found is not None:
            at_us = max(fact.at_us, found.at_us)
            began[found.decision_id] = min(began.get(found.decision_id, at_us), at_us)
            if fact.kind == "reaction":
                reactions[found.decision_id].append((at_us, fact))
    learned: dict[str, float | None] = {}
    late = revised = 0
    for one in decided:
        told = sorted(reactions[one.decision_id], key=lambda pair: (pair[0], pair[1].event_id))
        in_time = [pair for pair in told if pair[0] <= began[one.decision_id] + wait_us]
        late += len(told) - len(in_time)
        revised += len(in_time) > 1
        learned[one.decision_id] = reward_of(in_time[-1][1]) if in_time else None
        if in_time:
            at_us, counted = in_time[-1]
            if counted.action is not None:
                profiles[one.user_id].count(at_us, counted.action, counted.dwell_ms)
    for profile in profiles.values():
        profile.reactions = {day: n for day, n in profile.reactions.items() if day > today - WINDOW_DAYS}
        profile.served = {day: n for day, n in profile.served.items() if day > today - WINDOW_DAYS}
    prompts, counts = _prompts(decided, learned, {one.generation_id: one for one in generated})
    return Expected(learned, _sums(decided, logged, learned), prompts, counts, dict(profiles), late, revised)


def _decision_of(fact: Fact, by_id: Mapping[str, Decided], decided: Iterable[Decided]) -> Decided | None:
    """Return the decision that is meant: the one named, else the person's newest that showed the tip by then."""
    if fact.decision_id is not None:
        return by_id.get(fact.decision_id)
    shown = [one for one in decided if (one.user_id, one.tip_id) == (fact.user_id, fact.tip_id)]
    return max((one for one in shown if one.at_us <= fact.at_us), key=lambda one: one.decision_id, default=None)


def _sums(
    decided: Iterable[Decided],
    logged: Mapping[str, Mapping[str, Mapping[str, float]]],
    learned: Mapping[str, float | None],
) -> dict[str, dict[str, Sums]]:
    """Every schema learns from every decision: from its own vector, else by name from the one that shares most."""
    sums: dict[str, dict[str, Sums]] = defaultdict(dict)
    for one in decided:
        for digest, x in logged[one.decision_id].items():
            sums[one.user_id].setdefault(digest, Sums(tuple(x)))
    for one in decided:
        reward = learned[one.decision_id]
        if reward is None:
            continue
        vectors = logged[one.decision_id]
        for digest, held in sums[one.user_id].items():
            nearest = max(vectors.values(), key=lambda x: len(set(x) & set(held.names)))
            held.learn(vectors.get(digest, nearest), reward, own=digest in vectors)
    return sums


def _prompts(
    decided: Iterable[Decided], learned: Mapping[str, float | None], generated: Mapping[str, Generated]
) -> tuple[dict[str, Sums], dict[str, Counts]]:
    sums: dict[str, Sums] = {}
    counts: dict[str, Counts] = defaultdict(Counts)
    for one in decided:
        reward = learned[one.decision_id]
        if reward is None or one.generation_id is None:
            continue
        written = generated[one.generation_id]
        held = sums.setdefault(one.user_id, Sums(tuple(written.vector)))
        held.learn(written.vector, reward, own=True)
        count = counts[written.version]
        count.settled += 1
        count.total += reward
        count.squares += reward * reward
    return sums, dict(counts)


def today() -> int:
    """Return the UTC day, in days since 1970."""
    return (datetime.now(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days
