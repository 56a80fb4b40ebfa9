"""What a prompt version is, and how it becomes the chat messages that a model gets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, TypedDict, get_args

from tips.contracts.common import TipKind

OPENING = "<context>"
CLOSING = "</context>"

STANDARD_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "tips": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "content": {"type": "string"},
                    "kind": {"type": "string", "enum": list(get_args(TipKind))},
                    "rationale": {"type": "string"},
                },
                "required": ["content", "kind", "rationale"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["tips"],
    "additionalProperties": False,
}
"""JSON schema of an answer. Structured output wants an object at the root, every property required and no other."""


class Message(TypedDict):
    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """One few-shot exchange: a context as `build_context` makes it, and the answer wanted for it."""

    context: Mapping[str, Any]
    answer: Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Parameters:
    """Sampling parameters that the version was written for."""

    temperature: float = 0.8
    max_tokens: int = 1500


@dataclass(frozen=True)
class Prompt:
    """One version of the prompt.

    `user` is the text around the person's context, with the places `{n}` and `{context}`. `system` and `examples`
    are sent as they are. `output_schema`: what a model with structured output is held to. `released`: ISO date.
    """

    version: str
    description: str
    system: str
    user: str
    examples: tuple[Example, ...] = ()
    parameters: Parameters = Parameters()
    output_schema: Mapping[str, Any] = field(default_factory=lambda: STANDARD_SCHEMA)
    author: str = ""
    released: str | None = None

    @cached_property
    def content_hash(self) -> str:
        """SHA-256, hexadecimal, over everything that reaches a model.

        The standard schema is left out, which the versions share and earlier hashes do not know.
        """
        content = asdict(self)
        for name in ("version", "description", "author", "released"):
            del content[name]
        if self.output_schema == STANDARD_SCHEMA:
            del content["output_schema"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def render(self, context: Mapping[str, Any], n: int) -> list[Message]:
        """Return the messages that ask for `n` tips in `context`, which is sent as data and never as text.

        Their number, roles and everything outside the last message's context block depend on `n` alone.
        """
        messages: list[Message] = [{"role": "system", "content": self.system}]
        for example in self.examples:
            answer = json.dumps(list(example.answer), ensure_ascii=False)
            messages.append({"role": "user", "content": self._ask(example.context, len(example.answer))})
            messages.append({"role": "assistant", "content": answer})
        messages.append({"role": "user", "content": self._ask(context, n)})
        return messages

    def _ask(self, context: Mapping[str, Any], n: int) -> str:
        return self.user.format(n=n, context=context_block({**context, "n": n}))


def context_block(context: Mapping[str, Any]) -> str:
    """Return `context` as one line of JSON between the delimiters.

    The JSON holds no `<`, `>` or `&`, so that no string in it can forge a delimiter or a model's control token.
    """
    text = json.dumps(context, ensure_ascii=False, allow_nan=False)
    for character in "<>&\x7f\x85\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f"{OPENING}\n{text}\n{CLOSING}"


def read_context_block(message: str) -> dict[str, Any] | None:
    """Return the context that `context_block` put into `message`, or None where there is no readable one."""
    _, found, rest = message.partition(f"{OPENING}\n")
    text, closed, _ = rest.partition(f"\n{CLOSING}")
    if not found or not closed:
        return None
    try:
        context = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return context if isinstance(context, dict) else None
