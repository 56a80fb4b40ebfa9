"""The configuration's item, and its audited change.

Every change is one transaction: the item as its next version, on condition that it still is the version that was
read, and an entry of the audit trail with both documents. So versions have no gaps, each has its entry, and entries
are in the order of versions. Neither expires.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from ulid import ULID

from tips.contracts.configuration import Configuration
from tips.errors import ConfigurationUnreadable, NothingToRestore, TableUnavailable
from tips.state import keys
from tips.state.table import retrying

if TYPE_CHECKING:
    from tips.state.table import Item, Table

_EMPTY = Configuration.model_construct()  # nothing to validate, so no validator is built for it


@dataclass(frozen=True, slots=True)
class Stored:
    """The configuration and the number of changes that led to it."""

    version: int
    configuration: Configuration


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change. `before`, `after`: the documents as they were stored, JSON if nobody damaged them.

    `origin`: the version that first held the document `after`: this one, or the one that a rollback went back to.
    """

    id: str
    at: datetime
    actor: str
    command: str
    reason: str
    version_from: int
    version_to: int
    origin: int
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class _Current:
    """The item without its document being understood. `change`: id of the audit entry of its version."""

    version: int
    origin: int
    change: str
    document: str


def read_configuration(item: Item | None) -> Stored:
    """Return what the item holds; no item is version 0, the empty configuration. Raises `ConfigurationUnreadable`."""
    if item is None:
        return Stored(0, _EMPTY)
    current = _current(item)
    return Stored(current.version, _parsed(current.document, current.version))


def change(
    table: Table,
    edit: Callable[[Configuration], Configuration],
    *,
    command: str,
    actor: str,
    reason: str,
    deadline_ms: float,
) -> Stored:
    """Replace the configuration by what `edit` makes of it; `edit` is called again when somebody else was faster.

    An edit that changes nothing makes no version. Raises `TableUnavailable` (`ambiguous`: it may have been made all the
    same), `ConfigurationUnreadable` and whatever `edit` raises.
    """

    def edited(_: Table, current: _Current) -> tuple[Configuration, int]:
        return edit(_parsed(current.document, current.version)), current.version + 1

    return _Change(edited, command, actor, reason).carried_out(table, deadline_ms)


def rollback(
    table: Table,
    check: Callable[[Configuration], object],
    *,
    to: int | None = None,
    command: str,
    actor: str,
    reason: str,
    deadline_ms: float,
) -> Stored:
    """Restore the configuration that was in force before the last change, or that of version `to`, as a new version.

    A rollback counts as being back at the version it restores, so the next one goes on to the version before that, and
    never forward to what was just left. The present document need not be readable. `check` may raise to refuse what
    would be restored. Raises `NothingToRestore`, `ConfigurationUnreadable` and `TableUnavailable`.
    """

    def restored(bounded: Table, current: _Current) -> tuple[Configuration, int]:
        if to is not None:
            document, version, origin = _document_of(bounded, to, current)
        else:
            document, version, origin = _document_before(bounded, current)
        configuration = _parsed(document, version)
        check(configuration)
        return configuration, origin

    return _Change(restored, command, actor, reason).carried_out(table, deadline_ms)


def history(table: Table, limit: int) -> list[AuditEntry]:
    """Return the last changes, newest first."""
    return list(_trail(table, limit))


class _Change:
    """One change through all its attempts, of which at most one is carried out."""

    def __init__(
        self,
        make: Callable[[Table, _Current], tuple[Configuration, int]],
        command: str,
        actor: str,
        reason: str,
    ) -> None:
        self._make = make
        self._said = {"command": {"S": command}, "actor": {"S": actor}, "reason": {"S": reason}}
        self._tried: list[str] = []
        self._in_doubt = False

    def carried_out(self, table: Table, deadline_ms: float) -> Stored:
        try:
            return retrying(table, deadline_ms, self._attempt)
        except TableUnavailable as error:
            # The last fault says nothing of the attempts before it.
            error.ambiguous = error.ambiguous or self._in_doubt
            raise

    def _attempt(self, table: Table, ambiguous: bool) -> Stored:
        self._in_doubt = ambiguous
        item = table.get(*keys.CONFIGURATION)
        # Asked after the item was read: an earlier attempt that is carried out only now fails this one's condition.
        if ambiguous and (done := self._already_done(table)) is not None:
            return done
        current = _current(item)
        configuration, origin = self._make(table, current)
        document = configuration.model_dump_json()
        if document == current.document:
            return Stored(current.version, configuration)
        entry_id = id_after(current.change)
        self._tried.append(entry_id)
        version = current.version + 1
        present = {
            "version": {"N": str(version)},
            "origin": {"N": str(origin)},
            "change": {"S": entry_id},
            "document": {"S": document},
        }
        entry = {
            "pk": {"S": keys.AUDIT},
            "sk": {"S": entry_id},
            "at": {"S": datetime.now(UTC).isoformat(timespec="milliseconds")},
            **self._said,
            "version_from": {"N": str(current.version)},
            "version_to": {"N": str(version)},
            "origin": {"N": str(origin)},
            "before": {"S": current.document},
            "after": {"S": document},
        }
        pk, sk = keys.CONFIGURATION
        put: dict[str, Any] = {"Item": {"pk": {"S": pk}, "sk": {"S": sk}, **present}}
        if current.version == 0:
            put["ConditionExpression"] = "attribute_not_exists(pk)"
        else:
            put["ConditionExpression"] = "version = :version"
            put["ExpressionAttributeValues"] = {":version": {"N": str(current.version)}}
        table.transact([{"Put": put}, {"Put": {"Item": entry}}])
        return Stored(version, configuration)

    def _already_done(self, table: Table) -> Stored | None:
        """Return what an earlier attempt wrote although it reported a fault.

        The entry tells, and not the item, which somebody may have changed since.
        """
        for item in table.get_all([(keys.AUDIT, entry_id) for entry_id in self._tried]):
            if item is not None:
                entry = _entry(item)
                return Stored(entry.version_to, _parsed(entry.after, entry.version_to))
        return None


def id_after(last: str) -> str:
    """Return a new ULID that sorts behind `last`, even if that came from a clock ahead of this one."""
    fresh = ULID()
    if str(fresh) <= last:
        next_millisecond = int.from_bytes(ULID.from_str(last).bytes[:6], "big") + 1
        # Two writers that add to the same `last` must not come to the same id.
        fresh = ULID.from_bytes(next_millisecond.to_bytes(6, "big") + fresh.bytes[6:])
    return str(fresh)


def _current(item: Item | None) -> _Current:
    if item is None:
        return _Current(0, 0, "", _EMPTY.model_dump_json())
    try:
        version, origin = int(item["version"]["N"]), int(item["origin"]["N"])
        change = str(ULID.from_str(item["change"]["S"]))
        document = item["document"]["S"]
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationUnreadable(
            f"the item {'/'.join(keys.CONFIGURATION)} has no usable version, origin, change or document"
        ) from error
    return _Current(version, origin, change, document)


def _parsed(document: str, version: int) -> Configuration:
    try:
        return Configuration.model_validate_json(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise ConfigurationUnreadable(f"version {version} is damaged: {place}: {first['msg']}") from error


def _document_of(table: Table, version: int, current: _Current) -> tuple[str, int, int]:
    """Return the version's document, the version, and its origin."""
    if version == 0:
        return _EMPTY.model_dump_json(), 0, 0
    entry = _entry_of(table, version, current)
    return entry.after, version, entry.origin


def _document_before(table: Table, current: _Current) -> tuple[str, int, int]:
    if current.origin == 0:
        raise NothingToRestore("there is no earlier configuration to go back to")
    made = _entry_of(table, current.origin, current)
    return _document_of(table, made.version_from, current)


def _entry_of(table: Table, version: int, current: _Current) -> AuditEntry:
    for entry in _trail(table, current.version):
        if entry.version_to == version:
            return entry
    raise NothingToRestore(f"there is no version {version} in the audit trail; the last is {current.version}")


def _trail(table: Table, limit: int) -> Iterator[AuditEntry]:
    return map(_entry, table.query(keys.AUDIT, "0", "~", limit=limit))


def _entry(item: Item) -> AuditEntry:
    return AuditEntry(
        id=item["sk"]["S"],
        at=datetime.fromisoformat(item["at"]["S"]),
        actor=item["actor"]["S"],
        command=item["command"]["S"],
        reason=item["reason"]["S"],
        version_from=int(item["version_from"]["N"]),
        version_to=int(item["version_to"]["N"]),
        origin=int(item["origin"]["N"]),
        before=item["before"]["S"],
        after=item["after"]["S"],
    )
