"""`tips prior train|list|show|activate|deactivate`: the population prior, from everybody's learning into use."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
import typer
from ulid import ULID

from offline import prior_store
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
from offline.learning_scan import Learned, refuse_too_little, scan_learning
from tips.bandit.population import MAX_KINDS, Population, fit_population
from tips.bandit.prior import Prior
from tips.bandit.registry import POLICIES
from tips.features.crossed_v3 import CROSSED_V3
from tips.features.prompt_arms import prompt_schema
from tips.features.vectors import Schema
from tips.prompts.registry import prompts
from tips.settings import Settings
from tips.state.priors import PublishedModel
from tips.state.table import Table

app = typer.Typer(help="What is known of newcomers: the population prior.", no_args_is_help=True)

_OF_TIPS = [policy.schema for policy in POLICIES.values()]
SCHEMAS = {schema.name: schema for schema in (*_OF_TIPS, prompt_schema(tuple(prompts())))}
_EXTREMES = 5

SchemaOption = Annotated[str, typer.Option("--schema", help="Feature schema that the prior is for.")]
VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="As `tips prior list` names it.")]


@app.command()
def train(
    schema: SchemaOption = CROSSED_V3.name,
    activate: Annotated[bool, typer.Option("--activate", help="Take it into use at once.")] = False,
    kinds: Annotated[
        int, typer.Option(min=1, max=4, help="At most so many kinds of people; more than one only where it pays.")
    ] = MAX_KINDS,
    reason: ReasonOption = "",
    by: ActorOption = None,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
) -> None:
    """Train a prior from what was learned of everybody, and keep it as a new version."""
    operator = _Operator.of(schema, by, reason, settings_of(table, endpoint, region))
    learned = scan_learning(
        operator.table, operator.schema, time.time_ns() // 1000, operator.settings.table_deadline_ms
    )
    population = _fitted(learned, operator.schema, kinds)
    prior_store.store(operator.table, schema, population, operator.settings.table_deadline_ms)
    print("\n".join((_report(population, learned), _agreement(population.prior))))
    if activate:
        operator.use(population.prior, f"prior train --schema {schema} --activate")
    else:
        print(f"Take it into use: tips prior activate {population.prior.version}")


@app.command(name="list")
def list_(
    schema: SchemaOption = CROSSED_V3.name,
    limit: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="The last N versions.")] = 20,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
) -> None:
    """List the versions, newest first."""
    connected = connect(settings_of(table, endpoint, region))
    current = prior_store.in_use(connected, schema_named(schema).name)
    stored = prior_store.versions(connected, schema, limit)
    if not stored:
        print(f"no prior for {schema} has been trained yet")
        return
    rows = [
        (one.prior.version, _minute(one.trained_at), str(one.people), f"{one.observations:.0f}", _mark(one, current))
        for one in stored
    ]
    print(aligned([("version", "trained", "people", "reactions", ""), *rows]))


@app.command()
def show(
    version: Annotated[str | None, typer.Argument(metavar="VERSION", help="Default: the one in use.")] = None,
    schema: SchemaOption = CROSSED_V3.name,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
) -> None:
    """Show what a version says, and since when it is in use."""
    connected = connect(settings_of(table, endpoint, region))
    in_use = prior_store.state(connected, schema_named(schema).name)
    current = in_use.version
    named = version or current
    if not named:
        print(f"no prior for {schema} is in use: newcomers are served from nothing")
        return
    stored = prior_store.version_named(connected, schema, named)
    rows = [
        ("version", f"{named}{', in use' if named == current else ''}"),
        ("trained", f"{_minute(stored.trained_at)}, on {stored.observations:.0f} reactions of {stored.people} people"),
        *_components(stored.prior),
        *(model_rows(in_use.model) if named == current else []),
    ]
    last = next(iter(prior_store.changes(connected, schema, 1)), None)
    if last is not None:
        reason = f" ({last.reason})" if last.reason else ""
        rows.append(("last change", f"{_minute(last.at)}, {last.actor}: {last.command}{reason}"))
    print("\n".join((aligned(rows), _agreement(stored.prior))))


@app.command()
def activate(
    version: VersionArgument,
    schema: SchemaOption = CROSSED_V3.name,
    reason: ReasonOption = "",
    by: ActorOption = None,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
) -> None:
    """Take a version into use; an earlier one to go back."""
    operator = _Operator.of(schema, by, reason, settings_of(table, endpoint, region))
    stored = prior_store.version_named(operator.table, schema, version)
    operator.use(stored.prior, f"prior activate {version} --schema {schema}")


@app.command()
def deactivate(
    schema: SchemaOption = CROSSED_V3.name,
    reason: ReasonOption = "",
    by: ActorOption = None,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
) -> None:
    """Use no prior any more: newcomers are served from nothing."""
    operator = _Operator.of(schema, by, reason, settings_of(table, endpoint, region))
    operator.use(None, f"prior deactivate --schema {schema}")


@dataclass(frozen=True)
class _Operator:
    """Somebody who changes which prior is in use, and is told what came of it."""

    schema: Schema
    settings: Settings
    table: Table
    said: dict[str, Any]

    @classmethod
    def of(cls, schema: str, by: str | None, reason: str, settings: Settings) -> _Operator:
        said = {"actor": actor_named(by), "reason": short_text(reason, "--reason", 500)}
        return cls(schema_named(schema), settings, connect(settings), said)

    def use(self, prior: Prior | None, command: str) -> None:
        change = prior_store.use(
            self.table,
            self.schema.name,
            prior,
            command=command,
            deadline_ms=self.settings.table_deadline_ms,
            **self.said,
        )
        if change is None:
            print("nothing to change: that is so already")
            return
        print(f"In use for {self.schema.name}: {change.after or 'no prior'} (before: {change.before or 'none'}).")
        if change.model_before is not None:
            left = change.model_before
            print(f"The model {left.name} {left.version} is in use no more, and policies have their own parameters.")
        print(f"The functions follow within {self.settings.configuration_cache_sec:g} s.")


def model_rows(model: PublishedModel | None) -> list[tuple[str, str]]:
    """Return what is in use beside the prior; nothing where no model has been published."""
    if model is None:
        return []
    rows = [("model", f"{model.name} {model.version}")]
    for policy, configured in model.policies.items():
        said = ", ".join(f"{name} {value:g}" for name, value in configured.parameters.items())
        rows.append((policy, said or "no parameters"))
    return rows


def schema_named(name: str) -> Schema:
    if name not in SCHEMAS:
        raise BadInput(f"--schema: {name!r} is no schema; there are {', '.join(SCHEMAS)}")
    return SCHEMAS[name]


def _fitted(learned: Learned, schema: Schema, kinds: int) -> Population:
    refuse_too_little(learned.people, schema.name)
    population = fit_population(learned.people, schema.names, max_kinds=kinds, version=str(ULID()))
    if population is None:
        raise BadInput(f"nothing was learned under {schema.name}")
    return population


def _report(population: Population, learned: Learned) -> str:
    left_out = [f"{learned.erased} erased", f"{learned.unreadable} unreadable"]
    rows = [
        ("version", population.prior.version),
        ("people", f"{population.people} (left out: {', '.join(left_out)})"),
        ("reactions", f"{population.observations:.0f}"),
        *_components(population.prior),
    ]
    if population.gain is not None:
        gain, error = population.gain
        rows.append(("held-out gain", f"{gain:.3f} ± {error:.3f} nats per reaction over serving from nothing"))
        if gain < 2 * error:
            rows.append(("beware", "it does not clearly foretell the reactions of people that it was not trained on"))
    return aligned(rows)


def _components(prior: Prior) -> list[tuple[str, str]]:
    pairs = zip(prior.share.tolist(), prior.observations.tolist(), strict=True)
    parts = [f"{share:.0%} with strength {strength:.1f}" for share, strength in pairs]
    return [("components", "; ".join(parts)), ("noise", f"{prior.noise:.3f}, variance of a reward around its mean")]


def _agreement(prior: Prior) -> str:
    """Return on which features people differ most, and agree most, by the first component's strengths."""
    strength = prior.strength[0]
    order = np.argsort(strength, kind="stable")
    named = [f"{prior.names[place]} ({strength[place]:.1f})" for place in order]
    return f"People differ most in {', '.join(named[:_EXTREMES])}; least in {', '.join(named[: -_EXTREMES - 1 : -1])}."


def _mark(stored: prior_store.StoredPrior, current: str) -> str:
    return "in use" if stored.prior.version == current else ""


def _minute(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
