"""`tips promote` with its evidence: logs, a simulation, a card; what it refuses, what it writes down."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from offline.cli import main
from offline.experiments import evidence, gate
from offline.feature_store.schema import MANIFEST
from tests.conftest import LocalTable
from tests.lab.lived_logs import lived, write
from tips.bandit.registry import POLICIES
from tips.settings import Settings
from tips.state.configuration import history, read_configuration
from tips.state.keys import CONFIGURATION
from tips.state.table import Table

AFTER, BEFORE = "igw-ucb", "egreedy-v2"
LOW = ("--min-shadow", "100", "--min-effective-sample", "5", "--margin", "1")
Tips = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("gate") / "logs", lived(people=20, each=60))


@pytest.fixture
def logs(exported: Path) -> Path:
    manifest = exported / MANIFEST
    now = datetime.now(UTC).isoformat()
    said = json.loads(manifest.read_text()) | {"as_of": now, "exported_at": now}
    manifest.write_text(json.dumps(said))
    return exported


@pytest.fixture
def simulated(tmp_path: Path) -> Path:
    folder = tmp_path / "simulated"
    folder.mkdir()
    summary(folder)
    return folder


def summary(folder: Path, **changed: Any) -> None:
    said = {
        "seeds": [0, 1, 2],
        "policy_versions": {name: POLICIES[name].version for name in (AFTER, BEFORE)},
        "differences": [{"policy": AFTER, "against": BEFORE, "seeds": 3, "mean": 0.0, "low": -0.01, "high": 0.01}],
        "users": 10,
    }
    (folder / "summary.json").write_text(json.dumps(said | changed))


@pytest.fixture
def client(table: LocalTable) -> Table:
    return Table(Settings(table_name=table.name, dynamodb_endpoint=table.endpoint), 5000.0)


@pytest.fixture
def tips(table: LocalTable, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tips:
    monkeypatch.setenv("ACTIVE_POLICY", BEFORE)
    monkeypatch.setattr(evidence, "card_is_complete", lambda policy: [])

    def run(*arguments: str | Path, code: int = 0) -> tuple[str, str]:
        got = main([*map(str, arguments), "--table", table.name, "--endpoint", table.endpoint])
        out, err = capsys.readouterr()
        assert got == code, err or out
        return out, err

    return run


def active(client: Table) -> str | None:
    return read_configuration(client.get(*CONFIGURATION)).configuration.active_policy


def test_what_was_asked_for_is_in_the_trail(tips: Tips, client: Table, logs: Path, simulated: Path) -> None:
    out, _ = tips("promote", AFTER, "--logs", logs, "--simulation", simulated, code=1)
    assert f"{AFTER} is not promoted; {BEFORE} goes on answering" in out
    assert active(client) is None
    tips("promote", AFTER, "--logs", logs, "--simulation", simulated, *LOW)
    assert active(client) == AFTER
    (entry,) = history(client, 1)
    asked = "margin 1, shadow 100, effective sample 5"
    assert entry.command == f"promote {AFTER} (met: all; data {'0' * 12}, {asked})"


def test_who_came_to_answer_meanwhile_was_not_judged_against(
    tips: Tips, client: Table, logs: Path, simulated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered = evidence.gathered

    def meanwhile(*arguments: Any, **options: Any) -> gate.Evidence:
        tips("config", "set", "active_policy=lints", "--force", "--reason", "an outage")
        return gathered(*arguments, **options)

    monkeypatch.setattr(evidence, "gathered", meanwhile)
    _, err = tips("promote", AFTER, "--logs", logs, "--simulation", simulated, *LOW, code=2)
    assert f"lints has come to answer meanwhile, and {AFTER} was judged against {BEFORE}" in err
    assert active(client) == "lints"


def test_the_log_of_another_table_is_no_evidence(
    tips: Tips, client: Table, logs: Path, simulated: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(logs, other)
    manifest = other / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"source": "table staging"}))
    _, err = tips("promote", AFTER, "--logs", other, "--simulation", simulated, *LOW, code=2)
    assert f"is of table staging, and what is to change is the table {client.name}" in err


def test_one_seed_is_no_evidence_and_no_fault(tips: Tips, logs: Path, simulated: Path) -> None:
    one = {"policy": AFTER, "against": BEFORE, "seeds": 1, "mean": 0.0, "low": None, "high": None}
    summary(simulated, seeds=[0], differences=[one])
    out, _ = tips("promote", AFTER, "--logs", logs, "--simulation", simulated, *LOW, code=1)
    assert "has no interval for the difference" in out


@pytest.mark.parametrize(
    "changed",
    [{"differences": [{"policy": AFTER}]}, {"seeds": 3}, {"policy_versions": None}, {"differences": {"low": 1}}],
)
def test_what_no_simulation_wrote_is_named(tips: Tips, logs: Path, simulated: Path, changed: dict[str, Any]) -> None:
    summary(simulated, **changed)
    _, err = tips("promote", AFTER, "--logs", logs, "--simulation", simulated, code=2)
    assert "summary.json is not what" in err
    assert next(iter(changed)) in err
    (simulated / "summary.json").write_bytes(b"{")
    assert "--simulation" in tips("promote", AFTER, "--logs", logs, "--simulation", simulated, code=2)[1]
    (simulated / "summary.json").unlink()
    assert "cannot be read" in tips("promote", AFTER, "--logs", logs, "--simulation", simulated, code=2)[1]


def test_a_damaged_export_is_named(tips: Tips, logs: Path, simulated: Path, tmp_path: Path) -> None:
    damaged = write(tmp_path / "damaged", lived(people=2, each=2))
    (file,) = damaged.glob("decisions/*/*.parquet")
    file.write_bytes(file.read_bytes()[:100])
    _, err = tips("promote", AFTER, "--logs", damaged, "--simulation", simulated, code=2)
    assert "--logs: decisions in" in err
