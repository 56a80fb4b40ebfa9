"""Item formats: how statistics, decisions and reactions are packed, and read back to the last bit."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tips.bandit.decision import Decision, Evaluation
from tips.bandit.policy import Distribution
from tips.bandit.rewards import Reaction, ReactionLog
from tips.bandit.statistics import Statistics
from tips.errors import DecisionTooLarge
from tips.features.vectors import Situation
from tips.state import keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tips.state.table import Item

MAX_DECISION_BYTES = 100_000
"""A decision is at most this large, so that no item grows without bound."""

_STATISTICS_VERSION = 1
_STATISTICS = struct.Struct("<BH8sQQdq")
"""version, dimension, schema hash, pulls, pulls without decision, cumulative reward, last update (microseconds)."""


def pack_floats(values: NDArray[np.float64]) -> bytes:
    return np.ascontiguousarray(values, dtype="<f8").tobytes()


def unpack_floats(data: bytes) -> NDArray[np.float64]:
    return np.frombuffer(data, dtype="<f8").astype(np.float64)


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
        """Return the policy's statistics, empty ones if it has none; raises `ValueError` on another schema."""
        learned = self.policies.get(policy)
        if learned is None:
            return Statistics.empty(dimension)
        if learned.schema_hash != schema_hash:
            raise ValueError(f"statistics of {policy} are of schema {learned.schema_hash}, not {schema_hash}")
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
    if item is None:
        return UserLearning()
    return UserLearning(
        revision=int(item["rev"]["N"]),
        epoch=int(item["epoch"]["N"]),
        epoch_at=int(item["epoch_at"]["N"]),
        policies={name: unpack_statistics(value["B"]) for name, value in item["policies"]["M"].items()},
    )


@dataclass(frozen=True, eq=False)
class RememberedDecision:
    """A decision as stored, with the reactions it has had. `revision` counts the item's writes and guards them."""

    decision: Decision
    reactions: ReactionLog
    revision: int
    shown_at: int | None

    @property
    def decision_id(self) -> str:
        return self.decision.decision_id

    @property
    def epoch(self) -> int | None:
        return self.decision.epoch


def decision_item(decision: Decision) -> Item:
    """Return the item of a new decision; raises `DecisionTooLarge`."""
    document = {
        "candidates": list(decision.candidates),
        "situation": {
            "hour_of_day": decision.situation.hour_of_day,
            "day_of_week": decision.situation.day_of_week,
            "profile": dict(decision.situation.profile),
        },
        "context": dict(decision.context),
        "chosen": decision.chosen,
        "policy": decision.policy,
        "epoch": decision.epoch,
        "degraded": decision.degraded,
        "deferred": decision.deferred,
    }
    # Level 1: on these documents level 6 is a tenth smaller and four times slower.
    packed = zlib.compress(json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(), 1)
    evaluations = {name: _evaluation(one) for name, one in decision.evaluations.items()}
    size = len(packed) + sum(
        len(next(iter(value.values()))) for one in evaluations.values() for value in one["M"].values()
    )
    if size > MAX_DECISION_BYTES:
        raise DecisionTooLarge(
            f"the candidates take {size} bytes to remember, at most {MAX_DECISION_BYTES} are kept",
            field="candidates",
        )
    return {
        "pk": {"S": keys.user(decision.user_id)},
        "sk": {"S": keys.decision(decision.decision_id)},
        "tip_key": {"S": keys.tip(decision.tip_id, decision.decision_id)},
        "ttl": {"N": str(keys.decided_at_us(decision.decision_id) // 1_000_000 + keys.DECISION_TTL_SEC)},
        "rev": {"N": "0"},
        "doc": {"B": packed},
        "policies": {"M": evaluations},
    }


def _evaluation(evaluation: Evaluation) -> Item:
    distribution = evaluation.distribution
    columns = (distribution.mean, distribution.width, distribution.score, distribution.propensity)
    return {
        "M": {
            "version": {"S": evaluation.policy_version},
            "schema": {"S": evaluation.schema_hash},
            "names": {"S": ",".join(evaluation.names)},
            "params": {"S": json.dumps(dict(evaluation.parameters))},
            "dist": {"B": pack_floats(np.concatenate(columns))},
            "vector": {"B": pack_floats(evaluation.vector)},
        }
    }


def _read_evaluation(policy: str, item: Item) -> Evaluation:
    return Evaluation(
        policy=policy,
        policy_version=item["version"]["S"],
        schema_hash=item["schema"]["S"],
        names=tuple(item["names"]["S"].split(",")),
        parameters=json.loads(item["params"]["S"]),
        distribution=Distribution(*unpack_floats(item["dist"]["B"]).reshape(4, -1)),
        vector=unpack_floats(item["vector"]["B"]),
    )


def read_decision(item: Item) -> RememberedDecision:
    document: dict[str, Any] = json.loads(zlib.decompress(item["doc"]["B"]))
    decision = Decision(
        user_id=item["pk"]["S"].removeprefix(keys.user("")),
        decision_id=item["sk"]["S"].removeprefix(keys.DECISION_PREFIX),
        candidates=document["candidates"],
        situation=Situation(**document["situation"]),
        chosen=document["chosen"],
        policy=document["policy"],
        evaluations={name: _read_evaluation(name, one["M"]) for name, one in item["policies"]["M"].items()},
        epoch=document["epoch"],
        degraded=document["degraded"],
        deferred=document["deferred"],
        context=document["context"],
    )
    shown_at = int(item["shown_at"]["N"]) if "shown_at" in item else None
    return RememberedDecision(decision, _read_reactions(item), int(item["rev"]["N"]), shown_at)


def reactions_value(log: ReactionLog) -> Item:
    """JSON text, because Python's float repr is exact and DynamoDB's decimal is not."""
    counted = None if log.counted is None else asdict(log.counted)
    return {"S": json.dumps({"counted": counted, "learned": log.learned, "event_ids": log.event_ids})}


def _read_reactions(item: Item) -> ReactionLog:
    if "reactions" not in item:
        return ReactionLog()
    stored = json.loads(item["reactions"]["S"])
    counted = None if stored["counted"] is None else Reaction(**stored["counted"])
    return ReactionLog(counted, stored["learned"], tuple(stored["event_ids"]))
