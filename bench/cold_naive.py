"""A function as it is built without any trouble taken: packages whole, boto3 with all its services, no bytecode."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

from devstack.template import ROOT, FunctionDefinition
from scripts.build_artifact import LAYER, NOT_SHIPPED, install

_PINS = ROOT / "requirements" / "dev.txt"
_STOCK = ("boto3", "s3transfer")
_OURS = "_session.create_client("
_CLIENT = "__import__('boto3').client("


def build_naive(definition: FunctionDefinition, into: Path) -> None:
    """Install the function and its layer into `into`, laid out as `make build` does; their code is ours, but for boto3.

    Raises `RuntimeError` when it is not known any more where the code makes its client.
    """
    folder, layer = into / definition.name, into / "SharedLayer" / "python"
    into.mkdir(parents=True, exist_ok=True)
    packages = into / "requirements.txt"
    own = (definition.folder / "requirements.txt").read_text()
    packages.write_text("\n".join([own, *map(_pin, _STOCK)]))
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for source, requirements, target in (
        (definition.folder, packages, folder),
        (LAYER, LAYER / "requirements.txt", layer),
    ):
        install(requirements, target, minor, platform.machine())
        shutil.copytree(source, target, ignore=NOT_SHIPPED, dirs_exist_ok=True)
    table = layer / "tips" / "state" / "table.py"
    code = table.read_text()
    if code.count(_OURS) != 1:
        raise RuntimeError(f"tips.state.table makes no client by {_OURS}...)")
    table.write_text(code.replace(_OURS, _CLIENT))


def _pin(package: str) -> str:
    """Return the lines that pin a package by its hashes, as for tests."""
    lines = _PINS.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(f"{package}=="))
    last = next(number for number in range(first, len(lines)) if not lines[number].endswith("\\"))
    return "\n".join(lines[first : last + 1])
