"""Draws the chaos test's decisions and events. All draws come from one seeded generator."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.facts import DAY_US, Decided, Fact, Generated

TIPS_PER_USER = 5
MAX_TOLD = 10
"""Reactions drawn for one decision; the service remembers sixteen."""
FEEDBACK = ("signals.tip.feedback", "feedback.tip")
_ACTIONS = ("done", "done", "done", "dismiss", "snooze", "helpful", "not_helpful")
_DWELLS = (None, None, 0, 14_999, 15_000, 60_000, 119_999, 120_000, 600_000, 600_001, 3_600_000)


@dataclass(frozen=True)
class Sizes:
    """How much of everything. events: messages published, those told again and the malformed ones included."""

    events: int
    users: int
    bridge_kills: int
    server_restarts: int

    @property
    def decisions(self) -> int:
        return self.events // 6

    @property
    def malformed(self) -> int:
        return max(16, self.events // 100)

    @property
    def told_again(self) -> int:
        return self.events // 5

    @property
    def other_ways(self) -> int:
        """Told on the other subject as well (these are of the `told_again`), and as many by HTTP."""
        return self.events // 20


def users(sizes: Sizes) -> list[str]:
    return [f"person-{number:03}" for number in range(sizes.users)]


def score_requests(rng: random.Random, sizes: Sizes, generated: Mapping[str, Sequence[Generated]]) -> list[Any]:
    """Return the bodies of the decisions. generated: by person, whose tips are among the candidates."""
    people = users(sizes)
    bodies = []
    for number in range(sizes.decisions):
        user = people[number % len(people)]
        pool = [_task(rng, user, at) for at in range(TIPS_PER_USER)]
        candidates = rng.sample(pool, rng.randint(1, 3))
        if rng.random() < 0.4:
            one = rng.choice(generated[user])
            candidates = [_written(one), *candidates[: rng.randrange(2)]]
        body: dict[str, Any] = {
            "user_id": user,
            "candidates": candidates,
            "context": {"hour_of_day": rng.randrange(24), "day_of_week": rng.randrange(7)},
            "profile_features": {"completion_rate_30d": round(rng.random(), 3), "tip_volume_30d": rng.randrange(50)},
            "defer": rng.random() < 0.15,
        }
        if rng.random() < 0.2:
            body["policy"] = "egreedy-v1"
        bodies.append(body)
    return bodies


def _task(rng: random.Random, user: str, at: int) -> dict[str, Any]:
    features = {
        "is_overdue": rng.random() < 0.3,
        "task_age_days": rng.randrange(40),
        "priority": rng.randint(1, 4),
    }
    return {"id": f"{user}-task-{at}", "kind": "task", "source": "todoist", "features": features}


def _written(one: Generated) -> dict[str, Any]:
    return {
        "id": f"{one.generation_id}-1",
        "kind": "advice",
        "source": "llm",
        "content": "Take a walk around the block before you decide.",
        "prompt_version": one.version,
        "generation_id": one.generation_id,
    }


class Events:
    """Draws facts about decisions that were taken. now_us: nothing of what is told occurred later."""

    def __init__(self, rng: random.Random, decided: Sequence[Decided], wait_us: int, now_us: int) -> None:
        self._rng = rng
        self._decided = decided
        self._wait_us = wait_us
        self._now_us = now_us
        self._users = sorted({one.user_id for one in decided})
        self._told: dict[str, list[Fact]] = {}
        self._count = 0

    def draw(self, count: int) -> list[Fact]:
        return [self._one() for _ in range(count)]

    def _one(self) -> Fact:
        draw = self._rng.random()
        if draw < 0.80:
            return self._reaction()
        if draw < 0.92:
            return self._served()
        return self._other()

    def _new_id(self) -> str:
        self._count += 1
        # Ids of ties must not rise with the order in which they are told.
        return f"{self._rng.randrange(16**6):06x}-{self._count}"

    def _reaction(self) -> Fact:
        rng = self._rng
        if rng.random() < 0.04:
            return self._to_nothing_remembered()
        decided = rng.choice(self._decided)
        told = self._told.setdefault(decided.decision_id, [])
        if len(told) >= MAX_TOLD:
            return self._served()
        fact = Fact(
            "reaction",
            event_id=self._new_id(),
            user_id=decided.user_id,
            tip_id=decided.tip_id,
            decision_id=decided.decision_id if rng.random() < 0.75 else None,
            at_us=self._occurred(decided, told),
            **self._content(),
        )
        told.append(fact)
        return fact

    def _occurred(self, decided: Decided, told: Sequence[Fact]) -> int:
        rng = self._rng
        draw = rng.random()
        if told and draw < 0.10:
            at_us: int = rng.choice(told).at_us
            return at_us
        if draw < 0.20:
            return decided.at_us - rng.randrange(1, 2_000_000)  # a clock that is slow
        late_from = decided.at_us + self._wait_us + 1
        if draw < 0.30 and late_from < self._now_us:
            return rng.randrange(late_from, self._now_us)
        return rng.randint(decided.at_us, min(self._now_us, decided.at_us + self._wait_us))

    def _content(self) -> dict[str, Any]:
        rng = self._rng
        action = rng.choice(_ACTIONS)
        dwell = rng.choice(_DWELLS)
        if rng.random() < 0.85:
            subject = FEEDBACK[0] if rng.random() < 0.85 else FEEDBACK[1]
            return {"subject": subject, "action": action, "dwell_ms": dwell}
        content: dict[str, Any] = {"subject": "signals.tip.reward_failed", "dwell_ms": dwell}
        if rng.random() < 0.6:
            content["reward"] = round(rng.uniform(-1, 1), 3)
        if "reward" not in content or rng.random() < 0.3:
            content["action"] = action
        return content

    def _to_nothing_remembered(self) -> Fact:
        rng = self._rng
        by_id = rng.random() < 0.5
        return Fact(
            "reaction",
            event_id=self._new_id(),
            user_id=rng.choice(self._users),
            tip_id=f"never-shown-{rng.randrange(10)}",
            decision_id="00000000000000000000000000" if by_id else None,
            at_us=self._some_days_ago(),
            **self._content(),
        )

    def _some_days_ago(self) -> int:
        """Within what is counted, or beyond it; never so near to its edge that midnight would change it."""
        days: int = self._rng.choice((*range(1, 28), 32, 40))
        return self._now_us - days * DAY_US - self._rng.randrange(DAY_US // 2)

    def _served(self) -> Fact:
        rng = self._rng
        decided = rng.choice(self._decided)
        known = rng.random() < 0.7
        return Fact(
            "served",
            subject="signals.tip.served",
            event_id=self._new_id(),
            user_id=decided.user_id,
            tip_id=decided.tip_id if known else "shown-elsewhere",
            decision_id=decided.decision_id if known and rng.random() < 0.7 else None,
            at_us=rng.randint(decided.at_us - 1_000_000, self._now_us) if known else self._some_days_ago(),
        )

    def _other(self) -> Fact:
        subject = self._rng.choice(
            (
                "signals.task.synced",
                "signals.integration.token_expired",
                "signals.tip.admired",
                "feedback.survey",
            )
        )
        return Fact("other", subject, self._new_id(), self._rng.choice(self._users), self._now_us)
