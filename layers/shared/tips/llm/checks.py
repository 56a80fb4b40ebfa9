"""What a tip must keep to before it is shown; each rule is a check of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeGuard, get_args

from tips.contracts.common import TipKind
from tips.features.context import one_line
from tips.features.similarity import Signature, signature, similarity
from tips.llm.answers import MAX_ANSWER, Fault
from tips.llm.contacts import Contact, contact, mask_contacts

MIN_CONTENT = 20
MAX_CONTENT = 280
MAX_RATIONALE = 300
_BLANK_LETTERS = "\u115f\u1160\u3164\uffa0"
NEAR = 0.81
"""Similarity from which two tips are near duplicates.

Chosen from pairs: the same tip with a word changed or in other punctuation has 0.82 to 0.98, the same sentence about
another task 0.57 to 0.80. A tip that is reworded in half its words falls below it and passes.
"""

TipCheck = Literal["schema", "kind", "too_short", "too_long", Contact, "duplicate", "seen"]


@dataclass(frozen=True, slots=True)
class WrittenTip:
    """One tip as a model wrote it, on one line. An `id` of its own is ignored: see `tips.llm.writer`."""

    content: str
    kind: TipKind
    rationale: str | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """The tips of an answer that passed, in order, and how many failed each check.

    `fault`: no item had the agreed fields and a known kind, or there was no JSON at all.
    """

    good: list[WrittenTip]
    failed: Counter[TipCheck]
    fault: Fault | None = None


def check_tips(
    items: list[Any] | None, *, kept: Sequence[WrittenTip] = (), recent: Sequence[Signature] = ()
) -> Checked:
    """Check the items of an answer against the rules, against `kept` and each other, and against `recent` ones."""
    tips, checked = _readable(items)
    earlier = [signature(tip.content) for tip in kept]
    for tip in tips:
        if wrong := _wrong(tip.content):
            checked.failed[wrong] += 1
            continue
        said = signature(tip.content)
        if _is_near(said, earlier):
            checked.failed["duplicate"] += 1
        elif _is_near(said, recent):
            checked.failed["seen"] += 1
        else:
            earlier.append(said)
            checked.good.append(tip)
    return checked


def check_template_tips(items: list[Any] | None) -> Checked:
    """Check tips of `local/template`: contacts are masked, and only equal tips are duplicates.

    Its sentences are few, so that they are near each other, and what it quotes are the person's own words.
    """
    tips, checked = _readable(items)
    said: set[str] = set()
    for tip in tips:
        tip = replace(tip, content=mask_contacts(tip.content))
        if wrong := _wrong(tip.content):
            checked.failed[wrong] += 1
        elif tip.content.casefold() in said:
            checked.failed["duplicate"] += 1
        else:
            said.add(tip.content.casefold())
            checked.good.append(tip)
    return checked


def _readable(items: list[Any] | None) -> tuple[list[WrittenTip], Checked]:
    """Return the items that are tips, and the count of those that are none."""
    if items is None:
        return [], Checked([], Counter(), "not_json")
    read = [_read(item) for item in items]
    tips = [tip for tip in read if isinstance(tip, WrittenTip)]
    failed = Counter(tip for tip in read if not isinstance(tip, WrittenTip))
    return tips, Checked([], failed, None if tips else "wrong_fields")


def _read(item: Any) -> WrittenTip | TipCheck:
    """Return the tip that `item` is, or the check that it fails as an object."""
    if not isinstance(item, dict):
        return "schema"
    content, kind, rationale = item.get("content"), item.get("kind"), item.get("rationale")
    if not isinstance(content, str) or not isinstance(kind, str):
        return "schema"
    kind = kind.strip().lower()
    if not _is_kind(kind):
        return "kind"
    # A tip is not lost for a strange explanation.
    reason = one_line(rationale, MAX_RATIONALE) if isinstance(rationale, str) else ""
    return WrittenTip(one_line(content, MAX_ANSWER), kind, None if contact(reason) else reason or None)


def _is_kind(kind: str) -> TypeGuard[TipKind]:
    return kind in get_args(TipKind)


def _says_something(character: str) -> bool:
    return character.isalnum() and character not in _BLANK_LETTERS


def _wrong(content: str) -> TipCheck | None:
    if len(content) < MIN_CONTENT or sum(map(_says_something, content)) < MIN_CONTENT / 2:
        return "too_short"
    if len(content) > MAX_CONTENT:
        return "too_long"
    return contact(content)


def _is_near(one: Signature, others: Sequence[Signature]) -> bool:
    return any(similarity(one, other) >= NEAR for other in others)
