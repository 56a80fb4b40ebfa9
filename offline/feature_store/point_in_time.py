"""Reads what DynamoDB's point-in-time export writes, checked against its manifests."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from offline.command import BadInput

_SUMMARY = "manifest-summary.json"
_FILES = "manifest-files.json"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN = 5


class Files(Protocol):
    """Files of one place, by their paths in it."""

    def summaries(self) -> list[str]:
        """Return the paths of all exports' summaries at or below the place."""

    def open(self, path: str) -> BinaryIO:
        """Raises `FileNotFoundError`."""


class LocalFiles:
    """A folder; paths are the file system's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def summaries(self) -> list[str]:
        return sorted(map(str, self._folder.rglob(_SUMMARY)))

    def open(self, path: str) -> BinaryIO:
        return Path(path).open("rb")


class S3Files:
    """A bucket's objects below a prefix; paths are their keys. Credentials and endpoint are found as AWS's tools do."""

    def __init__(self, bucket: str, prefix: str, region: str) -> None:
        self._bucket = bucket
        self._prefix = prefix.strip("/")
        self._client: Any = Session().create_client("s3", region_name=region)

    def summaries(self) -> list[str]:
        inside = f"{self._prefix}/" if self._prefix else ""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=inside)
        found = (one["Key"] for page in pages for one in page.get("Contents", ()))
        return [key for key in found if PurePosixPath(key).name == _SUMMARY]

    def open(self, path: str) -> BinaryIO:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=path)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                raise FileNotFoundError(path) from None
            raise
        body: BinaryIO = answer["Body"]
        return body


@dataclass(frozen=True)
class PointInTimeExport:
    """One export, full or incremental. from_us, to_us: what it covers, microseconds since 1970, the end excluded."""

    place: str
    files: Files
    folder: PurePosixPath
    incremental: bool
    from_us: int
    to_us: int
    item_count: int

    def __str__(self) -> str:
        return self.place

    @classmethod
    def at(cls, place: str, region: str) -> PointInTimeExport:
        """Find the export at a local path or at `s3://bucket/prefix`.

        The place is its own folder, or one above it that holds no other. Raises `BadInput`.
        """
        files = _files(place, region)
        try:
            found = files.summaries()
            if not found:
                raise BadInput(f"--from: in {place} there is no {_SUMMARY}: no export, or one that has not ended")
            if len(found) > 1:
                names = ", ".join(PurePosixPath(path).parent.name for path in found[:_SHOWN])
                raise BadInput(f"--from: {place} holds {len(found)} exports; name one of {names}")
            with closing(files.open(found[0])) as file:
                return cls._of(json.load(file), place, files, PurePosixPath(found[0]).parent)
        except (OSError, BotoCoreError, ClientError) as error:
            raise BadInput(f"--from: {place} cannot be read: {error}") from None
        except (LookupError, ValueError, TypeError) as error:
            raise BadInput(f"--from: {_SUMMARY} of {place} cannot be understood: {error!r}") from None

    @classmethod
    def _of(cls, summary: Mapping[str, Any], place: str, files: Files, folder: PurePosixPath) -> PointInTimeExport:
        if summary["outputFormat"] != "DYNAMODB_JSON":
            raise BadInput(f"--from: {place} is in the format {summary['outputFormat']}: export as DYNAMODB_JSON")
        incremental = summary.get("exportType") == "INCREMENTAL_EXPORT"
        to_us = _microseconds(summary["exportToTime" if incremental else "exportTime"])
        from_us = _microseconds(summary["exportFromTime"]) if incremental else 0
        return cls(place, files, folder, incremental, from_us, to_us, int(summary["itemCount"]))

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of all data files; raises `BadInput` that names a file that is missing, short or damaged."""
        total = 0
        for entry in self._listed():
            for record in self._of_file(entry):
                total += 1
                yield record
        if total != self.item_count:
            raise BadInput(f"--from: {self.place} holds {total} items, and its summary says {self.item_count}")

    def _listed(self) -> list[dict[str, Any]]:
        try:
            with closing(self.files.open(str(self.folder / _FILES))) as file:
                return [json.loads(line) for line in file.read().splitlines() if line.strip()]
        except (OSError, BotoCoreError, ClientError, ValueError) as error:
            raise BadInput(f"--from: {self.folder / _FILES} cannot be read: {error}") from None

    def _of_file(self, entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        name = PurePosixPath(entry["dataFileS3Key"]).name
        count = 0
        try:
            with closing(self._opened(name)) as file, _Hashed(file) as hashed, gzip.open(hashed) as lines:
                for line in lines:
                    record = json.loads(line)
                    if not self._is_whole(record):
                        raise ValueError("a record without the parts of one, or not of this service's table")
                    count += 1
                    yield record
            if count != entry["itemCount"]:
                raise ValueError(f"it holds {count} items, and its manifest says {entry['itemCount']}")
            if (expected := entry.get("md5Checksum")) and hashed.base64() != expected:
                raise ValueError("its MD5 checksum is not the manifest's")
        except (OSError, EOFError, zlib.error, BotoCoreError, ClientError, ValueError) as error:
            raise BadInput(f"--from: data file {name} of {self.place}: {error}") from None

    def _opened(self, name: str) -> BinaryIO:
        """Open a data file. Those of a full export lie in its own folder, of incremental ones in one for all."""
        try:
            return self.files.open(str(self.folder / "data" / name))
        except FileNotFoundError:
            return self.files.open(str(self.folder.parent / "data" / name))

    def _is_whole(self, record: object) -> bool:
        if not isinstance(record, dict):
            return False
        key = record.get("Keys" if self.incremental else "Item")
        return isinstance(key, dict) and "pk" in key and "sk" in key and (not self.incremental or "Metadata" in record)


class _Hashed(io.RawIOBase):
    """A stream that knows the MD5 of what was read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._md5 = hashlib.md5(usedforsecurity=False)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._md5.update(data)
        return data

    def base64(self) -> str:
        return base64.b64encode(self._md5.digest()).decode()


def _files(place: str, region: str) -> Files:
    if not place.startswith("s3://"):
        return LocalFiles(Path(place))
    address = urlsplit(place)
    return S3Files(address.netloc, address.path, region)


def _microseconds(at: str) -> int:
    return (datetime.fromisoformat(at) - _EPOCH) // timedelta(microseconds=1)
