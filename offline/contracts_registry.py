"""The entries of a TypeScript feature registry: `{name, dtype, ttlSec, description, compute, invalidatedBy}`.

They are found from what the file exports, or registers in a call: an array, an object or a Map of entries, one call per
entry, static fields of a class.
What belongs to that and cannot be read is a problem, never left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from tree_sitter import Node

from offline.contracts_source import Source, Value, read_source
from offline.contracts_syntax import NotEvaluable, Problem, SourceUnreadable, child, parts, shortened, text

_FIELDS = {"name", "dtype", "ttlSec", "description", "compute", "invalidatedBy"}
_TELLING = {"ttlSec", "compute", "invalidatedBy"}
"""Many objects have a name and a description; an entry has one of these as well."""


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """One feature as the registry declares it. line: where. dtype: None when the entry says none."""

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


class _Holds(IntEnum):
    NOTHING = 0
    ENTRY = 1
    ENTRIES = 2


def read_registry(path: Path) -> Registry:
    """Return the entries of a registry; raises `SourceUnreadable` with everything that is wrong with it."""
    try:
        source = read_source(path)
        search = _Search(source)
        for root in _roots(source, search.notes):
            search.explore(root, top=True)
        return search.result()
    except NotEvaluable as error:
        raise SourceUnreadable(source.problem(error.node, error.reason)) from None
    except RecursionError:
        raise SourceUnreadable(Problem(1, 1, "is nested too deeply")) from None


def _roots(source: Source, notes: list[Problem]) -> list[Node]:
    """Return the expressions that the file exports, and the calls that it makes; without exports all its constants."""
    exported: list[Node] = []
    called: list[Node] = []
    for statement in parts(source.root):
        if statement.type == "export_statement":
            exported += _exported(source, statement, notes)
        elif statement.type == "expression_statement":
            expression = parts(statement)[0]
            if expression.type == "assignment_expression":
                exported.append(child(expression, "right"))
            else:
                called.append(expression)
        elif statement.type == "lexical_declaration":
            # A call may register what it is given, whether or not anybody uses its result.
            called += [value for value in _values(statement) if value.type == "call_expression"]
    return (exported or list(source.constants.values())) + called


def _exported(source: Source, statement: Node, notes: list[Problem]) -> list[Node]:
    declared = statement.child_by_field_name("declaration")
    if declared is not None:
        return _values(declared) + _static_fields(declared)
    value = statement.child_by_field_name("value")
    if value is not None:
        return _static_fields(value) or [value]
    if any(one.type == "type" for one in statement.children):
        return []
    origin = statement.child_by_field_name("source")
    if origin is not None:
        notes.append(source.problem(statement, f"what {text(origin)} exports is not looked at"))
        return []
    names: list[Node] = []
    for part in parts(statement):
        if part.type == "export_clause":
            names += [
                child(one, "name") for one in parts(part) if not any(kind.type == "type" for kind in one.children)
            ]
        else:
            names.append(part)  # export = registry
    # A function, a class or a type has no value here; what is imported is noted when it is explored.
    return [one for one in names if text(one) in source.constants or text(one) in source.unknown]


def _values(declaration: Node) -> list[Node]:
    if declaration.type not in ("lexical_declaration", "variable_declaration"):
        return []
    found = [one.child_by_field_name("value") for one in parts(declaration)]
    return [one for one in found if one is not None]


def _static_fields(declaration: Node) -> list[Node]:
    """Return the values of a class's static fields."""
    if declaration.type not in ("class_declaration", "abstract_class_declaration", "class"):
        return []
    fields = [one for one in parts(child(declaration, "body")) if one.type == "public_field_definition"]
    static = [one for one in fields if any(part.type == "static" for part in one.children)]
    return [value for one in static if (value := one.child_by_field_name("value")) is not None]


@dataclass
class _Search:
    """Goes through expressions, collecting entries. doubtful: entries within what could not be followed, and where."""

    source: Source
    found: dict[int, tuple[Node, str | None]] = field(default_factory=dict)
    doubtful: dict[int, Node] = field(default_factory=dict)
    problems: dict[Problem, None] = field(default_factory=dict)
    notes: list[Problem] = field(default_factory=list)

    def explore(self, node: Node, key: str | None = None, *, top: bool = False) -> _Holds:
        """Collect the entries of an expression. key: under which an object holds it."""
        try:
            value = self.source.resolve(node)
        except NotEvaluable as error:
            if error.imported:
                self.notes.append(self.source.problem(error.node, error.reason + ", which is not looked at"))
            self._doubt(node, node)
            return _Holds.NOTHING
        match value.type:
            case "object":
                keys = self._keys(value)
                if keys & _TELLING and len(keys & _FIELDS) > 1:
                    if top and "name" not in keys:  # what entries share, to be spread into them
                        return _Holds.NOTHING
                    self.found.setdefault(value.start_byte, (value, key))
                    return _Holds.ENTRY
                return self._explore_object(value)
            case "array":
                return self._explore_all([(one, None) for one in parts(value)], least=_Holds.ENTRY)
            case "new_expression" if text(child(value, "constructor")) in ("Map", "ReadonlyMap"):
                return self._explore_map(value)
            case "call_expression" | "new_expression":
                return self._explore_call(value)
            case "arrow_function" | "function_expression" | "method_definition" | "class" | "enum_declaration":
                return _Holds.NOTHING
        self._doubt(value, value)
        return _Holds.NOTHING

    def _keys(self, node: Node) -> set[str]:
        try:
            return set(self.source.properties(node))
        except NotEvaluable:
            pairs = [one for one in parts(node) if one.type == "pair"]
            return {text(child(one, "key")).strip("\"'") for one in pairs}

    def _explore_object(self, node: Node) -> _Holds:
        try:
            values = self.source.properties(node)
        except NotEvaluable as error:
            holds = [self.explore(child(one, "value")) for one in parts(node) if one.type == "pair"]
            if any(holds):
                self.problems[self.source.problem(error.node, error.reason)] = None
            return _Holds.ENTRIES if any(holds) else _Holds.NOTHING
        # Beside a list of entries an object may hold anything; beside an entry only entries.
        return self._explore_all([(value, key) for key, value in values.items()], least=_Holds.ENTRIES)

    def _explore_all(self, nodes: list[tuple[Node, str | None]], least: _Holds) -> _Holds:
        """Explore what one array or object holds; if that has entries, all of it must."""
        holds = [(node, self._explore_part(node, key)) for node, key in nodes]
        if not any(one for _, one in holds):
            return _Holds.NOTHING
        if least is _Holds.ENTRY or any(one is _Holds.ENTRY for _, one in holds):
            for node, one in holds:
                if one is _Holds.NOTHING:
                    self._not_an_entry(node)
        return _Holds.ENTRIES

    def _explore_part(self, node: Node, key: str | None) -> _Holds | None:
        """Return what an element holds; None for a spread that is empty."""
        if node.type != "spread_element":
            return self.explore(node, key)
        (inner,) = parts(node)
        holds = self.explore(inner)
        if holds is _Holds.NOTHING:
            try:
                resolved = self.source.resolve(inner)
            except NotEvaluable:
                return holds
            if resolved.type == "array" and not parts(resolved):
                return None
        return holds

    def _not_an_entry(self, node: Node) -> None:
        inner = parts(node)[0] if node.type == "spread_element" else node
        try:
            resolved = self.source.resolve(inner)
            problem = self.source.problem(node, f"{shortened(resolved)} cannot be read as an entry")
        except NotEvaluable as error:
            problem = self.source.problem(node, f"{shortened(node)} cannot be read as an entry: {error.reason}")
        self.problems[problem] = None

    def _explore_map(self, node: Node) -> _Holds:
        """Collect from the pairs that a Map is made of; what is set later are calls of their own."""
        arguments = node.child_by_field_name("arguments")
        given = [] if arguments is None else parts(arguments)
        if not given:
            return _Holds.NOTHING
        try:
            pairs = self.source.resolve(given[0])
        except NotEvaluable:
            pairs = given[0]
        if pairs.type != "array":
            return self.explore(given[0])
        nodes: list[tuple[Node, str | None]] = []
        for one in parts(pairs):
            pair = parts(one) if one.type == "array" else []
            nodes.append((pair[1], self._text(pair[0])) if len(pair) == 2 else (one, None))
        return self._explore_all(nodes, least=_Holds.ENTRY)

    def _text(self, node: Node) -> str | None:
        try:
            value = self.source.evaluate(node)
        except NotEvaluable:
            return None
        return value if isinstance(value, str) else None

    def _explore_call(self, node: Node) -> _Holds:
        """Collect from what a call is given: it defines that, or passes it on."""
        called = node.child_by_field_name("function")
        holds = _Holds.NOTHING
        if called is not None and called.type == "member_expression":
            receiver = child(called, "object")
            if receiver.type == "call_expression":
                holds = self.explore(receiver)  # define({...}).define({...})
            else:
                self._doubt(receiver, node)  # FEATURES.filter(...)
        arguments = node.child_by_field_name("arguments")
        values = [] if arguments is None else parts(arguments)
        if len(values) == 2 and called is not None and text(called).endswith(".set"):
            return self.explore(values[1], self._text(values[0]))  # of a Map
        given = [self.explore(one) for one in values]
        if any(given) and not (len(given) == 1 and given[0] is _Holds.ENTRY):
            return _Holds.ENTRIES
        return max(holds, *given) if given else holds

    def _doubt(self, node: Node, where: Node, followed: frozenset[str] = frozenset()) -> None:
        """Remember the entries within something whose value is not known."""
        if node.type in ("arrow_function", "function_expression", "method_definition"):
            return
        if node.type == "identifier":
            name = text(node)
            if name in self.source.constants and name not in followed:
                self._doubt(self.source.constants[name], where, followed | {name})
        elif node.type == "object" and len(self._keys(node) & _FIELDS) > 1 and self._keys(node) & _TELLING:
            self.doubtful.setdefault(node.start_byte, where)
        else:
            for part in parts(node):
                self._doubt(part, where, followed)

    def result(self) -> Registry:
        """Return what was found; raises `SourceUnreadable`."""
        entries: dict[str, RegistryEntry] = {}
        for node, key in self.found.values():
            entry = self._entry(node, key)
            if entry is None:
                continue
            if entry.name in entries:
                first = entries[entry.name].line
                self._problem(node, f"entry {entry.name}: is declared twice, first on line {first}")
            entries.setdefault(entry.name, entry)
        for start, where in self.doubtful.items():
            if start not in self.found:
                self._problem(where, f"the entries in {shortened(where)} cannot be read")
        if not self.found and not self.problems:
            self._problem(self.source.root, "exports no entries {name, dtype, ttlSec, ...}")
        if self.problems:
            raise SourceUnreadable(*sorted(self.problems))
        return Registry(entries, sorted(set(self.notes)))

    def _problem(self, node: Node, reason: str) -> None:
        self.problems[self.source.problem(node, reason)] = None

    def _entry(self, node: Node, key: str | None) -> RegistryEntry | None:
        try:
            values = self.source.properties(node)
        except NotEvaluable as error:
            self._problem(error.node, f"entry {self._label(node, key)}: {error.reason}")
            return None
        label = key or shortened(node)
        before = len(self.problems)
        if "name" in values:
            name = self._value(values, "name", node, label)
            label = name if isinstance(name, str) else label
        else:
            name = key
        if not isinstance(name, str) or not name:
            self._problem(node, f"entry {label}: name must be a text")
        ttl_sec = self._value(values, "ttlSec", node, label)
        if len(self.problems) == before and (not isinstance(ttl_sec, float) or ttl_sec <= 0):
            self._problem(values["ttlSec"], f"entry {label}: ttlSec must be a number above 0")
        subjects = self._value(values, "invalidatedBy", node, label)
        subjects = (subjects,) if isinstance(subjects, str) else subjects
        if len(self.problems) == before and not _are_texts(subjects):
            self._problem(values["invalidatedBy"], f"entry {label}: invalidatedBy must be texts")
        dtype = self._value(values, "dtype", node, label) if "dtype" in values else None
        if len(self.problems) > before:
            return None
        line = node.start_point[0] + 1
        names = frozenset(str(one) for one in subjects) if isinstance(subjects, tuple) else frozenset()
        return RegistryEntry(str(name), float(str(ttl_sec)), names, None if dtype is None else str(dtype), line)

    def _label(self, node: Node, key: str | None) -> str:
        """Return the name of an entry that cannot be read otherwise, else its code."""
        for one in parts(node):
            if one.type == "pair" and text(child(one, "key")).strip("\"'") == "name":
                return text(child(one, "value")).strip("\"'`")
        return key or shortened(node)

    def _value(self, values: dict[str, Node], name: str, entry: Node, label: str) -> Value:
        if name not in values:
            self._problem(entry, f"entry {label}: {name} is missing")
            return None
        try:
            return self.source.evaluate(values[name])
        except NotEvaluable as error:
            self._problem(values[name], f"entry {label}: {name} cannot be evaluated: {error.reason}")
            return None


def _are_texts(value: Value) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, str) for one in value)
