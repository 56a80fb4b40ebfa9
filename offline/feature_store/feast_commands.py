"""`tips feast apply|materialize`: profile features of an export in Feast, and served by it."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from offline import lab
from offline.command import EndpointOption, RegionOption, aligned, settings_of
from offline.feature_store.skew_command import LogsOption

app = typer.Typer(help="Profile features in Feast, from an export.", no_args_is_help=True)

RepoOption = Annotated[
    Path, typer.Option("--repo", metavar="DIR", help="Folder of Feast's repository; it is made if need be.")
]


@app.command()
def apply(logs: LogsOption, repo: RepoOption, endpoint: EndpointOption = None, region: RegionOption = None) -> None:
    """Write the repository, with views generated from the profile features, and make Feast's online tables."""
    lab.required()
    from offline.feature_store import feast_repo
    from offline.feature_store.logs import Logs

    settings = settings_of(None, endpoint, region)
    read = Logs.read(logs)
    with redirect_stdout(sys.stderr):  # Feast tells of its progress on stdout
        feast_repo.apply(read, repo, settings.region, settings.dynamodb_endpoint)
    views = feast_repo.definitions(read)
    rows = [(name, "online", ", ".join(field.name for field in view.features)) for name, view in views.online.items()]
    rows.append((views.at_decision.name, "offline", ", ".join(field.name for field in views.at_decision.features)))
    print(aligned(rows))


@app.command()
def materialize(
    logs: LogsOption, repo: RepoOption, endpoint: EndpointOption = None, region: RegionOption = None
) -> None:
    """Apply, write the export's profiles to Feast's online tables, and remove who is not in the export any more."""
    lab.required()
    from offline.feature_store import feast_repo
    from offline.feature_store.logs import Logs

    settings = settings_of(None, endpoint, region)
    read = Logs.read(logs)
    with redirect_stdout(sys.stderr):
        store = feast_repo.apply(read, repo, settings.region, settings.dynamodb_endpoint)
        done = feast_repo.materialize(read, store, settings.region, settings.dynamodb_endpoint)
    print(aligned([(one.view, f"{one.people} people", f"{one.removed} removed") for one in done]))
