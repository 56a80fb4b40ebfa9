"""What all commands share: where the table is, who acts, and how a fault is told."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError

from tips.settings import Settings
from tips.state.table import Table

_TIMEOUT_MS = 5000.0
"""Of one call: people run commands from anywhere, over slow lines."""

TableOption = Annotated[str | None, typer.Option("--table", help="Name of the table; default: TABLE_NAME.")]
EndpointOption = Annotated[
    str | None, typer.Option("--endpoint", help="Address of DynamoDB; default: DYNAMODB_ENDPOINT, else AWS's own.")
]
RegionOption = Annotated[str | None, typer.Option("--region", help="AWS region; default: AWS_REGION.")]
ActorOption = Annotated[str | None, typer.Option("--by", help="Who makes the change; default: you, by your login.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the audit trail.")]


class BadInput(Exception):
    """What was asked for cannot be done as it stands; the text says what would be right."""


def settings_of(table: str | None, endpoint: str | None, region: str | None) -> Settings:
    """Return the environment's settings with what the command line says instead; raises `BadInput`."""
    try:
        settings = Settings.from_env()
    except ValueError as error:
        raise BadInput(str(error)) from None
    return replace(
        settings,
        table_name=table or settings.table_name,
        dynamodb_endpoint=endpoint or settings.dynamodb_endpoint,
        region=region or settings.region,
    )


def judge_model() -> str | None:
    """Return the model that `JUDGE_MODEL` names to judge tips, None where it names none."""
    return os.environ.get("JUDGE_MODEL", "").strip() or None


def connect(settings: Settings) -> Table:
    """Return the table, with time-outs for people; raises `BadInput` on an impossible address."""
    try:
        return Table(settings, _TIMEOUT_MS)
    except (BotoCoreError, ValueError) as error:
        raise BadInput(str(error)) from None


def actor_named(name: str | None) -> str:
    """Return who acts: as said, else the login; raises `BadInput` where there is none, as in some containers."""
    try:
        return short_text(name or getpass.getuser(), "--by", 128)
    except (OSError, KeyError, ImportError):
        raise BadInput("your login has no name here: say who you are with --by") from None


def short_text(text: str, option: str, most: int) -> str:
    """Return one printable line of at most `most` characters, for the audit trail; raises `BadInput`."""
    if len(text) > most or not text.isprintable():
        raise BadInput(f"{option} must be one printable line of at most {most} characters")
    return text


def aligned(rows: Sequence[Sequence[str]], indent: str = "") -> str:
    """Return rows of equally many cells as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    )
