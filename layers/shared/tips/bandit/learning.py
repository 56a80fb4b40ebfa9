"""What was learned of one person, and how one decision teaches it.

Statistics belong to a schema, by its hash, and not to a policy: policies on one schema learn the same from the same
reactions, so they share them. A schema that has none of its own begins with those of another, by name; from then on
every schema learns from every reaction, so a policy that takes over or comes back has missed nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tips.bandit.registry import POLICIES
from tips.bandit.statistics import Statistics, map_statistics, map_vector

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tips.bandit.forgetting import Microseconds
    from tips.features.vectors import CandidateLike, Schema, Situation

KEPT_US = 90 * 86_400_000_000
"""How long statistics of a schema that no policy has any more are kept, for going back."""


@dataclass(frozen=True, eq=False)
class SchemaLearning:
    """One person's statistics under one schema, with its d names in order.

    updated_at: when it last learned from a decision of its own. began_in: the revision in which it began with the
    statistics of another schema, taking over the names in `inherited`; 0 if it began with nothing.
    """

    statistics: Statistics
    schema: str
    names: tuple[str, ...]
    updated_at: Microseconds
    began_in: int = 0
    inherited: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class UserLearning:
    """Everything learned of one person.

    `revision` counts the item's writes and guards them; `epoch` counts resets, the last at `epoch_at`.
    """

    revision: int = 0
    epoch: int = 0
    epoch_at: Microseconds = 0
    schemas: Mapping[str, SchemaLearning] = field(default_factory=dict)
    """By the schema's hash."""

    def statistics(self, schema: Schema) -> Statistics:
        """Return the statistics to go on from under a schema: its own, else another's by name, else empty ones."""
        return self.under(schema, 0).statistics

    def under(self, schema: Schema, now: Microseconds) -> SchemaLearning:
        """Return what is learned under a schema; one that begins does so with what shares most names with it.

        The counts go along only between versions of one schema: they say how often *this* one learned.
        """
        own = self.schemas.get(schema.hash)
        if own is not None:
            return own
        names = frozenset(schema.names)
        related = [one for one in self.schemas.values() if names & set(one.names)]
        if not related:
            began_in = self.revision + 1 if self.schemas else 0
            return SchemaLearning(Statistics.empty(schema.dimension), schema.name, schema.names, now, began_in)
        nearest = max(related, key=lambda one: (len(names & set(one.names)), one.schema == schema.name, one.updated_at))
        statistics = map_statistics(nearest.statistics, nearest.names, schema.names)
        if nearest.schema != schema.name:
            statistics = replace(statistics, pulls=0, pulls_without_decision=0, cumulative_reward=0.0)
        inherited = names & set(nearest.names)
        return SchemaLearning(statistics, schema.name, schema.names, now, self.revision + 1, inherited)

    def counted(self, schema: Schema) -> SchemaLearning | None:
        """Return what a schema, or an earlier version of it, has learned itself."""
        versions = [one for one in self.schemas.values() if one.schema == schema.name]
        return self.schemas.get(schema.hash) or max(versions, key=lambda one: one.updated_at, default=None)


@dataclass(frozen=True, eq=False)
class Logged:
    """A vector as it was logged: x: (d,), with the d names that the schema of that name had then."""

    schema: str
    names: tuple[str, ...]
    x: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Shown:
    """What was shown, as schemas see it.

    situation, candidate: the inputs; logged: by the schema's hash, the vectors that the decision's policies saw, the
    deciding one's first; counted: the present schemas of these policies.
    """

    situation: Situation
    candidate: CandidateLike
    logged: Mapping[str, Logged]
    counted: tuple[Schema, ...]

    def vector(self, digest: str, learned: SchemaLearning) -> NDArray[np.float64]:
        """Return the vector under a schema: as logged, else of another version of it by name, else encoded anew."""
        if digest in self.logged:
            return self.logged[digest].x
        other_version = next((one for one in self.logged.values() if one.schema == learned.schema), None)
        if other_version is None and (schema := _present().get(digest)) is not None:
            x: NDArray[np.float64] = schema.encode(self.situation, [self.candidate])[0]
            return x
        nearest = other_version or next(iter(self.logged.values()))
        return map_vector(nearest.x, nearest.names, learned.names)


def taught(
    learning: UserLearning,
    shown: Shown,
    at: Microseconds,
    old: float | None,
    new: float | None,
    learned_in: int | None,
    half_life: Microseconds,
    now: Microseconds,
    *,
    without_decision: bool = False,
) -> UserLearning:
    """Return the learning after the reward of a decision taken at `at` went from `old` to `new`; None: not learned.

    learned_in: the revision of the learning in which it was first learned, None if it was not. The decision is counted
    under the schemas of its own policies and teaches all others too. Long-retired schemas are dropped.
    """
    present = _present()
    schemas = {
        digest: one
        for digest, one in learning.schemas.items()
        if digest in present or digest in shown.logged or one.updated_at > now - KEPT_US
    }
    own = set(shown.logged) | {schema.hash for schema in shown.counted}
    for schema in shown.counted:
        schemas[schema.hash] = learning.under(schema, now)
    for digest, one in schemas.items():
        x = shown.vector(digest, one)
        if learned_in is not None and learned_in < one.began_in:
            # It was learned by the schema that this one began with, and came along only in part.
            x = x * [name in one.inherited for name in one.names]
        statistics = one.statistics.with_half_life(half_life, now).learn(
            x, at, old, new, counted=digest in own, without_decision=without_decision
        )
        schemas[digest] = replace(one, statistics=statistics, updated_at=now if digest in own else one.updated_at)
    return replace(learning, schemas=schemas)


def _present() -> dict[str, Schema]:
    return {policy.schema.hash: policy.schema for policy in POLICIES.values()}
