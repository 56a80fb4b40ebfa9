"""`tips report`: one page on what was decided, rewarded and paid for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from offline import lab

LogsOption = Annotated[Path, typer.Option("--logs", help="An export, as `tips export` makes it.")]


def report(
    logs: LogsOption,
    out: Annotated[Path, typer.Option("--out", help="The page, one HTML file.")] = Path("report.html"),
) -> None:
    """Write a page on rewards, exploration, people, latency and costs."""
    lab.required()
    from offline.feature_store.logs import Logs
    from offline.reports.files import write
    from offline.reports.report import report as page_of

    read = Logs.read(logs)
    write(out, page_of(read).html(), "--out")
    print(f"{out}: {len(read.decisions):,} decisions of {read.decisions['user_id'].n_unique():,} people")
