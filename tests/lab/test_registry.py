"""`tips train --register`, `tips models ...`, `tips publish`: from an export to what the functions decide by."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from offline import prior_store
from offline.cli import main
from offline.command import BadInput
from offline.pipelines.config import TrainingConfig
from offline.pipelines.train import train
from offline.registry import publish_command
from offline.registry.model import FOLDER, Model
from offline.registry.models import register
from offline.registry.tracking import log_run, tracking, tracking_uri
from tests.conftest import LoadedFunction, LocalTable
from tests.lab.learning_people import World
from tests.requests import score_request
from tips.errors import NothingToRestore
from tips.features.crossed_v3 import CROSSED_V3
from tips.state import erasure, keys, priors
from tips.state.table import Table

TUNED = {"alpha": 0.7, "c": 120.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def uri(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


@pytest.fixture(scope="module")
def logs(folder: Path) -> Path:
    World().export(folder / "logs")
    return folder / "logs"


@pytest.fixture(scope="module")
def model(logs: Path) -> Model:
    from offline.feature_store.logs import Logs

    config = TrainingConfig.model_validate({"model": {"policy": "igw-ucb"}})
    return replace(train(Logs.read(logs), config, frozenset()).model, parameters=TUNED)


@pytest.fixture(autouse=True)
def _card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish_command, "card_is_complete", lambda policy: [])


@pytest.fixture
def tips(table: LocalTable, uri: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*arguments: str, code: int = 0) -> str:
        options: list[str] = []
        if arguments[0] in ("train", "publish", "prior"):
            options += ["--table", table.name, "--endpoint", table.endpoint]
        if arguments[0] in ("train", "publish", "models"):
            options += ["--tracking", uri]
        got = main([*arguments, *options])
        out, err = capsys.readouterr()
        assert got == code, err or out
        return err if code else out

    return run


@pytest.fixture
def registered(uri: str, tmp_path: Path) -> Callable[[Model], str]:
    """Registers a model under a name of the test's own; returns that name."""
    name = f"model-{tmp_path.name}"[:60]

    def make(model: Model) -> str:
        model.write(tmp_path / FOLDER)
        client = tracking(uri)
        run = log_run(client, "training", "test", params={}, metrics=model.metrics, files=[tmp_path / FOLDER])
        register(client, run, name)
        return name

    return make


def decide(score: LoadedFunction) -> dict[str, Any]:
    answer = score.call("POST", "/score", score_request(policy="igw-ucb")).json
    decision = score.call("GET", f"/decisions/{answer['decision_id']}", query={"user_id": "anna"}).json
    return decision  # type: ignore[no-any-return]


def evaluation(score: LoadedFunction, policy: str = "igw-ucb") -> dict[str, Any]:
    return decide(score)["evaluations"][policy]  # type: ignore[no-any-return]


def test_from_an_export_to_what_the_functions_decide_by(
    tips: Callable[..., str],
    logs: Path,
    load_function: Callable[..., LoadedFunction],
    client: Table,
    tmp_path: Path,
) -> None:
    score = load_function("score", CONFIG_CACHE_SEC="0")
    assert evaluation(score)["prior"] is None

    told = tips("train", "--logs", str(logs), "--register", "--out", str(tmp_path / "out"))
    model = Model.read(tmp_path / "out")
    assert model.prior.version in told
    assert "igw-ucb 1 is the challenger now" in told
    assert "no version of igw-ucb is the champion: there are 1 (challenger)" in tips("publish", code=2)
    assert evaluation(score)["prior"] is None, "registered is not published"

    assert "igw-ucb 1 is the champion now" in tips("models", "alias", "igw-ucb", "1", "champion")
    assert re.search(r"igw-ucb +1 +challenger, champion", tips("models", "list"))
    shown = tips("models", "show")
    assert re.search(rf"data +{model.provenance.data_hash}", shown)
    assert re.search(r"can be served +yes", shown)

    told = tips("publish", "--by", "ann", "--reason", "better")
    assert f"{model.prior.version} (before: none)" in told
    assert re.search(r"model +igw-ucb 1", told)
    seen = evaluation(score)
    assert seen["prior"] == model.prior.version
    assert seen["parameters"]["alpha"] == model.parameters["alpha"]
    (change,) = prior_store.changes(client, "crossed-v3", 10)
    assert (change.actor, change.reason, change.command) == ("ann", "better", "publish igw-ucb 1")
    assert "nothing to change" in tips("publish")


def test_a_run_is_registered_later_with_what_was_found_of_it(
    tips: Callable[..., str], logs: Path, uri: str, tmp_path: Path
) -> None:
    run_id = tips("train", "--logs", str(logs)).split("run ")[1].split()[0]
    (tmp_path / "evaluation.json").write_text("{}")
    arguments = ("--name", "later", "--alias", "champion", "--by", "ann", "--reason", "good")
    told = tips("models", "register", run_id, *arguments, "--evaluation", str(tmp_path / "evaluation.json"))
    assert "Registered later 1.\nlater 1 is the champion now." in told
    client = tracking(uri)
    assert [one.path for one in client.list_artifacts(run_id, "evaluations")] == ["evaluations/evaluation.json"]
    tags = client.get_model_version_by_alias("later", "champion").tags
    assert (tags["champion_by"], tags["champion_reason"]) == ("ann", "good")
    tips("models", "register", run_id, "--name", "later", "--alias", "champion")
    assert "later 1 is the champion now (before: 2)" in tips("models", "alias", "later", "1", "champion")
    missing = tips("models", "register", run_id, "--evaluation", str(tmp_path / "x.json"), code=2)
    assert "--evaluation: there is no file" in missing


@pytest.mark.parametrize("place", ["sqlite:////dev/null/mlflow.db", "nonsense://x", "http://127.0.0.1:9"])
def test_a_store_that_cannot_be_used_is_told(
    place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert main(["models", "list", "--tracking", place]) == 2
    assert "--tracking: the store" in capsys.readouterr().err


def test_a_store_that_fails_on_the_way_is_told(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import MlflowException

    client = tracking(uri)

    def full(*arguments: Any, **options: Any) -> None:
        raise MlflowException("the disk is full")

    monkeypatch.setattr(client, "log_batch", full)
    with pytest.raises(BadInput, match=r"--tracking: .*did not keep the run: the disk is full"):
        log_run(client, "evaluations", "x", params={"a": 1}, metrics={})


def test_the_store_is_named_by_option_environment_or_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking_uri(None) == "sqlite:///lab/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert tracking_uri(None) == "http://mlflow:5000"
    assert tracking_uri("sqlite:///x.db") == "sqlite:///x.db"


def test_a_deleted_experiment_is_taken_up_again(uri: str) -> None:
    client = tracking(uri)
    first = log_run(client, "monitoring", "one", params={}, metrics={"a": 1.0}, tags={"t": "x"}, texts={"t.txt": "x"})
    experiment = client.get_run(first).info.experiment_id
    client.delete_experiment(experiment)
    again = log_run(client, "monitoring", "two", params={f"p{n}": n for n in range(250)}, metrics={})
    run = client.get_run(again)
    assert run.info.experiment_id == experiment
    assert (run.info.status, len(run.data.params)) == ("FINISHED", 250)


def test_published_parameters_decide_and_are_retaken_bit_for_bit(
    tips: Callable[..., str],
    registered: Callable[[Model], str],
    model: Model,
    load_function: Callable[..., LoadedFunction],
) -> None:
    score = load_function("score", CONFIG_CACHE_SEC="0", MIN_EXPLORE="0.05")
    tips("publish", "--model", registered(model), "--version", "1")
    decision = decide(score)
    parameters = decision["evaluations"]["igw-ucb"]["parameters"]
    assert parameters["alpha"] == TUNED["alpha"]
    assert parameters["min_explore"] == 0.05, "the functions' setting, and no model's"
    k, worth = 3, max(1.0, float(model.prior.observations @ model.prior.share))
    assert parameters["gamma"] == pytest.approx(TUNED["c"] * (k * worth) ** 0.5, rel=0.5)
    done = subprocess.run(
        [sys.executable, "-m", "offline.cli", "retake", "-"],
        input=json.dumps(decision),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "DIFFERENT" not in done.stdout


def test_other_policies_on_the_schema_keep_their_own_parameters(
    tips: Callable[..., str],
    registered: Callable[[Model], str],
    model: Model,
    load_function: Callable[..., LoadedFunction],
) -> None:
    score = load_function("score", CONFIG_CACHE_SEC="0")
    tips("publish", "--model", registered(model), "--version", "1")
    answer = score.call("POST", "/score", score_request(policy="lints")).json
    decision = score.call("GET", f"/decisions/{answer['decision_id']}", query={"user_id": "anna"}).json
    seen = decision["evaluations"]["lints"]
    assert (seen["prior"], seen["parameters"]) == (model.prior.version, {"scale": 0.5})


def test_rolling_back_restores_prior_and_parameters_one_change_at_a_time(
    tips: Callable[..., str],
    registered: Callable[[Model], str],
    model: Model,
    load_function: Callable[..., LoadedFunction],
    client: Table,
) -> None:
    score = load_function("score", CONFIG_CACHE_SEC="0")
    name = registered(model)
    registered(replace(model, parameters={"alpha": 1.5, "c": 50.0}))
    tips("publish", "--model", name, "--version", "1")
    tips("publish", "--model", name, "--version", "2")
    assert evaluation(score)["parameters"]["alpha"] == 1.5, "the prior's version is the same, the parameters are not"

    assert re.search(rf"model +{name} 1", tips("publish", "--rollback", "--reason", "worse"))
    assert evaluation(score)["parameters"]["alpha"] == TUNED["alpha"]
    assert "before: " in tips("publish", "--rollback")
    seen = evaluation(score)
    assert (seen["prior"], seen["parameters"]["alpha"]) == (None, 0.3)
    assert "nothing earlier to go back to" in tips("publish", "--rollback", code=2)
    with pytest.raises(NothingToRestore):
        prior_store.to_restore(client, "crossed-v3")

    tips("publish", "--model", name, "--version", "2")
    tips("publish", "--rollback")
    assert evaluation(score)["prior"] is None


def test_activating_a_prior_by_hand_ends_the_models_parameters(
    tips: Callable[..., str],
    registered: Callable[[Model], str],
    model: Model,
    load_function: Callable[..., LoadedFunction],
) -> None:
    score = load_function("score", CONFIG_CACHE_SEC="0")
    name = registered(model)
    tips("publish", "--model", name, "--version", "1")
    assert re.search(rf"model +{name} 1\nigw-ucb +alpha 0.7, c 120", tips("prior", "show"))
    told = tips("prior", "activate", model.prior.version)
    assert f"The model {name} 1 is in use no more" in told
    seen = evaluation(score)
    assert (seen["prior"], seen["parameters"]["alpha"]) == (model.prior.version, 0.3)
    tips("publish", "--rollback")
    assert evaluation(score)["parameters"]["alpha"] == TUNED["alpha"]


def test_publishing_and_its_audit_entry_are_one_transaction(
    tips: Callable[..., str],
    registered: Callable[[Model], str],
    model: Model,
    client: Table,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[list[str]] = []
    real = Table.transact

    def counted(self: Table, writes: Any) -> None:
        written.append([write["Put"]["Item"]["pk"]["S"] for write in writes])
        real(self, writes)

    monkeypatch.setattr(Table, "transact", counted)
    name = registered(model)
    tips("publish", "--model", name, "--version", "1")
    assert written == [[keys.PRIORS, f"{prior_store.AUDIT}#crossed-v3"]]
    assert client.get(*priors.version("crossed-v3", model.prior.version)) is not None, "the version stays"


@pytest.mark.parametrize("theirs", ["", "01THEIRS"])
def test_what_somebody_changed_meanwhile_is_not_overwritten(
    theirs: str,
    registered: Callable[[Model], str],
    model: Model,
    tips: Callable[..., str],
    client: Table,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between reading and writing, somebody publishes or goes without: the attempt fails, and begins anew."""
    name = registered(model)
    registered(replace(model, parameters={"alpha": 1.5, "c": 50.0}))
    tips("publish", "--model", name, "--version", "1")
    real = Table.transact
    meddled: list[bool] = []

    def meddling(self: Table, writes: Any) -> None:
        if not meddled:
            meddled.append(True)
            prior = replace(model.prior, version=theirs) if theirs else None
            prior_store.use(client, "crossed-v3", prior, command="meanwhile", actor="x", reason="", deadline_ms=5000)
        real(self, writes)

    monkeypatch.setattr(Table, "transact", meddling)
    tips("publish", "--model", name, "--version", "2")
    changes = prior_store.changes(client, "crossed-v3", 10)
    assert [one.command.split()[0] for one in changes] == ["publish", "meanwhile", "publish"]
    assert (changes[0].before, changes[0].after) == (theirs, model.prior.version), "as it was when it was written"


def with_provenance(model: Model, **changes: Any) -> Model:
    return replace(model, provenance=replace(model.provenance, **changes))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: replace(m, schema_hash="0" * 16), "its schema has the hash 0000000000000000"),
        (lambda m: replace(m, policy="exp4"), "its policy 'exp4' is not known here"),
        (lambda m: replace(m, policy_version="0"), "it is for version 0 of igw-ucb, and here that is 1"),
        (lambda m: replace(m, parameters={"alpha": 100.0}), "alpha must be a number from 0 to 10, not 100.0"),
        (lambda m: replace(m, parameters={"beta": 1.0}), "igw-ucb has no parameter 'beta'"),
        (lambda m: replace(m, metrics={}), "it has no metrics"),
        (lambda m: replace(m, metrics={"people": 20.0, "observations": 900.0}), "it has no metrics"),
        (lambda m: with_provenance(m, erased="as exported"), "without asking the table who had been erased"),
    ],
)
def test_what_must_not_be_published_is_refused(
    tips: Callable[..., str],
    registered: Callable[[Model], str],
    model: Model,
    change: Callable[[Model], Model],
    says: str,
    client: Table,
) -> None:
    name = registered(change(model))
    assert says in tips("publish", "--model", name, "--version", "1", code=2)
    assert prior_store.state(client, "crossed-v3") == prior_store.InUse()


def test_a_policy_without_a_complete_card_is_not_published(
    tips: Callable[..., str], registered: Callable[[Model], str], model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_command, "card_is_complete", lambda policy: [f"{policy}.json is missing"])
    name = registered(model)
    said = tips("publish", "--model", name, "--version", "1", code=2)
    assert "the card of igw-ucb is not complete: igw-ucb.json is missing" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("publish", "--model", "nobody"), "no version of nobody is the champion: none is registered"),
        (("publish", "--model", "no'body"), "--model: a model's name is letters"),
        (("publish", "--alias", "best"), "'best' is no alias here"),
        (("publish", "--rollback", "--version", "1"), "leave --version out"),
        (("publish", "--rollback", "--schema", "x"), "'x' is no schema"),
        (("models", "register", "nothing"), "the run nothing keeps no model"),
        (("models", "alias", "igw-ucb", "99", "champion"), "there is no version 99 of igw-ucb"),
        (("models", "alias", "igw-ucb", "x", "champion"), "there is no version x of igw-ucb"),
        (("train", "--logs", "nowhere"), "nowhere is no export"),
        (("train", "--logs", "nowhere", "--config", "nothing.toml"), "nothing.toml cannot be read as TOML"),
    ],
)
def test_what_cannot_be_done_is_told(tips: Callable[..., str], arguments: tuple[str, ...], says: str) -> None:
    assert says in tips(*arguments, code=2)


def test_who_was_erased_since_the_export_is_left_out(
    tips: Callable[..., str], logs: Path, client: Table, tmp_path: Path
) -> None:
    erasure.erase(client, "person-004", 5000)
    told = tips("train", "--logs", str(logs), "--out", str(tmp_path))
    assert re.search(r"people +13 \(left out: 1 erased since the export\)", told)
    assert Model.read(tmp_path).provenance.left_out == 1


def test_a_table_that_cannot_be_asked_stops_training(
    logs: Path, uri: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, table: LocalTable
) -> None:
    asking = ["train", "--logs", str(logs), "--tracking", uri, "--endpoint", table.endpoint, "--table", "nobodys"]
    assert main(asking) == 1
    assert "does not say who was erased since the export, so nothing is trained" in capsys.readouterr().err
    config = tmp_path / "config.toml"
    config.write_text('[model]\npolicy = "igw-ucb"\n[data]\nerased = "as exported"\n')
    assert main([*asking, "--config", str(config), "--out", str(tmp_path / "model")]) == 0
    assert Model.read(tmp_path / "model").provenance.erased == "as exported"


def test_an_export_older_than_tombstones_is_not_trained_on(
    tips: Callable[..., str], logs: Path, tmp_path: Path
) -> None:
    manifest = json.loads((logs / "manifest.json").read_text())
    old = tmp_path / "old"
    old.mkdir()
    for name in ("decisions", "statistics", "profiles", "generations", "audit"):
        (old / name).symlink_to(logs / name)
    (old / "manifest.json").write_text(json.dumps({**manifest, "as_of": "2026-01-01T00:00:00+00:00"}))
    assert "older than 35 days" in tips("train", "--logs", str(old), code=2)


def test_the_hash_of_the_code_is_part_of_the_run(tips: Callable[..., str], logs: Path, uri: str) -> None:
    run_id = tips("train", "--logs", str(logs)).split("run ")[1].split()[0]
    run = tracking(uri).get_run(run_id)
    assert re.fullmatch(r"\d+\.\d+\.\d+\+[0-9a-f]{12}", run.data.params["code"])
    assert run.data.params["schema_hash"] == CROSSED_V3.hash
    assert "package.numpy" in run.data.tags
    assert [one.path for one in tracking(uri).list_artifacts(run_id)] == ["config.toml", "model"]
