"""`local/template` reads the prompt it is given and answers it in the prompt's voice, always in the same way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tips.llm import local_template
from tips.llm.answers import read_tips
from tips.llm.local_texts import COACH, EXAMPLES_COACH, MENTOR, Voice
from tips.prompts.prompt import Message
from tips.prompts.registry import prompts, resolve

CONTEXT = {
    "hour_of_day": 9,
    "part_of_day": "morning",
    "tasks": [
        {"title": "Renew the passport", "overdue": True, "age_days": 12, "priority": 4},
        {"title": "Outline the report", "age_days": 1, "priority": 3},
        {"title": "Call {grandma}"},
    ],
    "snippets": ["Dentist moved to 15:00"],
}
VERSIONS = list(prompts())
texts = st.text(max_size=60)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 40) | texts,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["title", "age_days", "due", "x"]), inner)
    ),
    max_leaves=10,
)


def written(version: str, context: dict[str, Any], n: int) -> list[dict[str, str]]:
    tips: list[dict[str, str]] = json.loads(local_template.answer(resolve(version).render(context, n)).text)
    return tips


@pytest.mark.parametrize("version", VERSIONS)
def test_the_same_prompt_gets_the_same_answer(version: str) -> None:
    messages = resolve(version).render(CONTEXT, 5)
    assert local_template.answer(messages) == local_template.answer(list(messages))


@pytest.mark.parametrize("version", VERSIONS)
def test_tasks_come_first_in_the_given_order_and_not_alone(version: str) -> None:
    first, second, other = written(version, CONTEXT, 3)
    assert "“Renew the passport”" in first["content"]
    assert first["kind"] == "reminder"
    assert first["rationale"] == "Overdue, urgent, open for 12 days."
    assert "“Outline the report”" in second["content"]
    assert second["kind"] == "task"
    assert second["rationale"] == "Important, open since yesterday."
    assert "“Dentist moved to 15:00”" in other["content"]
    assert other["kind"] == "insight"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("n", range(1, 11))
@pytest.mark.parametrize("context", [CONTEXT, {}, {"part_of_day": "night", "tasks": CONTEXT["tasks"]}], ids=range(3))
def test_as_many_usable_and_distinct_tips_as_asked_for(version: str, n: int, context: dict[str, Any]) -> None:
    tips = read_tips(json.dumps(written(version, context, n)), n)
    assert len(tips) == n
    assert all(20 <= len(tip.content) <= 280 for tip in tips)


def test_all_tasks_are_used_when_there_is_room() -> None:
    said = " ".join(tip["content"] for tip in written("v1", CONTEXT, 10))
    assert all(f"“{title}”" in said for title in ("Renew the passport", "Outline the report", "Call {grandma}"))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("task", [{}, {"overdue": True}, {"priority": 4}], ids=["open", "overdue", "urgent"])
def test_tasks_of_one_sort_are_not_spoken_of_in_the_same_words(version: str, task: dict[str, Any]) -> None:
    for titles in ("AB", "CD", "EF", "GH"):
        first, second = written(version, {"tasks": [{"title": title, **task} for title in titles]}, 2)
        assert first["content"].replace(titles[0], "") != second["content"].replace(titles[1], "")


def test_the_hour_matters() -> None:
    at_nine, at_night = written("v1", CONTEXT, 3), written("v1", CONTEXT | {"part_of_day": "night"}, 3)
    assert any("this morning" in tip["content"] for tip in at_nine)
    assert any("tomorrow" in tip["content"] for tip in at_night)
    assert at_nine != at_night


def test_every_version_has_a_voice_of_its_own() -> None:
    voices = [{tip["content"] for tip in written(version, CONTEXT, 10)} for version in VERSIONS]
    assert len(set.union(*voices)) == sum(map(len, voices))


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "user", "content": "hello"}],
        [{"role": "user", "content": "<context>\nbroken\n</context>"}],
        [{"role": "assistant", "content": '<context>\n{"n": 9}\n</context>'}],
    ],
)
def test_without_context_there_are_tips_for_anybody(messages: list[Message]) -> None:
    tips = json.loads(local_template.answer(messages).text)
    assert len(tips) == 3
    assert {tip["rationale"] for tip in tips} == {"Helps on any day."}


def test_the_last_context_counts_and_not_those_of_examples() -> None:
    said = json.dumps(written("v3-few-shot", {"tasks": [{"title": "Water the plants"}]}, 10))
    assert "Water the plants" in said
    assert "Marta" not in said


def test_usage_is_an_estimate_from_the_texts() -> None:
    short, long = (local_template.answer(resolve("v1").render({"snippets": ["x" * size]}, 2)) for size in (10, 410))
    assert long.prompt_tokens - short.prompt_tokens == 100
    assert short.completion_tokens == -(-len(short.text) // 4)


@given(
    st.dictionaries(st.sampled_from(["tasks", "snippets", "part_of_day", "hour_of_day", "n"]), json_values),
    st.sampled_from(VERSIONS),
)
def test_any_context_is_answered(context: dict[str, Any], version: str) -> None:
    tips = json.loads(local_template.answer(resolve(version).render(context, 3)).text)
    assert len({tip["content"] for tip in tips}) == len(tips)
    assert all(tip.keys() == {"content", "kind", "rationale"} for tip in tips)


@pytest.mark.parametrize("voice", [COACH, MENTOR, EXAMPLES_COACH])
def test_sentences_are_worth_showing(voice: Voice) -> None:
    long_title, fields = "“" + "x" * 91 + "”", {"now": "this afternoon", "note": "“" + "n" * 101 + "”"}
    about = [*voice.overdue, *voice.urgent, *voice.open, *voice.at_night]
    assert all(text.count("{task}") == 1 for text in about)
    assert all(text.count("{note}") == 1 for text in voice.noted)
    for age in ("", " since yesterday", " for 3650 days"):
        for text in (*about, *voice.noted):
            assert 40 <= len(text.format(task=long_title, age=age, **fields)) <= 280
    general = [text for _, text in voice.general]
    assert len(set(general)) == len(general) >= 10
    assert set(voice.by_part_of_day) == {"morning", "afternoon", "evening", "night"}
    assert len(voice.by_part_of_day["night"]) >= 3  # the general ones would start work at night
