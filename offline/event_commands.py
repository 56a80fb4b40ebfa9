"""`tips replay`: recorded events handed to `consume` again, or, with `--dry-run`, what that would change."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bridge.settings import Settings as NatsSettings
from offline import event_archive
from offline.command import BadInput, EndpointOption, RegionOption, TableOption, aligned, settings_of
from offline.event_archive import Recorded
from offline.event_dry_run import DryRun
from offline.event_overlay import OverlayTable
from offline.event_sending import Report, send
from offline.event_window import StreamWindow, Window, WindowUnreadable
from tips.ingest.handover import ConsumeClient
from tips.settings import Settings
from tips.state.teaching import LearningRules

_TIMEOUT_MS = 5000.0
_MOST_SHOWN = 20
"""Failures, and rows of a table, in a summary; there may be thousands."""


def replay(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH...", help="Files or folders: .json, .jsonl, .jsonl.gz."),
    ] = None,
    stream: Annotated[str | None, typer.Option("--stream", help="A live JetStream stream, instead of files.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="From when on, ISO 8601; UTC unless it says.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Until when; default: now.")] = None,
    nats_url: Annotated[str | None, typer.Option("--nats-url", help="Servers; default: NATS_URL.")] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", help="Events per second; default: as fast as it goes.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, max=1000, help="Events handed over at once, at most.")] = 100,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    function: Annotated[
        str, typer.Option(envvar="CONSUME_FUNCTION", help="Name or ARN of consume.")
    ] = "ConsumeFunction",
    lambda_endpoint: Annotated[
        str | None, typer.Option(envvar="LAMBDA_ENDPOINT", help="Address of Lambda; default: AWS's own.")
    ] = None,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
) -> None:
    """Hand recorded events to consume again, in their order; what was learned before is not learned twice.

    Exit code 1: some failed. --table and --endpoint are for --dry-run, which reads the table.
    """
    if rate is not None and not 0 < rate < float("inf"):
        raise BadInput("--rate must be above 0")
    settings = settings_of(table, endpoint, region)
    if bool(paths) == bool(stream):
        raise BadInput("say either which files or which --stream")
    if stream:
        if since is None:
            raise BadInput("--stream needs --since: from when on, such as --since 2026-11-20T08:00Z")
        window = Window(
            stream, _time("--since", since), datetime.now(UTC) if until is None else _time("--until", until)
        )
        try:
            with StreamWindow(_nats(nats_url), window) as found:
                failed = _carried_out(settings, found, found.pending, dry_run, rate, batch, function, lambda_endpoint)
        except WindowUnreadable as error:
            print(f"tips: {error}", file=sys.stderr)
            raise typer.Exit(1) from None
    else:
        if since or until or nats_url:
            raise BadInput("--since, --until and --nats-url go with --stream")
        # All of it is read before anything is sent.
        survey = event_archive.survey(paths or [])
        if survey.skipped:
            print(f"skipped {_counted(len(survey.skipped), 'file')} without events")
        events = (one for file in survey.files for one in event_archive.read(file))
        total = survey.subjects.total()
        failed = _carried_out(settings, events, total, dry_run, rate, batch, function, lambda_endpoint)
    if failed:
        raise typer.Exit(1)


def _carried_out(
    settings: Settings,
    events: Iterable[Recorded],
    total: int,
    dry_run: bool,
    rate: float | None,
    batch: int,
    function: str,
    lambda_endpoint: str | None,
) -> bool:
    """Replay events and tell of it. Returns whether any failed."""
    if dry_run:
        return _told(settings, events)
    report = Report()
    try:
        client = ConsumeClient(function, endpoint=lambda_endpoint or None, region=settings.region)
    except (BotoCoreError, ValueError) as error:
        raise BadInput(str(error)) from None
    try:
        with _bar(total) as progress:
            task = progress.add_task("replaying", total=total)
            send(events, client, report, batch=batch, rate=rate, on_progress=lambda n: progress.advance(task, n))
    except BaseException:
        print(f"interrupted: {report.done} events were done before")
        raise
    _summary(report, total)
    return bool(report.failures)


@contextmanager
def _bar(total: int) -> Iterator[Progress]:
    """Show progress on a terminal, and nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal or not total, transient=True) as progress:
        yield progress


def _summary(report: Report, total: int) -> None:
    print(f"read {_counted(report.read, 'event')}{_by(report.subjects)}")
    print(f"done {report.done}, failed {len(report.failures)}")
    for place, reason in report.failures[:_MOST_SHOWN]:
        print(f"  {place}: {reason}")
    if len(report.failures) > _MOST_SHOWN:
        print(f"  and {len(report.failures) - _MOST_SHOWN} more")
    if report.stopped is not None:
        rest = total - report.read
        print(f"stopped: {report.stopped}" + (f"; {rest} not sent" if rest > 0 else ""))
    elif report.failures:
        print("`--dry-run` says which records are bad, and why")


def _told(settings: Settings, events: Iterable[Recorded]) -> bool:
    """Say what events would do. Returns whether any would fail."""
    try:
        overlay = OverlayTable(settings, _TIMEOUT_MS)
    except (BotoCoreError, ValueError) as error:
        raise BadInput(str(error)) from None
    run = DryRun(overlay, LearningRules.from_settings(settings))
    failed = False
    for one in run.predict(events):
        failed = failed or one.failed
        outcome = f"{one.outcome}: {one.detail}" if one.detail else one.outcome
        print("  ".join(part for part in (one.place, one.subject, one.user_id, outcome) if part))
    print(f"dry run of {_counted(run.outcomes.total(), 'event')}, nothing was written{_by(run.outcomes)}")
    _changes(run)
    return failed


def _changes(run: DryRun) -> None:
    """Say what all events together would change, in all and of each person."""
    written = run.written()
    total = sum(written.values(), Counter[str]())
    if not total:
        print("nothing would change")
        return
    people = sorted(user_id for user_id in written if user_id is not None)
    of = f", for {len(people)} {'person' if len(people) == 1 else 'people'}" if people else ""
    print(f"{_counted(total.total(), 'item')} would change{of}{_by(total)}")
    _table(
        ["user", "features", "pulls", "cumulative reward"],
        [
            [
                one.user_id,
                one.schema,
                f"{one.pulls[0]} -> {one.pulls[1]}",
                f"{one.reward[0]:.6g} -> {one.reward[1]:.6g}",
            ]
            for one in run.movements()
        ],
    )
    _table(
        ["user", "profile feature", "value"],
        [[one.user_id, one.name, f"{_value(one.before)} -> {_value(one.after)}"] for one in run.features()],
    )
    _table(
        ["user", "items"],
        [[one, ", ".join(f"{count} {kind}" for kind, count in sorted(written[one].items()))] for one in people],
    )


def _table(header: list[str], rows: list[list[str]]) -> None:
    """Print rows under their header, and no more than can be read."""
    if rows:
        print(aligned([header, *rows[:_MOST_SHOWN]]))
    if len(rows) > _MOST_SHOWN:
        print(f"and {len(rows) - _MOST_SHOWN} more")


def _value(feature: float | None) -> str:
    return "not known" if feature is None else f"{round(feature, 6):.15g}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _by(counts: Counter[str]) -> str:
    return "".join(f"\n  {count} {name}" for name, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _time(option: str, text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{option} must be an ISO 8601 time, such as 2026-11-20T08:00Z") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _nats(url: str | None) -> NatsSettings:
    """Return where NATS is, with credentials as the bridge takes them; raises `BadInput`."""
    try:
        settings = NatsSettings.from_env({**os.environ, **({"NATS_URL": url} if url else {})})
    except ValueError as error:
        raise BadInput(str(error)) from None
    if not settings.enabled:
        raise BadInput("no NATS server is named: --nats-url or NATS_URL")
    return settings
