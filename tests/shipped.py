"""What of an artifact nothing imports, given the files that were imported."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from pathlib import Path


def idle_distributions(folder: Path, imported: Collection[Path]) -> list[str]:
    """Return the distributions in `folder` of which no file was imported."""
    return [
        record.parent.name.partition("-")[0]
        for record in sorted(folder.glob("*.dist-info/RECORD"))
        if not any(folder / row[0] in imported for row in csv.reader(record.read_text(encoding="utf-8").splitlines()))
    ]


def idle_modules(folder: Path, imported: Collection[Path]) -> list[str]:
    """Return the top-level modules and packages in `folder` of which no file was imported."""
    used = {path.relative_to(folder).parts[0] for path in imported if path.is_relative_to(folder)}
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.name not in used
        and entry.name != "__pycache__"
        and not entry.name.endswith((".dist-info", ".libs"))  # .libs: what a package's own libraries link to
    )


def idle_subpackages(folder: Path, imported: Collection[Path], at_least_mb: float) -> dict[str, float]:
    """Return the MB of folders of which no file was imported, the outermost ones, from the largest down."""
    used = {parent for path in imported for parent in path.parents}
    idle = {str(path.relative_to(folder)): _megabytes(path) for path in _outermost(folder, used)}
    ordered = sorted(idle, key=idle.__getitem__, reverse=True)
    return {name: idle[name] for name in ordered if idle[name] >= at_least_mb}


def _outermost(folder: Path, used: Collection[Path]) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            if entry in used:
                yield from _outermost(entry, used)
            else:
                yield entry


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
