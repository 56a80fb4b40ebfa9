"""Recorded events in files: batches as the bridge or SQS hands them over, single records, archives of one per line."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from offline.command import BadInput
from tips.ingest.handover import Headers
from tips.ingest.records import JETSTREAM_SOURCE, SQS_SOURCE

_LINES = (".jsonl", ".jsonl.gz")
_SUFFIXES = (".json", *_LINES)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One event. place: where it was recorded, for people: file:line, file#number in its batch, or stream:sequence."""

    place: str
    subject: str
    data: bytes
    timestamp: datetime
    headers: Headers = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Survey:
    """What files hold, from reading all of them once. skipped: files of a folder that hold no events."""

    files: list[Path]
    skipped: list[Path]
    subjects: Counter[str]


class NoEvents(Exception):
    """The file is in order, but holds no events; the text says what it holds instead."""


def survey(paths: Iterable[Path]) -> Survey:
    """Read everything once; raises `BadInput` naming file and line of what cannot be read, before anything is sent."""
    result = Survey([], [], Counter())
    for path in paths:
        if not path.exists():
            raise BadInput(f"{path}: there is no such file or folder")
        named = not path.is_dir()
        for file in [path] if named else sorted(one for one in path.rglob("*") if one.is_file()):
            try:
                subjects = Counter(one.subject for one in read(file))
            except NoEvents as error:
                if named:
                    raise BadInput(f"{file}: {error}") from None
                result.skipped.append(file)
                continue
            result.files.append(file)
            result.subjects.update(subjects)
    return result


def read(file: Path) -> Iterator[Recorded]:
    """Yield a file's events; raises `NoEvents` before the first, and `BadInput` naming the place."""
    name = file.name.lower()
    if not name.endswith(_SUFFIXES):
        raise NoEvents(f"is none of {', '.join(_SUFFIXES)}")
    try:
        if name.endswith(_LINES):
            yield from _lines(file)
        else:
            yield from _document(file)
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror or error}") from None


def _lines(file: Path) -> Iterator[Recorded]:
    number = 0
    try:
        with gzip.open(file, "rb") if file.name.lower().endswith(".gz") else file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if text.strip():
                    place = f"{file}:{number}"
                    yield _record(place, _json(place, text))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadInput(f"{file}:{number + 1}: the archive is damaged: {error}") from None


def _document(file: Path) -> Iterator[Recorded]:
    value = _json(str(file), file.read_bytes())
    match value:
        case {"source": str(source), "records": list(records)} if source == JETSTREAM_SOURCE:
            for number, one in enumerate(records, 1):
                yield _record(f"{file}#{number}", one)
        case {"Records": [_, *_] as messages} if all(_is_of_sqs(one) for one in messages):
            for number, one in enumerate(messages, 1):
                place = f"{file}#{number}"
                body = one.get("body")
                yield _record(
                    place, _json(place, body.encode("utf-8", "surrogatepass")) if isinstance(body, str) else None
                )
        case {"Records": [{"eventSource": "aws:dynamodb"}, *_]}:
            raise NoEvents("holds records of the table's own stream, which are no events")
        case {"subject": str(), "data": _} | {"subject": str(), "event": _}:
            yield _record(str(file), value)
        case _:
            raise NoEvents("holds no events")


def _is_of_sqs(message: object) -> bool:
    return isinstance(message, dict) and message.get("eventSource") == SQS_SOURCE


def _json(place: str, text: bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{place}: is not JSON: {error}") from None


def _record(place: str, value: object) -> Recorded:
    """Return what a record says: {subject, data: base64 or an event, or event, headers?, timestamp?, ...}."""
    if not isinstance(value, dict):
        raise BadInput(f"{place}: a record must be an object with subject and data")
    subject = value.get("subject")
    if not isinstance(subject, str) or not subject:
        raise BadInput(f"{place}: subject is missing")
    if "data" in value and "event" in value:
        raise BadInput(f"{place}: a record has either data or event")
    return Recorded(
        place,
        subject,
        _data(place, value.get("data", value.get("event"))),
        _time(place, value.get("timestamp")),
        _headers(place, value.get("headers")),
    )


def _data(place: str, data: object) -> bytes:
    if isinstance(data, dict):
        return json.dumps(data).encode()
    if not isinstance(data, str):
        raise BadInput(f"{place}: data must be base64, or the event itself")
    try:
        return base64.b64decode(data, validate=True)
    except ValueError:
        raise BadInput(f"{place}: data is not base64") from None


def _time(place: str, text: object) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        raise BadInput(f"{place}: timestamp is no ISO 8601 time") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _headers(place: str, headers: Any) -> Headers:
    if headers is None:
        return {}
    if not isinstance(headers, dict):
        raise BadInput(f"{place}: headers must be an object")
    return {
        name: [str(one) for one in value] if isinstance(value, list) else str(value) for name, value in headers.items()
    }
