"""What was learned of a person: one item for all policies."""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tips.bandit.statistics import Statistics
from tips.errors import LearningUnreadable
from tips.state import keys
from tips.state.floats import pack_floats, unpack_floats
from tips.state.table import retrying

if TYPE_CHECKING:
    from tips.state.decision_codec import RememberedDecision
    from tips.state.table import Item, Table

_STATISTICS_VERSION = 1
_STATISTICS = struct.Struct("<BH8sQQdq")
"""version, dimension, schema hash, pulls, pulls without decision, cumulative reward, last update (microseconds)."""


@dataclass(frozen=True, eq=False)
class PolicyLearning:
    """One policy's statistics of one person. updated_at: microseconds since 1970."""

    statistics: Statistics
    schema_hash: str
    updated_at: int


@dataclass(frozen=True, eq=False)
class UserLearning:
    """Everything learned of one person: one item for all policies.

    `revision` counts the item's writes and guards them; `epoch` counts resets, the last at `epoch_at` (microseconds).
    """

    revision: int = 0
    epoch: int = 0
    epoch_at: int = 0
    policies: Mapping[str, PolicyLearning] = field(default_factory=dict)

    def statistics(self, policy: str, schema_hash: str, dimension: int) -> Statistics:
        """Return the policy's statistics, empty ones if it has none; raises `LearningUnreadable` on another schema."""
        learned = self.policies.get(policy)
        if learned is None:
            return Statistics.empty(dimension)
        if learned.schema_hash != schema_hash:
            raise LearningUnreadable(f"statistics of {policy} are of schema {learned.schema_hash}, not {schema_hash}")
        return learned.statistics

    def has_decision(self, decision: RememberedDecision) -> bool:
        """Whether the decision belongs to the present epoch. One taken blindly is placed by its time."""
        if decision.epoch is None:
            return keys.decided_at_us(decision.decision_id) >= self.epoch_at
        return decision.epoch == self.epoch


def pack_statistics(learned: PolicyLearning) -> bytes:
    """Header, upper triangle of xx row by row, rx; all little-endian, floats as float64."""
    statistics = learned.statistics
    dimension = len(statistics.rx)
    header = _STATISTICS.pack(
        _STATISTICS_VERSION,
        dimension,
        bytes.fromhex(learned.schema_hash),
        statistics.pulls,
        statistics.pulls_without_decision,
        statistics.cumulative_reward,
        learned.updated_at,
    )
    return header + pack_floats(statistics.xx[np.triu_indices(dimension)]) + pack_floats(statistics.rx)


def unpack_statistics(data: bytes) -> PolicyLearning:
    """Inverse of `pack_statistics`; raises `ValueError` on bytes that are not of its making."""
    try:
        version, d, schema_hash, pulls, without, cumulative, updated_at = _STATISTICS.unpack_from(data)
    except struct.error:
        raise ValueError("statistics are cut short") from None
    if version != _STATISTICS_VERSION:
        raise ValueError(f"statistics of unknown format {version}")
    numbers = unpack_floats(data[_STATISTICS.size :])
    triangle = d * (d + 1) // 2
    if len(numbers) != triangle + d:
        raise ValueError(f"statistics of dimension {d} hold {len(numbers)} numbers")
    xx = np.zeros((d, d))
    xx[np.triu_indices(d)] = numbers[:triangle]
    xx = xx + np.triu(xx, 1).T
    statistics = Statistics(xx, numbers[triangle:], pulls, without, cumulative)
    return PolicyLearning(statistics, schema_hash.hex(), updated_at)


def learning_item(user_id: str, learning: UserLearning) -> Item:
    return {
        "pk": {"S": keys.user(user_id)},
        "sk": {"S": keys.LEARNING},
        "rev": {"N": str(learning.revision)},
        "epoch": {"N": str(learning.epoch)},
        "epoch_at": {"N": str(learning.epoch_at)},
        "policies": {"M": {name: {"B": pack_statistics(one)} for name, one in learning.policies.items()}},
    }


def read_learning(item: Item | None) -> UserLearning:
    """Return what the item holds; raises `LearningUnreadable`."""
    if item is None:
        return UserLearning()
    try:
        return replace(
            _without_policies(item),
            policies={name: unpack_statistics(value["B"]) for name, value in item["policies"]["M"].items()},
        )
    except (ValueError, KeyError, TypeError) as error:
        raise LearningUnreadable("what was learned of this user cannot be read") from error


def _without_policies(item: Item) -> UserLearning:
    return UserLearning(int(item["rev"]["N"]), int(item["epoch"]["N"]), int(item["epoch_at"]["N"]))


def read(table: Table, user_id: str) -> UserLearning:
    return read_learning(table.get(keys.user(user_id), keys.LEARNING))


def with_statistics(
    learning: UserLearning, policy: str, schema_hash: str, statistics: Statistics, now_us: int
) -> UserLearning:
    learned = PolicyLearning(statistics, schema_hash, now_us)
    return replace(learning, policies={**learning.policies, policy: learned})


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
        item = bounded.get(keys.user(user_id), keys.LEARNING)
        # What is to be forgotten need not be readable.
        known = UserLearning() if item is None else _without_policies(item)
        if ambiguous and known.epoch_at == at_us:
            return known.epoch
        cleared = replace(known, epoch=known.epoch + 1, epoch_at=at_us)
        bounded.transact([write(user_id, cleared)])
        return cleared.epoch

    return retrying(table, deadline_ms, attempt)
