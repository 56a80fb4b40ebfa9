"""`tips models list|show|register|alias`: which models have been trained, and which is the champion."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offline import lab
from offline.command import ActorOption, BadInput, ReasonOption, actor_named, aligned, short_text
from offline.registry.tracking import TrackingOption, tracking

if TYPE_CHECKING:
    from offline.registry.models import Registered

app = typer.Typer(help="Registered models: prior, schema and policy configuration.", no_args_is_help=True)

DEFAULT_NAME = "igw-ucb"
ALIASES = ("challenger", "champion")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Of the model, usually its policy's.")]
VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="As `tips models list` numbers it.")]


def model_name(name: str, option: str) -> str:
    """Return a name that a model can have; raises `BadInput`."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"{option}: a model's name is letters, digits, '.', '_' and '-', at most 100, not {name!r}")
    return name


@app.command(name="list")
def list_(
    name: Annotated[str | None, typer.Option("--name", help="Only versions of this model.")] = None,
    uri: TrackingOption = None,
) -> None:
    """List registered versions, newest first, with their aliases."""
    lab.required()
    from offline.registry.models import versions

    found = versions(tracking(uri), None if name is None else model_name(name, "--name"))
    if not found:
        print("no model has been registered yet: `tips train --register` makes one")
        return
    rows = [
        (one.name, one.number, ", ".join(one.aliases), f"{one.created_at:%Y-%m-%d %H:%M} UTC", one.run_id)
        for one in found
    ]
    print(aligned([("model", "version", "alias", "registered", "run"), *rows]))


@app.command()
def show(
    name: NameArgument = DEFAULT_NAME,
    version: Annotated[str | None, typer.Option("--version", help="Its number; default: by --alias.")] = None,
    alias: Annotated[str, typer.Option("--alias", help="`champion` or `challenger`.")] = "champion",
    uri: TrackingOption = None,
) -> None:
    """Show what a version is made of, what it was measured to do, and whether this code can serve it."""
    lab.required()
    from offline.registry.models import find, model_of_run

    client = tracking(uri)
    registered = find(client, model_name(name, "NAME"), number=version, alias=alias_named(alias))
    model = model_of_run(client, registered.run_id)
    provenance = model.provenance
    parameters = ", ".join(f"{key} {value:g}" for key, value in model.parameters.items())
    rows = [
        ("model", " ".join((registered.name, registered.number, *(f"({one})" for one in registered.aliases)))),
        ("policy", f"{model.policy} {model.policy_version}: {parameters}"),
        ("schema", f"{model.schema} {model.schema_hash}"),
        ("prior", model.prior.version),
        ("trained on", f"{provenance.observations:.0f} reactions of {provenance.people} people ({provenance.source})"),
        ("erased", f"{provenance.erased}, {provenance.left_out} left out"),
        ("data", provenance.data_hash),
        ("configuration", provenance.config_hash),
        ("code", provenance.code),
        ("MIN_EXPLORE", f"{provenance.min_explore:g}"),
        ("run", registered.run_id),
        *((metric, f"{value:.4f}") for metric, value in sorted(registered.metrics.items())),
        ("can be served", "; ".join(model.misfits()) or "yes"),
    ]
    print(aligned(rows))


@app.command()
def register(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of a training run, as `tips train` prints it.")],
    name: Annotated[str | None, typer.Option("--name", help="Of the model; default: its policy's.")] = None,
    alias: Annotated[str | None, typer.Option("--alias", help="`challenger` or `champion`, at once.")] = None,
    evaluations: Annotated[
        list[Path] | None, typer.Option("--evaluation", help="What `tips evaluate --out` wrote of it, kept with it.")
    ] = None,
    reason: ReasonOption = "",
    by: ActorOption = None,
    uri: TrackingOption = None,
) -> None:
    """Register a run's model as the next version."""
    lab.required()
    from offline.registry import models

    client = tracking(uri)
    wanted = None if alias is None else alias_named(alias)
    for path in evaluations or ():
        if not path.is_file():
            raise BadInput(f"--evaluation: there is no file {path}")
    model = models.model_of_run(client, run)
    registered = models.register(client, run, model_name(name or model.policy, "--name"))
    for path in evaluations or ():
        client.log_artifact(run, str(path), "evaluations")
    print(f"Registered {registered.name} {registered.number}.")
    if wanted is not None:
        tell_alias(models.set_alias(client, registered, wanted, **_said(by, reason)), registered, wanted)


@app.command()
def alias(
    name: NameArgument,
    version: VersionArgument,
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="`challenger` or `champion`.")],
    reason: ReasonOption = "",
    by: ActorOption = None,
    uri: TrackingOption = None,
) -> None:
    """Make a version the challenger or the champion; nothing changes for the functions until `tips publish`."""
    lab.required()
    from offline.registry import models

    client = tracking(uri)
    registered = models.find(client, model_name(name, "NAME"), number=version)
    wanted = alias_named(alias)
    tell_alias(models.set_alias(client, registered, wanted, **_said(by, reason)), registered, wanted)


def tell_alias(before: str | None, registered: Registered, alias: str) -> None:
    was = "" if before in (None, registered.number) else f" (before: {before})"
    print(f"{registered.name} {registered.number} is the {alias} now{was}.")


def alias_named(name: str) -> str:
    """Return an alias that a version can have; raises `BadInput`."""
    if name not in ALIASES:
        raise BadInput(f"--alias: {name!r} is no alias here; there are {', '.join(ALIASES)}")
    return name


def _said(by: str | None, reason: str) -> dict[str, str]:
    return {"actor": actor_named(by), "reason": short_text(reason, "--reason", 500)}
