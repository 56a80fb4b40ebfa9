"""Commands that need the lab's packages go on where these are, or say how to get them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from offline import lab
from offline.cli import main

COMMAND = ["evaluate", "--policy", "lints", "--logs", "nowhere"]


class Gone(Exception):
    """The process is another one now."""


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An interpreter that has the packages, which the present one has not."""
    python = tmp_path / "python"
    python.touch()
    monkeypatch.setattr(lab, "find_spec", lambda name: None)
    monkeypatch.setattr(lab, "_PYTHON", python)
    monkeypatch.setattr(sys, "argv", ["tips", *COMMAND])
    monkeypatch.delenv(lab._HERE, raising=False)
    return python


def test_a_command_goes_on_in_the_labs_environment(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []

    def execve(*what: Any) -> None:
        called.append(what)
        raise Gone

    monkeypatch.setattr(os, "execve", execve)
    with pytest.raises(Gone):
        main(COMMAND)
    ((python, arguments, environment),) = called
    assert (python, arguments[0]) == (elsewhere, str(elsewhere))
    assert arguments[1:] == ["-P", "-m", "offline.cli", *COMMAND]
    assert environment.items() >= {name: value for name, value in os.environ.items() if name != "TIPS_IN_LAB"}.items()


def test_without_that_environment_it_says_how_to_make_it(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere.unlink()
    assert main(COMMAND) == 2
    assert "make env-lab" in capsys.readouterr().err


def test_an_environment_that_lacks_the_packages_is_not_entered_again(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(lab._HERE, "1")
    assert main(COMMAND) == 2
    assert "make env-lab" in capsys.readouterr().err
