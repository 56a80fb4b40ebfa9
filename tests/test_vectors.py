"""Feature vectors agree with the plain-Python reference and the schemas' hashes name exactly their definition."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import reference
from tips.contracts.common import FEATURE_RANGES
from tips.features.profile_schema import PROFILE_FEATURES
from tips.features.vectors import EGREEDY_V1, EGREEDY_V2, LINUCB, Candidate, Schema, Situation

SCHEMAS = [LINUCB, EGREEDY_V1, EGREEDY_V2]


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


candidates = some(
    is_overdue=st.booleans(),
    task_age_days=st.floats(-5, 1e6),
    priority=st.integers(1, 4),
    something_else=st.floats(allow_nan=False, allow_infinity=False),
)
contexts = some(hour_of_day=st.integers(0, 23), day_of_week=st.integers(0, 6))
profiles = some(
    completion_rate_30d=maybe(st.floats(0, 1)),
    dismiss_rate_30d=maybe(st.floats(0, 1)),
    mean_dwell_ms_30d=maybe(st.floats(0, 1e7)),
    preferred_hour=maybe(st.floats(0, 24)),
    tip_volume_30d=maybe(st.integers(0, 500)),
)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
@given(st.lists(candidates, min_size=1, max_size=5), contexts, profiles)
def test_vectors_equal_the_reference(
    schema: Schema, rows: list[dict[str, Any]], context: dict[str, Any], profile: dict[str, Any]
) -> None:
    situation = Situation(context.get("hour_of_day"), context.get("day_of_week"), profile)
    X = schema.encode(situation, [Candidate(row) for row in rows])
    expected = [reference.vector(schema.name, row, context, profile) for row in rows]
    np.testing.assert_allclose(X, expected, rtol=0, atol=1e-12)
    assert np.abs(X).max() <= 1.0


def test_dimensions_and_order() -> None:
    assert [schema.dimension for schema in SCHEMAS] == [5, 7, 12]
    assert EGREEDY_V2.names[:7] == EGREEDY_V1.names
    assert EGREEDY_V1.names[:5] == LINUCB.names
    assert LINUCB.names == ("hour_sin", "hour_cos", "is_overdue", "task_age", "priority")


def test_a_known_vector() -> None:
    situation = Situation(6, 0, {"preferred_hour": 18, "tip_volume_30d": 100, "mean_dwell_ms_30d": 300_000})
    (x,) = EGREEDY_V2.encode(situation, [Candidate({"is_overdue": True, "task_age_days": 45, "priority": 3})])
    np.testing.assert_allclose(x, [1, 0, 1, 1, 2 / 3, 0, 1, 0, 0, 0.5, 0, 1], atol=1e-12)


def test_unknown_time_points_nowhere() -> None:
    (x,) = EGREEDY_V2.encode(Situation(), [Candidate()])
    np.testing.assert_array_equal(x, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.5, 0])


# Statistics in the table carry these hashes: a changed hash is a migration, never an accident.
@pytest.mark.parametrize(
    ("schema", "hash_"),
    [(LINUCB, "29542f6f928bd152"), (EGREEDY_V1, "4e06e579a6bedf06"), (EGREEDY_V2, "04e8f586d330a54d")],
    ids=lambda value: getattr(value, "name", ""),
)
def test_hashes_of_released_schemas(schema: Schema, hash_: str) -> None:
    assert schema.hash == hash_


def test_hash_changes_with_order_name_and_definition() -> None:
    first, *rest = LINUCB.encoders
    others = [
        (*rest, first),
        (dataclasses.replace(first, name="hour"), *rest),
        (dataclasses.replace(first, definition="sin(hour)"), *rest),
        tuple(rest),
    ]
    hashes = {Schema("linucb", encoders).hash for encoders in others}
    assert len(hashes) == 4
    assert LINUCB.hash not in hashes


def test_every_profile_feature_has_a_known_range() -> None:
    assert {feature.name for feature in PROFILE_FEATURES} <= FEATURE_RANGES.keys()
    assert all(math.isfinite(FEATURE_RANGES[feature.name][0]) for feature in PROFILE_FEATURES)
