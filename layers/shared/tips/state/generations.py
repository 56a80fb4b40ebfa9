"""What was decided when tips were written: which prompt version, with which probability, in what context.

A reaction to a tip finds it by the tip's `generation_id`, in the partition of the same person.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tips.bandit.learning import Logged, LoggedSchema
from tips.errors import DecisionUnreadable
from tips.state import keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tips.state.table import Item

_FORMAT = 1
_SPENT = "spent"
"""An attribute of its own: a function of the day before, which does not know it, can still read the rest."""
_TTL_SEC = keys.DECISION_TTL_SEC + 35 * keys.DAY_SEC
"""A tip may be shown some weeks after it was written, and a reaction counts as long as its decision is remembered."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a generation took: tokens and money of all its model calls, how many there were, and the time in all.

    cost_usd: None where nobody knows a price.
    """

    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    attempts: int
    took_ms: float


@dataclass(frozen=True, eq=False)
class Generation:
    """One choice of a prompt version. versions, mean, width, score, propensity: (k,) each, in one order.

    policy: what chose: `fixed`, `rotation`, or a bandit policy's name, then with its version, parameters and prior.
    vector: (d,), of the version chosen, under `schema`; it and the context are what a reaction is learned with.
    spent: None for generations of before it was kept.
    """

    user_id: str
    generation_id: str
    version: str
    versions: Sequence[str]
    propensity: Sequence[float]
    policy: str
    schema: LoggedSchema
    vector: Sequence[float]
    context: Mapping[str, Any]
    model: str
    mean: Sequence[float] = ()
    width: Sequence[float] = ()
    score: Sequence[float] = ()
    parameters: Mapping[str, float] | None = None
    policy_version: str | None = None
    prior: str | None = None
    spent: Spent | None = None

    @property
    def logged(self) -> Logged:
        return Logged(self.schema.names, np.array(self.vector, dtype=np.float64))


def generation_item(generation: Generation) -> Item:
    """JSON, because Python's float repr is exact; compressed, because names repeat."""
    document = {
        "version": generation.version,
        "versions": list(generation.versions),
        "propensity": list(generation.propensity),
        "policy": generation.policy,
        "schema": [generation.schema.name, generation.schema.names, generation.schema.hash],
        "vector": list(generation.vector),
        "context": dict(generation.context),
        "model": generation.model,
        "mean": list(generation.mean),
        "width": list(generation.width),
        "score": list(generation.score),
        "parameters": None if generation.parameters is None else dict(generation.parameters),
        "policy_version": generation.policy_version,
        "prior": generation.prior,
    }
    text = json.dumps(document, allow_nan=False)
    written_at = keys.decided_at_us(generation.generation_id) // 1_000_000
    spent = {} if generation.spent is None else {_SPENT: {"S": json.dumps(asdict(generation.spent), allow_nan=False)}}
    return {
        "pk": {"S": keys.generation(generation.user_id)},
        "sk": {"S": keys.generated(generation.generation_id)},
        "ttl": {"N": str(written_at + _TTL_SEC)},
        "format": {"N": str(_FORMAT)},
        "doc": {"B": zlib.compress(text.encode(), 6)},
        **spent,
    }


def read_generation(item: Item) -> Generation:
    """Return what `generation_item` stored; raises `DecisionUnreadable`."""
    try:
        if item["format"]["N"] != str(_FORMAT):
            raise ValueError("unknown format")
        document = json.loads(zlib.decompress(item["doc"]["B"]))
        name, names, digest = document.pop("schema")
        return Generation(
            user_id=item["pk"]["S"].removeprefix(keys.generation("")),
            generation_id=item["sk"]["S"].removeprefix(keys.generated("")),
            schema=LoggedSchema(name, tuple(names), digest),
            spent=Spent(**json.loads(item[_SPENT]["S"])) if _SPENT in item else None,
            **document,
        )
    except (zlib.error, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DecisionUnreadable("what is stored of this generation cannot be read") from error
