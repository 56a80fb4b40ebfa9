"""From what a model wrote to items: finds the JSON, whatever stands around it and wherever it was cut off."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

MAX_ANSWER = 100_000
"""Characters of an answer that are looked at, after its reasoning."""
MAX_ITEMS = 50
"""Items of an answer that are looked at."""
_MAX_STARTS = 50
"""Brackets at which JSON is looked for: an answer full of brackets must not cost quadratic time."""

Fault = Literal["not_json", "wrong_fields"]

_decoder = json.JSONDecoder()
_thought = re.compile(r"</think(?:ing)?>")
_thinking = re.compile(r"<think(?:ing)?>")
_bracket = re.compile(r"[\[{]")


def read_items(text: str) -> list[Any] | None:
    """Return the items of an answer, None where there is no JSON in it.

    Wanted is a JSON array, or an object whose only array holds the items; the first that holds something like a tip
    counts. Code fences, prose and reasoning around it are skipped. Objects that stand alone are taken together: one
    per line, or what is whole of an array that was cut off.
    """
    alone: list[Any] = []
    first: list[Any] | None = None
    for value in _json_values(_without_reasoning(text)[:MAX_ANSWER]):
        if _is_like_a_tip(value):
            alone.append(value)
            continue
        items = _items(value)[:MAX_ITEMS]
        if any(_is_like_a_tip(item) for item in items):
            return items
        first = first or items
    return alone[:MAX_ITEMS] or first


def _without_reasoning(text: str) -> str:
    # A reasoning that was never closed holds drafts at most.
    return _thinking.split(_thought.split(text)[-1])[0]


def _json_values(text: str) -> Iterator[list[Any] | dict[str, Any]]:
    """Yield the arrays and objects in `text` that lie in no other, first to last."""
    position = 0
    for _ in range(_MAX_STARTS):
        start = _bracket.search(text, position)
        if start is None:
            return
        try:
            value, position = _decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            position = start.end()
        else:
            yield value


def _items(value: list[Any] | dict[str, Any]) -> list[Any]:
    if isinstance(value, dict):
        arrays = [inner for inner in value.values() if isinstance(inner, list)]
        return arrays[0] if len(arrays) == 1 else []
    return value


def _is_like_a_tip(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("content"), str) and "kind" in value
