"""`tips dlq list|show|replay|drop`: records that were given up, looked at, handed to `consume` again, thrown away."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError

from offline.command import BadInput, EndpointOption, RegionOption, TableOption, connect, settings_of
from offline.dlq_replay import replay as handed_over
from offline.dlq_report import SHORT_ID, Listing, Wanted, shown
from tips.errors import TableUnavailable
from tips.ingest.handover import ConsumeClient, HandoverFailed
from tips.settings import Settings
from tips.state import dead_letters
from tips.state.dead_letters import DeadLetter, LetterDamaged, Stored
from tips.state.table import Table, retrying

app = typer.Typer(help="Dead letters: records that were given up.", no_args_is_help=True)

IdsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="ID...", help="As `list` names them, or as much as is unique.")
]
SubjectOption = Annotated[str, typer.Option("--subject", metavar="PREFIX", help="Only of subjects that begin so.")]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Only with this in their reason.")]
_ID = re.compile(r"[0-9a-f]{4,32}")
_NAMED = 5


@app.command(name="list")
def list_(
    days: Annotated[
        int | None, typer.Option(min=1, max=30, metavar="N", help="Only those delivered in the last N days.")
    ] = None,
    subject: SubjectOption = "",
    reason: ReasonOption = "",
    everything: Annotated[bool, typer.Option("--all", help="Those too that were replayed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
) -> None:
    """List dead letters, newest first."""
    since = (datetime.now(UTC) - timedelta(days=days)).isoformat() if days else ""
    wanted = Wanted(subject, reason, since=since, replayed=None if everything else False)
    listing = Listing.of(dead_letters.letters(connect(settings_of(table, endpoint, region))), wanted)
    print(listing.document() if as_json else "\n".join(listing.lines(everything)))


@app.command()
def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` names it, or as much as is unique.")],
    raw: Annotated[Path | None, typer.Option("--raw", metavar="FILE", help="Write the record's bytes there.")] = None,
    data: Annotated[bool, typer.Option("--data", help="Print the record's bytes, as they are, and no more.")] = False,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
) -> None:
    """Show all that is known of a dead letter, and how its bytes begin."""
    if raw and data:
        raise BadInput("say either --raw or --data")
    settings = settings_of(table, endpoint, region)
    connected = connect(settings)
    stored = _named(connected, letter_id)
    letter, headers_dropped = _read(connected, stored, settings)
    if data:
        sys.stdout.flush()
        sys.stdout.buffer.write(letter.data)
        sys.stdout.buffer.flush()
    elif raw:
        try:
            raw.write_bytes(letter.data)
        except OSError as error:
            raise BadInput(f"{raw} cannot be written: {error.strerror or error}") from None
        print(f"{len(letter.data)} bytes written to {raw}")
    else:
        print("\n".join(shown(stored, letter, headers_dropped)))


@app.command()
def replay(
    ids: IdsArgument = None,
    everything: Annotated[bool, typer.Option("--all", help="All that were not replayed yet.")] = False,
    subject: SubjectOption = "",
    reason: ReasonOption = "",
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
    """Hand dead letters to consume again; what was learned before is not learned twice."""
    if bool(ids) == everything:
        raise BadInput("say which letters: by their ids, or --all")
    if ids and (subject or reason):
        raise BadInput("--subject and --reason choose among --all")
    settings = settings_of(table, endpoint, region)
    connected = connect(settings)
    try:
        client = ConsumeClient(function, endpoint=lambda_endpoint or None, region=settings.region)
    except (BotoCoreError, ValueError) as error:
        raise BadInput(str(error)) from None
    wanted = Wanted(subject, reason, replayed=False)
    chosen = _all_named(connected, ids) if ids else filter(wanted.has, dead_letters.letters(connected))
    taken = kept = 0
    try:
        with _repeatable():
            for letter, why in handed_over(connected, client, iter(chosen), settings.table_deadline_ms):
                taken, kept = taken + (why is None), kept + (why is not None)
                print(f"{letter.letter_id[:SHORT_ID]}  {'replayed' if why is None else f'stays: {why}'}")
    except HandoverFailed as error:
        print(f"tips: {error}; {taken} letters were replayed before, and all can be again", file=sys.stderr)
        raise typer.Exit(1) from None
    print(f"{taken} of {taken + kept} letters replayed")
    if kept:
        raise typer.Exit(1)


@app.command()
def drop(
    ids: IdsArgument = None,
    everything: Annotated[bool, typer.Option("--all", help="All that --before or --replayed choose.")] = False,
    before: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Only those stored before then, in UTC."),
    ] = None,
    replayed: Annotated[bool, typer.Option("--replayed", help="Only those that were replayed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
) -> None:
    """Delete dead letters with their bytes, for good."""
    if bool(ids) == everything:
        raise BadInput("say which letters: by their ids, or --all")
    if everything != bool(before or replayed):
        raise BadInput("--all goes with --before or --replayed, and they with it")
    settings = settings_of(table, endpoint, region)
    connected = connect(settings)
    until = before.replace(tzinfo=UTC).isoformat() if before else ""
    wanted = Wanted(before=until, replayed=True if replayed else None)
    chosen = _all_named(connected, ids) if ids else [*filter(wanted.has, dead_letters.letters(connected))]
    if chosen and not yes:
        if not sys.stdin.isatty():
            raise BadInput(f"this deletes {_counted(chosen)} for good: say --yes")
        if not typer.confirm(f"Delete {_counted(chosen)} for good?"):
            raise typer.Exit(1)
    with _repeatable():
        for letter in chosen:
            dead_letters.drop(connected, letter, settings.table_deadline_ms)
    print(f"{_counted(chosen)} dropped")


def _counted(letters: list[Stored]) -> str:
    return "1 letter" if len(letters) == 1 else f"{len(letters)} letters"


def _all_named(table: Table, prefixes: list[str]) -> list[Stored]:
    """Return each letter once that the prefixes name."""
    return list({one.letter_id: one for one in (_named(table, prefix) for prefix in prefixes)}.values())


def _named(table: Table, prefix: str) -> Stored:
    """Return the one letter whose id begins so; raises `BadInput` when there is none, or several."""
    prefix = prefix.lower()
    if not _ID.fullmatch(prefix):
        raise BadInput("an id is 4 to 32 of the digits 0-9 and a-f, see `tips dlq list --all`")
    found = dead_letters.find(table, prefix, _NAMED)
    if not found:
        raise BadInput(f"there is no dead letter {prefix}, see `tips dlq list --all`")
    if len(found) > 1:
        raise BadInput(f"{prefix} is the beginning of several: {', '.join(one.letter_id for one in found)}")
    return found[0]


def _read(table: Table, stored: Stored, settings: Settings) -> tuple[DeadLetter, int]:
    try:
        found = retrying(table, settings.table_deadline_ms, lambda bounded, _: dead_letters.read(bounded, stored))
    except LetterDamaged as damage:
        print(f"tips: {stored.letter_id} cannot be shown: {damage}", file=sys.stderr)
        raise typer.Exit(1) from None
    if found is None:
        raise BadInput(f"there is no dead letter {stored.letter_id} any more")
    return found


@contextmanager
def _repeatable() -> Iterator[None]:
    """Tell that a command which the table interrupted can be repeated, whatever the table made of the last write."""
    try:
        yield
    except TableUnavailable as fault:
        raise TableUnavailable("not everything is done; the same command goes on where it stopped") from fault
