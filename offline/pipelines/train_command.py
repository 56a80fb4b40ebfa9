"""`tips train`: from an export to a model in the registry."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offline import lab
from offline.command import (
    ActorOption,
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
from offline.pipelines.config import DEFAULT, TrainingConfig
from offline.registry.tracking import TrackingOption, log_run, tracking

if TYPE_CHECKING:
    from offline.pipelines.intervals import Estimate
    from offline.pipelines.train import Trained
    from offline.pipelines.tuning import Compared

_COMPARED = 5


def train(
    logs: Annotated[Path, typer.Option("--logs", metavar="DIR", help="What `tips export --to DIR` wrote.")],
    config: Annotated[
        Path, typer.Option("--config", metavar="FILE", help="TOML.", show_default="offline/pipelines/default.toml")
    ] = DEFAULT,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Leave the model's files here as well.")
    ] = None,
    register: Annotated[
        bool, typer.Option("--register", help="Register it at once, and make it its policy's challenger.")
    ] = False,
    reason: ReasonOption = "",
    by: ActorOption = None,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
    uri: TrackingOption = None,
) -> None:
    """Train a model: the population prior with its strength, and the policy's parameters, from an export.

    The same export and configuration give the same model. People who were erased since the export have no part in it:
    the table is asked.
    """
    lab.required()
    from rich.console import Console

    from offline.feature_store.logs import Logs
    from offline.pipelines.train import erased_since
    from offline.pipelines.train import train as make
    from offline.registry import models
    from offline.registry.model import FOLDER, package_versions
    from offline.registry.models_commands import tell_alias

    asked = TrainingConfig.read(config)
    said = {"actor": actor_named(by), "reason": short_text(reason, "--reason", 500)}
    read = Logs.read(logs)
    client = tracking(uri)
    console = Console(file=sys.stderr)
    with console.status("training") as status:
        left_out: frozenset[str] = frozenset()
        if asked.data.erased == "check":
            settings = settings_of(table, endpoint, region)
            status.update("asking who was erased")
            left_out = erased_since(read, connect(settings), settings.table_deadline_ms, time.time_ns() // 1000)
        trained = make(read, asked, left_out, status.update)
    model = trained.model
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / FOLDER
        model.write(files)
        provenance = model.provenance
        run_id = log_run(
            client,
            "training",
            f"{model.policy} {model.prior.version}",
            params={
                "policy": model.policy,
                "policy_version": model.policy_version,
                "schema_hash": model.schema_hash,
                **{f"parameters.{name}": value for name, value in model.parameters.items()},
                **{
                    name: getattr(provenance, name) for name in ("data_hash", "config_hash", "source", "erased", "code")
                },
            },
            metrics=model.metrics,
            tags={f"package.{name}": version for name, version in package_versions().items()},
            texts={"config.toml": config.read_text(encoding="utf-8")},
            files=[files],
        )
    if out is not None:
        model.write(out)
    print(_report(trained))
    print(f"run {run_id}")
    if register:
        registered = models.register(client, run_id, model.policy)
        print(f"Registered {registered.name} {registered.number}.")
        tell_alias(models.set_alias(client, registered, models.CHALLENGER, **said), registered, models.CHALLENGER)
    else:
        print(f"Register it: tips models register {run_id}")


def _report(trained: Trained) -> str:
    model, tuning = trained.model, trained.tuning
    provenance = model.provenance
    rows = [
        ("prior", model.prior.version),
        ("people", f"{provenance.people} (left out: {provenance.left_out} erased since the export)"),
        ("reactions", f"{provenance.observations:.0f}"),
        ("data", provenance.data_hash),
        ("configuration", provenance.config_hash),
    ]
    if trained.population.gain is not None:
        gain, error = trained.population.gain
        rows.append(("held-out gain", f"{gain:.3f} ± {error:.3f} nats per reaction over serving from nothing"))
        if gain < 2 * error:
            rows.append(("beware", "it does not clearly foretell the reactions of people that it was not trained on"))
    parameters = ", ".join(f"{name} {value:g}" for name, value in model.parameters.items())
    rows += [("parameters", parameters), ("chosen because", tuning.said)]
    if tuning.default is None or tuning.logged is None:
        return aligned(rows)
    rows.append(("judged on", f"{tuning.decisions} decisions of {tuning.people} people"))
    lines = [("", "reward a decision", "over the default", "effective sample")]
    lines.append(("as logged", _told(tuning.logged), "", ""))
    best = sorted(tuning.compared, key=lambda one: one.difference.value, reverse=True)[:_COMPARED]
    lines += [_line("default", tuning.default), *(_line(_named(one), one) for one in best)]
    return "\n".join((aligned(rows), "", aligned(lines)))


def _line(name: str, one: Compared) -> tuple[str, str, str, str]:
    return name, _told(one.value), _told(one.difference) if name != "default" else "", f"{one.effective_sample:.0f}"


def _named(one: Compared) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in one.point.items())


def _told(one: Estimate) -> str:
    return f"{one.value:.4f} ({one.low:.4f} to {one.high:.4f})"
