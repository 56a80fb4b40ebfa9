"""What was learned of a person: one item for all policies.

Statistics belong to a schema, by its hash, and not to a policy: policies on one schema learn the same from the same
reactions, so they share them. A schema that has none of its own begins with those of another, by name.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tips.bandit.registry import POLICIES
from tips.bandit.statistics import Statistics, map_statistics, map_vector
from tips.errors import LearningUnreadable
from tips.state import keys
from tips.state.floats import pack_floats, unpack_floats
from tips.state.table import retrying
from tips.state.tombstones import not_erased

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tips.features.vectors import Schema
    from tips.state.decision_codec import RememberedDecision
    from tips.state.table import Item, Table

_FORMAT = 2
_HEADER = struct.Struct("<BHHQQdddqqq")
"""format, dimension, bytes of names, pulls, pulls without decision, cumulative reward, weight, rr, half-life, landmark,
last update (microseconds)."""
KEPT_US = 90 * keys.DAY_SEC * 1_000_000
"""How long statistics of a schema that no policy has any more are kept, for going back."""
_PRESENT = frozenset(policy.schema.hash for policy in POLICIES.values())


@dataclass(frozen=True, eq=False)
class SchemaLearning:
    """One person's statistics under one schema. updated_at: microseconds since 1970."""

    statistics: Statistics
    schema: str
    names: tuple[str, ...]
    updated_at: int


@dataclass(frozen=True, eq=False)
class Observed:
    """The vector of what was shown, as logged: x: (d,), with the d names that it had then."""

    names: tuple[str, ...]
    x: NDArray[np.float64]

    def under(self, names: tuple[str, ...]) -> NDArray[np.float64]:
        """Return the vector under a schema with these names."""
        return self.x if names == self.names else map_vector(self.x, self.names, names)


@dataclass(frozen=True, eq=False)
class UserLearning:
    """Everything learned of one person.

    `revision` counts the item's writes and guards them; `epoch` counts resets, the last at `epoch_at` (microseconds).
    """

    revision: int = 0
    epoch: int = 0
    epoch_at: int = 0
    schemas: Mapping[str, SchemaLearning] = field(default_factory=dict)
    """By the schema's hash."""

    def statistics(self, schema: Schema) -> Statistics:
        """Return the statistics to go on from under a schema: its own, else another's by name, else empty ones.

        The counts go along only between versions of one schema: they say how often *this* one learned.
        """
        own = self.schemas.get(schema.hash)
        if own is not None:
            return own.statistics
        related = self._predecessor(schema)
        if related is None:
            return Statistics.empty(schema.dimension)
        mapped = map_statistics(related.statistics, related.names, schema.names)
        if related.schema == schema.name:
            return mapped
        return replace(mapped, pulls=0, pulls_without_decision=0, cumulative_reward=0.0)

    def counted(self, schema: Schema) -> SchemaLearning | None:
        """Return what a schema, or an earlier version of it, has learned itself."""
        versions = [one for one in self.schemas.values() if one.schema == schema.name]
        return self.schemas.get(schema.hash) or max(versions, key=lambda one: one.updated_at, default=None)

    def _predecessor(self, schema: Schema) -> SchemaLearning | None:
        """Return what shares most names with the schema; of equals an earlier version of it, then the latest."""
        names = set(schema.names)
        related = [one for one in self.schemas.values() if names & set(one.names)]
        return max(
            related,
            key=lambda one: (len(names & set(one.names)), one.schema == schema.name, one.updated_at),
            default=None,
        )

    def has_decision(self, decision: RememberedDecision) -> bool:
        """Whether the decision belongs to the present epoch. One taken blindly is placed by its time."""
        if decision.epoch is None:
            return keys.decided_at_us(decision.decision_id) >= self.epoch_at
        return decision.epoch == self.epoch


def pack_statistics(learned: SchemaLearning) -> bytes:
    """Header, names, upper triangle of xx row by row, rx; all little-endian, floats as float64."""
    statistics = learned.statistics
    dimension = len(statistics.rx)
    names = zlib.compress("\n".join((learned.schema, *learned.names)).encode(), 9)
    header = _HEADER.pack(
        _FORMAT,
        dimension,
        len(names),
        statistics.pulls,
        statistics.pulls_without_decision,
        statistics.cumulative_reward,
        statistics.weight,
        statistics.rr,
        statistics.half_life,
        statistics.landmark,
        learned.updated_at,
    )
    return header + names + pack_floats(statistics.xx[np.triu_indices(dimension)]) + pack_floats(statistics.rx)


def unpack_statistics(data: bytes) -> SchemaLearning:
    """Inverse of `pack_statistics`; raises `ValueError` on bytes that are not of its making."""
    try:
        version, d, names_size, pulls, without, cumulative, weight, rr, half_life, landmark, updated_at = (
            _HEADER.unpack_from(data)
        )
    except struct.error:
        raise ValueError("statistics are cut short") from None
    if version != _FORMAT:
        raise ValueError(f"statistics of unknown format {version}")
    start = _HEADER.size + names_size
    schema, names = _unpack_names(data[_HEADER.size : start])
    numbers = unpack_floats(data[start:])
    triangle = d * (d + 1) // 2
    if len(numbers) != triangle + d or len(names) != d:
        raise ValueError(f"statistics of dimension {d} hold {len(numbers)} numbers and {len(names)} names")
    if not np.isfinite(numbers).all():
        raise ValueError("statistics are not finite")
    xx = numbers[_places_in_triangle(d)]
    statistics = Statistics(
        xx, numbers[triangle:], weight, rr, pulls, without, cumulative, half_life=half_life, landmark=landmark
    )
    return SchemaLearning(statistics, schema, names, updated_at)


@lru_cache(maxsize=64)
def _unpack_names(data: bytes) -> tuple[str, tuple[str, ...]]:
    """Return schema and names. There are few of them, and everybody's statistics bring one."""
    try:
        schema, *names = zlib.decompress(data).decode().split("\n")
    except zlib.error:
        raise ValueError("statistics have damaged names") from None
    return schema, tuple(names)


@lru_cache(maxsize=64)
def _places_in_triangle(dimension: int) -> NDArray[np.intp]:
    """Return, (d, d), where in an upper triangle, packed row by row, a symmetric matrix has each of its elements."""
    places = np.zeros((dimension, dimension), dtype=np.intp)
    rows, columns = np.triu_indices(dimension)
    places[rows, columns] = places[columns, rows] = np.arange(len(rows))
    return places


def learning_item(user_id: str, learning: UserLearning) -> Item:
    return {
        "pk": {"S": keys.user(user_id)},
        "sk": {"S": keys.LEARNING},
        "rev": {"N": str(learning.revision)},
        "epoch": {"N": str(learning.epoch)},
        "epoch_at": {"N": str(learning.epoch_at)},
        "schemas": {"M": {digest: {"B": pack_statistics(one)} for digest, one in learning.schemas.items()}},
    }


def read_learning(item: Item | None) -> UserLearning:
    """Return what the item holds; raises `LearningUnreadable`."""
    if item is None:
        return UserLearning()
    try:
        return replace(
            _without_schemas(item),
            schemas={digest: unpack_statistics(value["B"]) for digest, value in item["schemas"]["M"].items()},
        )
    except (ValueError, KeyError, TypeError) as error:
        raise LearningUnreadable("what was learned of this user cannot be read") from error


def _without_schemas(item: Item) -> UserLearning:
    return UserLearning(int(item["rev"]["N"]), int(item["epoch"]["N"]), int(item["epoch_at"]["N"]))


def read(table: Table, user_id: str) -> UserLearning:
    return read_learning(table.get(keys.user(user_id), keys.LEARNING))


def taught(
    learning: UserLearning,
    seen: Mapping[Schema, Observed],
    at_us: int,
    old: float | None,
    new: float | None,
    half_life: int,
    now_us: int,
    *,
    without_decision: bool = False,
) -> UserLearning:
    """Return the learning after a decision's reward went from `old` to `new`; None: not learned.

    seen: the decision's vector under each schema that it counts for, the deciding one first. Every other schema that
    the person has statistics under learns too, from the deciding one's vector by name, uncounted: so a policy that
    comes back, or takes over, has missed nothing. Long-retired schemas are dropped.
    """
    deciding = next(iter(seen.values()))
    schemas = {
        digest: one
        for digest, one in learning.schemas.items()
        if digest in _PRESENT or one.updated_at > now_us - KEPT_US
    }
    for schema in seen:
        schemas[schema.hash] = SchemaLearning(learning.statistics(schema), schema.name, schema.names, now_us)
    own = {schema.hash: observed for schema, observed in seen.items()}
    for digest, one in schemas.items():
        observed = own.get(digest, deciding)
        if not set(observed.names) & set(one.names):
            continue
        statistics = one.statistics.learn(
            observed.under(one.names),
            at_us,
            old,
            new,
            half_life=half_life,
            counted=digest in own,
            without_decision=without_decision,
        )
        schemas[digest] = replace(one, statistics=statistics)
    return replace(learning, schemas=schemas)


def write(user_id: str, learning: UserLearning) -> dict[str, Any]:
    """Return the transaction's part that replaces the item, on condition that nobody has written it since."""
    advanced = replace(learning, revision=learning.revision + 1)
    part: dict[str, Any] = {"Item": learning_item(user_id, advanced)}
    if learning.revision == 0:
        part["ConditionExpression"] = "attribute_not_exists(pk)"
    else:
        part["ConditionExpression"] = "rev = :rev"
        part["ExpressionAttributeValues"] = {":rev": {"N": str(learning.revision)}}
    return {"Put": part}


def reset(table: Table, user_id: str, deadline_ms: float) -> int:
    """Forget what was learned of a person, under all policies. Returns the new epoch."""

    at_us = time.time_ns() // 1000

    def attempt(bounded: Table, ambiguous: bool) -> int:
        item, erased = bounded.get_all([(keys.user(user_id), keys.LEARNING), keys.tombstone(user_id)])
        # What is to be forgotten need not be readable.
        known = UserLearning() if item is None else _without_schemas(item)
        if erased is not None or (ambiguous and known.epoch_at == at_us):
            return known.epoch
        cleared = replace(known, epoch=known.epoch + 1, epoch_at=at_us)
        bounded.transact([write(user_id, cleared), not_erased(user_id)])
        return cleared.epoch

    return retrying(table, deadline_ms, attempt)
