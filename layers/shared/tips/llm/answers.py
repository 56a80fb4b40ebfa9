"""From what a model wrote to tips: finds the JSON, checks every item, keeps the good ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, StringConstraints, ValidationError

from tips.contracts.common import TipKind
from tips.features.context import one_line

MAX_CONTENT = 500
MAX_RATIONALE = 300
MAX_ANSWER = 100_000
"""Characters of an answer that are looked at."""
_MAX_STARTS = 50
"""Brackets at which JSON is looked for: an answer full of brackets must not cost quadratic time."""

Fault = Literal["not_json", "wrong_fields"]

_decoder = json.JSONDecoder()
_thinking = re.compile(r"<think>.*?</think>", re.DOTALL)
_bracket = re.compile(r"[\[{]")


class UnusableAnswer(Exception):
    """A model's text holds no tip. `fault` says what is wrong with it."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault: Fault = fault


class WrittenTip(BaseModel):
    """One tip as a model wrote it. An `id` of its own is ignored: see `tips.llm.writer`."""

    content: Annotated[
        str,
        StringConstraints(strict=True),
        AfterValidator(lambda text: one_line(text, MAX_CONTENT)),
        StringConstraints(min_length=1),
    ]
    kind: Annotated[TipKind, BeforeValidator(lambda kind: kind.strip().lower() if isinstance(kind, str) else kind)]
    # A tip is not lost for a strange explanation.
    rationale: Annotated[
        str | None,
        BeforeValidator(lambda text: (one_line(text, MAX_RATIONALE) or None) if isinstance(text, str) else None),
    ] = None


def read_tips(text: str, n: int) -> list[WrittenTip]:
    """Return the first `n` good, distinct tips of an answer: a JSON array, or an object whose only array holds them.

    Code fences, prose and reasoning around the JSON are skipped, items that are not tips are dropped.
    Raises `UnusableAnswer` when no tip is left.
    """
    fault: Fault = "not_json"
    for value in _json_values(_thinking.sub("", text[:MAX_ANSWER])):
        fault = "wrong_fields"
        tips: dict[str, WrittenTip] = {}
        for item in _items(value):
            try:
                tip = WrittenTip.model_validate(item)
            except ValidationError:
                continue
            tips.setdefault(tip.content.casefold(), tip)
        if tips:
            return list(tips.values())[:n]
    raise UnusableAnswer(fault)


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
