"""What was learned of one person, and how one decision teaches it.

Statistics belong to a schema, by its hash, and not to a policy: policies on one schema learn the same from the same
reactions, so they share them. A schema that has none of its own begins with those of another, by name; from then on
every schema learns from every reaction, so a policy that takes over or comes back has missed nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from tips.bandit.statistics import Statistics, map_statistics, map_vector

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tips.bandit.forgetting import Microseconds

KEPT_US = 90 * 86_400_000_000
"""How long statistics of a schema that no policy has any more are kept, for going back."""


class SchemaLike(Protocol):
    """What learning needs to know of a schema: its name, its d component names in order, and their hash."""

    @property
    def name(self) -> str: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def hash(self) -> str: ...


@dataclass(frozen=True)
class LoggedSchema:
    """A schema as a log names it, where its encoders are not known."""

    name: str
    names: tuple[str, ...]
    hash: str


@dataclass(frozen=True, eq=False)
class SchemaLearning:
    """One person's statistics under one schema, with its d names in order.

    updated_at: when it last learned from a decision of its own. came_along: what the schema holds of decisions that
    were learned before it began, as (revision, names), latest last: of those learned before that revision, these names.
    """

    statistics: Statistics
    schema_name: str
    names: tuple[str, ...]
    updated_at: Microseconds
    came_along: tuple[tuple[int, frozenset[str]], ...] = ()

    def names_held(self, learned_in: int | None) -> frozenset[str] | None:
        """Return the names under which the schema holds a decision that was learned in that revision; None: all."""
        if learned_in is None:
            return None
        return next((names for before, names in self.came_along if learned_in < before), None)


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

    def statistics(self, schema: SchemaLike) -> Statistics:
        """Return the statistics to go on from under a schema: its own, else another's by name, else empty ones."""
        return self.under(schema, 0).statistics

    def under(self, schema: SchemaLike, now: Microseconds) -> SchemaLearning:
        """Return what is learned under a schema; one that begins does so with what shares most names with it.

        The counts go along only between versions of one schema: they say how often *this* one learned.
        """
        own = self.schemas.get(schema.hash)
        if own is not None:
            return own
        if not self.schemas:
            return SchemaLearning(Statistics.empty(len(schema.names)), schema.name, schema.names, now)
        names = frozenset(schema.names)
        nearest = max(
            self.schemas.values(),
            key=lambda one: (len(names & set(one.names)), one.schema_name == schema.name, one.updated_at),
        )
        statistics = map_statistics(nearest.statistics, nearest.names, schema.names)
        if nearest.schema_name != schema.name:
            statistics = replace(statistics, pulls=0, pulls_without_decision=0, cumulative_reward=0.0)
        came_along = tuple((before, names & held) for before, held in nearest.came_along)
        came_along += ((self.revision + 1, names & set(nearest.names)),)
        return SchemaLearning(statistics, schema.name, schema.names, now, came_along)

    def counted(self, schema: SchemaLike) -> SchemaLearning | None:
        """Return what a schema, or an earlier version of it, has learned itself."""
        versions = [one for one in self.schemas.values() if one.schema_name == schema.name]
        return self.schemas.get(schema.hash) or max(versions, key=lambda one: one.updated_at, default=None)


@dataclass(frozen=True, eq=False)
class Logged:
    """A vector as it was logged: x: (d,), with the d names that its schema had then."""

    names: tuple[str, ...]
    x: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Lesson:
    """What one decision teaches: its reward goes from `old` to `new`; None: not learned.

    at: the decision's time. logged: by the schema's hash, the vectors that the decision's policies saw, the deciding
    one's first. counted: the present schemas of these policies. learned_in: the revision of the learning in which it
    was first learned, None if it was not.
    """

    at: Microseconds
    logged: Mapping[str, Logged]
    counted: tuple[SchemaLike, ...]
    new: float | None
    old: float | None = None
    learned_in: int | None = None
    without_decision: bool = False

    def vector(self, digest: str, learned: SchemaLearning) -> NDArray[np.float64]:
        """Return the vector for a schema: as logged, else by name the logged one that shares most names with it.

        Only what was logged counts: what is encoded anew could differ from release to release.
        """
        if digest in self.logged:
            x = self.logged[digest].x
        else:
            names = set(learned.names)
            nearest = max(self.logged.values(), key=lambda one: len(names & set(one.names)))
            x = map_vector(nearest.x, nearest.names, learned.names)
        held = learned.names_held(self.learned_in)
        return x if held is None else x * [name in held for name in learned.names]


def taught(
    learning: UserLearning,
    lesson: Lesson,
    half_life: Microseconds,
    now: Microseconds,
    present: Collection[str],
) -> UserLearning:
    """Return the learning after a lesson. present: hashes of the schemas that there are policies for.

    The decision is counted under the schemas of its own policies and teaches all others too. Schemas that no policy has
    had for `KEPT_US` are dropped.
    """
    schemas = {
        digest: one
        for digest, one in learning.schemas.items()
        if digest in present or digest in lesson.logged or one.updated_at > now - KEPT_US
    }
    for schema in lesson.counted:
        schemas[schema.hash] = learning.under(schema, now)
    own = set(lesson.logged) | {schema.hash for schema in lesson.counted}
    for digest, one in schemas.items():
        statistics = one.statistics.with_half_life(half_life, now).learn(
            lesson.vector(digest, one),
            lesson.at,
            lesson.old,
            lesson.new,
            counted=digest in own,
            without_decision=lesson.without_decision,
        )
        updated_at = now if digest in own else one.updated_at
        schemas[digest] = SchemaLearning(statistics, one.schema_name, one.names, updated_at, one.came_along)
    return UserLearning(learning.revision, learning.epoch, learning.epoch_at, schemas)
