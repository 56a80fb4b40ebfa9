"""Writes an export: items become rows, rows are spilled by day, and each day is sorted and written as Parquet."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic_core import to_json

from offline.command import BadInput
from offline.feature_store.rows import AsOf, Row, Unreadable, rows_of
from offline.feature_store.schema import BY_DAY, FORMAT, MANIFEST, SCHEMAS, SORTED_BY

if TYPE_CHECKING:
    from offline.feature_store.sources import Source
    from tips.state.table import Item

_BUFFERED = 4000
"""Rows held in memory before they are spilled."""
_GROUP = 5000
"""Rows of a Parquet row group."""
_DIGEST = "_digest"
_US = 1_000_000

Progress = Callable[[str, int], None]
"""Told what is being done, and how much of it so far."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an export says of itself. data_hash: of its content, whatever the order in which it was read."""

    exported_at: str
    as_of: str
    source: str
    data_hash: str
    decisions: int
    people: int
    erased_left_out: int
    unreadable: int
    default_reward: float
    format: int = FORMAT


def export(source: Source, folder: Path, default_reward: float, progress: Progress) -> Manifest:
    """Write what the source holds to the folder, in place of an export that is there.

    It is written beside the folder and takes its place at the end: whatever fails before leaves what there was.
    Raises `BadInput` where the folder holds something else, and what the source raises.
    """
    folder = folder.absolute()
    partial, before = (folder.with_name(f".{folder.name}.{what}") for what in ("partial", "before"))
    if before.exists():
        # An earlier export ended between its last two steps.
        shutil.rmtree(before) if folder.exists() else before.rename(folder)
    _check_replaceable(folder)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        manifest = _written(source, partial, default_reward, progress)
        if folder.exists():
            folder.rename(before)
        partial.rename(folder)
        shutil.rmtree(before, ignore_errors=True)
    except OSError as error:
        raise BadInput(f"--to: {folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _check_replaceable(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"--to: {folder} is no folder")
    if folder.exists() and any(folder.iterdir()) and not is_export(folder):
        raise BadInput(f"--to: {folder} holds something else than an export; name an empty folder, or a new one")


def is_export(folder: Path) -> bool:
    """Return whether the folder holds an export, of whatever format."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and {"format", "data_hash"} <= manifest.keys()


def _written(source: Source, folder: Path, default_reward: float, progress: Progress) -> Manifest:
    now_us = time.time_ns() // 1000
    as_of = AsOf(source.as_of_us, default_reward)
    spill = _Spill(folder / ".spill")
    unreadable = number = 0
    for number, item in enumerate(source.items(), 1):
        if not _expired(item, now_us // _US):
            try:
                for row in rows_of(item, as_of):
                    spill.add(row)
            except Unreadable:
                unreadable += 1
        if number % 500 == 0:
            progress("items read", number)
    progress("items read", number)
    spill.flush()
    # Asked only now: somebody may have been erased while the items were read.
    erased = source.erased(sorted(spill.people))
    content = hashlib.sha256()
    decisions = 0
    for done, (name, day) in enumerate(spill.parts(), 1):
        table = spill.sorted_part(name, day, erased)
        content.update(f"{name} {table.num_rows}\n".encode())
        for digest in table.column(_DIGEST).to_pylist():
            content.update(digest)
        decisions += table.num_rows if name == "decisions" else 0
        if table.num_rows or name not in BY_DAY:
            _write_part(table.drop_columns([_DIGEST]), folder / name / (f"dt={day}" if day else ""))
        progress("parts written", done)
    spill.close()
    manifest = Manifest(
        exported_at=_iso(now_us),
        as_of=_iso(source.as_of_us),
        source=source.name,
        data_hash=content.hexdigest(),
        decisions=decisions,
        people=len(spill.people - erased),
        erased_left_out=len(erased),
        unreadable=unreadable + spill.unreadable,
        default_reward=default_reward,
    )
    (folder / MANIFEST).write_text(json.dumps(asdict(manifest), indent=2) + "\n", encoding="utf-8")
    return manifest


def _expired(item: Item, now_sec: int) -> bool:
    """Whether its time is over: TTL removes items days late, and no reader sees them any more."""
    return "ttl" in item and int(item["ttl"]["N"]) <= now_sec


def _write_part(table: Any, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "part-0.parquet", compression="zstd", row_group_size=_GROUP)


def _iso(at_us: int) -> str:
    return datetime.fromtimestamp(at_us // _US, UTC).isoformat()


class _Spill:
    """Rows on their way, in one file per table and day. Each has a digest of its content, made as it comes in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir()
        self._rows: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        self._buffered = 0
        self._writers: dict[tuple[str, str], Any] = {}
        self._schemas = {name: schema.append(pa.field(_DIGEST, pa.binary(32))) for name, schema in SCHEMAS.items()}
        self.people: set[str] = set()
        self.unreadable = 0

    def add(self, row: Row) -> None:
        self._rows[row.table, row.day].append({**row.values, _DIGEST: _digest(row.values)})
        self._buffered += 1
        if self._buffered >= _BUFFERED:
            self.flush()

    def flush(self) -> None:
        for part, rows in self._rows.items():
            batch = self._batch(self._schemas[part[0]], rows)
            if "user_id" in batch.schema.names:
                self.people.update(batch.column("user_id").to_pylist())
            if part not in self._writers:
                self._writers[part] = pa.ipc.new_stream(str(self._path(part)), batch.schema)
            self._writers[part].write_table(batch)
        self._rows.clear()
        self._buffered = 0

    def parts(self) -> list[tuple[str, str]]:
        """Return all tables and days in their order; of a table that is not by day, `day` is empty."""
        for part in self._writers.values():
            part.close()
        days = set(self._writers) | {(name, "") for name in SCHEMAS if name not in BY_DAY}
        order = list(SCHEMAS)
        return sorted(days, key=lambda part: (order.index(part[0]), part[1]))

    def sorted_part(self, name: str, day: str, erased: Collection[str]) -> Any:
        """Return one part without those erased."""
        schema = self._schemas[name]
        table = schema.empty_table()
        if (name, day) in self._writers:
            with pa.ipc.open_stream(str(self._path((name, day)))) as stream:
                table = stream.read_all()
        if erased and "user_id" in schema.names:
            gone = pc.is_in(table.column("user_id"), value_set=pa.array(sorted(erased), pa.string()))
            table = table.filter(pc.invert(gone))
        order = [(column, "ascending") for column in (*SORTED_BY[name], _DIGEST)]
        return table.take(pc.sort_indices(table, sort_keys=order))

    def close(self) -> None:
        shutil.rmtree(self._folder)

    def _path(self, part: tuple[str, str]) -> Path:
        return self._folder / f"{'-'.join(part)}.arrow"

    def _batch(self, schema: Any, rows: list[dict[str, Any]]) -> Any:
        try:
            return pa.Table.from_pylist(rows, schema=schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            # One row of a damaged item would keep all others out.
            return pa.concat_tables([self._alone(schema, row) for row in rows])

    def _alone(self, schema: Any, row: dict[str, Any]) -> Any:
        try:
            return pa.Table.from_pylist([row], schema=schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            self.unreadable += 1
            return schema.empty_table()


def _digest(values: Mapping[str, Any]) -> bytes:
    return hashlib.sha256(to_json(values, bytes_mode="base64")).digest()
