"""`tips publish`: a registered model into the table, as the one versioned item that the functions read; and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from offline import lab, prior_store
from offline.command import (
    ActorOption,
    BadInput,
    EndpointOption,
    ReasonOption,
    RegionOption,
    TableOption,
    actor_named,
    aligned,
    connect,
    settings_of,
    short_text,
)
from offline.prior_commands import SchemaOption, model_rows, schema_named
from offline.registry.cards.check import card_is_complete
from offline.registry.models_commands import DEFAULT_NAME, alias_named, model_name
from offline.registry.tracking import TrackingOption, tracking
from tips.features.crossed_v3 import CROSSED_V3

if TYPE_CHECKING:
    from offline.registry.model import Model
    from tips.state.table import Table

_OF_WORTH = {"held_out_gain", "dr_value"}
"""What training measures of a model beside how much it was trained on: what its prior foretells, what it earns."""


def publish(
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="As registered.")] = DEFAULT_NAME,
    version: Annotated[str | None, typer.Option("--version", metavar="N", help="Default: by --alias.")] = None,
    alias: Annotated[str, typer.Option("--alias", help="`champion` or `challenger`.")] = "champion",
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Instead: what was in use before the last change; again, one more.")
    ] = False,
    schema: SchemaOption = CROSSED_V3.name,
    reason: ReasonOption = "",
    by: ActorOption = None,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
    uri: TrackingOption = None,
) -> None:
    """Publish a registered model: the functions take over its prior and its policy's parameters, together.

    Refused for a model that this code cannot serve, that has no metrics, whose policy's card is not complete, or that
    was trained without asking who had been erased.
    """
    if rollback and version is not None:
        raise BadInput("--rollback goes back by the audit trail: leave --version out")
    if not rollback:
        lab.required()
    settings = settings_of(table, endpoint, region)
    operator = _Operator(
        connect(settings),
        settings.table_deadline_ms,
        {"actor": actor_named(by), "reason": short_text(reason, "--reason", 500)},
    )
    if rollback:
        changed = operator.roll_back(schema_named(schema).name)
    else:
        changed = operator.publish(model_name(model, "--model"), version, alias_named(alias), uri)
    if changed:
        print(f"The functions follow within {settings.configuration_cache_sec:g} s.")


@dataclass(frozen=True)
class _Operator:
    """Somebody who publishes or goes back, and is told what came of it."""

    table: Table
    deadline_ms: float
    said: Mapping[str, str]

    def publish(self, name: str, version: str | None, alias: str, uri: str | None) -> bool:
        from offline.registry.models import find, model_of_run

        client = tracking(uri)
        registered = find(client, name, number=version, alias=alias)
        model = model_of_run(client, registered.run_id)
        if refusals := reasons_against(model):
            raise BadInput(f"{name} {registered.number} is not published: {'; '.join(refusals)}")
        provenance = model.provenance
        stored = prior_store.StoredPrior(model.prior, provenance.people, provenance.observations)
        prior_store.store_version(self.table, model.schema, stored, self.deadline_ms)
        published = model.published(registered.name, registered.number)
        change = prior_store.use(
            self.table,
            model.schema,
            model.prior,
            model=published,
            command=f"publish {registered.name} {registered.number}",
            deadline_ms=self.deadline_ms,
            **self.said,
        )
        return self._tell(model.schema, change)

    def roll_back(self, schema: str) -> bool:
        current = prior_store.state(self.table, schema)
        undone = prior_store.to_restore(self.table, schema)
        prior = prior_store.version_named(self.table, schema, undone.before).prior if undone.before else None
        change = prior_store.use(
            self.table,
            schema,
            prior,
            model=undone.model_before,
            command=f"publish --rollback, of: {undone.command}"[:200],
            deadline_ms=self.deadline_ms,
            restores=undone.entry,
            only_after=current.change,
            **self.said,
        )
        return self._tell(schema, change)

    def _tell(self, schema: str, change: prior_store.Change | None) -> bool:
        if change is None:
            print("nothing to change: that is so already")
            return False
        rows = [("schema", schema), ("prior", f"{change.after or 'none'} (before: {change.before or 'none'})")]
        print(aligned([*rows, *model_rows(change.model_after)]))
        return True


def reasons_against(model: Model) -> list[str]:
    """Return in words why a model must not be published; nothing where it may be."""
    found = model.misfits()
    if not _OF_WORTH & model.metrics.keys():
        found.append("it has no metrics of its worth: nothing says that it does any good")
    if model.provenance.erased != "checked":
        found.append('it was trained without asking the table who had been erased: train with erased = "check"')
    if lacks := card_is_complete(model.policy):
        found.append(f"the card of {model.policy} is not complete: {', '.join(lacks)} (`tips cards build`)")
    return found
