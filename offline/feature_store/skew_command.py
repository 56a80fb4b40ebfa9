"""`tips skew`: whether the features that decisions were made with are those that today's code computes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from offline import lab
from offline.command import aligned

if TYPE_CHECKING:
    from offline.feature_store.skew import Skew

LogsOption = Annotated[Path, typer.Option("--logs", metavar="DIR", help="Folder that `tips export` wrote.")]


def skew(logs: LogsOption) -> None:
    """Recompute every logged vector from what was logged, and show the first that differs.

    Exit code 1 if any does, or none could be compared.
    """
    lab.required()
    from offline.feature_store.logs import Logs, logged_decisions
    from offline.feature_store.skew import present_schemas, skew_of

    decisions = Logs.read(logs).decisions
    with Progress(console=Console(file=sys.stderr)) as bar:
        task = bar.add_task("decisions compared", total=len(decisions))
        found = skew_of(
            logged_decisions(decisions),
            present_schemas(),
            lambda done: bar.update(task, completed=done),
        )
    print(_report(found))
    if not found.vectors:
        print("nothing could be compared")
    if found.first is not None or not found.vectors:
        raise typer.Exit(1)


def _report(found: Skew) -> str:
    rows = [
        ("decisions", str(found.decisions)),
        ("vectors compared", str(found.vectors)),
        ("differing", str(found.differing)),
    ]
    rows += [
        (f"schema {digest}", f"{count} vectors, of no schema known now") for digest, count in found.unknown.items()
    ]
    if (first := found.first) is not None:
        rows += [
            ("first difference", f"{first.encoder} of schema {first.schema}"),
            ("  decision", f"{first.decision_id} of {first.user_id}"),
            ("  logged", repr(first.logged)),
            ("  now", repr(first.now)),
        ]
    return aligned(rows)
