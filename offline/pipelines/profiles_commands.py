"""`tips profiles check|backfill`: the stored profile features beside those that exported decisions give."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from ulid import ULID

from offline import lab
from offline.command import (
    ActorOption,
    BadInput,
    EndpointOption,
    ReasonOption,
    RegionOption,
    TableOption,
    actor_named,
    aligned,
    connect,
    settings_of,
    short_text,
)
from tips.state import keys, profiles
from tips.state.table import retrying
from tips.state.tombstones import not_erased

if TYPE_CHECKING:
    from offline.pipelines.profiles import Events
    from tips.state.table import Table

app = typer.Typer(help="Profile features, from exported decisions.", no_args_is_help=True)

AUDIT = f"{keys.AUDIT}#PROFILES"
"""A trail of its own, with an entry for each backfill that wrote something."""

Came = Literal["missing", "different", "stale", "as it should be", "erased", "moved since the export", "too old"]
LogsOption = Annotated[Path, typer.Option("--logs", metavar="DIR", help="What `tips export --to DIR` wrote.")]


@app.command()
def check(logs: LogsOption) -> None:
    """Compare what an export holds of profiles with what its decisions give; exit code 1 if anything differs."""
    lab.required()
    from offline.feature_store.logs import Logs
    from offline.pipelines.profiles import summary

    found = summary(Logs.read(logs))
    print(aligned([("people by feature", *found.columns[1:]), *(tuple(map(str, row)) for row in found.iter_rows())]))
    differ = any(found["different"]) or any(found["missing"])
    if any(found["more stored"]):
        print("More stored: shown without a known decision, or more than once; the logs cannot tell of these.")
    if differ:
        print(
            "Different: reactions to no known decision are counted too, and are not in the logs; or counts were lost."
        )
        print(f"tips profiles backfill --logs {logs} says what it would write.")
        raise typer.Exit(1)


@app.command()
def backfill(
    logs: LogsOption,
    write: Annotated[bool, typer.Option("--write", help="Write it; otherwise it is only counted.")] = False,
    reason: ReasonOption = "",
    by: ActorOption = None,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
) -> None:
    """Write profile counts anew where none are stored, or other ones, or stale ones. Without --write it only counts.

    Nobody who was erased comes back, and counts that have moved since the export are left alone.
    """
    lab.required()
    from rich.console import Console
    from rich.progress import track

    from offline.feature_store.logs import Logs
    from offline.pipelines.people import as_of_us
    from offline.pipelines.profiles import events_of

    settings = settings_of(table, endpoint, region)
    actor, why = actor_named(by), short_text(reason, "--reason", 500)
    if write and not why:
        raise BadInput("--reason: say why, for the audit trail")
    read, connected = Logs.read(logs), connect(settings)
    events, as_of = events_of(read), as_of_us(read)
    came: Counter[Came] = Counter()
    for user_id in track(sorted(events), "people", console=Console(file=sys.stderr), transient=True):
        came[_refill(connected, user_id, events[user_id], as_of, write, settings.table_deadline_ms)] += 1
    written = sum(came[kind] for kind in ("missing", "different", "stale"))
    print(aligned([(kind, str(number)) for kind, number in sorted(came.items())] or [("people", "0")]))
    if not write:
        print(f"{written} would be written: add --write")
        return
    if written:
        _remember(connected, dict(came), read.data_hash, actor, why, settings.table_deadline_ms)
    print(f"{written} written")


def _refill(table: Table, user_id: str, told: Events, as_of_us: int, write: bool, deadline_ms: float) -> Came:
    """Return what came of a person, or would have; writes on condition that nobody has since it was read."""
    from offline.pipelines.profiles import refilled

    tried: list[Came] = []

    def attempt(bounded: Table, ambiguous: bool) -> Came:
        tombstone, item = bounded.get_all([keys.tombstone(user_id), keys.profile(user_id)])
        if tombstone is not None:
            return "erased"
        # One that is damaged, which readers take for an empty one, is missing.
        stored = profiles.read_profile(item)
        refill = refilled(stored if stored.reactions_at or stored.shown_at else None, told, as_of_us)
        if refill is None:
            return "moved since the export" if max(stored.reactions_at, stored.shown_at) > as_of_us else "too old"
        if refill.why is None:
            # What reported a fault may have been carried out all the same.
            return tried[-1] if ambiguous and tried else "as it should be"
        tried.append(refill.why)
        if write:
            bounded.transact([profiles.write(user_id, item, refill.counters), not_erased(user_id)])
        return refill.why

    return retrying(table, deadline_ms, attempt)


def _remember(
    table: Table, came: Mapping[Came, int], data_hash: str, actor: str, reason: str, deadline_ms: float
) -> None:
    entry = {
        "pk": {"S": AUDIT},
        "sk": {"S": str(ULID())},
        "at": {"S": datetime.now(UTC).isoformat(timespec="milliseconds")},
        "command": {"S": f"profiles backfill of the export {data_hash[:16]}"},
        "actor": {"S": actor},
        "reason": {"S": reason},
        "before": {"S": ""},
        "after": {"S": json.dumps(came, sort_keys=True)},
    }
    retrying(table, deadline_ms, lambda bounded, _: bounded.put(entry))
