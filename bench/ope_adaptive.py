"""How the confidence sequence fares on logs of learning policies: false alarms, and how soon a true gain is found.

People come in waves; each is served by a policy that learns of that person from nothing, as ours do, and judged is
`igw-ucb` with a population prior, which knows beforehand what people in general think of each of a handful of tips. So
probabilities change with every reaction, and weights reach hundreds. Means, widths and probabilities are those of
`tips.bandit` for a schema with one feature per tip, for many runs at once (a test compares the two).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline.experiments.confidence_sequence import ALPHA, LAMBDAS, increments, lower_bounds
from tips.bandit.igw_ucb import InverseGapUCB
from tips.bandit.registry import POLICIES

Array = NDArray[np.float64]

PEEK = 100
"""Decisions between two looks."""
RUNS_EQUAL, RUNS_GAIN = 1000, 200
PEOPLE, EACH = 50, 10
"""People of a wave, and decisions of each."""
MARGIN = 0.05
"""By how much less the challenger may bring and still count as not worse, as the gate asks."""
_REACTING = 0.6
"""Share of the tips that are reacted to, with -1 or 1."""
_STRENGTH = 5.0
"""Observations that the population prior is worth."""
_PERSONAL = 0.2
"""Standard deviation, among people, of what a tip brings."""
_EPSILON = 0.1


@dataclass(frozen=True)
class Scenario:
    """active: the policy that decides. spread: a population's mean rewards of its k tips are -spread..spread.

    equal: to every person all tips bring the same on average, though by different rewards; the challenger believes
    what it does all the same. decisions: how many a run has.
    """

    active: str
    k: int
    spread: float
    decisions: int
    equal: bool = False

    @property
    def said(self) -> str:
        return f"{self.active} decides, {self.k} candidates"


EQUAL = (Scenario("igw-ucb", 5, 0.3, 10_000, equal=True), Scenario("egreedy-v2", 10, 0.3, 10_000, equal=True))
GAIN = (
    Scenario("egreedy-v2", 5, 0.18, 12_000),
    Scenario("egreedy-v2", 10, 0.165, 20_000),
    Scenario("igw-ucb", 5, 0.185, 40_000),
)


@dataclass(frozen=True, eq=False)
class Wave:
    """n decisions of each of r runs, in time order: reward and gain, the true one: (r, n); shown: (r, n), 0..k-1;
    logged, challenger, q: (r, n, k)."""

    reward: Array
    gain: Array
    shown: NDArray[np.int64]
    logged: Array
    challenger: Array
    q: Array


def belief(pulls: Array, total: Array, prior_mean: Array, strength: float) -> tuple[Array, Array, Array]:
    """Return mean and width of each tip, (..., k), and how many reactions the posterior is worth, (...).

    pulls, total: (..., k), reactions to each tip and the sum of their rewards.
    """
    precision = strength + pulls
    mean = (strength * prior_mean + total) / precision
    return mean, 1.0 / np.sqrt(precision), np.maximum(1.0, strength) + pulls.sum(axis=-1)


def igw_ucb(mean: Array, width: Array, observations: Array) -> Array:
    """Return `igw-ucb`'s probabilities: (..., k). observations: (...)."""
    policy = POLICIES["igw-ucb"]
    if not isinstance(policy, InverseGapUCB):
        raise TypeError("igw-ucb is another policy now")
    k = mean.shape[-1]
    score = mean + policy.alpha * width
    gap = score.max(axis=-1, keepdims=True) - score
    best = gap == 0
    gamma = policy.c * np.sqrt(k * observations)[..., None]
    propensity = 1.0 / (k + gamma * gap)
    rest = 1.0 - np.where(best, 0.0, propensity).sum(axis=-1, keepdims=True)
    propensity = np.where(best, rest / best.sum(axis=-1, keepdims=True), propensity)
    mixed: Array = (1.0 - policy.min_explore) * propensity + policy.min_explore / k
    return mixed


def epsilon_greedy(mean: Array) -> Array:
    """Return an epsilon-greedy policy's probabilities: (..., k)."""
    best = mean == mean.max(axis=-1, keepdims=True)
    propensity: Array = (1.0 - _EPSILON) * best / best.sum(axis=-1, keepdims=True) + _EPSILON / mean.shape[-1]
    return propensity


def waves(scenario: Scenario, runs: int, seed: int) -> Iterator[Wave]:
    """Yield the logs of all runs, wave by wave."""
    generator = np.random.default_rng(seed)
    k = scenario.k
    population = np.linspace(-scenario.spread, scenario.spread, k)
    seen, earned = np.zeros((2, runs, k))
    for _ in range(scenario.decisions // (PEOPLE * EACH)):
        shape = (runs, PEOPLE, k)
        liked = population + _PERSONAL * generator.normal(size=shape)
        # How many react differs by tip, so that equal means are not equal rewards.
        reacting = np.full(shape, _REACTING)
        if scenario.equal:
            liked = np.repeat(0.1 * generator.normal(size=(runs, PEOPLE, 1)), k, axis=-1)
            reacting = np.broadcast_to(np.linspace(0.4, 1.0, k), shape)
        liked = np.clip(liked, -reacting, reacting)
        if scenario.equal:
            liked = np.repeat(np.clip(liked[..., :1], -0.4, 0.4), k, axis=-1)
        pulls, total = np.zeros((2, *shape))
        steps = []
        for _ in range(EACH):
            mean, width, worth = belief(pulls, total, np.zeros(k), 1.0)
            logged = igw_ucb(mean, width, worth) if scenario.active == "igw-ucb" else epsilon_greedy(mean)
            challenger = igw_ucb(*belief(pulls, total, population, _STRENGTH))
            # From earlier rewards alone: everybody's, and the person's own.
            expected = (total + 4.0 * (earned / (seen + 5.0))[:, None, :]) / (pulls + 4.0)
            shown = (logged.cumsum(axis=-1) < generator.random((runs, PEOPLE, 1))).sum(axis=-1).clip(0, k - 1)
            place = shown[..., None]
            share, like = (np.take_along_axis(one, place, axis=-1)[..., 0] for one in (reacting, liked))
            sign = np.where(generator.random((runs, PEOPLE)) < (1.0 + like / share) / 2.0, 1.0, -1.0)
            reward = np.where(generator.random((runs, PEOPLE)) < share, sign, 0.0)
            gain = ((challenger - logged) * liked).sum(axis=-1)
            steps.append((reward, gain, shown, logged, challenger, expected))
            drawn = np.eye(k)[shown]
            told = drawn * reward[..., None]
            pulls, total = pulls + drawn, total + told
            seen, earned = seen + drawn.sum(axis=1), earned + told.sum(axis=1)
        yield Wave(*(np.concatenate(column, axis=1) for column in zip(*steps, strict=True)))


@dataclass(frozen=True, eq=False)
class Course:
    """What is known at each look. times: (p,); the others: (r, p), of r runs.

    gain: the true average so far; lows, highs: of the sequence; estimate and deviation of it: by doubly robust terms.
    """

    times: NDArray[np.int64]
    gain: Array
    lows: Array
    highs: Array
    estimate: Array
    deviation: Array

    def naive(self) -> tuple[Array, Array]:
        """Return the 95 % t-interval that is right for one look alone."""
        radius = 1.96 * self.deviation / np.sqrt(self.times)
        return self.estimate - radius, self.estimate + radius

    def asymptotic(self) -> tuple[Array, Array]:
        """Return the asymptotic confidence sequence (arXiv:2103.06476, theorem 2.2), tightest at half the time."""
        t, level = self.times, ALPHA
        rho2 = (-2 * math.log(level) + math.log(-2 * math.log(level) + 1)) / (t[-1] / 2)
        inner = t * rho2 + 1
        radius = self.deviation * np.sqrt(2 * inner / (t**2 * rho2) * np.log(np.sqrt(inner) / level))
        return self.estimate - radius, self.estimate + radius


def course(scenario: Scenario, runs: int, seed: int) -> Course:
    """Return what the sequence, and others beside it, say of each run at each look."""
    growth: list[list[Array]] = [[], []]
    expected: list[list[Array]] = [[], []]
    gains: list[Array] = []
    terms: list[Array] = []
    squares: list[Array] = []
    for wave in waves(scenario, runs, seed):
        n, k = wave.logged.shape[1:]
        starts = np.arange(runs * n) * k
        shown = starts + wave.shown.ravel()
        logged, gained, q = (one.ravel() for one in (wave.logged, wave.challenger - wave.logged, wave.q))
        reward = wave.reward.ravel()
        for side, sign in enumerate((1.0, -1.0)):
            added = increments(reward, shown, starts, logged, sign * gained, q)
            for sums, one in ((growth[side], added.growth), (expected[side], added.expected)):
                sums.append(_by_look(one.reshape(runs, n, len(LAMBDAS))))
        term = np.add.reduceat(gained * q, starts) + gained[shown] / logged[shown] * (reward - q[shown])
        for sums, one in ((gains, wave.gain), (terms, term), (squares, term**2)):
            sums.append(_by_look(one.reshape(runs, n, 1)))
    times = PEEK * np.arange(1, scenario.decisions // PEEK + 1)
    lows, minus_highs = (
        lower_bounds(_running(growth[side]), _running(expected[side]), times, ALPHA / 2) for side in (0, 1)
    )
    gain, estimate, square = (_running(one)[..., 0] / times for one in (gains, terms, squares))
    return Course(times, gain, lows, -minus_highs, estimate, np.sqrt(np.maximum(square - estimate**2, 0.0)))


def _by_look(one: Array) -> Array:
    """Return sums between looks, (r, looks, m), of (r, n, m)."""
    r, n, m = one.shape
    sums: Array = one.reshape(r, n // PEEK, PEEK, m).sum(axis=2)
    return sums


def _running(parts: list[Array]) -> Array:
    sums: Array = np.concatenate(parts, axis=1).cumsum(axis=1)
    return sums


def false_alarms(bounds: tuple[Array, Array], truth: Array) -> float:
    """Return the share of runs in which some look finds the truth, (r, p), outside of the bounds."""
    lows, highs = bounds
    return float(((lows > truth) | (highs < truth)).any(axis=1).mean())


def found_after(lows: Array, times: NDArray[np.int64]) -> Array:
    """Return for each run after how many decisions a gain is first found, infinity for never."""
    found = lows > 0
    after: Array = np.where(found.any(axis=1), times[found.argmax(axis=1)], np.inf)
    return after


def measured(quick: bool = False) -> dict[str, Any]:
    """Return what the tables say of the sequence."""
    began = time.monotonic()
    equal, gain = (20, 10) if quick else (RUNS_EQUAL, RUNS_GAIN)
    nothing = []
    for scenario in EQUAL:
        of = course(scenario, equal, seed=1)
        said = {"sequence": (of.lows, of.highs), "naive": of.naive(), "asymptotic": of.asymptotic()}
        alarms = {name: false_alarms(bounds, of.gain) for name, bounds in said.items()}
        nothing.append({"scenario": scenario.said, "decisions": scenario.decisions, "runs": equal, **alarms})
    something = []
    for scenario in GAIN:
        of = course(scenario, gain, seed=2)
        after = {"sequence": found_after(of.lows, of.times), "asymptotic": found_after(of.asymptotic()[0], of.times)}
        something.append(
            {
                "scenario": scenario.said,
                "decisions": scenario.decisions,
                "runs": gain,
                "gain": float(of.gain[:, -1].mean()),
                "variance": float((of.deviation[:, -1] ** 2).mean()),
                "found": {name: float(np.isfinite(one).mean()) for name, one in after.items()},
                "half": {name: _after(one, 0.5) for name, one in after.items()},
                "most": {name: _after(one, 0.8) for name, one in after.items()},
                "not_worse": _after(found_after(of.lows + MARGIN, of.times), 0.8),
                "missed": false_alarms((of.lows, of.highs), of.gain),
            }
        )
    return {"equal": nothing, "gain": something, "peek": PEEK, "alpha": ALPHA, "seconds": time.monotonic() - began}


def _after(decisions: Array, share: float) -> float | None:
    """Return after how many decisions that share of the runs had found the gain; None: not by the end."""
    reached = float(np.quantile(decisions, share, method="higher"))
    return reached if math.isfinite(reached) else None
