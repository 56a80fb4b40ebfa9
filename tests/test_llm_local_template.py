"""`local/template` reads the prompt it is given and answers it in the prompt's voice, always in the same way."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tips.llm import local_template
from tips.llm.checks import check_tips
from tips.llm.contacts import contact
from tips.llm.local_texts import COACH, EXAMPLES_COACH, MENTOR, ORCHESTRATOR, Voice
from tips.prompts.prompt import Message
from tips.prompts.registry import prompts

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
TASKS_FIRST = [version for version in VERSIONS if version != "v4-orchestrator"]
texts = st.text(max_size=60)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 40) | texts,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["title", "age_days", "due", "x"]), inner)
    ),
    max_leaves=10,
)


def written(version: str, context: dict[str, Any], n: int) -> list[dict[str, str]]:
    tips: list[dict[str, str]] = json.loads(local_template.answer(prompts()[version].render(context, n)).text)
    return tips


@pytest.mark.parametrize("version", VERSIONS)
def test_the_same_prompt_gets_the_same_answer(version: str) -> None:
    messages = prompts()[version].render(CONTEXT, 5)
    assert local_template.answer(messages) == local_template.answer(list(messages))


@pytest.mark.parametrize("version", TASKS_FIRST)
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


def test_the_orchestrator_joins_snippets_with_tasks_first() -> None:
    joined, task, other = written("v4-orchestrator", CONTEXT, 3)
    assert "“Dentist moved to 15:00”" in joined["content"]
    assert "“Renew the passport”" in joined["content"]
    assert (joined["kind"], joined["rationale"]) == ("reminder", "From your notes and an overdue task.")
    assert "“Outline the report”" in task["content"]
    assert "“" not in other["content"]


def test_the_orchestrator_joins_snippets_that_no_task_is_left_for() -> None:
    context = {
        "snippets": ["Rain until noon", "Slept five hours", "Gym closed", "Anna visits"],
        "tasks": [{"title": "T"}],
    }
    one, two, three = written("v4-orchestrator", context, 3)
    assert all(quoted in one["content"] for quoted in ("“Rain until noon”", "“T”"))
    assert one["kind"] == "task"
    assert all(quoted in two["content"] for quoted in ("“Slept five hours”", "“Gym closed”"))
    assert two["kind"] == "insight"
    assert "“Anna visits”" in three["content"]


def test_the_orchestrator_without_snippets_speaks_of_tasks() -> None:
    first, *_ = written("v4-orchestrator", {"tasks": CONTEXT["tasks"]}, 3)
    assert "“Renew the passport”" in first["content"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("part", ["morning", "night"])
def test_no_sentence_is_said_twice(version: str, part: str) -> None:
    """Tips that differ in a quoted title alone are nearly duplicates of each other."""
    tasks = [{"title": f"T{number}", "overdue": number < 6} for number in range(12)]
    context = {"part_of_day": part, "tasks": tasks, "snippets": [f"N{number}" for number in range(8)]}
    tips = written(version, context, 10)
    assert len({re.sub(r"“[TN]\d+”", "", tip["content"]) for tip in tips}) == len(tips) == 10


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("Call +49 170 1234567", "“Call …”"),
        ("Write to ann@example.org about the flat", "“Write to … about the flat”"),
        ("Read https://example.org/a?b=c today", "“Read … today”"),
        ("ann@example.organn@example.org0170-123", "“…”"),
        ("Pay 120 EUR until 2026-11-30, 12:00", "“Pay 120 EUR until 2026-11-30, 12:00”"),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_contacts_are_not_quoted(version: str, text: str, quoted: str) -> None:
    context = {"tasks": [{"title": text, "due": "a@b.org"}], "snippets": [text]}
    tips = written(version, context, 3)
    assert sum(quoted in tip["content"] for tip in tips) >= 1
    assert all(contact(f"{tip['content']} {tip['rationale']}") is None for tip in tips)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("n", range(1, 11))
@pytest.mark.parametrize("context", [CONTEXT, {}, {"part_of_day": "night", "tasks": CONTEXT["tasks"]}], ids=range(3))
def test_as_many_usable_and_distinct_tips_as_asked_for(version: str, n: int, context: dict[str, Any]) -> None:
    checked = check_tips(list(written(version, context, n)))
    assert (len(checked.good), dict(checked.failed)) == (n, {})


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
    short, long = (local_template.answer(prompts()["v1"].render({"snippets": ["x" * size]}, 2)) for size in (10, 410))
    assert long.prompt_tokens - short.prompt_tokens == 100
    assert short.completion_tokens == -(-len(short.text) // 4)


def test_what_is_cut_off_uncovers_no_telephone_number() -> None:
    title = "-" * 80 + "1234567890abcdef"
    assert contact(title) is None
    (tip,) = written("v1", {"tasks": [{"title": title}]}, 1)
    assert contact(tip["content"]) is None


def test_an_impossible_age_is_cut_to_ten_years() -> None:
    (tip,) = written("v1", {"tasks": [{"title": "T", "age_days": 10**200, "overdue": True}]}, 1)
    assert tip["rationale"] == "Overdue, open for 3650 days."


@pytest.mark.thorough
@given(
    st.dictionaries(st.sampled_from(["tasks", "snippets", "part_of_day", "hour_of_day", "n"]), json_values),
    st.sampled_from(VERSIONS),
)
def test_any_context_is_answered(context: dict[str, Any], version: str) -> None:
    tips = json.loads(local_template.answer(prompts()[version].render(context, 3)).text)
    assert len({tip["content"] for tip in tips}) == len(tips) == 3
    assert all(tip.keys() == {"content", "kind", "rationale"} for tip in tips)


pieces = st.sampled_from(
    [
        "+49 170 1234567",
        "ann@example.org",
        "www.example.org",
        "0170-123",
        "12345678901",
        "x" * 60,
        " ",
        ".",
        "@",
        "a",
        "7",
    ]
)
wild = st.lists(pieces | st.text(max_size=40), min_size=1, max_size=12).map("".join)


@given(
    tasks=st.lists(
        st.fixed_dictionaries(
            {"title": wild}, optional={"age_days": st.integers(0), "overdue": st.booleans(), "due": wild}
        ),
        max_size=4,
    ),
    snippets=st.lists(wild, max_size=4),
    part=st.sampled_from(["morning", "night", "?"]),
    version=st.sampled_from(VERSIONS),
)
def test_every_tip_may_be_shown(tasks: list[dict[str, Any]], snippets: list[str], part: str, version: str) -> None:
    for tip in written(version, {"tasks": tasks, "snippets": snippets, "part_of_day": part}, 10):
        assert 20 <= len(tip["content"]) <= 280
        assert contact(tip["content"]) is None


@pytest.mark.parametrize("voice", [COACH, MENTOR, EXAMPLES_COACH, ORCHESTRATOR])
def test_sentences_are_worth_showing(voice: Voice) -> None:
    long_title, fields = "“" + "x" * 91 + "”", {"now": "this afternoon", "note": "“" + "n" * 101 + "”"}
    about = [*voice.overdue, *voice.urgent, *voice.open, *voice.at_night]
    assert all(text.count("{task}") == 1 for text in about)
    assert all(text.count("{note}") == 1 for text in voice.noted)
    for age in ("", " since yesterday", " for 3650 days"):
        for text in (*about, *voice.noted):
            assert 40 <= len(text.format(task=long_title, age=age, **fields)) <= 280
    if voice.weave:
        of_both = {"task": "“" + "x" * 71 + "”", "note": "“" + "n" * 71 + "”", "other": "“" + "o" * 71 + "”"}
        for text in (*voice.weave.task, *voice.weave.at_night, *voice.weave.notes):
            assert text.count("{note}") == text.count("{task}") + text.count("{other}") == 1
            assert 40 <= len(text.format(**of_both, now="this afternoon")) <= 280
    general = [text for _, text in voice.general]
    assert len(set(general)) == len(general) >= 10
    assert set(voice.by_part_of_day) == {"morning", "afternoon", "evening", "night"}
    assert len(voice.by_part_of_day["night"]) >= 3  # the general ones would start work at night
