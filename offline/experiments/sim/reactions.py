"""How simulated people react to a tip that is shown, and the profile that the app keeps of them from it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from offline.experiments.sim.people import People, liking
from tips.bandit.rewards import reward_of
from tips.contracts.common import Action

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from offline.experiments.sim.requests import Request
    from tips.features.vectors import Features


@dataclass(frozen=True, slots=True)
class Reaction:
    """dwell_ms: milliseconds; None where the person does not get that far."""

    action: Action
    dwell_ms: int | None = None

    @property
    def reward(self) -> float:
        return reward_of(self.action, self.dwell_ms)


QUICK, SLOW, LONG, AT_ONCE = (
    Reaction("done", 45_000),
    Reaction("done", 300_000),
    Reaction("done", 900_000),
    Reaction("done", 5_000),
)
HELPFUL, NOT_HELPFUL, DISMISS, SNOOZE = (
    Reaction("helpful"),
    Reaction("not_helpful"),
    Reaction("dismiss"),
    Reaction("snooze"),
)
LONG_SHARE = 0.25
"""Of what takes over two minutes: the share that takes over ten."""
HELPFUL_SHARE = 0.4
"""Of tips that are liked: the share that is called helpful and not done."""
AT_ONCE_SHARE = 0.2
"""Of tasks neither liked nor dismissed: the share ticked off at once, as done long before; the rest is snoozed."""
NOT_HELPFUL_SHARE = 0.7
"""Of tips that are neither liked nor dismissed; the rest is snoozed."""

_Likelihoods = Sequence[tuple[Reaction, float]]


def when_liked(task: bool, slow: float) -> _Likelihoods:
    """Return the reactions to something liked, each with its probability. slow: share that takes over two minutes."""
    done = ((QUICK, 1.0 - slow), (SLOW, slow * (1.0 - LONG_SHARE)), (LONG, slow * LONG_SHARE))
    if task:
        return done
    return ((HELPFUL, HELPFUL_SHARE), *((reaction, p * (1.0 - HELPFUL_SHARE)) for reaction, p in done))


def when_not_liked(task: bool, dismissive: float) -> _Likelihoods:
    """Return the reactions to something not liked, each with its probability. dismissive: share that is dismissed."""
    other, share = (AT_ONCE, AT_ONCE_SHARE) if task else (NOT_HELPFUL, NOT_HELPFUL_SHARE)
    rest = 1.0 - dismissive
    return (DISMISS, dismissive), (other, rest * share), (SNOOZE, rest * (1.0 - share))


def _mean(likelihoods: _Likelihoods) -> float:
    return sum(p * reaction.reward for reaction, p in likelihoods)


def expected_rewards(people: People, request: Request) -> NDArray[np.float64]:
    """Return (n, k): the exact mean reward of showing each candidate to each of n people."""
    liked, disliked = rewards_by_liking(people, request)
    likes = liking(people, request)
    return likes * liked + (1.0 - likes) * disliked


def rewards_by_liking(people: People, request: Request) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (n, k) twice: the exact mean reward of a reaction to each candidate if it is liked, and if it is not."""
    liked, disliked = np.zeros((2, len(people), len(request.candidates)))
    # Mean rewards are linear in the shares, so two points of each line are all that is needed.
    for task, rows in ((True, request.is_kind("task")), (False, ~request.is_kind("task"))):
        quick, slow = (_mean(when_liked(task, share)) for share in (0.0, 1.0))
        patient, dismissive = (_mean(when_not_liked(task, share)) for share in (0.0, 1.0))
        liked[:, rows] = (quick + (slow - quick) * people.slow)[:, None]
        disliked[:, rows] = (patient + (dismissive - patient) * people.dismissive)[:, None]
    return liked, disliked


def react(person: People, request: Request, chosen: int, rng: np.random.Generator) -> Reaction:
    """Return one reaction of `person` (one of them) to candidate `chosen`."""
    task = request.candidates[chosen].kind == "task"
    if rng.random() < liking(person, request)[0, chosen]:
        likelihoods = when_liked(task, float(person.slow[0]))
    else:
        likelihoods = when_not_liked(task, float(person.dismissive[0]))
    drawn = rng.choice(len(likelihoods), p=[probability for _, probability in likelihoods])
    return likelihoods[int(drawn)][0]


PROFILE_DAYS = 30.0


@dataclass
class History:
    """A person's reactions of the last 30 days, from which the profile features come (`PROFILE_FEATURES`)."""

    _kept: deque[tuple[float, int, Reaction]] = field(default_factory=deque)

    def add(self, day: float, hour: int, reaction: Reaction) -> None:
        """day: days since the person joined."""
        self._kept.append((day, hour, reaction))
        while self._kept[0][0] < day - PROFILE_DAYS:
            self._kept.popleft()

    def profile(self) -> Features:
        """Return the profile features; of a person who never reacted only that nothing was shown is known."""
        count = len(self._kept)
        if count == 0:
            return {"tip_volume_30d": 0.0}
        actions = Counter(reaction.action for _, _, reaction in self._kept)
        dwells = [reaction.dwell_ms for _, _, reaction in self._kept if reaction.dwell_ms is not None]
        hours = Counter(hour for _, hour, reaction in self._kept if reaction.action == "done")
        return {
            "completion_rate_30d": actions["done"] / count,
            "dismiss_rate_30d": actions["dismiss"] / count,
            "mean_dwell_ms_30d": sum(dwells) / len(dwells) if dwells else None,
            "preferred_hour": hours.most_common(1)[0][0] if hours else None,
            "tip_volume_30d": float(count),
        }
