"""Simulated lives: a person is served by a policy, reacts, and is learned from, one reaction after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from offline.experiments.sim.people import People
from offline.experiments.sim.reactions import History, expected_rewards, react
from offline.experiments.sim.requests import Request, draw_request
from tips.bandit.decision import draw
from tips.bandit.posterior import Posterior, form_posterior
from tips.bandit.statistics import Statistics
from tips.features.vectors import Situation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tips.bandit.policy import Policy
    from tips.bandit.prior import Prior

WEEKLY_SHAPE, WEEKLY_SCALE = 1.2, 5.0
"""Of the gamma distribution of reactions a week: the median is 4.4, one person in ten has more than 13."""


@dataclass
class Life:
    """One person under one policy. belief: what the policy goes by instead of statistics and prior, if it is fixed.

    Every round of a life is a tip that was shown and got a reaction; what people leave without one is not simulated.
    """

    name: str
    person: People
    policy: Policy
    rng: np.random.Generator
    prior: Prior | None = None
    belief: Posterior | None = None
    reactions_a_week: float = WEEKLY_SHAPE * WEEKLY_SCALE
    statistics: Statistics = field(init=False)
    history: History = field(default_factory=History)
    day: float = 0.0

    def __post_init__(self) -> None:
        self.statistics = Statistics.empty(self.policy.schema.dimension)

    def posterior(self) -> Posterior:
        return form_posterior(self.statistics, self.prior) if self.belief is None else self.belief

    def encode(self, request: Request) -> NDArray[np.float64]:
        """Return X: (k, d) as the policy sees the request, with this person's profile of now."""
        situation = Situation(request.hour_of_day, request.day_of_week, self.history.profile())
        return self.policy.schema.encode(situation, request.candidates)

    def round(self, request: Request) -> float:
        """Serve the request and learn from the reaction. Returns the mean reward that the policy was to expect."""
        X = self.encode(request)
        distribution, _ = self.policy.distribution(X, self.posterior())
        chosen = draw(distribution.propensity, f"{self.name}/{self.statistics.pulls}")
        reaction = react(self.person, request, chosen, self.rng)
        self.statistics = self.statistics.learn(X[chosen], 0, None, reaction.reward)
        self.history.add(self.day, request.hour_of_day, reaction)
        self.day += self.rng.exponential(7.0 / self.reactions_a_week)
        return float(distribution.propensity @ expected_rewards(self.person, request)[0])

    def value(self, requests: Sequence[Request], rewards: Sequence[NDArray[np.float64]]) -> float:
        """Return the mean reward per round if these were served now. rewards: (k,) each, of this person, exact."""
        posterior = self.posterior()
        means = [
            self.policy.distribution(self.encode(request), posterior)[0].propensity @ reward
            for request, reward in zip(requests, rewards, strict=True)
        ]
        return float(np.mean(means))


def draw_reactions_a_week(rng: np.random.Generator) -> float:
    return float(rng.gamma(WEEKLY_SHAPE, WEEKLY_SCALE))


def logged_people(people: People, weeks: float, policy: Policy, rng: np.random.Generator) -> list[Life]:
    """Return the lives of people who were served from nothing for some weeks; those without a reaction are left out."""
    lives = []
    for number in range(len(people)):
        weekly = draw_reactions_a_week(rng)
        life = Life(f"logged-{number}", people[number : number + 1], policy, rng, reactions_a_week=weekly)
        for _ in range(rng.poisson(weeks * weekly)):
            life.round(draw_request(rng))
        if life.statistics.pulls:
            lives.append(life)
    return lives
