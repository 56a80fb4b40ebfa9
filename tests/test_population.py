"""The population prior: its likelihood, what it is fitted to, what it must never see, and what it does for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from offline.experiments.sim.lives import Life, logged_people
from offline.experiments.sim.people import KINDS, draw_people
from offline.experiments.sim.reactions import expected_rewards
from offline.experiments.sim.requests import draw_request
from tips.bandit.mixed_model import Mixture, Sums, fit
from tips.bandit.population import (
    FOLDS,
    STRANGER_SHARE,
    STRANGER_STRENGTH,
    cross_fitted_priors,
    fit_population,
    fit_prior,
)
from tips.bandit.posterior import form_posterior
from tips.bandit.prior import Prior
from tips.bandit.registry import POLICIES
from tips.bandit.statistics import Statistics
from tips.state.priors import pack_prior, unpack_prior

Floats = NDArray[np.float64]
D = 4
NAMES = ("a", "b", "c", "d")
POPULATION = np.array([0.5, -0.4, 0.3, 0.0])


def statistics_of(X: Floats, rewards: Floats) -> Statistics:
    statistics = Statistics.empty(X.shape[1])
    for x, reward in zip(X, rewards, strict=True):
        statistics = statistics.learn(x, 0, None, float(reward))
    return statistics


def drawn(
    spread: Sequence[float], people: int = 120, each: int = 20, noise: float = 0.2, seed: int = 1
) -> list[Statistics]:
    """People whose weights differ from `POPULATION` by `spread`, a standard deviation for each feature."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(people):
        weights = POPULATION + np.array(spread) * rng.standard_normal(D)
        X = rng.uniform(-1.0, 1.0, (each, D))
        result.append(statistics_of(X, X @ weights + noise**0.5 * rng.standard_normal(each)))
    return result


def strengths(prior: Prior | None) -> Floats:
    """Of the first component, by feature."""
    assert prior is not None
    return np.diag(prior.precision[0])


# The likelihood


def density(rewards: Floats, mean: Floats, covariance: Floats) -> float:
    """log Normal(rewards; mean, covariance), written out."""
    apart = rewards - mean
    _, determinant = np.linalg.slogdet(2.0 * np.pi * covariance)
    return float(-0.5 * (determinant + apart @ np.linalg.inv(covariance) @ apart))


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 12), flat=st.booleans())
def test_the_likelihood_from_sums_is_that_of_the_rewards(seed: int, count: int, flat: bool) -> None:
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1.0, 1.0, (count, D))
    if flat:
        X[:] = X[0]  # every reaction to the same thing
    rewards = rng.uniform(-1.0, 1.0, count)
    mean, strength = rng.normal(size=(2, D)), rng.uniform(1.0, 20.0, (2, D))
    share, noise = np.array([0.3, 0.7]), float(rng.uniform(0.05, 1.0))
    mixture = Mixture(share, mean, strength, np.ones(2), noise)
    sums = Sums.of([statistics_of(X, rewards)])
    expected = np.logaddexp.reduce(
        [
            np.log(share[k]) + density(rewards, X @ mean[k], noise * (np.eye(count) + (X / strength[k]) @ X.T))
            for k in range(2)
        ]
    )
    np.testing.assert_allclose(mixture.log_likelihood(sums), [expected], rtol=1e-9, atol=1e-9)


def test_a_weight_is_a_power_of_the_likelihood() -> None:
    """Forgotten by half, a reaction counts as half a reaction: two of them count as one."""
    rng = np.random.default_rng(3)
    X, rewards = rng.uniform(-1.0, 1.0, (6, D)), rng.uniform(-1.0, 1.0, 6)
    once = statistics_of(X, rewards)
    twice = statistics_of(np.vstack([X, X]), np.concatenate([rewards, rewards]))
    half = replace(twice, xx=twice.xx / 2, rx=twice.rx / 2, weight=twice.weight / 2, rr=twice.rr / 2)
    mixture = Mixture(np.ones(1), np.zeros((1, D)), np.full((1, D), 3.0), np.ones(1), 0.3)
    np.testing.assert_allclose(mixture.log_likelihood(Sums.of([half])), mixture.log_likelihood(Sums.of([once])))


# The posterior


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 8), components=st.integers(1, 3))
def test_the_posterior_is_that_of_a_mixture_of_gaussians(seed: int, count: int, components: int) -> None:
    rng = np.random.default_rng(seed)
    prior = some_prior(rng, components)
    X, rewards = rng.uniform(-1.0, 1.0, (count, D)), rng.uniform(-1.0, 1.0, count)
    means, covariances, logs = [], [], []
    for k in range(components):
        # The textbook's way round: condition the joint Gaussian of weights and rewards on the rewards.
        own = prior.noise * np.linalg.inv(prior.precision[k])
        of_rewards = prior.noise * np.eye(count) + X @ own @ X.T
        gain = own @ X.T @ np.linalg.inv(of_rewards)
        means.append(prior.mean[k] + gain @ (rewards - X @ prior.mean[k]))
        covariances.append(own - gain @ X @ own)
        logs.append(np.log(prior.share[k]) + density(rewards, X @ prior.mean[k], of_rewards))
    responsibility = np.exp(np.array(logs) - np.logaddexp.reduce(logs))
    mean = sum(p * m for p, m in zip(responsibility, means, strict=True))
    covariance = sum(
        p * (c + np.outer(m - mean, m - mean)) for p, m, c in zip(responsibility, means, covariances, strict=True)
    )
    posterior = form_posterior(statistics_of(X, rewards), prior)
    np.testing.assert_allclose(posterior.mean, mean, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(posterior.covariance * prior.noise, covariance, rtol=1e-7, atol=1e-9)


def some_prior(rng: np.random.Generator, components: int) -> Prior:
    strength, mean = rng.uniform(1.0, 20.0, (components, D)), rng.normal(size=(components, D))
    return Prior(NAMES, rng.dirichlet(np.ones(components)), strength, mean, float(rng.uniform(0.05, 1.0)), "v7")


@given(seed=st.integers(0, 2**32 - 1), components=st.integers(1, 4))
def test_a_prior_survives_its_item(seed: int, components: int) -> None:
    prior = some_prior(np.random.default_rng(seed), components)
    again = unpack_prior(pack_prior(prior))
    assert (again.names, again.noise, again.version) == (prior.names, prior.noise, prior.version)
    for name in ("share", "strength", "mean"):
        np.testing.assert_allclose(getattr(again, name), getattr(prior, name), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    "changes",
    [
        {"noise": 0.0},
        {"noise": float("nan")},
        {"share": np.array([-0.5, 1.5])},
        {"share": np.array([0.5, 0.4])},
        {"strength": np.zeros((2, D))},
        {"strength": np.full((2, D), np.inf)},
        {"mean": np.full((2, D), np.nan)},
        {"mean": np.zeros((2, D + 1))},
        {"share": np.ones(1)},
    ],
    ids=str,
)
def test_what_is_no_prior_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="prior"):
        replace(some_prior(np.random.default_rng(0), 2), **changes)


def test_a_cap_cuts_what_is_above_it_and_never_below_ridge() -> None:
    prior = some_prior(np.random.default_rng(0), 2)
    np.testing.assert_array_equal(prior.capped(7.0).strength, np.minimum(prior.strength, 7.0))
    np.testing.assert_array_equal(prior.capped(0.0).strength, np.ones((2, D)))


def test_a_prior_goes_to_another_schema_by_name() -> None:
    prior = some_prior(np.random.default_rng(0), 2)
    other = prior.for_schema(("new", NAMES[2], NAMES[0]))
    assert other is not None
    np.testing.assert_array_equal(other.mean, np.column_stack([np.zeros(2), prior.mean[:, 2], prior.mean[:, 0]]))
    np.testing.assert_array_equal(
        other.strength, np.column_stack([np.ones(2), prior.strength[:, 2], prior.strength[:, 0]])
    )
    assert prior.for_schema(("new",)) is None
    assert prior.for_schema(NAMES) is prior


def test_damaged_bytes_are_no_prior() -> None:
    data = pack_prior(some_prior(np.random.default_rng(0), 2))
    for damaged in (b"", data[:-5], data[7:]):
        with pytest.raises(ValueError, match="damaged"):
            unpack_prior(damaged)


# The fit


def test_the_population_mean_is_found() -> None:
    prior = fit_prior(drawn([0.3] * D), NAMES)
    assert prior is not None
    np.testing.assert_allclose(prior.mean[0], POPULATION, atol=0.12)
    assert prior.noise == pytest.approx(0.2, rel=0.15)


def test_the_more_people_differ_the_smaller_the_strength() -> None:
    by_spread = [strengths(fit_prior(drawn([spread] * D), NAMES)).mean() for spread in (0.0, 0.15, 0.3, 0.6)]
    assert by_spread == sorted(by_spread, reverse=True)
    assert by_spread[0] > 2 * by_spread[2] > 4 * by_spread[3]


def test_people_who_are_all_the_same_get_the_greatest_strength_there_may_be() -> None:
    for most in (5.0, 20.0):
        np.testing.assert_allclose(strengths(fit_prior(drawn([0.0] * D), NAMES, max_strength=most)), most, rtol=0.15)


def test_strength_is_small_only_where_people_differ() -> None:
    found = strengths(fit_prior(drawn([0.0, 0.6, 0.0, 0.0]), NAMES))
    assert found.argmin() == 1
    assert found[1] < 3.0
    assert np.delete(found, 1).min() > 10.0


def test_strengths_maximise_the_likelihood_of_people_judged_without_themselves() -> None:
    """Against a search that knows nothing of how the fit gets there."""
    sums = Sums.of(drawn([0.35] * D, people=200))
    found, _ = fit(sums, np.ones((200, 1)), max_strength=50.0)

    def held_out(strength: float) -> float:
        return float(replace(found, strength=np.full((1, D), strength)).log_likelihood(Sums.of(fresh)).sum())

    fresh = drawn([0.35] * D, people=400, seed=2)
    best = max(np.geomspace(0.5, 50.0, 40), key=held_out)
    assert found.strength.mean() == pytest.approx(best, rel=0.25)


def test_no_person_outweighs_the_others_by_volume() -> None:
    rng = np.random.default_rng(5)
    X = rng.uniform(-1.0, 1.0, (5000, D))
    zealot = statistics_of(X, X @ -POPULATION)
    people = drawn([0.2] * D, people=60)
    with_zealot, without = fit_prior([*people, zealot], NAMES), fit_prior(people, NAMES)
    assert with_zealot is not None
    assert without is not None
    np.testing.assert_allclose(with_zealot.mean[0], without.mean[0], atol=0.06)


def test_what_is_liked_by_those_who_are_shown_it_is_not_liked_by_all() -> None:
    """Half of the people like `a` and so are shown little else; the others dislike it and are shown it once."""
    rng = np.random.default_rng(6)
    people = []
    for number in range(80):
        likes = number % 2 == 0
        X = np.zeros((21, D))
        X[: 20 if likes else 2, 0] = 1.0
        X[20 if likes else 2 :, 1] = 1.0
        people.append(
            statistics_of(X, X @ np.array([1.0 if likes else -1.0, 0.0, 0, 0]) + 0.1 * rng.standard_normal(21))
        )
    prior = fit_prior(people, NAMES)
    assert prior is not None
    assert abs(prior.mean[0][0]) < 0.2


def test_several_kinds_of_people_are_told_apart_where_it_pays() -> None:
    rng = np.random.default_rng(7)
    people = []
    for number in range(120):
        X = rng.uniform(-1.0, 1.0, (25, D))
        weights = np.array([1.0, 0, 0, 0.8]) * (1 if number % 3 else -1)
        people.append(statistics_of(X, X @ weights + 0.3 * rng.standard_normal(25)))
    prior = fit_prior(people, NAMES, max_kinds=3)
    assert prior is not None
    kinds, stranger = prior.share[:-1], prior.share[-1]
    assert stranger == STRANGER_SHARE
    np.testing.assert_allclose(sorted(kinds / kinds.sum()), [1 / 3, 2 / 3], atol=0.05)
    np.testing.assert_allclose(sorted(prior.mean[:-1, 0]), [-1.0, 1.0], atol=0.1)


def test_people_of_one_kind_are_not_split() -> None:
    prior = fit_prior(drawn([0.3] * D, people=80), NAMES, max_kinds=3)
    assert prior is not None
    assert len(prior.share) == 2, "the population and the stranger"


def test_the_stranger_is_someone_of_whom_nothing_is_known() -> None:
    prior = fit_prior(drawn([0.3] * D), NAMES)
    assert prior is not None
    np.testing.assert_array_equal(prior.mean[-1], np.zeros(D))
    np.testing.assert_allclose(prior.precision[-1], STRANGER_STRENGTH * np.eye(D))


def test_the_same_people_and_seed_give_the_same_prior() -> None:
    people = drawn([0.4] * D, people=60)
    assert pack_prior(fitted(people, max_kinds=3, seed=4)) == pack_prior(fitted(people, max_kinds=3, seed=4))


def fitted(people: Sequence[Statistics], max_kinds: int = 1, seed: int = 0) -> Prior:
    prior = fit_prior(people, NAMES, max_kinds=max_kinds, seed=seed)
    assert prior is not None
    return prior


def test_nobody_gives_no_prior() -> None:
    assert fit_prior([], NAMES) is None
    assert fit_prior([Statistics.empty(D)] * 3, NAMES) is None
    assert fit_population([], NAMES) is None
    assert cross_fitted_priors([], NAMES) == []


@pytest.mark.parametrize("people", [1, 2])
def test_few_people_give_a_weak_prior(people: int) -> None:
    prior = fit_prior(drawn([0.0] * D, people=people, each=200), NAMES)
    assert prior is not None
    assert strengths(prior).mean() < 10.0
    assert (np.abs(prior.mean[0]) < np.abs(POPULATION) + 0.1).all(), "not further than they went themselves"
    assert fit_population(drawn([0.0] * D, people=people), NAMES).gain is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "rewards",
    [lambda X: X @ POPULATION, lambda X: np.full(len(X), 0.6), lambda X: np.zeros(len(X))],
    ids=["without noise", "always the same", "zero"],
)
def test_what_is_degenerate_gives_finite_numbers(rewards: Callable[[Floats], Floats]) -> None:
    rng = np.random.default_rng(8)
    people = []
    for number in range(30):
        X = rng.uniform(-1.0, 1.0, (1 + number % 3, D))
        X[:, 2] = 0.0  # never shown
        X[:, 3] = X[:, 0]  # never apart
        people.append(statistics_of(X, rewards(X)))
    for kinds in (1, 3):
        prior = fit_prior(people, NAMES, max_kinds=kinds)
        assert prior is not None
        for values in (prior.mean, prior.precision, prior.share, np.array(prior.noise)):
            assert np.isfinite(values).all()
        assert np.isfinite(form_posterior(people[0], prior).covariance).all()


def test_faded_statistics_count_by_their_weight() -> None:
    people = drawn([0.3] * D, people=40)
    faded = [replace(one, xx=one.xx / 1e9, rx=one.rx / 1e9, weight=one.weight / 1e9, rr=one.rr / 1e9) for one in people]
    alone, with_faded = fitted(people), fitted([*people, *faded])
    np.testing.assert_allclose(with_faded.mean[0], alone.mean[0], atol=1e-3)


# Held-out people


def test_a_persons_own_data_is_not_in_the_prior_he_or_she_is_judged_with() -> None:
    people = drawn([0.3] * D, people=4 * FOLDS)
    poison = replace(people[3], rx=people[3].rx + 1e6, rr=people[3].rr + 1e12)
    clean = cross_fitted_priors(people, NAMES)
    poisoned = cross_fitted_priors([*people[:3], poison, *people[4:]], NAMES)
    same = [pack_prior(a) == pack_prior(b) for a, b in zip(clean, poisoned, strict=True) if a is not None and b]
    assert len(same) == len(people)
    assert same[3], "own data"
    assert same.count(True) == 4, "and everybody else's but those of the same fold sees it"


def test_the_fit_judges_each_person_without_his_or_her_own_data() -> None:
    """The mean that one is judged with is that of the same fit to the others alone, under the same strengths."""
    people = drawn([0.3] * D, people=8)
    found, logs = fit(Sums.of(people), np.ones((8, 1)), max_strength=20.0, steps=1)
    for place in range(8):
        rest = Sums.of([*people[:place], *people[place + 1 :]])
        others, _ = fit(rest, np.ones((7, 1)), max_strength=20.0, steps=1)
        expected = replace(others, noise=found.noise).log_likelihood(Sums.of([people[place]]))
        np.testing.assert_allclose(logs[place], expected[0], rtol=1e-9)


# What it does for people


def gap_closed(lives: Sequence[Life], rounds: int, requests: int = 12) -> float:
    """Return the share of the gap between random and oracle that is closed after so many reactions of each."""
    gained = possible = 0.0
    for number, life in enumerate(lives):
        rng = np.random.default_rng([17, number])
        for _ in range(rounds):
            life.round(draw_request(rng))
        fresh = [draw_request(rng) for _ in range(requests)]
        rewards = [expected_rewards(life.person, one)[0] for one in fresh]
        chance = float(np.mean([mu.mean() for mu in rewards]))
        gained += life.value(fresh, rewards) - chance
        possible += float(np.mean([mu.max() for mu in rewards])) - chance
    return gained / possible


IGW = POLICIES["igw-ucb"]


@pytest.fixture(scope="module")
def of_one_habit() -> Prior:
    """From people who all have the same habit, so that it is as sure of it as can be."""
    rng = np.random.default_rng(11)
    logged = logged_people(draw_people(120, rng, DEADLINE_DRIVEN), 5.0, IGW, rng)
    prior = fit_prior([life.statistics for life in logged], IGW.schema.names)
    assert prior is not None
    return prior


DEADLINE_DRIVEN = [kind for kind in KINDS if kind.name == "deadline-driven"]


def opposites(prior: Prior | None, count: int = 16) -> list[Life]:
    people = draw_people(count, np.random.default_rng(12), DEADLINE_DRIVEN).opposite()
    return [
        Life(f"opposite-{u}", people[u : u + 1], IGW, np.random.default_rng([13, u]), prior=prior) for u in range(count)
    ]


def test_a_person_of_the_opposite_habit_is_learned_all_the_same(of_one_habit: Prior) -> None:
    assert gap_closed(opposites(of_one_habit), 0) < 0.0, "at first it does harm, else this would be no test"
    assert gap_closed(opposites(of_one_habit), 60) >= 0.5


def test_that_test_can_fail(of_one_habit: Prior) -> None:
    """What it is there to find: a prior that nobody can argue with, and one that takes nobody for a stranger."""
    stubborn = replace(of_one_habit, strength=np.full_like(of_one_habit.strength, 10_000.0))
    assert gap_closed(opposites(stubborn), 60) < 0.4
    parts = {name: getattr(of_one_habit, name)[:1] for name in ("strength", "mean")}
    assert gap_closed(opposites(replace(of_one_habit, share=np.ones(1), **parts)), 60) < 0.45


def test_five_reactions_are_worth_far_more_with_a_population_than_without() -> None:
    rng = np.random.default_rng(14)
    logged = logged_people(draw_people(120, rng), 5.0, IGW, rng)
    prior = fit_prior([life.statistics for life in logged], IGW.schema.names)
    people = draw_people(30, np.random.default_rng(15))

    def lives(prior: Prior | None) -> list[Life]:
        return [
            Life(f"new-{u}", people[u : u + 1], IGW, np.random.default_rng([16, u]), prior=prior) for u in range(30)
        ]

    assert gap_closed(lives(prior), 5) > gap_closed(lives(None), 5) + 0.1
