"""Who is in which arm: sticky, by the shares, independent between salts."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tips.bandit.assignment import assign, assignments
from tips.contracts.configuration import Configuration, Experiment

START = datetime(2026, 11, 1, tzinfo=UTC)
END = START + timedelta(days=14)
NOON = START + timedelta(hours=12)
USERS = [f"user-{number}" for number in range(20_000)]

user_ids = st.text(min_size=1, max_size=128)
# Whole hundredths, so that they add up to at most 1 whatever their number.
shares = st.lists(st.integers(1, 20), min_size=1, max_size=5).map(lambda parts: [part / 100 for part in parts])


def experiment(arms: dict[str, float], **changes: Any) -> Experiment:
    fields = {"name": "voices", "kind": "prompt_version", "salt": "s-1", "start": START, "end": END, "arms": arms}
    return Experiment(**{**fields, **changes})


def within_binomial_bounds(count: int, n: int, share: float) -> bool:
    return abs(count - n * share) <= 5 * math.sqrt(n * share * (1 - share))


@given(user_ids, shares, st.floats(0, 13.9))
def test_a_person_stays_in_their_arm(user_id: str, parts: list[float], days: float) -> None:
    arms = {f"arm-{number}": part for number, part in enumerate(parts)}
    arm = assign(experiment(arms), user_id, NOON)
    assert arm is None or arm in arms
    turned_round = dict(reversed(arms.items()))
    assert assign(experiment(turned_round, name="renamed"), user_id, START + timedelta(days=days)) == arm
    through_json = Experiment.model_validate_json(experiment(turned_round).model_dump_json())
    assert assign(through_json, user_id, NOON) == arm


@pytest.mark.parametrize(
    ("user_id", "place"), [("ann", 0.694318), ("ben", 0.108959), ("zoé", 0.091048), ("\ud800", 0.656365)]
)
def test_arms_are_the_same_in_every_release(user_id: str, place: float) -> None:
    # Else a deployment would move people in the middle of an experiment.
    assert assign(experiment({"a": place - 1e-5, "b": 2e-5}), user_id, NOON) == "b"


@pytest.mark.parametrize("salt", ["s-1", "s-2", "x"])
def test_as_many_people_are_in_an_arm_as_its_share_says(salt: str) -> None:
    split = experiment({"a": 0.5, "b": 0.25, "c": 0.05}, salt=salt)
    found = [assign(split, user_id, NOON) for user_id in USERS]
    for arm, share in (("a", 0.5), ("b", 0.25), ("c", 0.05), (None, 0.2)):
        assert within_binomial_bounds(found.count(arm), len(USERS), share), arm


def test_two_salts_split_independently() -> None:
    first, second = (experiment({"a": 0.5, "b": 0.5}, salt=salt) for salt in ("s-1", "s-2"))
    both = [(assign(first, user_id, NOON), assign(second, user_id, NOON)) for user_id in USERS]
    for pair in (("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")):
        assert within_binomial_bounds(both.count(pair), len(USERS), 0.25), pair


def test_nobody_is_left_over_when_shares_add_up_to_one() -> None:
    ten = experiment({f"arm-{number}": 0.1 for number in range(10)})
    thirds = experiment({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3})
    assert all(assign(split, user_id, NOON) for split in (ten, thirds) for user_id in USERS[:5000])


def test_growing_the_last_arm_moves_nobody_between_arms() -> None:
    small, grown = experiment({"a": 0.4, "b": 0.1}), experiment({"a": 0.4, "b": 0.3})
    moves = {(assign(small, user_id, NOON), assign(grown, user_id, NOON)) for user_id in USERS}
    assert moves == {("a", "a"), ("b", "b"), (None, "b"), (None, None)}


def test_growing_an_earlier_arm_moves_people_at_the_edges() -> None:
    small, grown = experiment({"a": 0.1, "b": 0.3}), experiment({"a": 0.2, "b": 0.3})
    moves = {(assign(small, user_id, NOON), assign(grown, user_id, NOON)) for user_id in USERS}
    assert ("b", "a") in moves


def test_start_is_in_and_end_is_out() -> None:
    whole = experiment({"a": 1.0})
    instant = timedelta(microseconds=1)
    assert [assign(whole, "u", at) for at in (START - instant, START, END - instant, END)] == [None, "a", "a", None]
    endless = experiment({"a": 1.0}, end=None)
    assert assign(endless, "u", START + timedelta(days=5000)) == "a"


def test_assignments_name_the_running_experiments_that_have_the_person() -> None:
    configuration = Configuration(
        experiments=[
            experiment({"v1": 1.0}),
            experiment({"lints": 1.0}, name="policies", kind="policy"),
            experiment({"v1": 1e-12}, name="later", start=END, end=None),
        ]
    )
    assert assignments(configuration, "u", NOON) == {"voices": "v1", "policies": "lints"}
    assert assignments(configuration, "u", END) == {}
    assert assignments(Configuration(), "u", NOON) == {}
