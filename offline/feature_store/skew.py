"""Recomputes logged vectors from logged inputs with today's encoders: training sees what serving saw, or it shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from offline.feature_store.logs import LoggedDecision
from tips.bandit import registry
from tips.features.vectors import Schema

TOLERANCE = 1e-9
"""Sines and logarithms of two platforms may differ in the last bits; no change of a formula is so small."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A component that is not what it was. encoder: its name in the schema."""

    decision_id: str
    user_id: str
    schema: str
    encoder: str
    logged: float
    now: float


@dataclass
class Skew:
    """What was compared. unknown: vectors by the hash of their schema, which nobody knows any more."""

    decisions: int = 0
    vectors: int = 0
    differing: int = 0
    first: Difference | None = None
    unknown: Counter[str] = field(default_factory=Counter)


def present_schemas() -> dict[str, Schema]:
    """Return the schemas that there are policies for, by hash; made anew, as one keeps what it once computed with."""
    schemas = (policy.schema for policy in registry.POLICIES.values())
    return {schema.hash: Schema(schema.name, schema.encoders) for schema in schemas}


def skew_of(
    decisions: Iterable[LoggedDecision], schemas: Mapping[str, Schema], progress: Callable[[int], None]
) -> Skew:
    """Compare every logged vector with the same computed now. schemas: today's, by hash.

    Decisions come in the order of time, so that the first difference is the earliest.
    """
    skew = Skew()
    for decision in decisions:
        skew.decisions += 1
        # Policies on one schema were logged with one vector.
        vectors = {one.schema_hash: one.vector for one in decision.evaluations.values()}
        for digest, logged in vectors.items():
            schema = schemas.get(digest)
            if schema is None:
                skew.unknown[digest] += 1
                continue
            skew.vectors += 1
            (now,) = schema.encode(decision.situation, [decision.candidates[decision.chosen]])
            # Not "greater than": what is not a number differs as well.
            (places,) = np.nonzero(~(np.abs(now - logged) <= TOLERANCE))
            if len(places):
                skew.differing += 1
                place = places[0]
                skew.first = skew.first or Difference(
                    decision.decision_id,
                    decision.user_id,
                    schema.name,
                    schema.names[place],
                    float(logged[place]),
                    float(now[place]),
                )
        if skew.decisions % 500 == 0:
            progress(skew.decisions)
    progress(skew.decisions)
    return skew
