"""What can be shown to a person: tasks that live for days, and tips of the moment.

Tasks come up, get due and overdue, age, and are done or dropped; some come again every few days. Their features have
about the distribution of `offline.experiments.sim.requests`, but from one day to the next they are the same tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from offline.experiments.sim.clock import DAY_SEC
from offline.experiments.sim.requests import (
    MAX_TASKS,
    MAX_TIPS,
    MIN_TASKS,
    MIN_TIPS,
    PRIORITIES,
    Request,
    draw_tip,
)
from tips.features.vectors import Candidate
from tips.llm import local_template

NEW_A_DAY = 0.8
LIFE_DAYS = 9.0
"""Mean of the exponential time after which a task is done or dropped without a tip."""
DUE_SHARE, FIRST_DUE_DAYS, LAST_DUE_DAYS = 0.65, 1.0, 8.0
RECURRING = 2
"""Tasks of a person that come again, every 3 to 7 days."""
HISTORY_DAYS = 30.0
"""How long a list has existed when a person is met first."""
TITLES = (
    *("Pay the rent", "Call the dentist", "Outline the report", "Water the plants", "Book the train", "Fix the bike"),
    *(
        "Send the invoice",
        "Clean the fridge",
        "Answer Kim",
        "Renew the passport",
        "Plan the week",
        "Back up the laptop",
    ),
    *("Read chapter four", "Buy a present", "File the receipts", "Sort the photos"),
)
RECURRING_TITLES = ("Take out the bins", "Go for a run", "Review the budget", "Call grandma")
TIPS: Mapping[str, tuple[str, ...]] = {
    "advice": (
        "Start the next hour with the smallest step that you can finish, and write down what comes after it.",
        "Put the phone in another room for 25 minutes and see how far you get with one thing.",
        "Say no to one thing today, so that what matters has room.",
    ),
    "insight": (
        "You get most done before lunch: keep the hard part of tomorrow for then.",
        "Your list grows by about a task a day; five minutes in the evening would keep it even.",
        "What you begin on the day that it comes up, you finish twice as often.",
    ),
    "reminder": (
        "Before you stop for today: what must not be forgotten tomorrow morning?",
        "Look at your calendar for the next two hours, then choose one thing that fits between.",
    ),
}


@dataclass(slots=True)
class Task:
    """Times in seconds since 1970. ends: when it is done or dropped without a tip."""

    id: str
    title: str
    priority: int
    created: float
    due: float | None
    ends: float
    every_days: float | None = None

    def candidate(self, now: float) -> Candidate:
        features = {
            "is_overdue": self.due is not None and now > self.due,
            "task_age_days": float(int((now - self.created) / DAY_SEC)),
            "priority": self.priority,
        }
        return Candidate(features, "task", "todoist")


@dataclass(frozen=True, eq=False)
class Offer:
    """What is offered at one moment: the request as the hidden rule sees it, and its candidates as bodies."""

    request: Request
    bodies: Sequence[dict[str, Any]]


@dataclass
class Candidates:
    """One person's tasks and tips. `offer` moves time on; a task that was done is `drop`ped.

    Chance is that of the moment's number alone, so that what is offered differs between policies by nothing but what
    was done.
    """

    user_id: str
    seed: Sequence[int]
    start: float
    tasks: list[Task] = field(default_factory=list)
    _coming: list[Task] = field(default_factory=list)

    def prepare(self, end: float) -> None:
        """Draw everything that comes up until `end`."""
        rng = np.random.default_rng([*self.seed, 0])
        begin = self.start - HISTORY_DAYS * DAY_SEC
        at = begin
        while (at := at + float(rng.exponential(DAY_SEC / NEW_A_DAY))) < end:
            self._coming.append(self._drawn(at, TITLES[rng.integers(len(TITLES))], rng))
        for title in rng.choice(RECURRING_TITLES, RECURRING, replace=False):
            every = float(rng.uniform(3.0, 7.0))
            for at in np.arange(begin, end, every * DAY_SEC).tolist():
                task = self._drawn(at, str(title), rng)
                task.due, task.ends, task.every_days = at + 2 * DAY_SEC, at + every * DAY_SEC, every
                self._coming.append(task)
        self._coming.sort(key=lambda task: task.created)

    def _drawn(self, at: float, title: str, rng: np.random.Generator) -> Task:
        number = len(self._coming)
        due_days = float(rng.uniform(FIRST_DUE_DAYS, LAST_DUE_DAYS))
        due = at + due_days * DAY_SEC if rng.random() < DUE_SHARE else None
        ends = at + float(rng.exponential(LIFE_DAYS)) * DAY_SEC
        return Task(f"{self.user_id}/{number}", title, PRIORITIES[rng.integers(len(PRIORITIES))], at, due, ends)

    def offer(self, now: float, round_: int) -> Offer:
        """Return up to six of the open tasks and a few tips."""
        rng = np.random.default_rng([*self.seed, 1, round_])
        self._move(now)
        moment = datetime.fromtimestamp(now, UTC)
        wanted = min(int(rng.integers(MIN_TASKS, MAX_TASKS, endpoint=True)), len(self.tasks))
        # By rank of a number of each task's own, so that a task that is gone changes as little as possible.
        ranked = sorted(self.tasks, key=lambda task: np.random.default_rng([round_, *task.id.encode()]).random())
        shown = ranked[:wanted]
        tips = [draw_tip(rng) for _ in range(rng.integers(MIN_TIPS, MAX_TIPS, endpoint=True))]
        candidates = (*(task.candidate(now) for task in shown), *tips)
        bodies = [_body(task.id, task.title, one) for task, one in zip(shown, candidates, strict=False)]
        for place, tip in enumerate(tips):
            texts = TIPS[str(tip.kind)]
            bodies.append(_body(f"{self.user_id}/{round_}/{place}", texts[rng.integers(len(texts))], tip))
        return Offer(Request(moment.hour, moment.weekday(), candidates), bodies)

    def _move(self, now: float) -> None:
        while self._coming and self._coming[0].created <= now:
            self.tasks.append(self._coming.pop(0))
        self.tasks = [task for task in self.tasks if task.ends > now]

    def drop(self, task_id: str) -> None:
        """A task was done."""
        self.tasks = [task for task in self.tasks if task.id != task_id]


def _body(id_: str, content: str, candidate: Candidate) -> dict[str, Any]:
    body: dict[str, Any] = {"id": id_, "kind": candidate.kind, "source": candidate.source, "content": content}
    if candidate.prompt_version is not None:
        body |= {"prompt_version": candidate.prompt_version, "model": local_template.NAME}
    return {**body, "features": dict(candidate.features)}


def bodies_of(request: Request, prefix: str) -> list[dict[str, Any]]:
    """Return a drawn request's candidates as bodies."""
    return [
        _body(f"{prefix}/{place}", "Something to do.", candidate) for place, candidate in enumerate(request.candidates)
    ]
