"""How a prompt version is shown to people: one sentence to a line, so that a diff of two versions can be read."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from tips.prompts.prompt import STANDARD_SCHEMA, Message, Prompt
from tips.prompts.registry import status

WIDTH = 98
HASH_LENGTH = 12
_END_OF_SENTENCE = re.compile(r"(?<=[.!?]) ")


def heading(prompt: Prompt) -> list[str]:
    """Return who released the version and when, and its hash."""
    facts = [status(prompt), *([prompt.released] if prompt.released else [])]
    by = f" by {prompt.author}" if prompt.author else ""
    return [f"{prompt.version}, {' '.join(facts)}{by}", f"sha256 {prompt.content_hash}"]


def readable(prompt: Prompt) -> list[str]:
    """Return everything that a version says, in lines of at most `WIDTH` characters."""
    parameters = prompt.parameters
    lines = [
        prompt.description,
        f"temperature {parameters.temperature:g}, at most {parameters.max_tokens} tokens",
        "",
        rule("system"),
        *_text(prompt.system),
        "",
        rule("user"),
        *_text(prompt.user),
    ]
    for number, example in enumerate(prompt.examples, start=1):
        lines += ["", rule(f"example {number}"), *_json(example.context)]
        for tip in example.answer:
            lines += ["", *_wrapped(f"- {tip['kind']}: {tip['content']}")]
            lines += [f"  ({tip['rationale']})"] if tip.get("rationale") else []
    lines += ["", rule("answer")]
    if prompt.output_schema == STANDARD_SCHEMA:
        return [*lines, "The standard schema: tips, each with content, kind and rationale."]
    return [*lines, *_json(prompt.output_schema)]


def document(prompt: Prompt) -> dict[str, Any]:
    """Return the version for programs, its texts exactly as they are."""
    return {
        "version": prompt.version,
        "status": status(prompt),
        "description": prompt.description,
        "author": prompt.author,
        "released": prompt.released,
        "content_hash": prompt.content_hash,
        "parameters": {"temperature": prompt.parameters.temperature, "max_tokens": prompt.parameters.max_tokens},
        "system": prompt.system,
        "user": prompt.user,
        "examples": [{"context": example.context, "answer": list(example.answer)} for example in prompt.examples],
        "output_schema": prompt.output_schema,
    }


def as_sent(messages: Sequence[Message]) -> str:
    """Return the messages under a rule each, their texts exactly as a model gets them."""
    return "\n\n".join(f"{rule(message['role'])}\n{message['content']}" for message in messages)


def rule(title: str) -> str:
    return f"-- {title} ".ljust(WIDTH, "-")


def _text(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line:
            yield ""
        for sentence in _END_OF_SENTENCE.split(line):
            yield from _wrapped(sentence)


def _wrapped(line: str) -> list[str]:
    indent = "  " if line.startswith("- ") else ""
    return textwrap.wrap(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _json(value: Any) -> list[str]:
    return json.dumps(value, indent=2, ensure_ascii=False).splitlines()
