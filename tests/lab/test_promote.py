"""`tips promote` on evidence: a shadow that is better comes to answer, and nothing else does; the trail says why."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline.experiments import evidence
from tests.conftest import LocalTable
from tests.lab.made_logs import Row, made_decisions, write_export
from tests.test_cli import Tips, stored
from tips.state.configuration import history
from tips.state.table import Table

ACTIVE, CHALLENGER = "igw-ucb", "lints"
SMALL = ("--margin", "0.05", "--min-shadow", "500", "--min-effective-sample", "100")


@pytest.fixture
def tips(table: LocalTable, capsys: pytest.CaptureFixture[str]) -> Tips:
    return Tips(table, capsys)


@pytest.fixture(autouse=True)
def complete_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "card_is_complete", lambda policy: [])


def shadowed(best: float, name: str = CHALLENGER, version: str = "1") -> Callable[[Row, float], Mapping[str, Any]]:
    """Return what gives every decision a shadow that shows the best candidate with that probability."""

    def change(row: Row, day: float) -> Mapping[str, Any]:
        (active,) = row["evaluations"]
        k = len(active["score"])
        propensity = np.full(k, (1 - best) / (k - 1))
        propensity[int(np.argmax(active["mean"]))] = best
        shadow = {**active, "policy": name, "policy_version": version, "role": "shadow"}
        return {"evaluations": [active, {**shadow, "propensity": propensity.tolist()}]}

    return change


@pytest.fixture(scope="module")
def better(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("better") / "logs", shadowed(0.85))


def exported(folder: Path, change: Callable[[Row, float], Mapping[str, Any]], age_days: float = 0.0) -> Path:
    at = datetime.now(UTC) - timedelta(days=age_days)
    return write_export(folder, made_decisions(7, people=40, days=28, change=change), exported_at=at)


def simulated(folder: Path, low: float = -0.01, **said: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    difference = {"policy": CHALLENGER, "against": ACTIVE, "mean": 0.02, "low": low, "high": 0.05}
    summary = {
        "seeds": [0, 1, 2],
        "policy_versions": {CHALLENGER: "1", ACTIVE: "1"},
        "differences": [difference],
        **said,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def judged(tips: Tips, logs: Path, simulation: Path, *options: str) -> tuple[int, str]:
    code, out, err = tips.run(
        "promote", CHALLENGER, "--logs", str(logs), "--simulation", str(simulation), *SMALL, *options
    )
    assert "Traceback" not in err
    return code, out + err


def test_a_better_shadow_comes_to_answer_and_the_trail_names_the_data(
    tips: Tips, client: Table, better: Path, tmp_path: Path
) -> None:
    code, said = judged(tips, better, simulated(tmp_path / "s"), "--by", "ann", "--reason", "better")
    assert code == 0, said
    assert len(re.findall(r"^met ", said, re.MULTILINE)) == 6
    assert stored(client).active_policy == CHALLENGER
    assert stored(client).shadows == [ACTIVE]
    (entry,) = history(client, 5)
    assert entry.command == f"promote {CHALLENGER} (met: all; data {'0' * 12})"


def test_a_worse_shadow_is_refused_and_nothing_changes(tips: Tips, client: Table, tmp_path: Path) -> None:
    logs = exported(tmp_path / "logs", shadowed(0.05))
    code, said = judged(tips, logs, simulated(tmp_path / "s"))
    assert code == 1
    assert re.search(r"^NOT MET +not-worse", said, re.MULTILINE)
    assert f"{CHALLENGER} is not promoted; {ACTIVE} goes on answering" in said
    assert history(client, 5) == []


@pytest.mark.parametrize(
    ("unmet", "change", "age_days", "simulation"),
    [
        ("shadow", shadowed(0.85, name="squarecb"), 0.0, {}),
        ("shadow", shadowed(0.85, version="0"), 0.0, {}),
        ("recent", shadowed(0.85), 15.0, {}),
        ("simulation", shadowed(0.85), 0.0, {"low": -0.3}),
        ("simulation", shadowed(0.85), 0.0, {"seeds": [1]}),
        ("simulation", shadowed(0.85), 0.0, {"differences": []}),
    ],
)
def test_what_is_missing_refuses(
    tips: Tips,
    client: Table,
    tmp_path: Path,
    unmet: str,
    change: Callable[[Row, float], Mapping[str, Any]],
    age_days: float,
    simulation: dict[str, Any],
) -> None:
    logs = exported(tmp_path / "logs", change, age_days)
    code, said = judged(tips, logs, simulated(tmp_path / "s", **simulation))
    assert code == 1
    assert re.search(rf"^NOT MET +{unmet} ", said, re.MULTILINE), said
    assert history(client, 5) == []


def test_what_is_forced_against_the_evidence_says_what_was_unmet(tips: Tips, client: Table, tmp_path: Path) -> None:
    logs = exported(tmp_path / "logs", shadowed(0.05))
    code, said = judged(tips, logs, simulated(tmp_path / "s", low=-0.5), "--force", "--reason", "an outage")
    assert code == 0, said
    (entry,) = history(client, 5)
    assert entry.command == f"promote {CHALLENGER} --force (unmet: not-worse, simulation; data {'0' * 12})"
    assert entry.reason == "an outage"


def test_folders_that_hold_no_evidence_are_named(tips: Tips, better: Path, tmp_path: Path) -> None:
    assert "--logs" in judged(tips, tmp_path, simulated(tmp_path / "s"))[1]
    assert "--simulation" in judged(tips, better, tmp_path / "nowhere")[1]
    (tmp_path / "summary.json").write_text("[]")
    assert "--simulation" in judged(tips, better, tmp_path)[1]
