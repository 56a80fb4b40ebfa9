"""`local/template`: a model without a model. It answers a rendered prompt from templates, always in the same way.

It reads the messages as a remote model would: the context block tells it the tasks, the hour and how many tips are
wanted, the system text and the examples tell it how to speak. It stands in where no model is configured, and for a
model that does not answer.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tips.llm.local_texts import COACH, EXAMPLES_COACH, MENTOR, Voice
from tips.prompts.prompt import Message, read_context_block

NAME = "local/template"

_STANDARD_N = 3
_LONGEST_TITLE = 90
_LONGEST_NOTE = 100
_CHARACTERS_PER_TOKEN = 4
_NOW = {
    "morning": "this morning",
    "afternoon": "this afternoon",
    "evening": "this evening",
    "night": "tonight",
}
_WEIGHTS = {"3": "important", "4": "urgent"}

Tip = dict[str, str]


@dataclass(frozen=True, slots=True)
class LocalAnswer:
    """The text of the answer. Token counts are estimates: four characters to a token."""

    text: str
    prompt_tokens: int
    completion_tokens: int


def answer(messages: Sequence[Message]) -> LocalAnswer:
    """Answer a prompt with a JSON array of tips; messages without a readable context get tips for anybody."""
    blocks = (read_context_block(message["content"]) for message in reversed(messages) if message["role"] == "user")
    context = next((block for block in blocks if block is not None), {})
    tips = write_tips(context, _voice(messages))
    text = json.dumps(tips, ensure_ascii=False)
    return LocalAnswer(text, sum(_tokens(message["content"]) for message in messages), _tokens(text))


def write_tips(context: Mapping[str, Any], voice: Voice) -> list[Tip]:
    """Write as many tips as `context["n"]` says: tasks in the given order, but from three tips on not tasks alone."""
    n = context["n"] if isinstance(context.get("n"), int) else _STANDARD_N
    part = str(context.get("part_of_day"))
    said: set[str] = set()
    tasks = [_about_task(task, voice, part, said) for task in _objects(context.get("tasks"))]
    notes = [_about_note(note, voice, part, said) for note in _texts(context.get("snippets"))]
    most = 1 if part == "night" else n - 1
    first = tasks[:most] if n >= 3 else tasks[:n]
    tips = [*first, *notes, *_advice(voice, part), *tasks[len(first) :]]
    # Two tasks may have one title.
    distinct = {tip["content"]: tip for tip in tips}
    return list(islice(distinct.values(), max(n, 0)))


def _voice(messages: Sequence[Message]) -> Voice:
    if any(message["role"] == "assistant" for message in messages):
        return EXAMPLES_COACH
    mentor = any("mentor" in message["content"] for message in messages if message["role"] == "system")
    return MENTOR if mentor else COACH


def _about_task(task: Mapping[str, Any], voice: Voice, part: str, said: set[str]) -> Tip:
    title = _quoted(str(task.get("title", "")), _LONGEST_TITLE)
    age = task.get("age_days") if isinstance(task.get("age_days"), int) else None
    overdue, weight = task.get("overdue") is True, _WEIGHTS.get(str(task.get("priority")))
    waited = "" if age is None or age < 1 else " since yesterday" if age == 1 else f" for {age} days"
    if part == "night":
        variants = voice.at_night
    elif overdue:
        variants = voice.overdue
    else:
        variants = voice.urgent if weight else voice.open
    facts = [
        *(["overdue"] if overdue else []),
        *([weight] if weight else []),
        *([f"open{waited}"] if waited else []),
        *([f"due {task['due']}"] if isinstance(task.get("due"), str) else []),
    ]
    reason = ", ".join(facts) or "On your list"
    return {
        "content": _pick(variants, title, said).format(task=title, age=waited, now=_NOW.get(part, "today")),
        "kind": "reminder" if overdue else "task",
        "rationale": f"{reason[0].upper()}{reason[1:]}.",
    }


def _about_note(note: str, voice: Voice, part: str, said: set[str]) -> Tip:
    quoted = _quoted(note, _LONGEST_NOTE)
    content = _pick(voice.noted, note, said).format(note=quoted, now=_NOW.get(part, "today"))
    return {"content": content, "kind": "insight", "rationale": "From your notes."}


def _advice(voice: Voice, part: str) -> Iterator[Tip]:
    for kind, text in voice.by_part_of_day.get(part, ()):
        yield {"content": text, "kind": kind, "rationale": f"Fits the {part}."}
    for kind, text in voice.general:
        yield {"content": text, "kind": kind, "rationale": "Helps on any day."}


def _pick(variants: Sequence[str], key: str, said: set[str]) -> str:
    """Choose a variant by `key`, one that was not yet `said` while there is one."""
    start = zlib.crc32(key.encode(errors="replace")) % len(variants)
    in_turn = [*variants[start:], *variants[:start]]
    chosen = next((variant for variant in in_turn if variant not in said), in_turn[0])
    said.add(chosen)
    return chosen


def _quoted(text: str, limit: int) -> str:
    text = text.strip().rstrip(".")
    if len(text) > limit:
        text = text[:limit].rsplit(" ", 1)[0].rstrip(" ,;:…") + "…"
    return f"“{text}”"


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _tokens(text: str) -> int:
    return -(-len(text) // _CHARACTERS_PER_TOKEN)
