"""Where a registry's entries are: goes through what its files export and call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from tree_sitter import Node

from offline import contracts_calls as calls
from offline.contracts_evaluate import Evaluator
from offline.contracts_source import NAMED, SILENT, Import, Module
from offline.contracts_syntax import Problem, child, parts, text
from offline.contracts_values import Array, At, Call, Function, Object, Scalar, Scope, Unknown, Value

_FIELDS = {"name", "dtype", "ttlSec", "description", "compute", "invalidatedBy"}
_TELLING = {"ttlSec", "compute", "invalidatedBy"}
"""Many objects have a name and a description; an entry has one of these as well."""


@dataclass(frozen=True, slots=True)
class Found:
    """An entry. key: what holds it under that name."""

    value: Object
    key: str | None


class _Holds(IntEnum):
    NOTHING = 0
    ENTRY = 1
    ENTRIES = 2


def _is_entry(value: Object) -> bool:
    keys = set(value.fields)
    return bool(keys & _TELLING) and len(keys & _FIELDS) > 1


def _is_named(entry: Object) -> bool:
    """Return whether an entry's name is known, or is a key."""
    name = entry.fields.get("name")
    return isinstance(name, Scalar) or (name is None and not entry.unread)


def _decorators(statement: Node) -> list[Node]:
    """Return the decorators of a class and its members, which are calls."""
    found: list[Node] = []
    for one in parts(statement):
        if one.type == "decorator":
            found.append(one)
        elif one.type in ("class_declaration", "abstract_class_declaration", "class", "class_body"):
            found += _decorators(one)
        elif one.type in ("public_field_definition", "method_definition"):
            found += [inner for inner in parts(one) if inner.type == "decorator"]
    return found


def _texts(values: Sequence[Value]) -> Iterator[str]:
    """Yield the texts among values, those in lists included."""
    for value in values:
        if isinstance(value, Scalar) and isinstance(value.value, str):
            yield value.value
        elif isinstance(value, Array):
            yield from _texts(value.items)


class Search:
    """Collects entries, problems, and notes of what was not looked at."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self.main = evaluator.main
        self.found: dict[tuple[Object, str | None], Found] = {}
        self.notes: list[Problem] = []
        self.problems: dict[Problem, None] = {}
        self._unknown: dict[Unknown, None] = {}
        self._aside: list[Value] = []
        self._open: set[Object] = set()
        self._run = {evaluator.main}
        """Files that are there for what they do, not for what is imported from them."""

    def explore_files(self) -> None:
        """Explore what the registry's file exports, and what it and the files that it imports call."""
        is_exported = self._explore_exports()
        explored: set[Module] = set()
        while waiting := [one for one in self.evaluator.modules.values() if one not in explored]:
            for module in waiting:
                explored.add(module)
                is_exported = self._explore_calls(module) or is_exported
        if not is_exported:
            scope = self.evaluator.scope(self.main)
            for name, bound in self.main.block.names.items():
                if isinstance(bound, Node) and "function" not in bound.type:
                    self.explore(self.evaluator.name(name, scope, At(self.main, bound)), top=True)
        while self._aside:
            self._explore_aside(self._aside.pop(0))
        for one in self._unknown:
            self._tell(one)

    def _explore_exports(self) -> bool:
        """Explore what the registry's file exports; return whether it exports values that are there."""
        block, scope = self.main.block, self.evaluator.scope(self.main)
        is_exported = False
        for exported in [*block.stars, *block.exports.values()]:
            if isinstance(exported, Import):
                is_exported = self._explore_import(exported) or is_exported
            elif exported.type != "identifier" or text(exported) in block.names:  # else it is a type
                is_exported = True
                self.explore(self._value(exported, scope), top=True)
        return is_exported

    def _value(self, node: Node, scope: Scope) -> Value:
        value = self.evaluator.evaluate(node, scope)
        # Of what is unknown the expression says more than the name.
        bound = scope.names.get(text(node)) if isinstance(value, Unknown) else None
        return bound if isinstance(bound, Unknown) else value

    def _explore_import(self, one: Import) -> bool:
        if self.evaluator.imported(self.main, one) is None:
            self.notes.append(self.main.problem(one.node, f"what '{one.origin}' exports is not looked at"))
            return False
        self.explore(self.evaluator.bring(self.main, one), top=True)
        return True

    def _explore_calls(self, module: Module) -> bool:
        """Explore what a file calls and assigns at its top level; return whether it assigns exports."""
        scope = self.evaluator.scope(module)
        assigned = False
        for run in module.block.runs:
            brought = self.evaluator.imported(module, run)
            if brought is not None:
                self._run.add(brought)
            elif run.origin.startswith("."):
                self.notes.append(module.problem(run.node, f"what '{run.origin}' does is not looked at"))
        for statement in parts(module.root):
            at = At(module, statement)
            for decorator in _decorators(statement):
                self.explore(self.evaluator.evaluate(parts(decorator)[0], scope))
            declared = statement.child_by_field_name("declaration") or statement
            if statement.type == "expression_statement" and parts(statement)[0].type in NAMED:
                declared = parts(statement)[0]  # a namespace
            if declared.type in ("lexical_declaration", "variable_declaration"):
                # A call may register what it is given, whether or not anybody uses its result.
                for one in parts(declared):
                    value = one.child_by_field_name("value")
                    while value is not None and value.type == "await_expression":
                        value = parts(value)[0]
                    if value is not None and value.type == "call_expression":
                        name = child(one, "name")
                        made = self._value(name if name.type == "identifier" else value, scope)
                        if module in self._run:
                            self.explore(made)
                        else:
                            self._aside.append(made)
            elif declared.type in NAMED:
                self._explore_blocks(declared, module)
            elif statement.type == "expression_statement":
                expression = parts(statement)[0]
                while expression.type in ("await_expression", "parenthesized_expression"):
                    expression = parts(expression)[0]
                if expression.type == "assignment_expression":
                    assigned = True
                    self._explore_assignment(expression, at)
                else:
                    self.explore(self.evaluator.evaluate(expression, scope))
            elif statement.type not in SILENT:
                self.explore(Unknown(at, f"{at.code} is not followed", self.evaluator.within(statement, scope)))
        return assigned

    def _explore_blocks(self, declared: Node, module: Module) -> None:
        """Explore what a class or namespace does when it is declared."""
        name = declared.child_by_field_name("name")
        if name is not None and "function" not in declared.type:
            value = self.evaluator.evaluate(name, self.evaluator.scope(module))
            for one in value.fields.values() if isinstance(value, Object) else ():
                if isinstance(one, Unknown):
                    self.explore(one)

    def _explore_assignment(self, node: Node, at: At) -> None:
        scope = self.evaluator.scope(at.module)
        left = child(node, "left")
        value = self.evaluator.evaluate(child(node, "right"), scope)
        target = None
        if left.type in ("member_expression", "subscript_expression"):
            target = self.evaluator.evaluate(child(left, "object"), scope)
        elif text(left) in at.module.block.names:
            target = self.evaluator.evaluate(left, scope)
        index = left.child_by_field_name("property") or left.child_by_field_name("index")
        key = None if index is None else text(index).strip("\"'`")
        holds = self.explore(value, key, top=target is None or isinstance(target, Unknown))
        if holds is _Holds.ENTRY and key is not None and isinstance(target, Object):
            target.put(key, value, at)
        elif target is not None:
            self.explore(Unknown(at, f"{at.code} changes it", (target,), changes=True))

    def explore(self, value: Value, key: str | None = None, *, top: bool = False) -> _Holds:
        """Collect the entries of a value. key: under which an object holds it; top: whether the file exports it."""
        match value:
            case Object() if _is_entry(value):
                # What entries share, to be spread into them, has no name; what has a key is whole if it is an entry.
                if top and "name" not in value.fields and (key is None or not set(value.fields) >= _TELLING):
                    return _Holds.NOTHING
                self.found.setdefault((value, None if "name" in value.fields else key), Found(value, key))
                return _Holds.ENTRY
            case Object():
                return self._explore_open(value) if value.is_open else self._explore_object(value)
            case Array():
                pair = value.items if len(value.items) == 2 else ()
                if pair and isinstance(pair[0], Scalar) and isinstance(pair[0].value, str) and not value.is_map:
                    holds = self.explore(pair[1], pair[0].value)
                    if holds is not _Holds.NOTHING:
                        return holds
                return self._explore_all([(one, None, one.at) for one in value.items], least=_Holds.ENTRY)
            case Call():
                return self._explore_call(value)
            case Function():
                self._aside.append(value)
            case Unknown():
                self._unknown[value] = None
                if value.is_imported:
                    self.notes.append(value.at.problem(f"{value.reason}, which is not looked at"))
        return _Holds.NOTHING

    def _explore_open(self, value: Object) -> _Holds:
        """Explore a class, a namespace or another file: each of its members stands for itself."""
        if value in self._open:
            return _Holds.NOTHING
        self._open.add(value)
        holds = _Holds.NOTHING
        for name, one in value.fields.items():
            inner = calls.apply(self.evaluator, one, (), one.at) if isinstance(one, Function) and one.is_getter else one
            if self.explore(inner, name, top=True) is not _Holds.NOTHING:
                holds = _Holds.ENTRIES
        return holds

    def _explore_object(self, value: Object) -> _Holds:
        # Beside a list of entries an object may hold anything; beside an entry only entries.
        fields: list[tuple[Value, str | None, At]] = [(one, key, value.where[key]) for key, one in value.fields.items()]
        holds = self._explore_all(fields, least=_Holds.ENTRIES)
        for one in value.unread:
            self.explore(one)
            if holds is not _Holds.NOTHING:
                self.problems[one.at.problem(one.reason)] = None
        return holds

    def _explore_all(self, values: list[tuple[Value, str | None, At]], least: _Holds) -> _Holds:
        """Explore what one array or object holds; if that has entries, all of it must."""
        holds = [(value, at, self.explore(value, key)) for value, key, at in values]
        if not any(one for _, _, one in holds):
            return _Holds.NOTHING
        if least is _Holds.ENTRY or any(one is _Holds.ENTRY for _, _, one in holds):
            for value, at, one in holds:
                if one is _Holds.NOTHING and not (isinstance(value, Array) and not value.items):
                    reason = f": {value.reason}" if isinstance(value, Unknown) else ""
                    self.problems[at.problem(f"{value.at.code} cannot be read as an entry{reason}")] = None
        return _Holds.ENTRIES

    def _explore_call(self, value: Call) -> _Holds:
        """Collect from what a call is given: it defines that, or passes it on."""
        holds = _Holds.NOTHING if value.receiver is None else self.explore(value.receiver)
        first = value.arguments[0].value if value.arguments and isinstance(value.arguments[0], Scalar) else None
        given = [self.explore(one, first if isinstance(first, str) else None) for one in value.arguments]
        if any(given) and not (len([one for one in given if one]) == 1 and _Holds.ENTRY in given):
            # omit(features, "name"), pick(features, ["name"])
            if names := self._names(value.arguments) & set(_texts(value.arguments)):
                reason = f"what {value.at.code} makes of {', '.join(sorted(names))} cannot be told"
                self.problems[value.at.problem(reason)] = None
            return _Holds.ENTRIES
        return max(holds, *given) if given else holds

    def _names(self, values: Sequence[Value]) -> set[str]:
        """Return the names of the entries within values, and the keys under which an object holds them."""
        names = [one.fields.get("name") for value in values for one in self._entries(value)]
        keys = {key for value in values if isinstance(value, Object) for key in value.fields}
        return keys | {one.value for one in names if isinstance(one, Scalar) and isinstance(one.value, str)}

    def _explore_aside(self, value: Value) -> None:
        """Explore the list that a function returns, whatever it is given; tell of entries that are made otherwise."""
        made = calls.apply(self.evaluator, value, (), value.at) if isinstance(value, Function) else value
        if isinstance(value, Function) and (
            isinstance(made, Array) or (isinstance(made, Object) and not _is_entry(made))
        ):
            self.explore(made)
        elif any(not self._is_found(one) and _is_named(one) for one in self._entries(made)):
            self.notes.append(value.at.problem(f"what {value.at.code} makes is not looked at"))

    def _is_found(self, entry: Object) -> bool:
        return any(entry.at == one.at and entry.fields.keys() == one.fields.keys() for one, _ in self.found)

    def _tell(self, unread: Unknown) -> None:
        """Tell of entries that belong to something unknown, unless they belong to something known as well."""
        entries = self._entries(unread)
        if unread.changes and entries:
            self.problems[unread.at.problem(f"{unread.reason}: the entries cannot be told")] = None
        elif not all(self._is_found(one) for one in entries):
            self.problems[unread.at.problem(f"the entries in {unread.at.code} cannot be read")] = None

    def _entries(self, value: Value) -> list[Object]:
        """Return the entries within a value."""
        entries: list[Object] = []
        seen: set[Value] = set()
        waiting: list[Value] = [value]
        while waiting:
            one = waiting.pop()
            if one in seen:
                continue
            seen.add(one)
            match one:
                case Object():
                    if _is_entry(one):
                        entries.append(one)
                    waiting += [*one.fields.values(), *one.unread]
                case Array():
                    waiting += one.items
                case Call():
                    waiting += one.arguments if one.receiver is None else (one.receiver, *one.arguments)
                case Unknown():
                    waiting += one.within
        return entries
