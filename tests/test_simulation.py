"""The simulated population: rewards that are what reactions come to, people who differ, the profile that an app has."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from offline.experiments.sim.lives import Life, draw_reactions_a_week, logged_people
from offline.experiments.sim.people import KINDS, draw_people, liking
from offline.experiments.sim.reactions import DISMISS, HELPFUL, QUICK, SLOW, History, expected_rewards, react
from offline.experiments.sim.requests import Request, draw_request
from tips.bandit.registry import POLICIES
from tips.features.profile_schema import PROFILE_FEATURES

IGW = POLICIES["igw-ucb"]


@pytest.mark.parametrize("kind", ["task", "advice"])
def test_expected_rewards_are_the_mean_of_reactions(kind: str) -> None:
    rng = np.random.default_rng(1)
    person = draw_people(1, rng)
    request = next(one for one in iter(lambda: draw_request(rng), None) if one.is_kind(kind).any())
    chosen = int(request.is_kind(kind).argmax())
    rewards = np.array([react(person, request, chosen, rng).reward for _ in range(6000)])
    assert expected_rewards(person, request)[0, chosen] == pytest.approx(
        rewards.mean(), abs=4 * rewards.std() / 6000**0.5
    )


def test_many_people_are_judged_as_one_by_one() -> None:
    rng = np.random.default_rng(2)
    people, request = draw_people(5, rng), draw_request(rng)
    together = expected_rewards(people, request)
    for number in range(5):
        np.testing.assert_allclose(together[number], expected_rewards(people[number : number + 1], request)[0])


def test_the_best_policy_for_all_closes_less_than_half_of_the_gap() -> None:
    rng = np.random.default_rng(3)
    people, others = draw_people(300, rng), draw_people(1000, rng)
    chance = best = oracle = 0.0
    for request in (draw_request(rng) for _ in range(150)):
        rewards = expected_rewards(people, request)
        chance += rewards.mean()
        best += rewards[:, expected_rewards(others, request).mean(axis=0).argmax()].mean()
        oracle += rewards.max(axis=1).mean()
    assert 0.3 < (best - chance) / (oracle - chance) < 0.5


def test_opposites_like_what_the_others_dislike() -> None:
    rng = np.random.default_rng(4)
    people = draw_people(50, rng, [kind for kind in KINDS if kind.name == "overdue-avoider"])
    correlations = []
    for request in (draw_request(rng) for _ in range(20)):
        pair = liking(people, request).mean(axis=0), liking(people.opposite(), request).mean(axis=0)
        correlations.append(np.corrcoef(*pair)[0, 1])
    assert np.mean(correlations) < -0.7


def test_the_median_person_reacts_less_than_five_times_a_week() -> None:
    rng = np.random.default_rng(5)
    assert 3.0 < np.median([draw_reactions_a_week(rng) for _ in range(2000)]) < 5.0


def test_requests_vary_and_have_five_to_ten_candidates() -> None:
    rng = np.random.default_rng(6)
    requests = [draw_request(rng) for _ in range(300)]
    assert Counter(len(one.candidates) for one in requests).keys() == set(range(5, 11))
    assert {one.day_of_week for one in requests} == set(range(7))
    kinds = {candidate.kind for one in requests for candidate in one.candidates}
    assert kinds == {"task", "advice", "insight", "reminder"}


def test_the_profile_is_that_of_the_last_30_days() -> None:
    history = History()
    assert history.profile() == {"tip_volume_30d": 0.0}, "nothing is known of a newcomer but that"
    history.add(0.0, 22, DISMISS)
    for day, hour, reaction in ((40.0, 8, QUICK), (41.0, 8, SLOW), (42.0, 9, DISMISS), (43.0, 9, HELPFUL)):
        history.add(day, hour, reaction)
    profile = history.profile()
    assert profile.keys() == {feature.name for feature in PROFILE_FEATURES}
    assert (profile["completion_rate_30d"], profile["dismiss_rate_30d"]) == (0.5, 0.25)
    assert (profile["preferred_hour"], profile["tip_volume_30d"]) == (8, 4.0)
    assert profile["mean_dwell_ms_30d"] == (45_000 + 300_000) / 2


def test_a_life_learns_and_judging_it_changes_nothing() -> None:
    rng = np.random.default_rng(7)
    life = Life("ann", draw_people(1, rng), IGW, rng)
    requests: list[Request] = [draw_request(rng) for _ in range(10)]
    rewards = [expected_rewards(life.person, one)[0] for one in requests]
    before = life.value(requests, rewards)
    assert life.value(requests, rewards) == before
    for request in requests:
        life.round(request)
    assert life.statistics.pulls == 10
    assert life.value(requests, rewards) != before


def test_the_same_seed_gives_the_same_lives() -> None:
    def rewards(seed: int) -> list[float]:
        rng = np.random.default_rng(seed)
        lives = logged_people(draw_people(4, rng), 2.0, IGW, rng)
        return [life.statistics.cumulative_reward for life in lives]

    assert rewards(8) == rewards(8) != rewards(9)
