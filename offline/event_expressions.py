"""DynamoDB's condition and update expressions, as far as this repository writes them; others are refused."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tips.state.table import Item

_TOKEN = re.compile(r"\s*(<=|>=|<>|[=<>(),+]|[#:]?[A-Za-z_]\w*|-)")
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_CLAUSES = ("SET", "REMOVE", "ADD")
Value = dict[str, Any]


class UnknownExpression(Exception):
    """An expression of a form that is not known here: what it would do is not guessed."""


class _Reader:
    """Goes through the tokens of one expression about one item."""

    def __init__(self, expression: str, item: Item, names: Mapping[str, str], values: Mapping[str, Value]) -> None:
        self._expression = expression
        self._item = item
        self._names = names
        self._values = values
        self._tokens = self._split()

    def _split(self) -> list[str]:
        tokens, at = [], 0
        text = self._expression.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise self._unknown()
            tokens.append(found[1])
            at = found.end()
        return tokens

    def _unknown(self) -> UnknownExpression:
        return UnknownExpression(self._expression)

    def _peek(self) -> str:
        return self._tokens[0] if self._tokens else ""

    def _take(self, wanted: str | None = None) -> str:
        if not self._tokens or (wanted is not None and self._tokens[0] != wanted):
            raise self._unknown()
        return self._tokens.pop(0)

    def _taken(self, token: str) -> bool:
        return self._peek() == token and bool(self._tokens.pop(0))

    # Conditions

    def condition(self) -> bool:
        met = self._either()
        if self._tokens:
            raise self._unknown()
        return met

    def _either(self) -> bool:
        met = self._both()
        while self._taken("OR"):
            met = self._both() or met
        return met

    def _both(self) -> bool:
        met = self._one()
        while self._taken("AND"):
            met = self._one() and met
        return met

    def _one(self) -> bool:
        if self._taken("NOT"):
            return not self._one()
        if self._taken("("):
            met = self._either()
            self._take(")")
            return met
        if self._peek() in ("attribute_exists", "attribute_not_exists"):
            wanted = self._take() == "attribute_exists"
            self._take("(")
            there = self._name() in self._item
            self._take(")")
            return there == wanted
        left, operator, right = self._operand(), self._take(), self._operand()
        return _compared(left, operator, right, self._unknown)

    def _operand(self) -> Value | None:
        token = self._peek()
        if token.startswith(":"):
            return self._value()
        return self._item.get(self._name())

    def _name(self) -> str:
        token = self._take()
        if token.startswith("#"):
            if token not in self._names:
                raise self._unknown()
            return self._names[token]
        if not re.fullmatch(r"[A-Za-z_]\w*", token) or self._peek() == "(" or token in ("AND", "OR", "NOT", *_CLAUSES):
            raise self._unknown()
        return token

    def _value(self) -> Value:
        token = self._take()
        if token not in self._values:
            raise self._unknown()
        return self._values[token]

    # Updates

    def update(self) -> Item:
        """Return the item as it is afterwards."""
        changed = dict(self._item)
        while self._tokens:
            clause = self._take()
            if clause not in _CLAUSES:
                raise self._unknown()
            self._action(clause, changed)
            while self._taken(","):
                self._action(clause, changed)
        return changed

    def _action(self, clause: str, changed: Item) -> None:
        name = self._name()
        if clause == "REMOVE":
            changed.pop(name, None)
        elif clause == "ADD":
            changed[name] = self._sum(self._item.get(name, {"N": "0"}), self._value(), 1)
        else:
            self._take("=")
            changed[name] = self._assigned()

    def _assigned(self) -> Value:
        value = self._source()
        while self._peek() in ("+", "-"):
            sign = 1 if self._take() == "+" else -1
            value = self._sum(value, self._source(), sign)
        return value

    def _source(self) -> Value:
        if self._taken("if_not_exists"):
            self._take("(")
            there = self._item.get(self._name())
            self._take(",")
            other = self._source()
            self._take(")")
            return other if there is None else there
        value = self._operand()
        if value is None:
            raise self._unknown()
        return value

    def _sum(self, left: Value, right: Value, sign: int) -> Value:
        if set(left) != {"N"} or set(right) != {"N"}:
            raise self._unknown()
        total = Decimal(left["N"]) + sign * Decimal(right["N"])
        return {"N": format(total, "f")}


def holds(write: Mapping[str, Any], item: Item | None) -> bool:
    """Whether the condition of a write, if it has one, holds for an item; raises `UnknownExpression`."""
    expression = write.get("ConditionExpression")
    return expression is None or _reader(expression, write, item or {}).condition()


def updated(write: Mapping[str, Any], item: Item | None) -> Item:
    """Return the item after an update, made if it was not there; raises `UnknownExpression`."""
    return _reader(write["UpdateExpression"], write, {**(item or {}), **write["Key"]}).update()


def _reader(expression: str, write: Mapping[str, Any], item: Item) -> _Reader:
    names, values = write.get("ExpressionAttributeNames", {}), write.get("ExpressionAttributeValues", {})
    return _Reader(expression, item, names, values)


def _compared(left: Value | None, operator: str, right: Value | None, unknown: Callable[[], UnknownExpression]) -> bool:
    if operator not in ("=", "<>", *_COMPARE):
        raise unknown()
    if left is None or right is None or set(left) != set(right):
        # What is not there, or of another type, is neither less nor more nor equal.
        return operator == "<>"
    (kind,) = left
    if kind not in ("N", "S", "B", "BOOL"):
        raise unknown()
    first, second = _comparable(kind, left[kind]), _comparable(kind, right[kind])
    if operator in _COMPARE:
        if kind == "BOOL":
            raise unknown()
        return _COMPARE[operator](first, second)
    return bool(first == second) == (operator == "=")


def _comparable(kind: str, value: Any) -> Any:
    match kind:
        case "N":
            return Decimal(value)
        case "S":
            return value.encode("utf-8", "surrogatepass")
        case "B":
            return value if isinstance(value, bytes) else base64.b64decode(value)
    return value
