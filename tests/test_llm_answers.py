"""Reading a model's text: JSON wherever it stands and wherever it was cut off."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.model_server import GOOD, GOOD_TIPS
from tips.llm.answers import MAX_ITEMS, read_items

DRAFT = '[{"content": "A draft that is not meant.", "kind": "task"}]'


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```\nEnjoy!",
        f"Here are [3] tips for {{you}}:\n\n{GOOD}\n\nI hope [they] help.",
        json.dumps({"tips": GOOD_TIPS}),
        json.dumps({"count": 3, "meta": {"x": []}, "candidates": GOOD_TIPS}),
        "Sure! " + json.dumps({"tips": GOOD_TIPS}, indent=2),
        f"<think>{DRAFT} no, better:</think>{GOOD}",
        f"<thinking>{DRAFT} no, better:</thinking>\n{GOOD}",
        f"{DRAFT} is what came to mind first.</think>{GOOD}",
        f"<think>{'hm ' * 50_000}</think>{GOOD}",
        "[]\n" + GOOD,
        "\n".join(json.dumps(tip) for tip in GOOD_TIPS),
    ],
    ids=[
        "array",
        "fence",
        "bare-fence",
        "prose",
        "object",
        "object-and-more",
        "pretty-object",
        "thinking",
        "thinking-longer-name",
        "thinking-opened-by-the-template",
        "thinking-at-length",
        "empty-first",
        "one-per-line",
    ],
)
def test_the_json_is_found(text: str) -> None:
    assert read_items(text) == GOOD_TIPS


@pytest.mark.parametrize("form", [GOOD, json.dumps({"tips": GOOD_TIPS}), f"```json\n{GOOD}"])
@pytest.mark.parametrize("cut", [2, 20, 60])
def test_what_is_whole_of_a_cut_off_answer_is_used(form: str, cut: int) -> None:
    items = read_items(form[:-cut])
    assert items == GOOD_TIPS[: 3 if cut == 2 and form != GOOD and "tips" in form else 2]


def test_one_object_alone_is_a_tip() -> None:
    assert read_items(json.dumps(GOOD_TIPS[0])) == GOOD_TIPS[:1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot help with that.",
        GOOD[:-30].replace("}", ""),
        "[" * 99_000,
        "{" * 99_000,
        f"<think>{DRAFT} and then the tokens ran out",
    ],
)
def test_no_json(text: str) -> None:
    assert read_items(text) is None


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("[]", []),
        ("{}", []),
        ('{"tips": 3}', []),
        ('["do this", "do that"]', ["do this", "do that"]),
        ('[{"text": "do this", "kind": "task"}]', [{"text": "do this", "kind": "task"}]),
        (json.dumps({"good": GOOD_TIPS, "bad": []}), []),
    ],
)
def test_json_that_holds_no_tip(text: str, items: list[object]) -> None:
    assert read_items(text) == items


@given(st.text(max_size=300) | st.lists(st.sampled_from(['[{"content":"a","kind":"task"}', *'[]{}",:'])).map("".join))
def test_any_text_is_read_or_not(text: str) -> None:
    items = read_items(text)
    assert items is None or len(items) <= MAX_ITEMS


def test_a_huge_answer_is_read_in_bounded_time() -> None:
    started = time.perf_counter()
    for text in ("[{" * 500_000, '["' * 500_000, '[{"content": "a", "kind": 1}] ' * 50_000, "<think>" * 200_000):
        items = read_items(text)
        assert items is None or len(items) == 1
    assert time.perf_counter() - started < 2
