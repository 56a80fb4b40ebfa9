"""Runs in MLflow: an SQLite file of one's own by default, any tracking server by its address."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offline.command import BadInput

if TYPE_CHECKING:
    from mlflow import MlflowClient

DEFAULT = "sqlite:///lab/mlflow.db"
_SQLITE = "sqlite:///"
_VALUE = 6000
"""Characters that MLflow keeps of a parameter or a tag."""
_BATCH = 100
"""Parameters, tags or metrics that MLflow takes at once."""

TrackingOption = Annotated[
    str | None,
    typer.Option("--tracking", metavar="URI", help=f"MLflow's store; default: MLFLOW_TRACKING_URI, else {DEFAULT}."),
]


def tracking_uri(uri: str | None) -> str:
    """Return the store that is meant: as said, else the environment's, else the default."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI", "").strip() or DEFAULT


def tracking(uri: str | None) -> MlflowClient:
    """Return a client of the store, which is made if it is an SQLite file that does not exist.

    Raises `BadInput` for a store that cannot be opened.
    """
    # Before the import, which reads them: nothing is sent anywhere but to the store, and a fault is raised soon.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_CONFIGURE_LOGGING"] = "false"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SADeprecationWarning, SQLAlchemyError

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    where = tracking_uri(uri)
    database = _database(where)
    try:
        if database is not None:
            database.parent.mkdir(parents=True, exist_ok=True)
            where = f"{_SQLITE}{database}"
        with warnings.catch_warnings():
            # MLflow's own use of SQLAlchemy, of which its next release is told here.
            warnings.simplefilter("ignore", SADeprecationWarning)
            client = MlflowClient(where)
            client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise BadInput(f"--tracking: the store {where} cannot be used: {error}") from None
    return client


def log_run(
    client: MlflowClient,
    experiment: str,
    name: str,
    *,
    params: Mapping[str, object],
    metrics: Mapping[str, float],
    tags: Mapping[str, str] | None = None,
    texts: Mapping[str, str] | None = None,
    files: Sequence[Path] = (),
) -> str:
    """Keep a finished run, and return its id.

    texts: what artifacts hold, by their file names; files: copied among the artifacts, folders with what is in them.
    Raises `BadInput` where the store fails.
    """
    from mlflow.exceptions import MlflowException

    try:
        return _logged(client, experiment, name, params, metrics, tags or {}, texts or {}, files)
    except MlflowException as error:
        raise BadInput(f"--tracking: the store {client.tracking_uri} did not keep the run: {error}") from None


def _logged(
    client: MlflowClient,
    experiment: str,
    name: str,
    params: Mapping[str, object],
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    texts: Mapping[str, str],
    files: Sequence[Path],
) -> str:
    from mlflow.entities import Metric, Param, RunTag

    run = client.create_run(_experiment(client, experiment), run_name=name)
    run_id = str(run.info.run_id)
    now = time.time_ns() // 1_000_000
    given = [Param(key, str(value)[:_VALUE]) for key, value in params.items()]
    measured = [Metric(key, float(value), now, 0) for key, value in metrics.items()]
    told = [RunTag(key, value[:_VALUE]) for key, value in tags.items()]
    for start in range(0, max(len(given), len(measured), len(told)), _BATCH):
        part = slice(start, start + _BATCH)
        client.log_batch(run_id, measured[part], given[part], told[part])
    for file, text in texts.items():
        client.log_text(run_id, text, file)
    for path in files:
        client.log_artifact(run_id, str(path))
    client.set_terminated(run_id)
    return run_id


def _database(uri: str) -> Path | None:
    """Return the SQLite file that is named; None for another store."""
    return Path(uri.removeprefix(_SQLITE)).absolute() if uri.startswith(_SQLITE) else None


def _experiment(client: MlflowClient, name: str) -> str:
    """Return the experiment's id; one that is new has its artifacts beside the SQLite file, if there is one."""
    from mlflow.exceptions import MlflowException

    known = client.get_experiment_by_name(name)
    if known is None:
        database = _database(client.tracking_uri)
        place = None if database is None else (database.parent / "artifacts" / name).as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=place))
        except MlflowException:
            # Another process may have made it meanwhile.
            known = client.get_experiment_by_name(name)
            if known is None:
                raise
    if known.lifecycle_stage == "deleted":
        client.restore_experiment(known.experiment_id)
    return str(known.experiment_id)
