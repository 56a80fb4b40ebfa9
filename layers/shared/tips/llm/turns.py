"""What a model is told when its answer cannot be used as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tips.llm.answers import Fault
from tips.llm.checks import MAX_CONTENT, MIN_CONTENT, TipCheck
from tips.prompts.prompt import Message

_QUOTED_BACK = 4000
"""Characters of its own answer that are repeated."""

CORRECTIONS: Mapping[Fault, str] = {
    "not_json": "That was not JSON. Answer again with the JSON array alone: start with [ and end with ].",
    "wrong_fields": (
        'The JSON was not as agreed. Answer again with a JSON array of objects, each with "content" (a string) and '
        '"kind" (one of "task", "advice", "insight", "reminder"), and nothing else.'
    ),
}

_RULES: Mapping[TipCheck, str] = {
    "schema": "without the agreed fields",
    "kind": "of an unknown kind",
    "too_short": f"shorter than {MIN_CONTENT} characters",
    "too_long": f"longer than {MAX_CONTENT} characters",
    "email": "with an e-mail address",
    "phone": "with a phone number",
    "url": "with a web address",
    "duplicate": "nearly the same as another one",
    "seen": "nearly the same as one the person has seen lately",
}


def corrected(asked: Sequence[Message], answer: str, fault: Fault) -> list[Message]:
    """Return the conversation that asks once more after an answer that could not be read."""
    return _answered(asked, answer, CORRECTIONS[fault])


def replaced(asked: Sequence[Message], answer: str, failed: Counter[TipCheck], missing: int) -> list[Message]:
    """Return the conversation that asks for `missing` tips in place of those that failed, named by rule alone."""
    rules = ", ".join(f"{count} {_RULES[check]}" for check, count in sorted(failed.items()))
    number = f"{missing} new tip{'s' * (missing != 1)}"
    return _answered(
        asked,
        answer,
        f"Some of these tips cannot be shown: {rules}. Write {number} in their place, in the same JSON form and "
        "different from all above, and nothing else.",
    )


def _answered(asked: Sequence[Message], answer: str, text: str) -> list[Message]:
    return [
        *asked,
        {"role": "assistant", "content": answer[:_QUOTED_BACK] or "(nothing)"},
        {"role": "user", "content": text},
    ]
