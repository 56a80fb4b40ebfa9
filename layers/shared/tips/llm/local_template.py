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
from typing import Any

from tips.llm import local_judge
from tips.llm.contacts import MASK, contact, mask_contacts
from tips.llm.local_texts import COACH, EXAMPLES_COACH, MENTOR, ORCHESTRATOR, Voice, Weave
from tips.prompts.prompt import Message, read_context_block

NAME = "local/template"

_STANDARD_N = 3
_TITLE, _NOTE, _WOVEN = 90, 100, 70
"""Characters of a title, of a snippet, and of each of two in one tip, that are quoted."""
_OLDEST_DAYS = 3650
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
    """Answer a prompt with a JSON array of tips, a judge's prompt (`tips.llm.local_judge`) with a JSON object.

    Messages without a readable context get tips for anybody.
    """
    blocks = (read_context_block(message["content"]) for message in reversed(messages) if message["role"] == "user")
    context = next((block for block in blocks if block is not None), {})
    said = local_judge.judge(context)
    text = json.dumps(write_tips(context, _voice(messages)) if said is None else said, ensure_ascii=False)
    return LocalAnswer(text, sum(_tokens(message["content"]) for message in messages), _tokens(text))


def write_tips(context: Mapping[str, Any], voice: Voice) -> list[Tip]:
    """Write as many tips as `context["n"]` says: tasks in the given order, but from three tips on not tasks alone.

    A voice that weaves begins with snippets, each joined with a task, else with another snippet. No sentence is said
    twice: what has none left gives way to tips that need no task.
    """
    n = context["n"] if isinstance(context.get("n"), int) else _STANDARD_N
    part = str(context.get("part_of_day"))
    said: set[str] = set()
    tasks, notes = _objects(context.get("tasks")), _texts(context.get("snippets"))
    woven, joined = [], 0
    if voice.weave is not None:
        woven, joined = list(_woven(notes, tasks, voice.weave, part, said)), min(len(notes), len(tasks))
        notes = notes[joined + (len(notes) - joined) // 2 * 2 :]
    about_tasks = list(_about_tasks(tasks[joined:], voice, part, said))
    room = n if n < 3 else 1 if part == "night" else n - 1
    first = about_tasks[: max(room - len(woven), 0)]
    tips = [
        *woven,
        *first,
        *_about_notes(notes, voice, part, said),
        *_advice(voice, part),
        *about_tasks[len(first) :],
        *_about_tasks(tasks[:joined], voice, part, said),
    ]
    return tips[: max(n, 0)]


def _voice(messages: Sequence[Message]) -> Voice:
    if any(message["role"] == "assistant" for message in messages):
        return EXAMPLES_COACH
    system = " ".join(message["content"] for message in messages if message["role"] == "system")
    if "orchestrator" in system:
        return ORCHESTRATOR
    return MENTOR if "mentor" in system else COACH


def _woven(
    notes: Sequence[str], tasks: Sequence[Mapping[str, Any]], weave: Weave, part: str, said: set[str]
) -> Iterator[Tip]:
    now = _NOW.get(part, "today")
    for note, task in zip(notes, tasks, strict=False):
        title, overdue = str(task.get("title", "")), task.get("overdue") is True
        if sentence := _pick(weave.at_night if part == "night" else weave.task, note + title, said):
            yield {
                "content": sentence.format(note=_quoted(note, _WOVEN), task=_quoted(title, _WOVEN), now=now),
                "kind": "reminder" if overdue else "task",
                "rationale": f"From your notes and {'an overdue' if overdue else 'an open'} task.",
            }
    left = notes[len(tasks) :]
    for note, other in zip(left[::2], left[1::2], strict=False):
        if sentence := _pick(weave.notes, note + other, said):
            yield {
                "content": sentence.format(note=_quoted(note, _WOVEN), other=_quoted(other, _WOVEN), now=now),
                "kind": "insight",
                "rationale": "From two of your notes.",
            }


def _about_tasks(tasks: Sequence[Mapping[str, Any]], voice: Voice, part: str, said: set[str]) -> Iterator[Tip]:
    for task in tasks:
        title = str(task.get("title", ""))
        overdue, weight = task.get("overdue") is True, _WEIGHTS.get(str(task.get("priority")))
        if part == "night":
            variants = voice.at_night
        elif overdue:
            variants = voice.overdue
        else:
            variants = voice.urgent if weight else voice.open
        if (sentence := _pick(variants, title, said)) is None:
            continue
        age = min(task["age_days"], _OLDEST_DAYS) if isinstance(task.get("age_days"), int) else 0
        waited = "" if age < 1 else " since yesterday" if age == 1 else f" for {age} days"
        facts = [
            *(["overdue"] if overdue else []),
            *([weight] if weight else []),
            *([f"open{waited}"] if waited else []),
            *([f"due {_masked(task['due'])}"] if isinstance(task.get("due"), str) else []),
        ]
        reason = ", ".join(facts) or "On your list"
        yield {
            "content": sentence.format(task=_quoted(title, _TITLE), age=waited, now=_NOW.get(part, "today")),
            "kind": "reminder" if overdue else "task",
            "rationale": f"{reason[0].upper()}{reason[1:]}.",
        }


def _about_notes(notes: Sequence[str], voice: Voice, part: str, said: set[str]) -> Iterator[Tip]:
    for note in notes:
        if sentence := _pick(voice.noted, note, said):
            content = sentence.format(note=_quoted(note, _NOTE), now=_NOW.get(part, "today"))
            yield {"content": content, "kind": "insight", "rationale": "From your notes."}


def _advice(voice: Voice, part: str) -> Iterator[Tip]:
    for kind, text in voice.by_part_of_day.get(part, ()):
        yield {"content": text, "kind": kind, "rationale": f"Fits the {part}."}
    for kind, text in voice.general:
        yield {"content": text, "kind": kind, "rationale": "Helps on any day."}


def _pick(variants: Sequence[str], key: str, said: set[str]) -> str | None:
    """Choose by `key` one of the variants not yet `said`, and note it there; None where all are."""
    start = zlib.crc32(key.encode(errors="replace")) % len(variants)
    chosen = next((variant for variant in (*variants[start:], *variants[:start]) if variant not in said), None)
    if chosen is not None:
        said.add(chosen)
    return chosen


def _quoted(text: str, limit: int) -> str:
    text = _masked(text).strip().rstrip(".")
    if len(text) > limit:
        # What is cut off may have been what made digits something else than a telephone number.
        text = _masked(text[:limit].rsplit(" ", 1)[0].rstrip(" ,;:…") + "…")
    return f"“{text}”"


def _masked(text: str) -> str:
    # What is left of two contacts that run into each other can be one again.
    masked = mask_contacts(text)
    return masked if contact(masked) is None else MASK


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _tokens(text: str) -> int:
    return -(-len(text) // _CHARACTERS_PER_TOKEN)
