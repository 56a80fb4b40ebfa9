"""Reads an export: its tables as Polars frames, and its decisions as what policies and estimators work on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from offline.command import BadInput
from offline.feature_store.schema import BY_DAY, FORMAT, MANIFEST, PROFILE_NAMES, SCHEMAS, SORTED_BY
from tips.features.vectors import Candidate, Situation

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NEEDED = (
    *("decision_id", "user_id", "decided_at", "policy", "chosen", "candidates", "evaluations"),
    *("hour_of_day", "day_of_week", *PROFILE_NAMES, "profile_sources", "profile_other"),
    *("reward", "reward_source", "wait_ends_at", "reacted_at"),
)


@dataclass(frozen=True)
class Logs:
    """An export on disk. Its tables are read when they are first asked for, and kept."""

    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Logs:
        """Raises `BadInput` if the folder is no export, or one of another format."""
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            found = manifest["format"]
        except (OSError, ValueError, LookupError, TypeError):
            raise BadInput(f"--logs: {folder} is no export; `tips export --to {folder}` makes one") from None
        if found != FORMAT:
            raise BadInput(f"--logs: {folder} is an export of format {found}, and this reads {FORMAT}: export again")
        return cls(folder, manifest)

    @property
    def data_hash(self) -> str:
        return str(self.manifest["data_hash"])

    @property
    def as_of(self) -> datetime:
        """When the table was as it was exported; of a point-in-time export, earlier than when it was read."""
        return datetime.fromisoformat(str(self.manifest["as_of"]))

    @cached_property
    def decisions(self) -> pl.DataFrame:
        """Sorted by `decision_id`, and so by time."""
        return self._table("decisions")

    @cached_property
    def statistics(self) -> pl.DataFrame:
        return self._table("statistics")

    @cached_property
    def people(self) -> pl.DataFrame:
        return self._table("people")

    @cached_property
    def profiles(self) -> pl.DataFrame:
        return self._table("profiles")

    @cached_property
    def generations(self) -> pl.DataFrame:
        return self._table("generations")

    @cached_property
    def audit(self) -> pl.DataFrame:
        return self._table("audit")

    def _table(self, name: str) -> pl.DataFrame:
        pattern = "dt=*/*.parquet" if name in BY_DAY else "*.parquet"
        files = sorted((self.folder / name).glob(pattern))
        if not files:
            return cast(pl.DataFrame, pl.from_arrow(SCHEMAS[name].empty_table()))
        # The folders' dates say nothing that the rows do not.
        try:
            return pl.read_parquet(files, hive_partitioning=False).sort(SORTED_BY[name])
        except (OSError, pl.exceptions.PolarsError) as error:
            raise BadInput(f"--logs: {name} in {self.folder} cannot be read, export again: {error}") from None


@dataclass(frozen=True, eq=False)
class LoggedEvaluation:
    """What a policy made of a logged decision. vector: (d,), of the shown candidate; the other arrays: (k,)."""

    policy: str
    policy_version: str
    schema_hash: str
    names: tuple[str, ...]
    vector: NDArray[np.float64]
    mean: NDArray[np.float64]
    width: NDArray[np.float64]
    score: NDArray[np.float64]
    propensity: NDArray[np.float64]
    parameters: Mapping[str, float]
    prior: str | None


@dataclass(frozen=True, eq=False)
class LoggedDecision:
    """A decision as it was made, and what it taught. Times: microseconds since 1970.

    active: the policy that chose; `evaluations` holds it and the shadows. reward: None while nothing is known.
    """

    decision_id: str
    user_id: str
    decided_at_us: int
    situation: Situation
    candidates: list[Candidate]
    chosen: int
    active: str
    evaluations: dict[str, LoggedEvaluation]
    reward: float | None
    reward_source: str | None
    wait_ends_at_us: int | None
    reacted_at_us: int | None


def shown_by_reaction() -> pl.Expr:
    """Return whether it is its reaction alone that says of a deferred decision that its tip was shown.

    Had nobody reacted, it would count as never shown: to judge by these is to choose by what came of them.
    """
    return pl.col("deferred") & (pl.col("wait_began_at") == pl.col("reacted_at")).fill_null(False)


def logged_decisions(frame: pl.DataFrame) -> Iterator[LoggedDecision]:
    """Yield the decisions of a frame in its order. Of the columns of an export only those used need be there."""
    for row in frame.select(_NEEDED).iter_rows(named=True):
        yield LoggedDecision(
            row["decision_id"],
            row["user_id"],
            microseconds(row["decided_at"]),
            Situation(row["hour_of_day"], row["day_of_week"], _profile(row)),
            [_candidate(one) for one in row["candidates"]],
            row["chosen"],
            row["policy"],
            {one["policy"]: _evaluation(one) for one in row["evaluations"]},
            row["reward"],
            row["reward_source"],
            None if row["wait_ends_at"] is None else microseconds(row["wait_ends_at"]),
            None if row["reacted_at"] is None else microseconds(row["reacted_at"]),
        )


def microseconds(at: datetime) -> int:
    """Return a time as microseconds since 1970, exactly."""
    return (at - _EPOCH) // _MICROSECOND


def _profile(row: Mapping[str, Any]) -> dict[str, float | bool | None]:
    sources = row["profile_sources"] or {}
    # A null that the request gave is not the same as nothing given.
    known = {name: row[name] for name in PROFILE_NAMES if row[name] is not None or sources.get(name) == "request"}
    return {**known, **(row["profile_other"] or {})}


def _candidate(logged: Mapping[str, Any]) -> Candidate:
    booleans = set(logged["booleans"])
    features = {name: bool(value) if name in booleans else value for name, value in logged["features"].items()}
    return Candidate(features, logged["kind"], logged["source"], logged["prompt_version"])


def _evaluation(logged: Mapping[str, Any]) -> LoggedEvaluation:
    vector, mean, width, score, propensity = (
        np.array(logged[name], dtype=np.float64) for name in ("vector", "mean", "width", "score", "propensity")
    )
    return LoggedEvaluation(
        logged["policy"],
        logged["policy_version"],
        logged["schema_hash"],
        tuple(logged["names"]),
        vector,
        mean,
        width,
        score,
        propensity,
        logged["parameters"],
        logged["prior"],
    )
