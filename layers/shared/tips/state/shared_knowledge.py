"""What all people's decisions share: the configuration and the population priors, as last read from the table.

It is read together with a person's learning, in the same round trip, whenever it is older than the cache time; when
the table does not answer, or what it holds is damaged, the last good one stays in use.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from tips import telemetry
from tips.contracts.configuration import Configuration
from tips.errors import ConfigurationUnreadable
from tips.state import keys, priors
from tips.state.configuration import read_configuration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tips.bandit.prior import Prior
    from tips.features.vectors import Schema
    from tips.state.table import Item

_PAUSE_SEC = 1.0


class SharedKnowledge:
    """Configuration and priors. `keys_due`, a read of them, `update`; cache_sec: how old they may be."""

    def __init__(self, cache_sec: float, max_strength: float, schemas: Sequence[Schema]) -> None:
        self.configuration = Configuration.model_construct()
        self._schemas = schemas
        self._cache_sec = cache_sec
        self._max_strength = max_strength
        self._priors: dict[Schema, Prior] = {}
        self._due_at = -math.inf

    def prior(self, schema: Schema) -> Prior | None:
        return self._priors.get(schema)

    def keys_due(self) -> list[tuple[str, str]]:
        """Return what has to be read now; nothing as long as it is fresh."""
        if time.monotonic() < self._due_at:
            return []
        return [keys.CONFIGURATION, *(priors.in_use(schema.name) for schema in self._schemas)]

    def postpone(self) -> None:
        """Do without for a moment: the table did not answer, and what all share must not slow down each request."""
        self._due_at = time.monotonic() + min(self._cache_sec, _PAUSE_SEC)

    def expire(self) -> None:
        """Have it read at the next chance, whatever the clock says."""
        self._due_at = -math.inf

    def update(self, items: Sequence[Item | None]) -> None:
        """Take over what was read for `keys_due`, in its order; nothing if nothing was due."""
        if not items:
            return
        configuration, *stored = items
        self._due_at = time.monotonic() + self._cache_sec
        try:
            self.configuration = read_configuration(configuration).configuration
        except ConfigurationUnreadable:
            _damaged("configuration")
        for schema, item in zip(self._schemas, stored, strict=True):
            self._update_prior(schema, item)

    def _update_prior(self, schema: Schema, item: Item | None) -> None:
        if item is None:
            self._priors.pop(schema, None)
            return
        known = self._priors.get(schema)
        try:
            if known is not None and known.version == item["version"]["S"]:
                return
            prior = priors.read_prior(item).capped(self._max_strength).for_schema(schema.names)
            if prior is None:
                self._priors.pop(schema, None)
                return
            _ = prior.shift, prior.energy, prior.log_determinant  # computed now, once, and not at the next request
            self._priors[schema] = prior
        except (ValueError, KeyError, TypeError):
            _damaged("prior")


def _damaged(what: str) -> None:
    telemetry.count("SharedKnowledgeDamaged")
    telemetry.logger.error("damaged, the last good one stays in use", extra={"what": what})
