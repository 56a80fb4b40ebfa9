"""TypeScript files, read with a real parser: their syntax errors, and what they declare, import and export."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import tree_sitter_typescript
from tree_sitter import Language, Node, Parser

from offline.contracts_syntax import Problem, SourceUnreadable, child, fault, parts, syntax_errors, text

NAMED = (
    "enum_declaration",
    "class_declaration",
    "abstract_class_declaration",
    "function_declaration",
    "generator_function_declaration",
    "internal_module",
    "module",
)
"""Declarations of one name, apart from constants and variables."""
SILENT = {
    "ambient_declaration",
    "empty_statement",
    "export_statement",
    "function_signature",
    "hash_bang_line",
    "import_alias",
    "import_statement",
    "interface_declaration",
    "lexical_declaration",
    "type_alias_declaration",
    "variable_declaration",
    *NAMED,
}
"""Statements that do nothing themselves."""
_SUFFIXES = (".ts", ".tsx", "/index.ts", "/index.tsx")


@dataclass(frozen=True, slots=True)
class Import:
    """A name of another file. name: "*" for all of them, "" when the file is only run."""

    node: Node
    origin: str
    name: str


@dataclass(frozen=True, slots=True)
class Variable:
    """A name whose value may not be what it was declared with."""

    node: Node
    reason: str


Binding = Node | Import | Variable
"""What a name stands for. A node: the expression or declaration that defines it."""


@dataclass(slots=True)
class Block:
    """What statements declare. exports: an expression or import by its name outside; stars: files exported whole."""

    names: dict[str, Binding] = field(default_factory=dict)
    exports: dict[str, Node | Import] = field(default_factory=dict)
    stars: list[Import] = field(default_factory=list)
    runs: list[Import] = field(default_factory=list)
    twice: list[tuple[str, Node]] = field(default_factory=list)

    def declare(self, name: str, value: Binding, at: Node) -> None:
        if name in self.names:
            self.twice.append((name, at))
        self.names[name] = value


@dataclass(eq=False, slots=True)
class Module:
    """A parsed file. brought: where the registry's own file imports it, None for that file itself."""

    path: Path
    data: bytes
    root: Node
    brought: Problem | None = None
    block: Block = field(default_factory=Block)

    def problem(self, node: Node, reason: str) -> Problem:
        """Return a problem at a node; one in another file stands where that is imported, and says where it is."""
        row, column = node.start_point
        before = self.data[node.start_byte - column : node.start_byte].decode("utf-8", "replace")
        line, column = row + 1, len(before) + 1
        if self.brought is None:
            return Problem(line, column, reason)
        return Problem(self.brought.line, self.brought.column, f"{reason} (in {self.path.name}:{line}:{column})")


def read_module(path: Path, brought: Problem | None = None) -> Module:
    """Parse a .ts or .tsx file; raises `SourceUnreadable`."""
    where = brought or Problem(1, 1, "")
    within = f" (in {path.name})" if brought else ""
    try:
        data = path.read_bytes().decode("utf-8-sig").encode()
    except OSError as error:
        reason = error.strerror or "cannot be opened"
        raise SourceUnreadable(Problem(where.line, where.column, reason + within)) from None
    except UnicodeDecodeError:
        raise SourceUnreadable(Problem(where.line, where.column, "is not UTF-8" + within)) from None
    is_tsx = path.suffix.lower() == ".tsx"
    language = tree_sitter_typescript.language_tsx() if is_tsx else tree_sitter_typescript.language_typescript()
    module = Module(path, data, Parser(Language(language)).parse(data).root_node, brought)
    faults = syntax_errors(module.root)
    if faults:
        raise SourceUnreadable(*(module.problem(node, fault(node)) for node in faults))
    module.block = read_block(parts(module.root))
    if module.block.twice:
        raise SourceUnreadable(
            *(module.problem(node, f"{name} is declared twice") for name, node in module.block.twice)
        )
    return module


def sibling(module: Module, origin: str) -> Path | None:
    """Return the file that a relative import means; None when there is none, or it is a package."""
    if not origin.startswith("."):
        return None
    base = module.path.parent / origin
    stem = base.with_suffix("") if base.suffix in (".js", ".jsx", ".mjs") else base
    tried = [base] if base.suffix in (".ts", ".tsx") else []
    return next((one for one in [*tried, *(Path(f"{stem}{end}") for end in _SUFFIXES)] if one.is_file()), None)


def read_block(statements: Iterable[Node]) -> Block:
    """Return what statements declare, import and export."""
    block = Block()
    for statement in statements:
        if statement.type == "import_statement":
            _import(block, statement)
        elif statement.type == "export_statement":
            _export(block, statement)
        else:
            _declare(block, statement)
    return block


def _declare(block: Block, statement: Node) -> list[tuple[str, Node]]:
    """Declare a statement's names; return them, each with the node that has its value."""
    if statement.type == "expression_statement" and parts(statement)[0].type == "internal_module":
        statement = parts(statement)[0]
    if statement.type in NAMED:
        name = statement.child_by_field_name("name")
        if name is None:
            return []
        block.declare(text(name), statement, statement)
        return [(text(name), name)]
    if statement.type == "import_alias":
        alias, meant = parts(statement)
        block.declare(text(alias), meant, meant)
        return [(text(alias), alias)]
    if statement.type not in ("lexical_declaration", "variable_declaration"):
        return []
    kind = statement.child_by_field_name("kind")
    found: list[tuple[str, Node]] = []
    for one in parts(statement):
        name, value = child(one, "name"), one.child_by_field_name("value")
        if name.type != "identifier":
            for bound in bound_names(name):
                block.names[bound] = Variable(value or name, "is taken out of another value")
            found += [(text(bound), bound) for bound in _identifiers(name)]
        elif kind is not None and kind.type == "const" and value is not None:
            block.declare(text(name), value, value)
            found.append((text(name), name))
        else:
            block.names[text(name)] = Variable(value or name, "is no constant: it may change")
            found.append((text(name), value or name))
    return found


def _export(block: Block, statement: Node) -> None:
    is_default = any(one.type == "default" for one in statement.children)
    declared = statement.child_by_field_name("declaration") or statement.child_by_field_name("value")
    if declared is not None:
        named = _declare(block, declared)
        if is_default:
            block.exports["default"] = declared if not named else named[0][1]
        else:
            block.exports.update(named)
        return
    if any(one.type == "type" for one in statement.children):
        return
    source = statement.child_by_field_name("source")
    clauses = [one for one in parts(statement) if one != source]
    if source is not None and not clauses:
        block.stars.append(Import(statement, _origin(source), "*"))
    for clause in clauses:
        if clause.type == "namespace_export" and source is not None:
            block.exports[text(parts(clause)[0])] = Import(statement, _origin(source), "*")
        elif clause.type == "export_clause":
            for one in _values(clause):
                name = child(one, "name")
                outside = text(one.child_by_field_name("alias") or name)
                block.exports[outside] = name if source is None else Import(statement, _origin(source), text(name))
        else:
            block.exports["default"] = clause  # export = registry


def _import(block: Block, statement: Node) -> None:
    if any(one.type == "type" for one in statement.children):
        return
    source = statement.child_by_field_name("source")
    clauses = [one for one in parts(statement) if one != source]
    if source is not None and not clauses:
        block.runs.append(Import(statement, _origin(source), ""))
    for clause in clauses:
        if clause.type == "import_require_clause":
            origin = _origin(child(clause, "source"))
            block.names[text(parts(clause)[0])] = Import(statement, origin, "default")
            continue
        for one in parts(clause):
            origin = "elsewhere" if source is None else _origin(source)
            if one.type == "identifier":
                block.names[text(one)] = Import(statement, origin, "default")
            elif one.type == "namespace_import":
                block.names[text(parts(one)[0])] = Import(statement, origin, "*")
            else:
                for each in _values(one):
                    name = child(each, "name")
                    block.names[text(each.child_by_field_name("alias") or name)] = Import(statement, origin, text(name))


def _values(clause: Node) -> list[Node]:
    """Return the names that an import or export lists, without types."""
    return [one for one in parts(clause) if not any(kind.type == "type" for kind in one.children)]


def _origin(source: Node) -> str:
    return text(source)[1:-1]


def bound_names(pattern: Node) -> list[str]:
    """Return the names that a pattern gives a value."""
    return [text(one) for one in _identifiers(pattern)]


def _identifiers(pattern: Node) -> list[Node]:
    found, waiting = [], [pattern]
    while waiting:
        one = waiting.pop()
        if one.type in ("identifier", "shorthand_property_identifier_pattern"):
            found.append(one)
        waiting += one.named_children
    return found
