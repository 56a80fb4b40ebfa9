"""The entries of a TypeScript feature registry: `{name, dtype, ttlSec, description, compute, invalidatedBy}`.

They are found from what the file exports, or registers in a call. What belongs to that and cannot be read is a problem,
never left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from offline.contracts_evaluate import Evaluator
from offline.contracts_search import Found, Search
from offline.contracts_syntax import Problem, SourceUnreadable
from offline.contracts_values import Array, At, Object, Scalar, Unknown, Value


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """One feature as the registry declares it. line: where, for one from another file where that is imported.

    dtype: None when the entry says none.
    """

    name: str
    ttl_sec: float
    invalidated_by: frozenset[str]
    dtype: str | None
    line: int


@dataclass(frozen=True, slots=True)
class Registry:
    """The entries by name. notes: what was not looked at, a line each."""

    entries: dict[str, RegistryEntry]
    notes: list[Problem]


def read_registry(path: Path) -> Registry:
    """Return the entries of a registry; raises `SourceUnreadable` with everything that is wrong with it."""
    try:
        evaluator = Evaluator(path)
        search = Search(evaluator)
        search.explore_files()
        return _Reading(search).result()
    except RecursionError:
        raise SourceUnreadable(Problem(1, 1, "is nested too deeply")) from None


class _Reading:
    """Turns what was found into entries, collecting problems."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self.problems: dict[Problem, None] = dict.fromkeys(search.problems)

    def result(self) -> Registry:
        """Return what was found; raises `SourceUnreadable`."""
        entries: dict[str, RegistryEntry] = {}
        told: dict[At, RegistryEntry] = {}
        # What is made from an entry has its name from it, and may say less of it.
        for found in sorted(self.search.found.values(), key=lambda one: not _is_whole(one.value)):
            name = found.value.fields.get("name")
            origin = name.at if isinstance(name, Scalar) else found.value.at
            first = told.get(origin)
            if first is not None and not _is_whole(found.value) and _agrees(found.value, first):
                continue
            entry = self._entry(found)
            if entry is None:
                continue
            if entry.name in entries and (first is None or replace(entry, line=first.line) != first):
                line = entries[entry.name].line
                self._problem(found.value.at, f"entry {entry.name}: is declared twice, first on line {line}")
            entries.setdefault(entry.name, entry)
            told.setdefault(origin, entry)
        notes = self.search.notes
        if not self.search.found and not self.problems:
            root = At(self.search.main, self.search.main.root)
            self.problems |= dict.fromkeys([root.problem("exports no entries {name, dtype, ttlSec, ...}"), *notes])
        if self.problems:
            raise SourceUnreadable(*sorted(self.problems))
        return Registry(entries, sorted(set(notes)))

    def _problem(self, at: At, reason: str) -> None:
        self.problems[at.problem(reason)] = None

    def _entry(self, found: Found) -> RegistryEntry | None:
        entry, key = found.value, found.key
        given = entry.fields.get("name")
        named = given.value if isinstance(given, Scalar) else None if given else key
        label = named if isinstance(named, str) else key or entry.at.code
        before = len(self.problems)
        for one in entry.unread:
            self._problem(one.at, f"entry {label}: {one.reason}")
        if len(self.problems) > before:
            return None
        if given is not None and not isinstance(given, Scalar):
            self._problem(entry.where["name"], f"entry {label}: name cannot be evaluated: {_reason(given)}")
        elif not isinstance(named, str) or not named:
            self._problem(entry.at, f"entry {label}: name must be a text")
        ttl_sec = self._known(entry, "ttlSec", label)
        seconds = ttl_sec.value if isinstance(ttl_sec, Scalar) else None
        if ttl_sec is not None and (type(seconds) is not float or seconds <= 0):
            self._problem(entry.where["ttlSec"], f"entry {label}: ttlSec must be a number above 0")
        listed = self._known(entry, "invalidatedBy", label)
        subjects = [one.value if isinstance(one, Scalar) else None for one in _items(listed)]
        if listed is not None and not all(isinstance(one, str) for one in subjects):
            self._problem(entry.where["invalidatedBy"], f"entry {label}: invalidatedBy must be texts")
        dtype = self._known(entry, "dtype", label) if "dtype" in entry.fields else None
        if len(self.problems) > before or type(seconds) is not float:
            return None
        line = entry.at.problem("").line
        told = None if not isinstance(dtype, Scalar) or dtype.value is None else str(dtype.value)
        return RegistryEntry(str(named), seconds, frozenset(map(str, subjects)), told, line)

    def _known(self, entry: Object, name: str, label: str) -> Scalar | Array | None:
        """Return a field's value; None when that is a problem."""
        value = entry.fields.get(name)
        if value is None:
            self._problem(entry.at, f"entry {label}: {name} is missing")
            return None
        unread = next((one for one in (value, *_items(value)) if not isinstance(one, Scalar | Array)), None)
        if unread is None and isinstance(value, Scalar | Array):
            return value
        reason = _reason(unread or value)
        self._problem(entry.where[name], f"entry {label}: {name} cannot be evaluated: {reason}")
        return None


def _items(value: Value | None) -> tuple[Value, ...]:
    return value.items if isinstance(value, Array) else () if value is None else (value,)


def _reason(value: Value) -> str:
    return value.reason if isinstance(value, Unknown) else f"{value.at.code} is no constant expression"


def _is_whole(entry: Object) -> bool:
    return not entry.unread and {"ttlSec", "invalidatedBy"} <= entry.fields.keys()


def _agrees(less: Object, entry: RegistryEntry) -> bool:
    ttl_sec = less.fields.get("ttlSec")
    return ttl_sec is None or (isinstance(ttl_sec, Scalar) and ttl_sec.value == entry.ttl_sec)
