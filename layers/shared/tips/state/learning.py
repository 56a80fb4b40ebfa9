"""What was learned of a person, in the table: one item for all schemas."""

from __future__ import annotations

import json
import math
import struct
import time
import zlib
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tips.bandit.learning import SchemaLearning, UserLearning
from tips.bandit.statistics import Statistics
from tips.errors import LearningUnreadable
from tips.state import keys
from tips.state.floats import pack_floats, unpack_floats
from tips.state.table import retrying
from tips.state.tombstones import not_erased

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tips.state.table import Item, Table

_FORMAT = 4
_WITHOUT_DENSITY = 3
"""The format before: floats alone, never compressed. It is still read."""
_DENSE, _SPARSE = b"d", b"s"
_HEADER = struct.Struct("<BHHQQdddqqq")
"""format, dimension, bytes of names, pulls, pulls without decision, cumulative reward, weight, rr, half-life, landmark,
last update (microseconds)."""


def pack_statistics(learned: SchemaLearning) -> bytes:
    """Header, names, density, upper triangle of xx row by row, rx; all little-endian, floats as float64."""
    statistics = learned.statistics
    dimension = len(statistics.rx)
    came_along = [[before, sorted(held)] for before, held in learned.came_along]
    names = zlib.compress(json.dumps([learned.schema_name, learned.names, came_along]).encode(), 9)
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
    numbers = np.concatenate((statistics.xx[np.triu_indices(dimension)], statistics.rx))
    floats = pack_floats(numbers)
    # What was learned of one prompt version says nothing of another, so that most of a large matrix may be zero.
    return header + names + (_SPARSE + zlib.compress(floats, 1) if _is_sparse(numbers) else _DENSE + floats)


def _is_sparse(numbers: NDArray[np.float64]) -> bool:
    return bool(np.count_nonzero(numbers) * 2 < len(numbers))


def _numbers(data: bytes) -> NDArray[np.float64]:
    if data[:1] not in (_DENSE, _SPARSE):
        raise ValueError("statistics of unknown density")
    try:
        return unpack_floats(zlib.decompress(data[1:]) if data[:1] == _SPARSE else data[1:])
    except zlib.error:
        raise ValueError("statistics are damaged") from None


def unpack_statistics(data: bytes) -> SchemaLearning:
    """Inverse of `pack_statistics`; raises `ValueError` on bytes that are not of its making."""
    try:
        version, d, names_size, pulls, without, cumulative, weight, rr, *times = _HEADER.unpack_from(data)
        half_life, landmark, updated_at = times
    except struct.error:
        raise ValueError("statistics are cut short") from None
    if version not in (_FORMAT, _WITHOUT_DENSITY):
        raise ValueError(f"statistics of unknown format {version}")
    start = _HEADER.size + names_size
    schema_name, names, came_along = _unpack_names(data[_HEADER.size : start])
    numbers = unpack_floats(data[start:]) if version == _WITHOUT_DENSITY else _numbers(data[start:])
    triangle = d * (d + 1) // 2
    if len(numbers) != triangle + d or len(names) != d:
        raise ValueError(f"statistics of dimension {d} hold {len(numbers)} numbers and {len(names)} names")
    if not (np.isfinite(numbers).all() and all(map(math.isfinite, (weight, rr, cumulative)))):
        raise ValueError("statistics are not finite")
    xx = numbers.take(_places_in_triangle(d))
    statistics = Statistics(
        xx, numbers[triangle:], weight, rr, pulls, without, cumulative, half_life=half_life, landmark=landmark
    )
    return SchemaLearning(statistics, schema_name, names, updated_at, came_along)


@lru_cache(maxsize=64)
def _unpack_names(data: bytes) -> tuple[str, tuple[str, ...], tuple[tuple[int, frozenset[str]], ...]]:
    """Return schema, names and what came along. There are few such texts, and everybody's statistics bring one."""
    try:
        schema_name, names, came_along = json.loads(zlib.decompress(data))
        return schema_name, tuple(names), tuple((int(before), frozenset(held)) for before, held in came_along)
    except (zlib.error, ValueError, TypeError):
        raise ValueError("statistics have damaged names") from None


@lru_cache(maxsize=64)
def _places_in_triangle(dimension: int) -> NDArray[np.intp]:
    """Return, (d, d), where in an upper triangle, packed row by row, a symmetric matrix has each of its elements."""
    places = np.zeros((dimension, dimension), dtype=np.intp)
    rows, columns = np.triu_indices(dimension)
    places[rows, columns] = places[columns, rows] = np.arange(len(rows))
    return places


def learning_item(key: tuple[str, str], learning: UserLearning) -> Item:
    pk, sk = key
    return {
        "pk": {"S": pk},
        "sk": {"S": sk},
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
    """Raises `LearningUnreadable`."""
    try:
        return UserLearning(int(item["rev"]["N"]), int(item["epoch"]["N"]), int(item["epoch_at"]["N"]))
    except (ValueError, KeyError, TypeError) as error:
        raise LearningUnreadable("what was learned of this user cannot be read") from error


def read(table: Table, user_id: str) -> UserLearning:
    return read_learning(table.get(*keys.learning(user_id)))


def write(key: tuple[str, str], before: int, learning: UserLearning, also: Item | None = None) -> dict[str, Any]:
    """Return the transaction's part that replaces the item, on condition that nobody has written it since.

    before: the revision that was read, 0 when there was no item; the learning's own is later. also: further attributes.
    """
    part: dict[str, Any] = {"Item": {**learning_item(key, learning), **(also or {})}}
    if before == 0:
        part["ConditionExpression"] = "attribute_not_exists(pk)"
    else:
        part["ConditionExpression"] = "rev = :rev"
        part["ExpressionAttributeValues"] = {":rev": {"N": str(before)}}
    return {"Put": part}


def reset(table: Table, user_id: str, deadline_ms: float) -> int:
    """Forget what was learned of a person, under all policies. Returns the new epoch."""

    at_us = time.time_ns() // 1000

    def attempt(bounded: Table, ambiguous: bool) -> int:
        both = (keys.learning(user_id), keys.arms(user_id))
        item, arms, erased = bounded.get_all([*both, keys.tombstone(user_id)])
        # What is to be forgotten need not be readable.
        known = UserLearning() if item is None else _without_schemas(item)
        if erased is not None or (ambiguous and known.epoch_at == at_us):
            return known.epoch
        cleared = replace(known, revision=known.revision + 1, epoch=known.epoch + 1, epoch_at=at_us)
        # Also where nothing was learned of prompt versions: a lesson on its way must find that it comes too late.
        versions = UserLearning() if arms is None else _without_schemas(arms)
        emptied = replace(versions, revision=versions.revision + 1, epoch=cleared.epoch, epoch_at=at_us)
        writes = [write(both[0], known.revision, cleared), write(both[1], versions.revision, emptied)]
        bounded.transact([*writes, not_erased(user_id)])
        return cleared.epoch

    return retrying(table, deadline_ms, attempt)
