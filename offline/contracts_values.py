"""What TypeScript expressions come to, as far as that can be told without running them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tree_sitter import Node

from offline.contracts_source import Binding, Module
from offline.contracts_syntax import Problem, shortened


@dataclass(frozen=True, slots=True)
class At:
    """A piece of code."""

    module: Module
    node: Node

    def problem(self, reason: str) -> Problem:
        return self.module.problem(self.node, reason)

    @property
    def code(self) -> str:
        return shortened(self.node)


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    """A text, number or truth value; None for null and undefined. All numbers are floats, as JavaScript's are."""

    at: At
    value: str | float | bool | None


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """An array, or a `Map` as an array of [key, value]. An item that cannot be read, or a spread, is an `Unknown`."""

    at: At
    items: tuple[Value, ...]
    is_map: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Object:
    """An object. where: the code of each field; is_open: a class, namespace or file, which may hold other things."""

    at: At
    fields: dict[str, Value] = field(default_factory=dict)
    where: dict[str, At] = field(default_factory=dict)
    unread: list[Unknown] = field(default_factory=list)
    is_open: bool = False

    def put(self, name: str, value: Value, at: At) -> None:
        self.fields[name] = value
        self.where[name] = at


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    at: At
    scope: Scope
    is_getter: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A call of something that is not known here, or that passes on what it is given."""

    at: At
    receiver: Value | None
    arguments: tuple[Value, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Unknown:
    """What cannot be told. within: the values it is made from; changes: it alters these; is_absent: JS's undefined."""

    at: At
    reason: str
    within: tuple[Value, ...] = ()
    changes: bool = False
    is_absent: bool = False
    is_imported: bool = False


Value = Scalar | Array | Object | Function | Call | Unknown


@dataclass(eq=False, slots=True)
class Scope:
    """Names that code can see. A binding becomes a value when it is first asked for."""

    module: Module
    names: dict[str, Binding | Value]
    outer: Scope | None = None


def unknown(at: At, *operands: Value) -> Unknown:
    """Return what an expression comes to that has these operands: nobody knows, for the first one's reason."""
    for one in operands:
        if isinstance(one, Unknown):
            return replace(one, at=at, within=operands, is_absent=False)
    return Unknown(at, f"{at.code} is no constant expression", operands)


def moved(value: Value, at: At) -> Value:
    """Return a value as found at another place: what is unknown is told where it is used."""
    return replace(value, at=at) if isinstance(value, Unknown) else value


def is_undefined(value: Value) -> bool:
    return value.is_absent if isinstance(value, Unknown) else isinstance(value, Scalar) and value.value is None
