"""What the expressions of TypeScript files come to, told from their code: constants, names, members, files imported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tree_sitter import Node

from offline import contracts_calls as calls
from offline import contracts_declarations as declarations
from offline.contracts_operators import binary, unary
from offline.contracts_source import NAMED, Import, Module, Variable, read_module, sibling
from offline.contracts_syntax import NotEvaluable, child, number, parts, text, unescaped
from offline.contracts_values import (
    Array,
    At,
    Function,
    Object,
    Scalar,
    Scope,
    Unknown,
    Value,
    is_undefined,
    moved,
    unknown,
)

_WRAPPERS = {"parenthesized_expression", "as_expression", "satisfies_expression", "non_null_expression"}
_NAMES = {"identifier", "shorthand_property_identifier", "type_identifier", "this"}
_FUNCTIONS = {"arrow_function", "function_expression", "function_declaration", "method_definition"}
_CHANGES = {"assignment_expression", "augmented_assignment_expression", "update_expression", "unary_expression"}


class Evaluator:
    """Tells what code comes to. modules: the files read so far, the registry's own first."""

    def __init__(self, path: Path) -> None:
        self.modules: dict[Path, Module] = {}
        self.active: set[At] = set()
        """Functions whose result is being told."""
        self._scopes: dict[Path, Scope] = {}
        self._whole: dict[Path, Object] = {}
        self.main = self._load(path.resolve(), None)

    def _load(self, path: Path, by: At | None) -> Module:
        if path not in self.modules:
            brought = None if by is None else by.module.brought or by.problem("")
            self.modules[path] = module = read_module(path, brought)
            self._scopes[path] = Scope(module, dict(module.block.names))
            self._note_changes(module)
        return self.modules[path]

    def _note_changes(self, module: Module) -> None:
        """Mark the objects whose fields a file gives another value: what they hold cannot be told."""
        for statement in parts(module.root):
            one = parts(statement)[0] if statement.type == "expression_statement" else statement
            left = one.child_by_field_name("left") or one.child_by_field_name("argument")
            if (
                one.type not in _CHANGES
                or left is None
                or left.type not in ("member_expression", "subscript_expression")
            ):
                continue
            target = self.evaluate(child(left, "object"), self.scope(module))
            field = self.evaluate(left, self.scope(module))
            if isinstance(target, Object) and not (isinstance(field, Unknown) and field.is_absent):
                at = At(module, one)
                target.unread.append(Unknown(at, f"{at.code} changes it", (target,)))

    def scope(self, module: Module) -> Scope:
        return self._scopes[module.path]

    def imported(self, module: Module, one: Import) -> Module | None:
        """Return the file that an import means; None when it is not there."""
        path = sibling(module, one.origin)
        return None if path is None else self._load(path.resolve(), At(module, one.node))

    def bring(self, module: Module, one: Import) -> Value:
        """Return what an import stands for."""
        found = self.imported(module, one)
        at = At(module, one.node)
        if found is None:
            return Unknown(at, f"is imported from '{one.origin}'", is_imported=True)
        if one.name == "*":
            return self._all_of(found, at)
        return self._exported(found, one.name, at, set()) or Unknown(at, f"is not exported by '{one.origin}'")

    def _all_of(self, module: Module, at: At) -> Object:
        """Return what a file exports, what it exports of other files among that."""
        if module.path in self._whole:
            return self._whole[module.path]
        self._whole[module.path] = found = Object(at, is_open=True)
        declarations.put_exports(self, module.block, self.scope(module), found)
        for star in module.block.stars:
            inner = self.bring(module, star)
            where = At(module, star.node)
            if not isinstance(inner, Object):
                found.put(f"* from {star.origin}", inner, where)
                continue
            for name, value in inner.fields.items():
                if name not in found.fields and name != "default":
                    found.put(name, value, inner.where[name])
        return found

    def _exported(self, module: Module, name: str, at: At, seen: set[Path]) -> Value | None:
        seen.add(module.path)
        exported = module.block.exports.get(name)
        if exported is not None:
            return self.binding(exported, self.scope(module))
        for star in module.block.stars:
            other = self.imported(module, star)
            if other is None:
                return Unknown(at, f"may be imported from '{star.origin}'", is_imported=True)
            if other.path not in seen and (found := self._exported(other, name, at, seen)) is not None:
                return found
        return None

    def binding(self, bound: Node | Import, scope: Scope) -> Value:
        """Return what an exported expression or import stands for."""
        return self.bring(scope.module, bound) if isinstance(bound, Import) else self.evaluate(bound, scope)

    def name(self, name: str, scope: Scope, at: At) -> Value:
        """Return what a name stands for, reading its declaration when it is first asked for."""
        if name not in scope.names:
            if scope.outer is not None:
                return self.name(name, scope.outer, at)
            return Unknown(at, f"{name} is not declared at the top of this file")
        bound = scope.names[name]
        if isinstance(bound, Import):
            value = self.bring(scope.module, bound)
            if isinstance(value, Unknown) and value.reason.startswith("is "):
                value = replace(value, reason=f"{name} {value.reason}")
        elif isinstance(bound, Variable):
            scope.names[name] = Unknown(at, f"{name} is defined by itself")
            value = Unknown(at, f"{name} {bound.reason}", (self.evaluate(bound.node, scope),))
        elif isinstance(bound, Node):
            scope.names[name] = Unknown(at, f"{name} is defined by itself")
            value = self.evaluate(bound, scope)
        else:
            return moved(bound, at)
        scope.names[name] = value
        return moved(value, at)

    def evaluate(self, node: Node, scope: Scope) -> Value:
        """Return what an expression or declaration comes to."""
        at = At(scope.module, node)
        try:
            return self._evaluate(node, scope, at)
        except NotEvaluable as error:
            return Unknown(at, error.reason, self.within(node, scope))

    def _evaluate(self, node: Node, scope: Scope, at: At) -> Value:
        if node.type in _WRAPPERS:
            return self.evaluate(parts(node)[0], scope)
        if node.type in _NAMES:
            return self.name(text(node), scope, at)
        if node.type in _FUNCTIONS:
            return Function(at, scope, any(one.type == "get" for one in node.children))
        match node.type:
            case "type_assertion":
                return self.evaluate(parts(node)[-1], scope)
            case "string" | "template_string":
                return self._text(node, scope, at)
            case "number":
                return Scalar(at, number(node))
            case "true" | "false":
                return Scalar(at, node.type == "true")
            case "null" | "undefined":
                return Scalar(at, None)
            case "array":
                return Array(at, self.items(node, scope))
            case "object":
                return self._object(node, scope, at)
            case "member_expression" | "nested_identifier" | "subscript_expression":
                return self._member_of(node, scope, at)
            case "unary_expression":
                return self._unary(node, scope, at)
            case "binary_expression":
                return self._binary(node, scope, at)
            case "call_expression" | "new_expression":
                return calls.call(self, node, scope)
            case "enum_declaration":
                return declarations.enum(self, node, scope)
            case "internal_module" | "module":
                return declarations.namespace(self, node, scope)
            case "class" | "class_declaration" | "abstract_class_declaration":
                return declarations.class_members(self, node, scope)
        return unknown(at, *self.within(node, scope))

    def within(self, node: Node, scope: Scope) -> tuple[Value, ...]:
        """Return the values of the expressions directly within code that is not followed itself."""
        found: list[Value] = []
        for part in parts(node):
            if part.type in _NAMES | {"object", "array", "call_expression", "new_expression", "member_expression"}:
                found.append(self.evaluate(part, scope))
            elif part.type not in _FUNCTIONS and part.type not in NAMED:
                found += self.within(part, scope)
        return tuple(found)

    def items(self, node: Node, scope: Scope) -> tuple[Value, ...]:
        """Return the values in an array literal or in a call's brackets."""
        found: list[Value] = []
        for part in parts(node):
            if part.type != "spread_element":
                found.append(self.evaluate(part, scope))
                continue
            inner = self.evaluate(parts(part)[0], scope)
            if isinstance(inner, Array) or calls.is_opaque(inner):
                found += inner.items if isinstance(inner, Array) else [inner]
            else:
                found.append(unknown(At(scope.module, part), inner))
        return tuple(found)

    def _object(self, node: Node, scope: Scope, at: At) -> Object:
        result = Object(at)
        own: set[str] = set()
        for part in parts(node):
            where = At(scope.module, part)
            if part.type == "spread_element":
                self._spread(self.evaluate(parts(part)[0], scope), result, where)
                continue
            key = part.child_by_field_name("key") or part.child_by_field_name("name") or part
            code = part.child_by_field_name("value") or part
            value = self.evaluate(code, scope)
            name = self.key(key, scope)
            if not isinstance(name, str):
                result.unread.append(unknown(where, name, value))
                continue
            if name in own:
                result.unread.append(Unknown(where, f"{name} is given twice", (value,)))
            own.add(name)
            result.put(name, value, At(scope.module, code))
        return result

    def _spread(self, inner: Value, into: Object, where: At) -> None:
        if isinstance(inner, Object):
            for name, value in inner.fields.items():
                into.put(name, value, inner.where[name])
            into.unread.extend(inner.unread)
        elif not is_undefined(inner):
            into.unread.append(unknown(where, inner))

    def key(self, node: Node, scope: Scope) -> str | Value:
        """Return a property's name, else what its code comes to."""
        if node.type not in ("string", "computed_property_name"):
            return text(node)
        value = self.evaluate(node if node.type == "string" else parts(node)[0], scope)
        return value.value if isinstance(value, Scalar) and isinstance(value.value, str) else value

    def _member_of(self, node: Node, scope: Scope, at: At) -> Value:
        holder = self.evaluate(child(node, "object"), scope)
        if node.type != "subscript_expression":
            return self.member(holder, text(child(node, "property")), at)
        index = self.evaluate(child(node, "index"), scope)
        if isinstance(index, Scalar) and isinstance(index.value, str):
            return self.member(holder, index.value, at)
        if isinstance(index, Scalar) and isinstance(index.value, float) and isinstance(holder, Array):
            known = index.value.is_integer() and not any(isinstance(one, Unknown) for one in holder.items)
            if known and 0 <= index.value < len(holder.items) and not holder.is_map:
                return holder.items[int(index.value)]
        return unknown(at, holder, index)

    def member(self, holder: Value, name: str, at: At) -> Value:
        """Return a member of a value."""
        if isinstance(holder, Unknown):
            return unknown(at, holder)
        if not isinstance(holder, Object):
            return Unknown(at, f"{at.code} is no member of a constant object", (holder,))
        if holder.unread:
            return unknown(at, holder.unread[0], holder)
        value = holder.fields.get(name)
        if value is None:
            return Unknown(at, f"{at.code} is not given", (holder,), is_absent=not holder.is_open)
        if isinstance(value, Function) and value.is_getter:
            return calls.apply(self, value, (), at)
        return moved(value, at)

    def _text(self, node: Node, scope: Scope, at: At) -> Value:
        pieces: list[str] = []
        for part in parts(node):
            if part.type == "escape_sequence":
                pieces.append(unescaped(part))
            elif part.type != "template_substitution":
                pieces.append(text(part))
            else:
                inner = self.evaluate(parts(part)[0], scope)
                value = inner.value if isinstance(inner, Scalar) else None
                if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
                    value = str(int(value))
                if not isinstance(value, str):
                    return unknown(at, inner)
                pieces.append(value)
        return Scalar(at, "".join(pieces))

    def _unary(self, node: Node, scope: Scope, at: At) -> Value:
        operator = text(child(node, "operator"))
        if operator == "delete":
            return Unknown(at, f"{at.code} takes a value away", self.within(node, scope), changes=True)
        return unary(at, operator, self.evaluate(child(node, "argument"), scope))

    def _binary(self, node: Node, scope: Scope, at: At) -> Value:
        first, second = self.evaluate(child(node, "left"), scope), self.evaluate(child(node, "right"), scope)
        return binary(at, text(child(node, "operator")), first, second)
