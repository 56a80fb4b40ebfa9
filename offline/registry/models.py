"""Models in MLflow's registry: a version is a run's two files with the run's metrics; aliases say which is which."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from offline.command import BadInput
from offline.registry.model import FOLDER, Model

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER, CHAMPION = "challenger", "champion"
ALIASES = (CHALLENGER, CHAMPION)


@dataclass(frozen=True)
class Registered:
    """A registered version. metrics: of its run; tags: of the version itself."""

    name: str
    number: str
    run_id: str
    created_at: datetime
    aliases: tuple[str, ...]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


def register(client: MlflowClient, run_id: str, name: str) -> Registered:
    """Register a run's model as the next version of `name`; raises `BadInput` for a run that holds none."""
    from mlflow.exceptions import MlflowException

    model = model_of_run(client, run_id)
    try:
        client.create_registered_model(name, description=f"Prior and configuration of the policy {model.policy}.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise BadInput(f"--name: {error.message}") from None
    source = f"{client.get_run(run_id).info.artifact_uri}/{FOLDER}"
    tags = {
        "policy": model.policy,
        "prior": model.prior.version,
        "schema_hash": model.schema_hash,
        "data_hash": model.provenance.data_hash,
    }
    return _registered(client, client.create_model_version(name, source=source, run_id=run_id, tags=tags))


def set_alias(client: MlflowClient, registered: Registered, alias: str, *, actor: str, reason: str) -> str | None:
    """Give the alias to a version. Returns the number of the version that had it, None if there was none."""
    before = _version_with(client, registered.name, alias)
    client.set_registered_model_alias(registered.name, alias, registered.number)
    said = {"by": actor, "reason": reason, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    for key, value in said.items():
        client.set_model_version_tag(registered.name, registered.number, f"{alias}_{key}", value)
    return None if before is None else str(before.version)


def versions(client: MlflowClient, name: str | None) -> list[Registered]:
    """Return the versions of one model, else of all, newest first."""
    names = [name] if name is not None else sorted(one.name for one in client.search_registered_models())
    found: list[Registered] = []
    for each in names:
        token: str | None = None
        while True:
            page = client.search_model_versions(f"name = '{each}'", page_token=token)
            # What a search returns does not say which aliases a version has.
            found += [_registered(client, client.get_model_version(each, str(one.version))) for one in page]
            token = page.token
            if not token:
                break
    return sorted(found, key=lambda one: (one.name, -int(one.number)))


def find(client: MlflowClient, name: str, *, number: str | None = None, alias: str | None = None) -> Registered:
    """Return a version by its number, else by its alias; raises `BadInput` that says what there is."""
    if number is not None:
        if number.isdecimal() and (version := _version(client, name, number)) is not None:
            return _registered(client, version)
        raise BadInput(f"--version: there is no version {number} of {name}: {_known(client, name)}")
    with_alias = _version_with(client, name, alias or CHAMPION)
    if with_alias is None:
        raise BadInput(f"--alias: no version of {name} is the {alias or CHAMPION}: {_known(client, name)}")
    return _registered(client, with_alias)


def model_of_run(client: MlflowClient, run_id: str) -> Model:
    """Return the model that a run keeps; raises `BadInput` if it keeps none, or there is no such run."""
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            return Model.read(Path(client.download_artifacts(run_id, FOLDER, folder)))
        except (MlflowException, OSError, ValueError) as error:
            raise BadInput(f"the run {run_id} keeps no model that can be read: {error}") from None


def _version(client: MlflowClient, name: str, number: str) -> ModelVersion | None:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version(name, number)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise BadInput(f"--tracking: {error.message}") from None
        return None


def _version_with(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise BadInput(f"--tracking: {error.message}") from None
        return None


def _known(client: MlflowClient, name: str) -> str:
    there_are = [" ".join((one.number, *(f"({alias})" for alias in one.aliases))) for one in versions(client, name)]
    return f"there are {', '.join(there_are)}" if there_are else "none is registered; `tips train --register` makes one"


def _registered(client: MlflowClient, version: ModelVersion) -> Registered:
    run = client.get_run(str(version.run_id))
    return Registered(
        name=version.name,
        number=str(version.version),
        run_id=str(version.run_id),
        created_at=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
        aliases=tuple(sorted(version.aliases)),
        metrics=dict(run.data.metrics),
        tags=dict(version.tags),
    )
