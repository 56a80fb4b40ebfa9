"""What decisions were made from, feature by feature, as columns that two windows can be compared by."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from tips.features.profile_schema import PROFILE_FEATURES

CONTEXT = ("hour_of_day", "day_of_week", "task_count", "candidate_count")
OF_CANDIDATES = ("kind", "source", "prompt_version", "model")

Input = tuple[str, str, pl.DataFrame]
"""Group, feature, and a frame with `user_id` and `value`."""


def inputs(decisions: pl.DataFrame) -> Iterator[Input]:
    """Yield each feature: of the context, the profile, all candidates offered, and the vector of the one shown.

    The candidates offered do not depend on the policy; the vectors shown do, and are what was learned from.
    """
    person = pl.col("user_id")
    for name in CONTEXT:
        yield "context", name, decisions.select(person, pl.col(name).cast(pl.Float64).alias("value"))
    for feature in PROFILE_FEATURES:
        yield "profile", feature.name, decisions.select(person, pl.col(feature.name).alias("value"))
    yield from _named("profile", decisions, "profile_other")
    offered = decisions.select("user_id", "candidates").explode("candidates", empty_as_null=False)
    of_candidate = offered.select(person, pl.col("candidates").struct.unnest())
    for name in OF_CANDIDATES:
        yield "candidates", name, of_candidate.select(person, pl.col(name).alias("value"))
    yield from _named("candidates", of_candidate, "features")
    yield from _vectors(decisions)


def _named(group: str, rows: pl.DataFrame, column: str) -> Iterator[Input]:
    """Yield the values of each key of a map."""
    pairs = rows.select("user_id", pl.col(column).map.entries()).explode(column, empty_as_null=False).drop_nulls(column)
    flat = pairs.select("user_id", pl.col(column).struct.unnest())
    if flat.is_empty():
        return
    for (name,), frame in sorted(flat.partition_by("key", as_dict=True).items(), key=str):
        yield group, str(name), frame.select("user_id", "value")


def _vectors(decisions: pl.DataFrame) -> Iterator[Input]:
    evaluated = decisions.select("user_id", "evaluations").explode("evaluations", empty_as_null=False)
    active = evaluated.select("user_id", pl.col("evaluations").struct.unnest()).filter(pl.col("role") == "active")
    for (digest,), frame in sorted(active.partition_by("schema_hash", as_dict=True).items(), key=str):
        policies = ", ".join(sorted(frame["policy"].unique()))
        flat = frame.select("user_id", "names", "vector").explode("names", "vector")
        for (name,), values in flat.partition_by("names", as_dict=True, maintain_order=True).items():
            yield (
                f"vector of {policies} ({str(digest)[:8]})",
                str(name),
                values.select("user_id", pl.col("vector").alias("value")),
            )
