"""A TypeScript file, read with a real parser: its syntax errors, its constants, and what its expressions come to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import tree_sitter_typescript
from tree_sitter import Language, Node, Parser

from offline.contracts_syntax import (
    NotEvaluable,
    Problem,
    SourceUnreadable,
    child,
    fault,
    number,
    parts,
    shortened,
    syntax_errors,
    text,
    unescaped,
)

Value = str | float | bool | None | tuple["Value", ...]
"""What an expression comes to. All numbers are floats, as JavaScript's are."""

_WRAPPERS = {"parenthesized_expression", "as_expression", "satisfies_expression", "non_null_expression"}
_ARITHMETIC: Mapping[str, Callable[[float, float], float | complex]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "%": math.fmod,
    "**": lambda a, b: a**b,
}


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed file. constants: top-level `const` and `enum` by name; unknown: other names, and why they are that."""

    path: Path
    data: bytes
    root: Node
    constants: dict[str, Node] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    active: set[tuple[int, int]] = field(default_factory=set)
    """Expressions that are being evaluated, by where they begin and end."""

    def problem(self, node: Node, text: str) -> Problem:
        """Return a problem at a node."""
        row, column = node.start_point
        before = self.data[node.start_byte - column : node.start_byte].decode("utf-8", "replace")
        return Problem(row + 1, len(before) + 1, text)

    def resolve(self, node: Node, trail: frozenset[str] = frozenset()) -> Node:
        """Return what an expression stands for: names, members and type assertions followed. Raises `NotEvaluable`."""
        if node.type in _WRAPPERS:
            return self.resolve(parts(node)[0], trail)
        if node.type == "type_assertion":
            return self.resolve(parts(node)[-1], trail)
        if node.type == "call_expression" and text(child(node, "function")) == "Object.freeze":
            return self.resolve(parts(child(node, "arguments"))[0], trail)
        if node.type in ("identifier", "shorthand_property_identifier"):
            name = text(node)
            if name in trail:
                raise NotEvaluable(node, f"{name} is defined by itself")
            if name not in self.constants:
                reason = self.unknown.get(name, "is not declared at the top of this file")
                raise NotEvaluable(node, f"{name} {reason}", imported=reason.startswith("is imported"))
            return self.resolve(self.constants[name], trail | {name})
        if node.type in ("member_expression", "subscript_expression"):
            return self.resolve(self._member(node, trail), trail)
        return node

    def _member(self, node: Node, trail: frozenset[str]) -> Node:
        holder = self.resolve(child(node, "object"), trail)
        if node.type == "member_expression":
            name: Value = text(child(node, "property"))
        else:
            name = self.evaluate(child(node, "index"))
        if holder.type == "object":
            members = self.properties(holder, trail)
        elif holder.type == "enum_declaration":
            assigned = [one for one in parts(child(holder, "body")) if one.type == "enum_assignment"]
            members = {self.key(child(one, "name")): child(one, "value") for one in assigned}
        else:
            raise NotEvaluable(node, f"{shortened(node)} is no member of a constant object")
        if not isinstance(name, str) or name not in members:
            raise NotEvaluable(node, f"{shortened(node)} is not given")
        return members[name]

    def properties(self, node: Node, trail: frozenset[str] = frozenset()) -> dict[str, Node]:
        """Return an object literal's values by key, later spreads and keys winning. Raises `NotEvaluable`."""
        found: dict[str, Node] = {}
        own: set[str] = set()
        for part in parts(node):
            if part.type == "spread_element":
                inner = self.resolve(parts(part)[0], trail)
                if inner.type != "object":
                    raise NotEvaluable(part, f"{shortened(part)} is no object literal")
                found |= self.properties(inner, trail)
                continue
            if part.type == "pair":
                name, value = self.key(child(part, "key")), child(part, "value")
            elif part.type == "method_definition":
                name, value = self.key(child(part, "name")), part
            else:
                name, value = text(part), part
            if name in own:
                raise NotEvaluable(part, f"{name} is given twice")
            own.add(name)
            found[name] = value
        return found

    def key(self, node: Node) -> str:
        """Return a property's name; raises `NotEvaluable`."""
        if node.type in ("string", "computed_property_name"):
            value = self.evaluate(node if node.type == "string" else parts(node)[0])
            if not isinstance(value, str):
                raise NotEvaluable(node, f"{shortened(node)} is no text")
            return value
        return text(node)

    def evaluate(self, node: Node) -> Value:
        """Return what a constant expression comes to; raises `NotEvaluable`."""
        node = self.resolve(node)
        place = node.start_byte, node.end_byte
        if place in self.active:
            raise NotEvaluable(node, f"{shortened(node)} is defined by itself")
        self.active.add(place)
        try:
            return self._evaluated(node)
        finally:
            self.active.discard(place)

    def _evaluated(self, node: Node) -> Value:
        match node.type:
            case "string" | "template_string":
                return "".join(self._piece(part) for part in parts(node))
            case "number":
                return number(node)
            case "true" | "false":
                return node.type == "true"
            case "null" | "undefined":
                return None
            case "array":
                return self._items(node)
            case "unary_expression":
                return self._unary(node)
            case "binary_expression":
                return self._binary(node)
        raise NotEvaluable(node, f"{shortened(node)} is no constant expression")

    def _piece(self, part: Node) -> str:
        if part.type == "escape_sequence":
            return unescaped(part)
        if part.type != "template_substitution":
            return text(part)
        value = self.evaluate(parts(part)[0])
        if isinstance(value, str):
            return value
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        raise NotEvaluable(part, f"{shortened(part)} is neither a text nor a whole number")

    def _items(self, node: Node) -> tuple[Value, ...]:
        items: list[Value] = []
        for part in parts(node):
            if part.type == "spread_element":
                inner = self.evaluate(parts(part)[0])
                if not isinstance(inner, tuple):
                    raise NotEvaluable(part, f"{shortened(part)} is no array")
                items += inner
            else:
                items.append(self.evaluate(part))
        return tuple(items)

    def _unary(self, node: Node) -> Value:
        value = self.evaluate(child(node, "argument"))
        sign = text(child(node, "operator"))
        if isinstance(value, float) and sign in "+-":
            return -value if sign == "-" else value
        raise NotEvaluable(node, f"{shortened(node)} is no constant expression")

    def _binary(self, node: Node) -> Value:
        left, right = self.evaluate(child(node, "left")), self.evaluate(child(node, "right"))
        operator = text(child(node, "operator"))
        if isinstance(left, str) and isinstance(right, str) and operator == "+":
            return left + right
        if isinstance(left, float) and isinstance(right, float) and operator in _ARITHMETIC:
            try:
                result = _ARITHMETIC[operator](left, right)
            except (ArithmeticError, ValueError):
                raise NotEvaluable(node, f"{shortened(node)} is no finite number") from None
            # A complex number is what Python makes of the root of a negative one.
            if not isinstance(result, complex) and math.isfinite(result):
                return result
            raise NotEvaluable(node, f"{shortened(node)} is no finite number")
        raise NotEvaluable(node, f"{shortened(node)} is no constant expression")


def read_source(path: Path) -> Source:
    """Parse a .ts or .tsx file; raises `SourceUnreadable`."""
    try:
        data = path.read_bytes().decode("utf-8-sig").encode()
    except OSError as error:
        raise SourceUnreadable(Problem(1, 1, error.strerror or "cannot be opened")) from None
    except UnicodeDecodeError:
        raise SourceUnreadable(Problem(1, 1, "is not UTF-8")) from None
    is_tsx = path.suffix.lower() == ".tsx"
    language = tree_sitter_typescript.language_tsx() if is_tsx else tree_sitter_typescript.language_typescript()
    source = Source(path, data, Parser(Language(language)).parse(data).root_node)
    faults = syntax_errors(source.root)
    if faults:
        raise SourceUnreadable(*(source.problem(node, fault(node)) for node in faults))
    for statement in parts(source.root):
        _declare(source, statement)
    return source


def _declare(source: Source, statement: Node) -> None:
    if statement.type == "import_statement":
        origin = statement.child_by_field_name("source")
        for bound in _bound_names(statement):
            source.unknown[bound] = f"is imported from {'elsewhere' if origin is None else text(origin)}"
        return
    if statement.type == "export_statement":
        declared = statement.child_by_field_name("declaration")
        if declared is not None:
            _declare(source, declared)
        return
    if statement.type == "enum_declaration":
        _name(source, text(child(statement, "name")), statement)
    elif statement.type in ("lexical_declaration", "variable_declaration"):
        kind = statement.child_by_field_name("kind")
        constant = kind is not None and kind.type == "const"
        for one in parts(statement):
            name, value = child(one, "name"), one.child_by_field_name("value")
            if name.type != "identifier":
                source.unknown.update(dict.fromkeys(_bound_names(name), "is taken out of another value"))
            elif constant and value is not None:
                _name(source, text(name), value)
            else:
                source.unknown[text(name)] = "is no constant: it may change"


def _name(source: Source, name: str, value: Node) -> None:
    if name in source.constants:
        raise SourceUnreadable(source.problem(value, f"{name} is declared twice"))
    source.constants[name] = value


def _bound_names(node: Node) -> list[str]:
    """Return every identifier within an import or a pattern."""
    found, waiting = [], [node]
    while waiting:
        one = waiting.pop()
        if one.type in ("identifier", "shorthand_property_identifier_pattern"):
            found.append(text(one))
        waiting += one.named_children
    return found
