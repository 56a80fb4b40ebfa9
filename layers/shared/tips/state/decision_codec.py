"""The format of decisions: packed, and read back to the last bit."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tips.bandit.decision import Decision, Evaluation
from tips.bandit.policy import Distribution
from tips.bandit.rewards import Reaction, ReactionLog
from tips.contracts.scoring import KNOWN_CANDIDATE_FEATURES
from tips.features.vectors import Situation
from tips.state import keys
from tips.state.floats import pack_floats, unpack_floats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tips.state.table import Item

MAX_DOCUMENT_BYTES = 80_000
"""With the distributions of 200 candidates a decision stays under 100 KB."""


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
    """Return the item of a new decision.

    Where it would be over `MAX_DOCUMENT_BYTES`, of the candidates only ids and the features that policies use are kept.
    """
    document = _packed(decision, decision.candidates, decision.context)
    if len(document) > MAX_DOCUMENT_BYTES:
        essentials = [{"id": one["id"], "features": _known(one["features"])} for one in decision.candidates]
        document = _packed(decision, essentials, {**decision.context, "only_known_features_kept": True})
    return {
        "pk": {"S": keys.user(decision.user_id)},
        "sk": {"S": keys.decision(decision.decision_id)},
        "tip_key": {"S": keys.tip(decision.tip_id, decision.decision_id)},
        "ttl": {"N": str(keys.decided_at_us(decision.decision_id) // 1_000_000 + keys.DECISION_TTL_SEC)},
        "rev": {"N": "0"},
        "doc": {"B": document},
        "policies": {"M": {name: _evaluation(one) for name, one in decision.evaluations.items()}},
    }


def _known(features: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in features.items() if name in KNOWN_CANDIDATE_FEATURES}


def _packed(decision: Decision, candidates: Sequence[Mapping[str, Any]], context: Mapping[str, Any]) -> bytes:
    names, rows, values = _flat_features(candidates)
    document = {
        "candidates": [{**one, "features": row} for one, row in zip(candidates, rows, strict=True)],
        "names": names,
        "situation": {
            "hour_of_day": decision.situation.hour_of_day,
            "day_of_week": decision.situation.day_of_week,
            "profile": dict(decision.situation.profile),
        },
        "context": dict(context),
        "chosen": decision.chosen,
        "policy": decision.policy,
        "epoch": decision.epoch,
        "degraded": decision.degraded,
        "deferred": decision.deferred,
    }
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    # Level 1: on these documents level 6 is a tenth smaller and four times slower.
    return zlib.compress(len(text).to_bytes(4, "little") + text + pack_floats(np.array(values)), 1)


def _flat_features(candidates: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[int]], list[float]]:
    """Return all features' names, each candidate's as indexes into them, and all values in that order.

    A boolean's index is inverted (-1 - index), so that it comes back as a boolean.
    """
    index: dict[str, int] = {}
    rows = []
    values: list[float] = []
    for candidate in candidates:
        features = candidate["features"]
        places = ((index.setdefault(name, len(index)), value) for name, value in features.items())
        rows.append([-1 - place if isinstance(value, bool) else place for place, value in places])
        values.extend(map(float, features.values()))
    return list(index), rows, values


def _with_features(
    candidates: list[dict[str, Any]], names: list[str], values: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Inverse of `_flat_features`."""
    numbers = iter(values.tolist())

    def feature(place: int) -> tuple[str, float | bool]:
        value = next(numbers)
        return (names[place], value) if place >= 0 else (names[-1 - place], bool(value))

    return [{**one, "features": dict(map(feature, one["features"]))} for one in candidates]


def _unpack_document(data: bytes) -> tuple[dict[str, Any], NDArray[np.float64]]:
    plain = zlib.decompress(data)
    end = 4 + int.from_bytes(plain[:4], "little")
    return json.loads(plain[4:end]), unpack_floats(plain[end:])


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
    document, values = _unpack_document(item["doc"]["B"])
    decision = Decision(
        user_id=item["pk"]["S"].removeprefix(keys.user("")),
        decision_id=item["sk"]["S"].removeprefix(keys.DECISION_PREFIX),
        candidates=_with_features(document["candidates"], document["names"], values),
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
    return {"S": json.dumps({"counted": counted, "learned_reward": log.learned_reward, "event_ids": log.event_ids})}


def _read_reactions(item: Item) -> ReactionLog:
    if "reactions" not in item:
        return ReactionLog()
    stored = json.loads(item["reactions"]["S"])
    counted = None if stored["counted"] is None else Reaction(**stored["counted"])
    return ReactionLog(counted, stored["learned_reward"], tuple(stored["event_ids"]))
