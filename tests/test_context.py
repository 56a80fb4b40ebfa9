"""What a prompt gets to see of a person's moment."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tips.contracts.generation import PromptContext, PromptTask
from tips.errors import InvalidField
from tips.features import context as limits
from tips.features.context import CONTEXT_FEATURES, build_context, one_line, part_of_day

# A Sunday, 23:30 UTC: in Tokyo it is Monday, 08:30.
NOW = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)


def task(content: str, **fields: Any) -> PromptTask:
    return PromptTask(id="t", content=content, **fields)


def titles(*tasks: PromptTask) -> list[str]:
    return [shown["title"] for shown in build_context(PromptContext(tasks=list(tasks)), None, NOW)["tasks"]]


def test_registered_features_are_just_in_time() -> None:
    assert [feature.name for feature in CONTEXT_FEATURES] == ["hour_of_day", "day_of_week", "tasks"]
    assert {feature.freshness for feature in CONTEXT_FEATURES} == {"jit"}
    assert [feature.fallback for feature in CONTEXT_FEATURES] == [None, None, ()]


def test_nothing_given_is_nothing_shown() -> None:
    assert build_context(PromptContext(), None, NOW) == {}
    assert build_context(PromptContext(tasks=[], snippets=[" "]), {"preferred_hour": None}, NOW) == {}


def test_overdue_then_urgent_then_old_then_as_given() -> None:
    assert titles(
        task("plain"),
        task("old", task_age_days=9),
        task("urgent", priority=4),
        task("overdue", is_overdue=True),
        task("also plain", priority=1),
        task("overdue and urgent", is_overdue=True, priority=3),
        task("older", task_age_days=30.5),
    ) == ["overdue and urgent", "overdue", "urgent", "older", "old", "plain", "also plain"]


def test_a_task_is_described_by_what_is_known() -> None:
    full = task("Pay\n\tthe  rent", is_overdue=True, task_age_days=3.9, priority=4, due=" 2026-11-20 ")
    shown = build_context(PromptContext(tasks=[full, task("Rest", is_overdue=False)]), None, NOW)["tasks"]
    assert shown == [
        {"title": "Pay the rent", "overdue": True, "age_days": 3, "priority": 4, "due": "2026-11-20"},
        {"title": "Rest"},
    ]


def test_numbers_and_lengths_are_limited() -> None:
    tasks = [task(f"{number} " + "x" * 1990, due="y" * 64, task_age_days=1e300) for number in range(40)]
    context = build_context(PromptContext(tasks=tasks, snippets=["<" * 2000] * 100), None, NOW)
    assert len(context["tasks"]) == limits.MAX_TASKS
    assert context["further_tasks"] == 40 - limits.MAX_TASKS
    assert len(context["snippets"]) == limits.MAX_SNIPPETS
    assert len(context["tasks"][0]["title"]) == limits.MAX_TITLE
    assert context["tasks"][0]["title"].endswith("x…")
    assert context["tasks"][0]["age_days"] == limits.MAX_AGE_DAYS
    assert len(context["snippets"][0]) == limits.MAX_SNIPPET
    assert len(json.dumps(context, ensure_ascii=False)) < 6000


@pytest.mark.parametrize(
    ("given_context", "hour", "weekday"),
    [
        ({"hour_of_day": 7, "day_of_week": 2}, 7, "Wednesday"),
        ({"timezone": "UTC"}, 23, "Sunday"),
        ({"timezone": "Asia/Tokyo"}, 8, "Monday"),
        ({"timezone": "America/Los_Angeles"}, 15, "Sunday"),
        ({"timezone": "Asia/Kolkata", "hour_of_day": 0}, 0, "Monday"),
        ({"timezone": "Asia/Tokyo", "day_of_week": 5}, 8, "Saturday"),
    ],
)
def test_hour_and_day_from_the_request_else_from_its_zone(
    given_context: dict[str, Any], hour: int, weekday: str
) -> None:
    context = build_context(PromptContext(**given_context), None, NOW)
    assert (context["hour_of_day"], context["weekday"]) == (hour, weekday)


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "../../etc/passwd", "/etc/passwd", "America", " ", ".", "é" * 64, "Europe/Berlin "]
)
def test_an_unknown_zone_is_refused_by_name(zone: str) -> None:
    with pytest.raises(InvalidField) as caught:
        build_context(PromptContext(timezone=zone, hour_of_day=1, day_of_week=1), None, NOW)
    assert caught.value.field == "context.timezone"


def test_parts_of_the_day_cover_it() -> None:
    parts = [part_of_day(hour) for hour in range(24)]
    assert [parts[hour] for hour in (0, 4, 5, 11, 12, 16, 17, 21, 22, 23)] == [
        *["night"] * 2,
        *["morning"] * 2,
        *["afternoon"] * 2,
        *["evening"] * 2,
        *["night"] * 2,
    ]


def test_only_known_habits_are_shown() -> None:
    profile = {"completion_rate_30d": 0.61234, "dismiss_rate_30d": None, "ignore the rules": 1.0, "tip_volume_30d": 4}
    context = build_context(PromptContext(), profile, NOW)
    assert context == {"habits": {"completion_rate_30d": 0.612, "tip_volume_30d": 4.0}}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("  a \r\n b\u2028c\x85d ", "a b c d"),
        ("a\x00b\x1b[31mc\u202egpj.exe", "ab[31mcgpj.exe"),
        ("👩\u200d💻 ü", "👩\u200d💻 ü"),
        ("\u200b\ufeff", ""),
        ("12345678901", "123456789…"),
        ("1234567890", "1234567890"),
        ("12345678 01", "12345678…"),
    ],
)
def test_one_line(text: str, line: str) -> None:
    assert one_line(text, 10 if text[0] == "1" else 100) == line


@given(st.lists(st.builds(PromptTask, id=st.just("t"), content=st.text(min_size=1, max_size=300)), max_size=30))
def test_the_same_input_gives_the_same_context(tasks: list[PromptTask]) -> None:
    given_context = PromptContext(tasks=tasks, timezone="Europe/Berlin")
    context = build_context(given_context, None, NOW)
    assert context == build_context(given_context, None, NOW)
    assert all(shown["title"] == one_line(shown["title"], limits.MAX_TITLE) for shown in context.get("tasks", []))
