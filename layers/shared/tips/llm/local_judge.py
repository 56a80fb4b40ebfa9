"""`local/template` as a judge: rules of thumb that stand in for a model where none is configured.

A judge's prompt holds a context block (`tips.prompts.prompt.context_block`) with `judge`:

- `"reaction"`: `person` with `likes` and `dislikes`, such as `"evening task"`, each of which holds for a tip that has
  all its words among its `facts`; `tip` with `kind`, `content` and `facts`. The answer is `{"action", "dwell_ms"?}`.
- `"rubric"`: `tips`, each with `content`, and optionally `tasks`, each with `title`. The answer is
  `{"ratings": [{"relevance", "actionability", "tone"}]}`, 1 to 5 each, in the order of the tips.

Rules see words and not sense: their verdicts make everything run without a model, and rank nothing.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

_WORD = re.compile(r"[^\W\d_]{4,}")
_STEP = re.compile(
    r"\b(open|start|begin|write|set|block|pick|name|send|call|finish|clear|put|move|turn|do|decide|list|choose|close)\b"
)
_TIME = re.compile(r"\b(now|minutes?|today|tonight|tomorrow|first|next|before|\d+)\b")
_HARSH = re.compile(r"\b(must|never|always|lazy|fail(ed|ure)?|excuses?|stupid|again)\b|!!|\b[A-Z]{4,}\b")
_KIND = re.compile(r"\b(you|your|can|could|if|let|enough|well|small|gently|easy)\b")


def judge(context: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the answer to a judge's prompt, always the same to the same; None: it is no judge's prompt."""
    match context.get("judge"):
        case "reaction":
            return _reaction(_mapping(context.get("person")), _mapping(context.get("tip")))
        case "rubric":
            titles = " ".join(str(task.get("title", "")) for task in _mappings(context.get("tasks")))
            return {"ratings": [_rating(str(tip.get("content", "")), titles) for tip in _mappings(context.get("tips"))]}
    return None


def _reaction(person: Mapping[str, Any], tip: Mapping[str, Any]) -> dict[str, Any]:
    facts = {*_words(tip.get("facts")), str(tip.get("kind"))}
    liking = _holding(person.get("likes"), facts) - _holding(person.get("dislikes"), facts)
    mood = zlib.crc32(f"{sorted(facts)}{tip.get('content')}".encode(errors="replace")) % 3
    if liking < 0:
        return {"action": "dismiss"} if mood or liking < -1 else {"action": "not_helpful"}
    if liking == 0:
        return ({"action": "snooze"}, {"action": "done", "dwell_ms": 300_000}, {"action": "dismiss"})[mood]
    if tip.get("kind") != "task" and mood == 0:
        return {"action": "helpful"}
    return {"action": "done", "dwell_ms": (45_000, 60_000, 90_000)[mood]}


def _holding(habits: Any, facts: set[str]) -> int:
    return sum(set(habit.split()) <= facts for habit in _words(habits))


def _rating(content: str, titles: str) -> dict[str, int]:
    text = content.lower()
    shared = {*_WORD.findall(text)} & {*_WORD.findall(titles.lower())}
    steps, times = len({*_STEP.findall(text)}), len({*_TIME.findall(text)})
    return {
        "relevance": _grade((3 if not titles else 2) + min(len(shared), 3)),
        "actionability": _grade(1 + min(steps, 2) + min(times, 2)),
        "tone": _grade(4 + bool(_KIND.search(text)) - 2 * len(_HARSH.findall(content))),
    }


def _grade(points: int) -> int:
    return max(1, min(5, points))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> Sequence[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _words(value: Any) -> set[str]:
    return {item for item in value if isinstance(item, str)} if isinstance(value, list) else set()
