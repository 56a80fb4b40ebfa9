"""The exported contracts as files: written, or held against what is there."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path

from offline.contracts_schemas import schemas
from offline.contracts_types import typescript

TYPES = "tips.d.ts"
_SHOWN_LINES = 20
"""Of each file's difference: enough to see what it is about."""


def exported() -> dict[str, str]:
    """Return the text of every exported file by its path in the folder; the same models give the same texts."""
    files = {path: json.dumps(schema, indent=2, ensure_ascii=True) + "\n" for path, schema in schemas().items()}
    return {**files, TYPES: typescript()}


def write(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Write what differs, remove what is no longer exported, and return those paths. Raises `OSError`."""
    changed = []
    for path, text in files.items():
        target = folder / path
        if _text(target) != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8", newline="\n")
            changed.append(path)
    for path in _surplus(folder, files):
        (folder / path).unlink()
        changed.append(path)
    return changed


def stale(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Return how the folder differs from what would be written, as lines; none when it is current."""
    lines: list[str] = []
    for path, text in files.items():
        there = _text(folder / path)
        if there is None:
            lines.append(f"{path} is missing")
        elif there != text:
            lines.append(f"{path} is stale:")
            difference = list(
                difflib.unified_diff(there.splitlines(), text.splitlines(), "there", "now", "", "", 1, "")
            )
            lines += [f"  {line}" for line in difference[2 : 2 + _SHOWN_LINES]]
            if len(difference) > 2 + _SHOWN_LINES:
                lines.append(f"  ... {len(difference) - 2 - _SHOWN_LINES} more lines")
    return lines + [f"{path} is no longer exported" for path in _surplus(folder, files)]


def _surplus(folder: Path, files: Mapping[str, str]) -> list[str]:
    found = {path.relative_to(folder).as_posix() for path in folder.glob("*/*.schema.json")}
    return sorted(found - set(files))


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return None
