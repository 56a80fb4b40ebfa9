"""The interval of a mean covers it at every look, and not by being useless."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tips.bandit.intervals import mean_interval


@pytest.mark.parametrize(
    ("values", "shares"),
    [
        ((-1.0, 1.0), (0.5, 0.5)),
        ((-1.0, 1.0), (0.05, 0.95)),
        ((-1.0, 0.6, 1.0), (0.3, 0.4, 0.3)),
        ((0.0, 1.0), (0.9, 0.1)),
        ((-1.0, 0.1), (0.02, 0.98)),
    ],
)
def test_looked_at_after_every_reward_it_misses_in_no_more_than_one_case_of_twenty(
    values: tuple[float, ...], shares: tuple[float, ...]
) -> None:
    rng = np.random.default_rng(5)
    truth = float(np.dot(values, shares))
    histories = 400
    missed = 0
    for _ in range(histories):
        rewards = rng.choice(values, 300, p=shares)
        sums, squares = rewards.cumsum(), (rewards**2).cumsum()
        looks = (mean_interval(n + 1, sums[n], squares[n]) for n in range(len(rewards)))
        missed += any(not low <= truth <= high for low, high in looks)
    assert missed <= 0.05 * histories + 2 * np.sqrt(0.05 * 0.95 * histories)  # two standard errors of chance


def test_it_narrows_as_a_mean_does() -> None:
    def width(n: int) -> float:
        low, high = mean_interval(n, 0.0, 0.5 * n)
        return high - low

    assert width(1) == 2.0, "one reward says next to nothing"
    assert width(100) < 0.55
    assert width(10_000) < 0.08


def test_rewards_that_never_vary_are_not_taken_for_certain() -> None:
    low, high = mean_interval(3, 3.0, 3.0)
    assert low < 0.5
    assert high == 1.0


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50), st.floats(0.001, 0.5))
def test_it_holds_the_mean_within_what_rewards_can_be(rewards: list[float], error: float) -> None:
    total, squares = sum(rewards), sum(one * one for one in rewards)
    low, high = mean_interval(len(rewards), total, squares, error)
    assert -1.0 <= low <= total / len(rewards) <= high <= 1.0
    stricter = mean_interval(len(rewards), total, squares, error / 2)
    assert stricter[0] <= low
    assert high <= stricter[1]
