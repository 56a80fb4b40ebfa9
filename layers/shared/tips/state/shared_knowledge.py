"""What all people's decisions share: the configuration and the models in use, as last read from the table.

A model is a population prior, and where it was published, the parameters of policies; both are taken over together.

It is read together with a person's learning, in the same round trip, whenever it is older than the cache time; when
the table does not answer, or what it holds is damaged, the last good one stays in use.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from tips import telemetry
from tips.bandit.tuning import tuned
from tips.contracts.configuration import Configuration
from tips.errors import ConfigurationUnreadable
from tips.state import keys, priors
from tips.state.configuration import read_configuration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tips.bandit.policy import Policy
    from tips.bandit.prior import Prior
    from tips.features.vectors import Schema
    from tips.state.priors import PublishedModel
    from tips.state.table import Item

_PAUSE_SEC = 1.0
_LARGEST_MEAN = 1e6
"""Of a weight. Rewards lie in -1..1, and the square of what is far larger overflows."""
_NO_CHANGE = {"S": ""}
_NO_POLICIES: Mapping[str, Policy] = MappingProxyType({})


class SharedKnowledge:
    """Configuration, priors, and policies as the models in use set them.

    `keys_due`, a read of them, `update`; cache_sec: how old they may be; policies: as they are without a model.
    """

    def __init__(
        self,
        cache_sec: float,
        max_strength: float,
        schemas: Sequence[Schema],
        policies: Mapping[str, Policy] = _NO_POLICIES,
    ) -> None:
        self.configuration = Configuration.model_construct()
        self.policies = policies
        self._own_policies = policies
        self._schemas = schemas
        self._cache_sec = cache_sec
        self._max_strength = max_strength
        self._priors: dict[Schema, Prior] = {}
        self._taken: dict[Schema, tuple[str, str]] = {}
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
            self._update_model(schema, item)

    def _update_model(self, schema: Schema, item: Item | None) -> None:
        if item is None:
            if self._taken.pop(schema, None) is not None:
                self._take(schema, None, {})
            return
        try:
            # A model may come with the prior in use already. Items from before there were models name no change.
            written = item["version"]["S"], item.get("change", _NO_CHANGE)["S"]
            if self._taken.get(schema) == written:
                return
            prior = priors.read_prior(item).capped(self._max_strength).for_schema(schema.names)
            policies = self._policies_of(schema, priors.read_model(item))
            if prior is not None:
                if abs(prior.mean).max() > _LARGEST_MEAN:
                    raise ValueError("means of which no posterior can be made")
                _ = prior.shift, prior.energy, prior.log_determinant  # computed now, and not at the next request
            self._take(schema, prior, policies)
            self._taken[schema] = written
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            _damaged("model")

    def _policies_of(self, schema: Schema, model: PublishedModel | None) -> dict[str, Policy]:
        """Return the policies as the model sets them; raises `ValueError` where it cannot be meant like that."""
        if model is None:
            return {}
        if model.schema_hash != schema.hash:
            telemetry.count("ModelOfOtherSchema")
        policies: dict[str, Policy] = {}
        for name, configured in model.policies.items():
            policy = self._own_policies.get(name)
            if policy is None or policy.schema is not schema:
                raise ValueError("a policy that is not on this schema")
            if policy.version != configured.version:
                # What a number meant to another version of the policy says nothing to this one.
                telemetry.count("ParametersOfOtherVersion")
                continue
            policies[name] = tuned(policy, configured.parameters)
        return policies

    def _take(self, schema: Schema, prior: Prior | None, policies: Mapping[str, Policy]) -> None:
        if prior is None:
            self._priors.pop(schema, None)
        else:
            self._priors[schema] = prior
        others = {name: one for name, one in self.policies.items() if one.schema is not schema}
        own = {name: one for name, one in self._own_policies.items() if one.schema is schema}
        self.policies = {**others, **own, **policies}


def _damaged(what: str) -> None:
    telemetry.count("SharedKnowledgeDamaged")
    telemetry.logger.error("damaged, the last good one stays in use", extra={"what": what})
