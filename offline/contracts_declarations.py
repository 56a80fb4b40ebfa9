"""What TypeScript enums, namespaces and classes come to: objects of their members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tree_sitter import Node

from offline.contracts_source import SILENT, Block, Import, read_block
from offline.contracts_syntax import NotEvaluable, child, parts, text
from offline.contracts_values import At, Call, Object, Scalar, Scope, Unknown, Value, unknown

if TYPE_CHECKING:
    from offline.contracts_evaluate import Evaluator


def enum(evaluator: Evaluator, node: Node, scope: Scope) -> Object:
    """Return an enum's members; those without a value are numbered."""
    result = Object(At(scope.module, node))
    inner = Scope(scope.module, {}, scope)  # members see those before them
    last: Value = Scalar(result.at, -1.0)
    for one in parts(child(node, "body")):
        at = At(scope.module, one)
        given = one.child_by_field_name("value")
        if given is not None:
            last = evaluator.evaluate(given, inner)
        elif isinstance(last, Scalar) and type(last.value) is float:
            last = Scalar(at, last.value + 1)
        else:
            last = unknown(at, last)
        name = evaluator.key(one if given is None else child(one, "name"), scope)
        if isinstance(name, str):
            result.put(name, last, at)
            inner.names[name] = last
    return result


def namespace(evaluator: Evaluator, node: Node, scope: Scope) -> Object:
    """Return what a namespace exports; raises `NotEvaluable`."""
    statements = parts(child(node, "body"))
    block = read_block(statements)
    if block.twice:
        raise NotEvaluable(node, f"{block.twice[0][0]} is declared twice")
    result = Object(At(scope.module, node), is_open=True)
    inner = Scope(scope.module, dict(block.names), scope)
    put_exports(evaluator, block, inner, result)
    for statement in statements:
        if statement.type not in SILENT:
            _put_unread(evaluator, statement, inner, result)
    return result


def put_exports(evaluator: Evaluator, block: Block, scope: Scope, into: Object) -> None:
    for name, exported in block.exports.items():
        at = At(scope.module, exported.node if isinstance(exported, Import) else exported)
        into.put(name, evaluator.binding(exported, scope), at)


def class_members(evaluator: Evaluator, node: Node, scope: Scope) -> Object:
    """Return a class's fields and methods, those of its instances among them."""
    result = Object(At(scope.module, node), is_open=True)
    name = node.child_by_field_name("name")
    # Its own fields may use it, as they may in JavaScript: those that come before.
    inner = Scope(scope.module, {"this": result}, scope)
    if name is not None:
        inner.names[text(name)] = result
    _inherit(evaluator, node, scope, result)
    for one in parts(child(node, "body")):
        given = one.child_by_field_name("value")
        if one.type == "class_static_block":
            _put_unread(evaluator, one, inner, result)
        elif one.type == "method_definition" or given is not None:
            at = At(scope.module, one)
            key = evaluator.key(child(one, "name"), inner)
            value = evaluator.evaluate(given or one, inner)
            result.put(key if isinstance(key, str) else at.code, value, At(scope.module, given or one))
    return result


def _inherit(evaluator: Evaluator, node: Node, scope: Scope, into: Object) -> None:
    clauses = [one for part in parts(node) if part.type == "class_heritage" for one in parts(part)]
    for base in [child(one, "value") for one in clauses if one.type == "extends_clause"]:
        value = evaluator.evaluate(base, scope)
        if isinstance(value, Object):
            for name, member in value.fields.items():
                into.put(name, member, value.where[name])
        elif isinstance(value, Call) or (isinstance(value, Unknown) and value.within):
            into.put("extends", value, At(scope.module, base))


def _put_unread(evaluator: Evaluator, statement: Node, scope: Scope, into: Object) -> None:
    """Keep what a statement does that is not followed, under a name that no member has."""
    at = At(scope.module, statement)
    value = Unknown(at, f"{at.code} is not followed", evaluator.within(statement, scope))
    into.put(f"statement {statement.start_byte}", value, at)
