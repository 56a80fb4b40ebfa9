"""What JavaScript's operators make of constants."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from offline.contracts_values import At, Scalar, Unknown, Value, is_undefined, unknown

_ARITHMETIC: Mapping[str, Callable[[float, float], float | complex]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "%": math.fmod,
    "**": lambda a, b: a**b,
}


def unary(at: At, operator: str, operand: Value) -> Value:
    if isinstance(operand, Scalar) and type(operand.value) is float and operator in "+-":
        return Scalar(at, -operand.value if operator == "-" else operand.value)
    return unknown(at, operand)


def binary(at: At, operator: str, first: Value, second: Value) -> Value:
    if operator == "??" and (is_undefined(first) or not isinstance(first, Unknown)):
        return second if is_undefined(first) else first
    if not isinstance(first, Scalar) or not isinstance(second, Scalar):
        return unknown(at, first, second)
    left, right = first.value, second.value
    if isinstance(left, str) and isinstance(right, str) and operator == "+":
        return Scalar(at, left + right)
    if type(left) is float and type(right) is float and operator in _ARITHMETIC:
        try:
            result = _ARITHMETIC[operator](left, right)
        except (ArithmeticError, ValueError):
            return Unknown(at, f"{at.code} is no finite number")
        # A complex number is what Python makes of the root of a negative one.
        if isinstance(result, complex) or not math.isfinite(result):
            return Unknown(at, f"{at.code} is no finite number")
        return Scalar(at, result)
    return unknown(at, first, second)
