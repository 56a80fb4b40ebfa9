"""What a prompt version is, and how it becomes the chat messages that a model gets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, TypedDict

OPENING = "<context>"
CLOSING = "</context>"


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
    are sent as they are.
    """

    version: str
    description: str
    system: str
    user: str
    examples: tuple[Example, ...] = ()
    parameters: Parameters = Parameters()

    @cached_property
    def content_hash(self) -> str:
        """SHA-256, hexadecimal, over everything that reaches a model."""
        content = asdict(self)
        del content["version"], content["description"]
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
