"""`tips contracts`: hold profile features against the TypeScript registry, and export schemas and types."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from offline import contracts_check, contracts_files
from offline.command import BadInput, aligned
from offline.contracts_registry import read_registry
from offline.contracts_syntax import Problem, SourceUnreadable

_ROOT = Path(__file__).resolve().parents[1]
DEFAULT_REGISTRY = _ROOT / "tests" / "contracts" / "registry.ts"
DEFAULT_FOLDER = _ROOT / "docs" / "contracts"
_DIFFERENT = 1
_UNREADABLE = 2

app = typer.Typer(help="Contracts with the TypeScript side.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def check(
    registry: Annotated[
        Path | None,
        typer.Option("--registry", help="The registry's .ts file; default: PROFILE_REGISTRY_TS, else an example's."),
    ] = None,
) -> None:
    """Compare names, times to live and invalidating events of the profile features.

    Exit code 0: the same, 1: different, 2: the registry cannot be read.
    """
    path = registry or Path(os.environ.get("PROFILE_REGISTRY_TS") or DEFAULT_REGISTRY)
    shown = _shown(path)
    try:
        found = read_registry(path)
    except SourceUnreadable as error:
        print(_listed(shown, error.problems), file=sys.stderr)
        raise typer.Exit(_UNREADABLE) from None
    if found.notes:
        print(_listed(shown, found.notes))
    for note in contracts_check.dtype_notes(found):
        print(f"note: {note}")
    different = contracts_check.differences(found)
    if not different:
        print(f"{shown}: {len(found.entries)} features, the same as here")
        return
    print(f"{shown} differs from here:")
    print(aligned(different, "  "))
    raise typer.Exit(_DIFFERENT)


@app.command()
def export(
    to: Annotated[Path, typer.Option("--to", help="Folder; default: docs/contracts.")] = DEFAULT_FOLDER,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit code 1 when a file is stale.")] = False,
) -> None:
    """Write JSON Schemas of all events and HTTP bodies, and TypeScript types of them."""
    files = contracts_files.exported()
    shown = _shown(to)
    try:
        if check:
            different = contracts_files.stale(to, files)
            print("\n".join(different) or f"{shown}: {len(files)} files, all current")
            if different:
                print(f"`tips contracts export --to {shown}` writes them anew")
                raise typer.Exit(_DIFFERENT)
            return
        changed = contracts_files.write(to, files)
    except OSError as error:
        raise BadInput(f"{error.filename}: {error.strerror}") from None
    print(f"{shown}: {len(files)} files, {len(changed)} changed")


def _shown(path: Path) -> str:
    """Return a path as people here would write it."""
    absolute = path.absolute()
    return str(absolute.relative_to(_ROOT)) if absolute.is_relative_to(_ROOT) else str(path)


def _listed(path: str, problems: Sequence[Problem]) -> str:
    return "\n".join(f"{path}:{one.line}:{one.column}: {one.text}" for one in problems)
