"""The format of decisions: packed, and read back to the last bit."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from pydantic_core import from_json, to_json

from tips.bandit.decision import Decision, Evaluation
from tips.bandit.policy import Distribution
from tips.bandit.rewards import PromptLesson, Reaction, ReactionLog
from tips.contracts.common import KNOWN_CANDIDATE_FEATURES
from tips.errors import DecisionUnreadable
from tips.features.vectors import Situation
from tips.state import keys
from tips.state.floats import pack_floats, unpack_floats
from tips.state.profiles import read_counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tips.features.profile_counters import CountedReaction
    from tips.state.table import Item

_FORMAT = b"\x01"
_as_text = json.JSONEncoder(ensure_ascii=False).encode
_ESSENTIAL = ("id", "kind", "source", "prompt_version", "generation_id")


def max_document_bytes(candidates: int) -> int:
    """Return how large a decision's document may be, so that its item stays under 4 KB at 10, 100 KB at 200."""
    return 3_850 + max(0, candidates - 10) * 500


@dataclass(frozen=True, eq=False)
class RememberedDecision:
    """A decision as stored, with the reactions it has had. `revision` counts the item's writes and guards them.

    shown_at: when its tip was first shown, as somebody said; activated_at: when a deferred decision's wait began.
    Both in microseconds since 1970. counted: what the profile's counts hold of its reactions.
    """

    decision: Decision
    reactions: ReactionLog = field(default_factory=ReactionLog)
    revision: int = 0
    shown_at: int | None = None
    activated_at: int | None = None
    counted: CountedReaction | None = None

    @property
    def decision_id(self) -> str:
        return self.decision.decision_id

    @property
    def epoch(self) -> int | None:
        return self.decision.epoch

    @property
    def wait_began_at(self) -> int | None:
        """When the reward wait began: with the decision itself unless that was deferred."""
        return self.activated_at if self.decision.deferred else keys.decided_at_us(self.decision_id)

    @property
    def wait_ends_at(self) -> int | None:
        """The last microsecond at which a reaction is in time, None as long as the wait has not begun."""
        began_at = self.wait_began_at
        return None if began_at is None else began_at + self.decision.reward_wait_us


def decision_item(decision: Decision) -> Item:
    """Return the item of a new decision.

    Where it would be over `max_document_bytes`, of the candidates only what policies use is kept.
    """
    document = _packed(decision, decision.candidates, decision.context)
    if len(document) > max_document_bytes(len(decision.candidates)):
        essentials = [
            {**{name: one[name] for name in _ESSENTIAL if name in one}, "features": _known(one["features"])}
            for one in decision.candidates
        ]
        document = _packed(decision, essentials, {**decision.context, "only_known_features_kept": True})
    return {
        "pk": {"S": keys.user(decision.user_id)},
        "sk": {"S": keys.decision(decision.decision_id)},
        "tip_key": {"S": keys.tip(decision.tip_id, decision.decision_id)},
        "ttl": {"N": str(keys.decided_at_us(decision.decision_id) // 1_000_000 + keys.DECISION_TTL_SEC)},
        "rev": {"N": "0"},
        "doc": {"B": document},
    }


def _known(features: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in features.items() if name in KNOWN_CANDIDATE_FEATURES}


def _packed(decision: Decision, candidates: Sequence[Mapping[str, Any]], context: Mapping[str, Any]) -> bytes:
    features, values = _flat_features([one["features"] for one in candidates])
    evaluations = decision.evaluations.values()
    vectors = {one.schema_hash: one for one in evaluations}
    document = {
        "candidates": _columns(candidates),
        **features,
        "situation": {
            "hour_of_day": decision.situation.hour_of_day,
            "day_of_week": decision.situation.day_of_week,
            "profile": dict(decision.situation.profile),
        },
        "profile_sources": dict(decision.profile_sources),
        "context": dict(context),
        "chosen": decision.chosen,
        "policy": decision.policy,
        "epoch": decision.epoch,
        "degraded": decision.degraded,
        "deferred": decision.deferred,
        "reward_wait_us": decision.reward_wait_us,
        "experiments": dict(decision.experiments),
        "took_us": decision.took_us,
        "schemas": {digest: one.names for digest, one in vectors.items()},
        "evaluations": [
            [one.policy, one.policy_version, one.schema_hash, one.prior, dict(one.parameters)] for one in evaluations
        ],
    }
    text = to_json(document)
    floats = [np.array(values, dtype=np.float64), *(one.vector for one in vectors.values())]
    for one in evaluations:
        seen = one.distribution
        floats += [seen.mean, seen.width, seen.score, seen.propensity]
    # Level 1: on these documents level 6 is a tenth smaller and four times slower.
    return _FORMAT + zlib.compress(b"".join((len(text).to_bytes(4, "little"), text, *map(pack_floats, floats))), 1)


def _columns(candidates: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the candidates, features left out, by column: their names once, None for what one does not have."""
    names = dict.fromkeys(chain.from_iterable(candidates))
    return {name: [one.get(name) for one in candidates] for name in names if name != "features"}


def _flat_features(rows: Sequence[Mapping[str, float | bool]]) -> tuple[dict[str, Any], list[float]]:
    """Return what the features are, and all values in order.

    `names`: of all features; `shapes`: the features that a candidate may have, as indexes into the names; `shape`: of
    each candidate. A boolean's index is inverted (-1 - index), so that it comes back as a boolean.
    """
    names: dict[str, int] = {}
    shapes: dict[tuple[Any, ...], int] = {}
    values: list[float] = []
    shape = []
    for features in rows:
        values += features.values()
        shape.append(shapes.setdefault((*features, *map(type, features.values())), len(shapes)))
    written = []
    for one in shapes:
        middle = len(one) // 2
        places = [names.setdefault(name, len(names)) for name in one[:middle]]
        written.append([-1 - at if kind is bool else at for at, kind in zip(places, one[middle:], strict=True)])
    return {"names": list(names), "shapes": written, "shape": shape}, values


class _Candidates(Sequence[dict[str, Any]]):
    """Inverse of `_columns` and `_flat_features`: each is put together when it is first asked for, as few ever are."""

    def __init__(self, document: Mapping[str, Any], values: NDArray[np.float64]) -> None:
        self._columns: dict[str, list[Any]] = document["candidates"]
        self._names: list[str] = document["names"]
        shapes: list[list[int]] = document["shapes"]
        self._shapes = [shapes[shape] for shape in document["shape"]]
        self._values = values
        self._made: dict[int, dict[str, Any]] = {}
        if any(len(column) != len(self._shapes) for column in self._columns.values()):
            raise ValueError("candidates of unequal columns")

    def __len__(self) -> int:
        return len(self._shapes)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if index not in self._made:
            self._made[index] = self._make(index)
        return self._made[index]

    def _make(self, index: int) -> dict[str, Any]:
        shape = self._shapes[index]  # raises beyond the end
        given = {name: column[index] for name, column in self._columns.items() if column[index] is not None}
        start = sum(map(len, self._shapes[: index % len(self)]))
        values = self._values[start : start + len(shape)].tolist()
        return {**given, "features": dict(map(self._feature, shape, values))}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def _feature(self, place: int, value: float) -> tuple[str, float | bool]:
        return (self._names[place], value) if place >= 0 else (self._names[-1 - place], bool(value))


def _unpack_document(data: bytes) -> tuple[dict[str, Any], NDArray[np.float64]]:
    if data[:1] != _FORMAT:
        raise ValueError("a decision of unknown format")
    plain = zlib.decompress(data[1:])
    end = 4 + int.from_bytes(plain[:4], "little")
    return from_json(plain[4:end]), unpack_floats(plain[end:])


def read_decision(item: Item) -> RememberedDecision:
    """Return what `decision_item` stored; raises `DecisionUnreadable`."""
    try:
        return _read_decision(item)
    except (zlib.error, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DecisionUnreadable("what is stored of this decision cannot be read") from error


def _read_decision(item: Item) -> RememberedDecision:
    document, floats = _unpack_document(item["doc"]["B"])
    at = 0

    def take(count: int) -> NDArray[np.float64]:
        nonlocal at
        if at + count > len(floats):
            raise ValueError("a decision that is cut short")
        at += count
        return floats[at - count : at]

    shapes = document["shapes"]
    values = take(sum(len(shapes[shape]) for shape in document["shape"]))
    candidates = _Candidates(document, values)
    vectors = {digest: (tuple(names), take(len(names))) for digest, names in document["schemas"].items()}
    evaluations = {
        policy: Evaluation(
            policy=policy,
            policy_version=version,
            schema_hash=digest,
            names=vectors[digest][0],
            parameters=parameters,
            distribution=Distribution(*(take(len(candidates)) for _ in range(4))),
            vector=vectors[digest][1],
            prior=prior,
        )
        for policy, version, digest, prior, parameters in document["evaluations"]
    }
    decision = Decision(
        user_id=item["pk"]["S"].removeprefix(keys.user("")),
        decision_id=item["sk"]["S"].removeprefix(keys.DECISION_PREFIX),
        candidates=candidates,
        situation=Situation(**document["situation"]),
        chosen=document["chosen"],
        policy=document["policy"],
        evaluations=evaluations,
        epoch=document["epoch"],
        degraded=document["degraded"],
        deferred=document["deferred"],
        reward_wait_us=document["reward_wait_us"],
        experiments=document["experiments"],
        context=document["context"],
        # There are decisions from before these were logged.
        profile_sources=document.get("profile_sources", {}),
        took_us=document.get("took_us"),
    )
    return RememberedDecision(
        decision,
        _read_reactions(item),
        int(item["rev"]["N"]),
        int(item["shown_at"]["N"]) if "shown_at" in item else None,
        int(item["activated_at"]["N"]) if "activated_at" in item else None,
        read_counted(item),
    )


def reactions_value(log: ReactionLog) -> Item:
    """JSON text, because Python's float repr is exact and DynamoDB's decimal is not."""
    rows = [[one.reward, one.occurred_at, one.event_id, one.action, one.dwell_ms] for one in log.reactions]
    document = {
        "reactions": rows,
        "wait_over": log.wait_over,
        "learned": log.learned,
        "learned_in": log.learned_in,
    }
    return {"S": _as_text(document)}


def prompt_value(lesson: PromptLesson | None) -> Item | None:
    """An attribute of its own: a version of this service that knows nothing of it can read the reactions."""
    return None if lesson is None else {"S": json.dumps([lesson.reward, lesson.reacted, lesson.learned_in])}


def _read_reactions(item: Item) -> ReactionLog:
    if "reactions" not in item:
        return ReactionLog()
    stored = json.loads(item["reactions"]["S"])
    reactions = tuple(Reaction(*row) for row in stored.pop("reactions"))
    prompt = PromptLesson(*json.loads(item["prompt"]["S"])) if "prompt" in item else None
    return ReactionLog(reactions, **stored, prompt=prompt)
