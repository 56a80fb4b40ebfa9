"""The shipped bytecode is used as it is; what would keep Lambda from using it is found and named."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import shutil
from pathlib import Path

import pytest

from scripts.artifacts import ARTIFACTS, LAYER, faults, mounted_at, packages
from scripts.build_artifact import FIXED_TIME
from tests.built import built

pytestmark = pytest.mark.build

MODULE = Path("tips", "settings.py")
MODULE_FOLDER = MODULE.parent


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_all_bytecode_is_that_of_its_source_and_nothing_changed_after(artifact: str) -> None:
    folder = packages(built(), artifact)
    assert len(list(folder.rglob("*.pyc"))) > 50
    assert faults(folder, mounted_at(artifact)) == []


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A part of the layer that faults can be put into."""
    folder = tmp_path / "python"
    shutil.copytree(packages(built(), LAYER) / MODULE_FOLDER, folder / MODULE_FOLDER)
    os.utime(folder, (FIXED_TIME, FIXED_TIME))
    assert faults(folder, mounted_at(LAYER)) == []
    return folder


def found(copy: Path) -> list[str]:
    return faults(copy, mounted_at(LAYER))


def bytecode_of(source: Path) -> Path:
    return Path(importlib.util.cache_from_source(str(source)))


def write(path: Path, content: bytes) -> None:
    """Write, and leave the times as the build does: what is found then is found by the content."""
    path.write_bytes(content)
    for changed in (path, path.parent):
        os.utime(changed, (FIXED_TIME, FIXED_TIME))


def test_a_source_that_was_edited_is_found(copy: Path) -> None:
    write(copy / MODULE, (copy / MODULE).read_bytes() + b"\n")
    assert found(copy) == [f"{MODULE}: bytecode of another source"]


def test_a_file_that_was_touched_is_found(copy: Path) -> None:
    (copy / MODULE).touch()
    assert found(copy) == [f"{MODULE}: changed after the build"]


def test_bytecode_that_is_checked_against_times_is_found(copy: Path) -> None:
    compiled = bytecode_of(copy / MODULE)
    py_compile.compile(
        str(copy / MODULE),
        dfile=f"{mounted_at(LAYER)}/{MODULE}",
        doraise=True,
        invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP,
    )
    write(compiled, compiled.read_bytes())
    assert found(copy) == [f"{MODULE}: bytecode that is checked against its source"]


def test_bytecode_that_is_checked_against_its_source_is_found(copy: Path) -> None:
    compiled = bytecode_of(copy / MODULE)
    content = compiled.read_bytes()
    write(compiled, content[:4] + (0b11).to_bytes(4, "little") + content[8:])
    assert found(copy) == [f"{MODULE}: bytecode that is checked against its source"]


def test_bytecode_for_another_python_is_found(copy: Path) -> None:
    compiled = bytecode_of(copy / MODULE)
    other = (int.from_bytes(importlib.util.MAGIC_NUMBER[:2], "little") - 60).to_bytes(2, "little")
    write(compiled, other + compiled.read_bytes()[2:])
    assert found(copy) == [f"{MODULE}: bytecode for another Python"]


def test_bytecode_that_names_the_building_machines_path_is_found(copy: Path) -> None:
    compiled = bytecode_of(copy / MODULE)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(copy / MODULE), doraise=True, invalidation_mode=mode)
    write(compiled, compiled.read_bytes())
    assert found(copy) == [f"{MODULE}: bytecode that names {copy / MODULE}"]


def test_missing_bytecode_is_found(copy: Path) -> None:
    compiled = bytecode_of(copy / MODULE)
    compiled.unlink()
    os.utime(compiled.parent, (FIXED_TIME, FIXED_TIME))
    assert found(copy) == [f"{MODULE}: no bytecode"]


def test_bytecode_without_its_source_is_found(copy: Path) -> None:
    (copy / MODULE).unlink()
    os.utime(copy / MODULE_FOLDER, (FIXED_TIME, FIXED_TIME))
    stray = bytecode_of(MODULE)
    assert found(copy) == [f"{stray}: bytecode without its source, or for another Python"]
