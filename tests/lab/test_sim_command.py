"""`tips simulate`: what it asks for, and what it says of anything else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from offline.cli import main


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--policies", "best"], "--policies: 'best' is no policy; there are linucb"),
        (["--policies", "random"], "--policies: name at least one"),
        (["--personas", "ghost"], "--personas: 'ghost' is no persona; there are consistent-responder"),
        (["--personas", ","], "--personas: name at least one"),
        (["--seeds", "0"], "--seeds: there must be one at least"),
        (["--seeds", "a,b"], "--seeds: 'a,b' must be how many"),
        (["--seeds", "-3,1"], "--seeds: '-3,1' must be how many"),
        (["--end", "yesterday"], "--end: 'yesterday' must be an ISO date"),
        (["--end", "2026-01-01T00:00:00"], "--end: '2026-01-01T00:00:00' needs a time zone"),
        (["--end", "2999-01-01T00:00:00Z"], "--end: must not be in the future"),
        (["--prior", "trained", "--weeks", "9"], "--weeks: at most 8 with a prior"),
        (["--policies", "igw-ucb+prior", "--endpoint", "http://127.0.0.1:1"], "--endpoint: the table's own prior"),
    ],
)
def test_what_cannot_be_simulated_is_refused(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "--out", str(tmp_path / "out"), *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    options = ["--policies", "linucb", "--personas", "weekend,drifting", "--users", "2", "--rounds", "3"]
    more = ["--seeds", "7", "--weeks", "1", "--end", "2026-03-01T00:00:00+00:00"]
    assert (
        main(
            [
                "simulate",
                "--out",
                str(out),
                *options,
                *more[:1],
                "7,",
                *more[2:],
                "--tracking",
                f"sqlite:///{tmp_path}/m.db",
            ]
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "linucb" in printed
    assert str(out / "report.html") in printed
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert (summary["seeds"], summary["personas"], summary["users"]) == ([7], ["weekend", "drifting"], 2)
    assert (out / "rounds" / "policy=linucb" / "seed=7" / "part-0.parquet").exists()


def test_an_endpoint_that_does_not_answer_is_a_failed_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = [
        "--endpoint",
        "http://127.0.0.1:9",
        "--policies",
        "igw-ucb",
        "--users",
        "1",
        "--rounds",
        "1",
        "--seeds",
        "1",
    ]
    assert main(["simulate", "--out", str(tmp_path / "out"), *options, "--tracking", f"sqlite:///{tmp_path}/m.db"]) == 1
    assert "no table answers at http://127.0.0.1:9" in capfd.readouterr().err
