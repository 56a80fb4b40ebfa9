"""A decision taken through HTTP is taken again from its log, bit for bit, in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from offline.cli import main
from tests.requests import CANDIDATES, score_request
from tips.bandit.registry import POLICIES

ROOT = Path(__file__).resolve().parents[1]


def retake(logged: Any) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "layers" / "shared", ROOT))),
        "OPENBLAS_NUM_THREADS": "2",
        "PYTHONHASHSEED": "7",
    }
    return subprocess.run(
        [sys.executable, "-m", "offline.cli", "retake", "-"],
        cwd=ROOT,
        env=environment,
        input=json.dumps(logged) if not isinstance(logged, str) else logged,
        capture_output=True,
        text=True,
        check=False,
    )


def decided(score: Any, **changes: Any) -> Any:
    many = [
        {"id": f"{one['id']}-{n}", **{k: v for k, v in one.items() if k != "id"}}
        for n in range(4)
        for one in CANDIDATES
    ]
    for number in range(3):
        body = score.call("POST", "/score", score_request(candidates=many, **changes)).json
        reward = {"user_id": "anna", "decision_id": body["decision_id"], "reward": (-1) ** number / 3}
        score.call("POST", "/reward", reward)
    return score.call("GET", f"/decisions/{body['decision_id']}", query={"user_id": "anna"}).json


@pytest.mark.parametrize("policy", ["igw-ucb", "lints"])
def test_a_decision_is_retaken_in_another_process(score: Any, policy: str) -> None:
    done = retake(decided(score, policy=policy))
    assert done.returncode == 0, done.stderr
    assert "the same" in done.stdout
    assert "DIFFERENT" not in done.stdout


def told(logged: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Retake in this process. Returns exit code, output, errors."""
    file = tmp_path / "decision.json"
    file.write_text(logged if isinstance(logged, str) else json.dumps(logged))
    capsys.readouterr()
    code = main(["retake", str(file)])
    return code, *capsys.readouterr()


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_can_be_retaken(
    score: Any, policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output, _ = told(decided(score, policy=policy), tmp_path, capsys)
    assert code == 0
    assert "DIFFERENT" not in output


@pytest.mark.parametrize("part", ["propensity", "mean", "width", "score", "decision_id"])
def test_a_log_that_was_touched_is_found_out(
    score: Any, part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logged = decided(score, policy="igw-ucb")
    if part == "decision_id":
        logged["tip_id"] = next(one["id"] for one in logged["candidates"] if one["id"] != logged["tip_id"])
    else:
        logged["evaluations"]["igw-ucb"][part][0] += 1e-12
    code, output, _ = told(logged, tmp_path, capsys)
    assert code == 1
    assert "DIFFERENT" in output


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"candidates": [], "evaluations": {"x": {}}}', "no json"])
def test_what_is_no_decision_is_refused_in_one_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, errors = told(text, tmp_path, capsys)
    assert code == 2
    assert len(errors.splitlines()) == 1
