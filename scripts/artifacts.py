"""What `make build` leaves: where each artifact lies, and what can be wrong with one."""

from __future__ import annotations

import importlib.util
import marshal
from collections.abc import Iterator
from pathlib import Path

from scripts.build_artifact import FIXED_TIME

FUNCTIONS = ("ScoreFunction", "GenerateFunction", "ConsumeFunction")
LAYER = "SharedLayer"
ARTIFACTS = (*FUNCTIONS, LAYER)

_UNCHECKED_HASH = 0b01
_HEADER = 16
"""Bytes: magic number, flags, hash of the source."""
_MACHINES = {62: "x86_64", 183: "arm64"}
"""ELF's `e_machine`, as Lambda calls it."""


def packages(build: Path, artifact: str) -> Path:
    """Return the folder of an artifact's modules."""
    return build / artifact / "python" if artifact == LAYER else build / artifact


def mounted_at(artifact: str) -> str:
    """Return where Lambda puts what `packages` names."""
    return "/opt/python" if artifact == LAYER else "/var/task"


def processors(build: Path) -> set[str]:
    """Return the processors that the native code of all artifacts is for, by Lambda's names."""
    machines = set()
    for artifact in ARTIFACTS:
        for path in (build / artifact).rglob("*"):
            if path.is_file() and ".so" in path.suffixes:
                with path.open("rb") as file:
                    head = file.read(20)
                machine = int.from_bytes(head[18:20], "little")
                machines.add(_MACHINES.get(machine, f"machine {machine}") if head[:4] == b"\x7fELF" else path.name)
    return machines


def faults(folder: Path, mounted: str) -> list[str]:
    """Return what keeps Lambda from using the bytecode in `folder` as it is, or would make two builds differ.

    To be called in the runtime's own minor version of Python. Each fault names its file.
    """
    return [*_bytecode_faults(folder, mounted), *_time_faults(folder)]


def _bytecode_faults(folder: Path, mounted: str) -> Iterator[str]:
    sources = {Path(importlib.util.cache_from_source(str(path))): path for path in folder.rglob("*.py")}
    for stray in sorted(set(folder.rglob("*.pyc")) - sources.keys()):
        yield f"{stray.relative_to(folder)}: bytecode without its source, or for another Python"
    for compiled, source in sorted(sources.items()):
        name = source.relative_to(folder)
        if not compiled.is_file():
            yield f"{name}: no bytecode"
            continue
        bytecode = compiled.read_bytes()
        if bytecode[:4] != importlib.util.MAGIC_NUMBER:
            yield f"{name}: bytecode for another Python"
        elif int.from_bytes(bytecode[4:8], "little") != _UNCHECKED_HASH:
            yield f"{name}: bytecode that is checked against its source"
        elif bytecode[8:_HEADER] != importlib.util.source_hash(source.read_bytes()):
            yield f"{name}: bytecode of another source"
        elif (built_at := _file_name(bytecode)) != f"{mounted}/{name}":
            yield f"{name}: bytecode that names {built_at}"


def _file_name(bytecode: bytes) -> str:
    return str(marshal.loads(bytecode[_HEADER:]).co_filename)  # noqa: S302 (of our own build)


def _time_faults(folder: Path) -> Iterator[str]:
    for path in (folder, *sorted(folder.rglob("*"))):
        if path.lstat().st_mtime != FIXED_TIME:
            yield f"{path.relative_to(folder)}: changed after the build"
