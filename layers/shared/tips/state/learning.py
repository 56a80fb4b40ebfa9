"""What was learned of a person: one item for all policies."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tips.state import codecs, keys
from tips.state.codecs import PolicyLearning, UserLearning
from tips.state.table import retrying

if TYPE_CHECKING:
    from tips.bandit.statistics import Statistics
    from tips.state.table import Table


def read(table: Table, user_id: str) -> UserLearning:
    return codecs.read_learning(table.get(keys.user(user_id), keys.LEARNING))


def with_statistics(
    learning: UserLearning, policy: str, schema_hash: str, statistics: Statistics, now_us: int
) -> UserLearning:
    learned = PolicyLearning(statistics, schema_hash, now_us)
    return replace(learning, policies={**learning.policies, policy: learned})


def write(user_id: str, learning: UserLearning) -> dict[str, Any]:
    """Return the transaction's part that replaces the item, on condition that nobody has written it since."""
    advanced = replace(learning, revision=learning.revision + 1)
    part: dict[str, Any] = {"Item": codecs.learning_item(user_id, advanced)}
    if learning.revision == 0:
        part["ConditionExpression"] = "attribute_not_exists(pk)"
    else:
        part["ConditionExpression"] = "rev = :rev"
        part["ExpressionAttributeValues"] = {":rev": {"N": str(learning.revision)}}
    return {"Put": part}


def reset(table: Table, user_id: str, deadline_ms: float) -> int:
    """Forget what was learned of a person, under all policies. Returns the new epoch."""

    def attempt(_: bool) -> int:
        learning = read(table, user_id)
        cleared = UserLearning(learning.revision, learning.epoch + 1, time.time_ns() // 1000)
        table.transact([write(user_id, cleared)])
        return cleared.epoch

    return retrying(deadline_ms, attempt)
