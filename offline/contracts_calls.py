"""What calls come to: JavaScript's own functions for arrays, objects and maps, and helpers that return a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tree_sitter import Node

from offline.contracts_source import bound_names, read_block
from offline.contracts_syntax import child, parts, text
from offline.contracts_values import (
    Array,
    At,
    Call,
    Function,
    Object,
    Scalar,
    Scope,
    Unknown,
    Value,
    is_undefined,
    unknown,
)

if TYPE_CHECKING:
    from offline.contracts_evaluate import Evaluator

_ADDING = ("push", "unshift", "set", "add")
_TAKING = ("pop", "shift", "splice", "delete", "clear", "fill", "copyWithin", "remove", "unregister")
_SAME = ("slice", "sort", "reverse", "toSorted", "toReversed")
_SHAPING = {"spread_element", "object", "assignment_expression", "augmented_assignment_expression"}
"""Code that makes another object of what a function is given, or changes that."""


def is_opaque(value: Value) -> bool:
    """Return whether this is a call of something that is not known here, which may return anything."""
    return isinstance(value, Call)


def call(evaluator: Evaluator, node: Node, scope: Scope) -> Value:
    """Return what a call or `new` comes to."""
    at = At(scope.module, node)
    code = child(node, "function" if node.type == "call_expression" else "constructor")
    listed = node.child_by_field_name("arguments")
    given = () if listed is None else evaluator.items(listed, scope)
    if node.type == "new_expression":
        return _made(text(code), evaluator.evaluate(code, scope), given, at)
    while code.type in ("parenthesized_expression", "non_null_expression"):
        code = parts(code)[0]
    if code.type == "member_expression":
        if text(code) in _STATIC and given:
            return _STATIC[text(code)](given, at)
        receiver = evaluator.evaluate(child(code, "object"), scope)
        return _method(evaluator, receiver, text(child(code, "property")), given, At(scope.module, code), at)
    called = evaluator.evaluate(code, scope)
    if isinstance(called, Function):
        return apply(evaluator, called, given, at)
    return Call(at, called if isinstance(called, Unknown) and called.within else None, given)


def _made(name: str, made: Value, given: tuple[Value, ...], at: At) -> Value:
    if name == "Map" and (not given or isinstance(given[0], Array)):
        return Array(at, given[0].items if given and isinstance(given[0], Array) else (), is_map=True)
    if isinstance(made, Object):
        return Call(at, made, given) if given else made
    return Call(at, None, given)


def _method(evaluator: Evaluator, receiver: Value, name: str, given: tuple[Value, ...], code: At, at: At) -> Value:
    if name in _TAKING and not isinstance(receiver, Function):
        return Unknown(at, f"{at.code} takes values away", (receiver,), changes=True)
    if isinstance(receiver, Array):
        return _array_method(evaluator, receiver, name, given, at)
    if isinstance(receiver, Object):
        field = evaluator.member(receiver, name, code)
        if isinstance(field, Function):
            return apply(evaluator, field, given, at)
        if not receiver.is_open:
            return unknown(at, field, *given)
    return Call(at, receiver, given)


def _array_method(evaluator: Evaluator, array: Array, name: str, given: tuple[Value, ...], at: At) -> Value:
    if name == "set" and array.is_map and len(given) == 2:
        return Array(at, (*array.items, Array(at, given)), is_map=True)
    if name in ("push", "unshift") and not array.is_map:
        return Array(at, (*array.items, *given))
    if name == "concat":
        flat = [one.items if isinstance(one, Array) else (one,) for one in given]
        return Array(at, (*array.items, *(item for items in flat for item in items)))
    if name == "flat" and not given:
        return Array(
            at, tuple(inner for one in array.items for inner in (one.items if isinstance(one, Array) else (one,)))
        )
    if name in ("values", "keys", "entries") and not given:
        pairs = [one.items for one in array.items if isinstance(one, Array) and len(one.items) == 2]
        if not array.is_map:
            return array if name == "values" else unknown(at, array)
        if name == "entries" or len(pairs) < len(array.items):
            return Array(at, array.items)
        return Array(at, tuple(one[name == "values"] for one in pairs))
    if name in _SAME and not given:
        return array
    if name in ("map", "flatMap") and len(given) == 1 and isinstance(given[0], Function) and not array.is_map:
        results = [apply(evaluator, given[0], (one,), one.at) for one in array.items]
        if not any(isinstance(one, Unknown | Call) for one in results):
            mapped = Array(at, tuple(results))
            return mapped if name == "map" else _array_method(evaluator, mapped, "flat", (), at)
    return unknown(at, array, *given)


def _from_entries(given: tuple[Value, ...], at: At) -> Value:
    result = Object(at)
    if not isinstance(given[0], Array):
        return unknown(at, *given)
    for one in given[0].items:
        key = one.items[0] if isinstance(one, Array) and len(one.items) == 2 else None
        if isinstance(one, Array) and isinstance(key, Scalar) and isinstance(key.value, str):
            result.put(key.value, one.items[1], one.at)
        else:
            result.unread.append(unknown(one.at, one))
    return result


def _assigned(given: tuple[Value, ...], at: At) -> Value:
    result = Object(at)
    for one in given:
        if isinstance(one, Object):
            result.fields.update(one.fields)
            result.where.update(one.where)
            result.unread.extend(one.unread)
        elif not is_undefined(one):
            result.unread.append(unknown(at, one))
    return result


def _listed(given: tuple[Value, ...], at: At, *, keys: bool) -> Value:
    made = given[0]
    if not isinstance(made, Object) or made.unread:
        return unknown(at, *given)
    fields = [(Scalar(made.where[name], name), value) for name, value in made.fields.items()]
    return Array(at, tuple(Array(made.where[str(key.value)], (key, one)) if keys else one for key, one in fields))


_STATIC: dict[str, Callable[[tuple[Value, ...], At], Value]] = {
    "Object.freeze": lambda given, at: given[0],
    "Object.seal": lambda given, at: given[0],
    "Object.fromEntries": _from_entries,
    "Object.assign": _assigned,
    "Object.entries": lambda given, at: _listed(given, at, keys=True),
    "Object.values": lambda given, at: _listed(given, at, keys=False),
    "Array.from": lambda given, at: (
        given[0] if len(given) == 1 and isinstance(given[0], Array) else unknown(at, *given)
    ),
    "Array.of": lambda given, at: Array(at, given),
}


def apply(evaluator: Evaluator, function: Function, given: tuple[Value, ...], at: At) -> Value:
    """Return what a function of these files returns for these arguments; an object that it makes stands at the call."""
    if function.at in evaluator.active:
        return Unknown(at, f"{at.code} calls itself", given)
    evaluator.active.add(function.at)
    try:
        made = _applied(evaluator, function, given, at)
    finally:
        evaluator.active.discard(function.at)
    node = function.at.node
    if isinstance(made, Object) and not made.is_open and made.at.module is function.at.module:
        is_own = node.start_byte <= made.at.node.start_byte < node.end_byte
        return replace(made, at=at) if is_own else made
    return made


def _applied(evaluator: Evaluator, function: Function, given: tuple[Value, ...], at: At) -> Value:
    """Return what a function returns.

    One that does more than name values and return one is taken to pass on what it is given, unless it shapes that.
    """
    node = function.at.node
    scope = Scope(function.at.module, {}, function.scope)
    _bind_all(evaluator, node, given, scope)
    body = child(node, "body")
    if body.type != "statement_block":
        return evaluator.evaluate(body, scope)
    statements = parts(body)
    scope.names.update(read_block(statements).names)
    for statement in statements:
        if statement.type == "return_statement" and parts(statement):
            return evaluator.evaluate(parts(statement)[0], scope)
        if statement.type not in ("lexical_declaration", "empty_statement") and not _add(evaluator, statement, scope):
            break
    rest = Unknown(at, f"{at.code} does more than return a value", (*given, *evaluator.within(body, scope)))
    return rest if _shapes(body) else Call(at, rest, given)


def _add(evaluator: Evaluator, statement: Node, scope: Scope) -> bool:
    """Follow `list.push(...)` of a name within a function; return whether the statement is that."""
    made = parts(statement)[0] if statement.type == "expression_statement" else statement
    code = made.child_by_field_name("function") if made.type == "call_expression" else None
    if code is None or code.type != "member_expression" or text(child(code, "property")) not in _ADDING:
        return False
    name = text(child(code, "object"))
    while child(code, "object").type == "call_expression":  # map.set(...).set(...)
        code = child(child(code, "object"), "function")
        if code.type != "member_expression":
            return False
        name = text(child(code, "object"))
    if name not in scope.names:
        return False
    value = evaluator.evaluate(made, scope)
    if isinstance(value, Array):
        scope.names[name] = value
    return isinstance(value, Array)


def _shapes(node: Node) -> bool:
    return node.type in _SHAPING or any(_shapes(one) for one in node.named_children)


def _bind_all(evaluator: Evaluator, node: Node, given: tuple[Value, ...], scope: Scope) -> None:
    single = node.child_by_field_name("parameter")
    listed = node.child_by_field_name("parameters")
    patterns = [single] if single is not None else [] if listed is None else parts(listed)
    for index, one in enumerate(patterns):
        pattern = one.child_by_field_name("pattern") or one
        at = At(scope.module, pattern)
        value: Value = (
            given[index] if index < len(given) else Unknown(at, f"{text(pattern)} is not given", is_absent=True)
        )
        if pattern.type == "rest_pattern":
            pattern, value = parts(pattern)[0], Array(at, given[index:])
        _bind(evaluator, pattern, value, one.child_by_field_name("value"), scope)


def _bind(evaluator: Evaluator, pattern: Node, value: Value, default: Node | None, scope: Scope) -> None:
    if default is not None and is_undefined(value):
        value = evaluator.evaluate(default, scope)
    at = At(scope.module, pattern)
    if pattern.type in ("identifier", "shorthand_property_identifier_pattern"):
        scope.names[text(pattern)] = value
        return
    if pattern.type in ("assignment_pattern", "object_assignment_pattern"):
        _bind(evaluator, child(pattern, "left"), value, child(pattern, "right"), scope)
        return
    if pattern.type != "object_pattern" or not isinstance(value, Object):
        for name in bound_names(pattern):
            scope.names[name] = unknown(at, value)
        return
    taken: set[str] = set()
    for part in parts(pattern):
        if part.type == "rest_pattern":
            rest = Object(value.at, unread=value.unread)
            for name, field in value.fields.items():
                if name not in taken:
                    rest.put(name, field, value.where[name])
            _bind(evaluator, parts(part)[0], rest, None, scope)
            continue
        inner = part.child_by_field_name("value") or part
        key = part.child_by_field_name("key") or part.child_by_field_name("left") or part
        name = text(key).strip("\"'")
        taken.add(name)
        _bind(evaluator, inner, evaluator.member(value, name, At(scope.module, part)), None, scope)
