"""TypeScript's syntax tree: its parts as text, its literals as values, and where it has errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tree_sitter import Node

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Why a file cannot be read, and where. line, column: from 1, in characters."""

    line: int
    column: int
    text: str


class SourceUnreadable(Exception):
    """The file cannot be read; `problems` say why."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(one.text for one in problems))
        self.problems = problems


class NotEvaluable(Exception):
    """An expression's value cannot be told from this file alone."""

    def __init__(self, node: Node, reason: str) -> None:
        super().__init__(reason)
        self.node = node
        self.reason = reason


def parts(node: Node) -> list[Node]:
    """Return a node's named children, without comments."""
    return [one for one in node.named_children if one.type != "comment"]


def child(node: Node, name: str) -> Node:
    """Return the child that has this role; the grammar says that there is one."""
    found = node.child_by_field_name(name)
    if found is None:
        raise NotEvaluable(node, f"{shortened(node)} has no {name}")
    return found


def text(node: Node) -> str:
    return (node.text or b"").decode()


def shortened(node: Node) -> str:
    """Return a node's code for a message, on one line."""
    code = " ".join(text(node).split())
    return f"`{code if len(code) <= 60 else code[:57] + '...'}`"


def number(node: Node) -> float:
    """Return a numeric literal's value; raises `NotEvaluable`."""
    digits = text(node).replace("_", "").lower()
    try:
        if digits[:2] in ("0x", "0o", "0b"):
            return float(int(digits, 0))
        # What begins with 0 is an octal number in old JavaScript, and no number in a module.
        if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
            raise ValueError(digits)
        value = float(digits)
    except (ValueError, OverflowError):
        raise NotEvaluable(node, f"{shortened(node)} is no plain number") from None
    if not math.isfinite(value):
        raise NotEvaluable(node, f"{shortened(node)} is no finite number")
    return value


def unescaped(node: Node) -> str:
    """Return the character that an escape sequence stands for; raises `NotEvaluable`."""
    code = text(node)[1:]
    try:
        if code.startswith("u{"):
            return chr(int(code[2:-1], 16))
        if code[0] in "ux":
            return chr(int(code[1:], 16))
    except (ValueError, OverflowError):
        raise NotEvaluable(node, f"{shortened(node)} is no character") from None
    if code[0] in "\r\n":
        return ""  # a line that goes on
    return _ESCAPES.get(code, code)


def syntax_errors(root: Node) -> list[Node]:
    """Return the outermost places that the parser could not make sense of."""
    if not root.has_error:
        return []
    found, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        if node.is_error or node.is_missing:
            found.append(node)
        elif node.has_error:
            waiting += reversed(node.children)
    return found


def fault(node: Node) -> str:
    """Return what is wrong at such a place."""
    if node.is_missing:
        return f"syntax error: {node.type} is missing"
    return f"syntax error at {shortened(node)}"
