"""Reading a model's text: JSON wherever it stands, item by item."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.model_server import GOOD, GOOD_TIPS
from tips.llm.answers import MAX_CONTENT, MAX_RATIONALE, UnusableAnswer, read_tips

CONTENTS = [tip["content"] for tip in GOOD_TIPS]


def contents(text: str, n: int = 10) -> list[str]:
    return [tip.content for tip in read_tips(text, n)]


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
        f'<think>[{{"content": "draft", "kind": "task"}}] no, better:</think>{GOOD}',
        "[]\n" + GOOD,
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
        "empty-first",
    ],
)
def test_the_json_is_found(text: str) -> None:
    assert contents(text) == CONTENTS


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "not_json"),
        ("I cannot help with that.", "not_json"),
        (GOOD[:-30].replace("}", ""), "not_json"),
        ("[" * 99_000, "not_json"),
        ("{" * 99_000, "not_json"),
        ("[]", "wrong_fields"),
        ("{}", "wrong_fields"),
        ('{"tips": 3}', "wrong_fields"),
        ('["do this", "do that"]', "wrong_fields"),
        ('[{"text": "do this", "kind": "task"}]', "wrong_fields"),
        ('[{"content": "do this", "kind": "joke"}]', "wrong_fields"),
        ('[{"content": "do this"}]', "wrong_fields"),
        ('[{"content": 3, "kind": "task"}]', "wrong_fields"),
        ('[{"content": " \\n ", "kind": "task"}]', "wrong_fields"),
        (json.dumps({"good": GOOD_TIPS, "bad": []}), "wrong_fields"),
        ("[" * 900 + "]" * 900, "wrong_fields"),
    ],
)
def test_what_is_wrong_is_told_apart(text: str, fault: str) -> None:
    with pytest.raises(UnusableAnswer) as caught:
        read_tips(text, 3)
    assert caught.value.fault == fault


def test_bad_items_are_dropped_and_good_ones_kept() -> None:
    items: list[Any] = [
        None,
        "text",
        {"content": "No kind."},
        {"id": 7, "content": " First\n tip. ", "kind": " Task ", "rationale": 9, "extra": [1]},
        {"content": "x", "kind": "joke"},
        {"id": None, "content": "second TIP.", "kind": "insight", "rationale": "  "},
        {"content": "Second tip.", "kind": "advice"},
        {"content": "third", "kind": "reminder", "rationale": "r" * 400},
    ]
    tips = read_tips(json.dumps(items), 10)
    assert [(tip.content, tip.kind) for tip in tips] == [
        ("First tip.", "task"),
        ("second TIP.", "insight"),
        ("third", "reminder"),
    ]
    assert [tip.rationale for tip in tips[:2]] == [None, None]
    assert tips[2].rationale is not None
    assert len(tips[2].rationale) == MAX_RATIONALE


def test_at_most_n_and_at_most_500_characters() -> None:
    assert contents(GOOD, 2) == CONTENTS[:2]
    (content,) = contents(json.dumps([{"content": "ü " * 600, "kind": "task"}]))
    assert len(content) <= MAX_CONTENT
    assert content.endswith("ü…")


@given(st.text(max_size=300) | st.lists(st.sampled_from(['[{"content":"a","kind":"task"}', *'[]{}",:'])).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        tips = read_tips(text, 3)
    except UnusableAnswer:
        return
    assert 1 <= len(tips) <= 3


def test_a_huge_answer_is_read_in_bounded_time() -> None:
    started = time.perf_counter()
    for text in ("[{" * 500_000, '["' * 500_000, '[{"content": "a", "kind": 1}] ' * 50_000):
        with pytest.raises(UnusableAnswer):
            read_tips(text, 3)
    assert time.perf_counter() - started < 2
