"""Writes what a command was asked to write."""

from __future__ import annotations

from pathlib import Path

from offline.command import BadInput


def write(path: Path, content: str, option: str) -> None:
    """Write a text file, with the folders it needs; raises `BadInput` that names the option where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{option}: {path} cannot be written: {error.strerror or error}") from None
