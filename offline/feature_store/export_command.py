"""`tips export`: the table, or what DynamoDB exported of it, as Parquet for everything that runs offline."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from offline import lab
from offline.command import EndpointOption, RegionOption, TableOption, aligned, connect, settings_of

if TYPE_CHECKING:
    from offline.feature_store.export import Manifest
    from offline.feature_store.sources import Source
    from tips.settings import Settings


def export(
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Folder; an export that it holds is replaced.")],
    from_: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="EXPORT",
            help="DynamoDB's point-in-time export, a path or s3://..., and incremental ones after it; default: "
            "the table is scanned.",
        ),
    ] = None,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
) -> None:
    """Write decisions joined with their reactions, and what was learned, to partitioned Parquet files."""
    lab.required()
    from offline.feature_store.export import export as written

    settings = settings_of(table, endpoint, region)
    source = _source(settings, from_ or [], ask_live=table is not None)
    with _progress(source.expected) as progress:
        manifest = written(source, to, settings.default_reward, progress)
    print(_report(manifest, to))
    if from_ and table is None:
        print("Whoever was erased since is still in it: --table asks the table who that is.", file=sys.stderr)


def _source(settings: Settings, places: list[str], *, ask_live: bool) -> Source:
    """ask_live: of who was erased since the exports, which only the live table knows."""
    from offline.feature_store.point_in_time import PointInTimeExport
    from offline.feature_store.sources import ExportedTable, LiveTable

    live = LiveTable(connect(settings), settings.table_deadline_ms) if ask_live or not places else None
    if live is not None and not places:
        return live
    exports = [PointInTimeExport.at(place, settings.region) for place in places]
    return ExportedTable(exports, live, time.time_ns() // 1000)


@contextmanager
def _progress(expected: int | None) -> Iterator[Callable[[str, int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr)) as bar:
        tasks = {"items read": bar.add_task("items read", total=expected)}

        def told(what: str, done: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=None)
            bar.update(tasks[what], completed=done)

        yield told


def _report(manifest: Manifest, folder: Path) -> str:
    left_out = f"{manifest.erased_left_out} erased, {manifest.unreadable} unreadable items"
    rows = [
        ("exported to", str(folder)),
        ("from", f"{manifest.source}, as of {manifest.as_of}"),
        ("decisions", str(manifest.decisions)),
        ("people", f"{manifest.people} (left out: {left_out})"),
        ("data hash", manifest.data_hash),
    ]
    return aligned(rows)
