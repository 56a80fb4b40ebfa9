"""What was learned of each person, from an export: the sums that the functions kept, or decisions summed up anew."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Literal, cast

import polars as pl

from offline.feature_store.logs import LoggedDecision, Logs, logged_decisions, microseconds
from tips.bandit.learning import Lesson, Logged, SchemaLearning, UserLearning
from tips.bandit.statistics import Statistics, map_statistics
from tips.state.learning import unpack_statistics

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tips.features.vectors import Schema

Source = Literal["statistics", "decisions"]


def everybody(logs: Logs) -> list[str]:
    """Return all people of an export, in order."""
    of = (logs.decisions, logs.statistics)
    return sorted({name for frame in of for name in frame["user_id"].unique().to_list()})


def as_of_us(logs: Logs) -> int:
    """Return when the table was as it was exported, microseconds since 1970."""
    return microseconds(logs.as_of)


def last_moment(logs: Logs) -> int:
    """Return the last moment that the data itself knows of, microseconds since 1970; 0 where it is empty.

    An export's own time would make a model depend on when the same data was exported.
    """
    columns = (logs.decisions["decided_at"], logs.statistics["updated_at"])
    times = [microseconds(cast(datetime, column.max())) for column in columns if len(column)]
    return max(times, default=0)


def learned_of(
    logs: Logs, source: Source, schema: Schema, left_out: Collection[str], now_us: int
) -> dict[str, Statistics]:
    """Return everybody's statistics under a schema as of `now_us`, in the order of the people's ids.

    left_out: people who have no part in it. People of whom nothing is known under the schema are left out as well.
    Raises `ValueError` for statistics that cannot be read.
    """
    found = _summed_online(logs, schema) if source == "statistics" else _summed_anew(logs, schema)
    return {
        name: found[name].as_of(now_us) for name in sorted(found) if found[name].weight > 0 and name not in left_out
    }


def present_decisions(logs: Logs) -> pl.DataFrame:
    """Return the decisions less those that a person's reset has made void: of an earlier epoch than the present one.

    One that was taken without knowing the epoch belongs to the one that it falls into by its time.
    """
    frame = logs.decisions
    logged = (
        frame.filter(pl.col("epoch").is_not_null())
        .group_by("user_id", "epoch")
        .agg(pl.col("decided_at").min().alias("epoch_began_at"))
    )
    last = (
        # The table says when an epoch began; a decision only that it had.
        pl.concat([logs.people.select(logged.columns), logged])
        .group_by("user_id", maintain_order=True)
        .agg(
            pl.col("epoch").max().alias("last"),
            pl.col("epoch_began_at").filter(pl.col("epoch") == pl.col("epoch").max()).min().alias("began"),
        )
    )
    present = (
        pl.col("last").is_null()
        | (pl.col("epoch") == pl.col("last"))
        | (pl.col("epoch").is_null() & ((pl.col("last") == 0) | (pl.col("decided_at") >= pl.col("began"))))
    )
    return frame.join(last, on="user_id", how="left", maintain_order="left").filter(present).drop("last", "began")


def _summed_online(logs: Logs, schema: Schema) -> dict[str, Statistics]:
    found: dict[str, Statistics] = {}
    for (user_id,), rows in logs.statistics.group_by("user_id", maintain_order=True):
        learning = UserLearning(
            schemas={row["schema_hash"]: unpack_statistics(row["data"]) for row in rows.iter_rows(named=True)}
        )
        # What another schema learned is not taken: it knew other features.
        own = learning.counted(schema)
        if own is not None:
            found[str(user_id)] = map_statistics(own.statistics, own.names, schema.names)
    return found


def _summed_anew(logs: Logs, schema: Schema) -> dict[str, Statistics]:
    """Return the sums that the decisions' rewards give, nothing forgotten, each with the vector that was logged."""
    sums: dict[str, Statistics] = {}
    for one in logged_decisions(present_decisions(logs).filter(pl.col("reward").is_not_null())):
        before = sums.get(one.user_id) or Statistics.empty(schema.dimension)
        sums[one.user_id] = before.learn(_vector(one, schema), one.decided_at_us, None, one.reward)
    return sums


def _vector(one: LoggedDecision, schema: Schema) -> NDArray[np.float64]:
    evaluations = [one.evaluations[one.active], *(each for name, each in one.evaluations.items() if name != one.active)]
    logged: Mapping[str, Logged] = {each.schema_hash: Logged(each.names, each.vector) for each in evaluations}
    # By the functions' own rule for which logged vector stands for one of another schema.
    lesson = Lesson(one.decided_at_us, logged, (), one.reward)
    return lesson.vector(schema.hash, SchemaLearning(Statistics.empty(0), schema.name, schema.names, 0))
