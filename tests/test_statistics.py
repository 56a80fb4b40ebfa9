"""Statistics and posteriors: sums, ridge, revision; against the plain-Python reference on random inputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests import reference
from tips.bandit.posterior import form_posterior
from tips.bandit.statistics import Statistics

Observations = list[tuple[NDArray[np.float64], float]]


@st.composite
def observations(draw: st.DrawFn, min_size: int = 0) -> tuple[int, Observations]:
    d = draw(st.sampled_from([1, 2, 5, 7, 12]))
    number = st.floats(-1, 1)
    rows = draw(st.lists(st.tuples(st.lists(number, min_size=d, max_size=d), number), min_size=min_size, max_size=20))
    return d, [(np.array(x), reward) for x, reward in rows]


def learned(d: int, rows: Observations) -> Statistics:
    statistics = Statistics.empty(d)
    for x, reward in rows:
        statistics = statistics.learn(x, 0, None, reward)
    return statistics


@given(observations(), st.data())
def test_prediction_equals_the_reference(case: tuple[int, Observations], data: st.DataObject) -> None:
    d, rows = case
    x = data.draw(st.lists(st.floats(-1, 1), min_size=d, max_size=d))
    means, widths = form_posterior(learned(d, rows)).predict(np.array([x]))
    mean, width = reference.predict([(row.tolist(), reward) for row, reward in rows], x)
    assert means[0] == pytest.approx(mean, abs=1e-9)
    assert widths[0] == pytest.approx(width, abs=1e-9)


@given(observations())
def test_covariance_inverts_the_precision(case: tuple[int, Observations]) -> None:
    d, rows = case
    posterior = form_posterior(learned(d, rows))
    precision = learned(d, rows).xx + np.eye(d)
    np.testing.assert_allclose(precision @ posterior.covariance, np.eye(d), atol=1e-9)


def test_covariance_inverts_an_ill_conditioned_precision() -> None:
    x = np.array([1.0, 1.0 - 1e-9, 0.5])
    statistics = Statistics(1e8 * np.outer(x, x), np.zeros(3))
    posterior = form_posterior(statistics)
    np.testing.assert_allclose((statistics.xx + np.eye(3)) @ posterior.covariance, np.eye(3), atol=1e-5)
    _, widths = posterior.predict(np.array([x, np.zeros(3)]))
    assert np.isfinite(widths).all()
    assert widths[1] == 0


@given(observations(min_size=1), st.floats(-1, 1), st.data())
def test_a_revision_equals_having_seen_the_last_reward_only(
    case: tuple[int, Observations], reward: float, data: st.DataObject
) -> None:
    d, rows = case
    index = data.draw(st.integers(0, len(rows) - 1))
    x, old = rows[index]
    revised = learned(d, rows).learn(x, 0, old, reward)
    direct = learned(d, [*rows[:index], (x, reward), *rows[index + 1 :]])
    np.testing.assert_allclose(revised.xx, direct.xx, atol=1e-12)
    np.testing.assert_allclose(revised.rx, direct.rx, atol=1e-12)
    assert revised.pulls == direct.pulls == len(rows)
    assert revised.cumulative_reward == pytest.approx(direct.cumulative_reward, abs=1e-12)


@given(observations(), st.randoms())
def test_order_does_not_matter(case: tuple[int, Observations], random: object) -> None:
    d, rows = case
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = learned(d, rows), learned(d, shuffled)
    np.testing.assert_allclose(one.xx, other.xx, atol=1e-12)
    np.testing.assert_allclose(one.rx, other.rx, atol=1e-12)


@settings(max_examples=30)
@given(st.integers(1, 12), st.integers(2, 200), st.integers(0, 2**32 - 1))
def test_equal_rows_get_equal_results_to_the_last_bit(d: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    statistics = learned(d, [(rng.normal(size=d), float(rng.normal())) for _ in range(5)])
    X = np.repeat(rng.normal(size=(1, d)), k, axis=0)
    means, widths = form_posterior(statistics).predict(X)
    assert len(set(means.tolist())) == 1
    assert len(set(widths.tolist())) == 1


def test_nothing_learned_is_the_ridge_prior() -> None:
    means, widths = form_posterior(Statistics.empty(3)).predict(np.array([[1.0, 2.0, 2.0]]))
    assert means.tolist() == [0.0]
    assert widths.tolist() == [3.0]
