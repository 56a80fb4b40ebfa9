"""The judge's model: which one it is, and what `local/template` says where there is none."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tips.llm import gateway, local_template
from tips.llm.models import Model, resolve_judge
from tips.prompts.prompt import Message, Parameters, context_block
from tips.settings import Settings


@pytest.mark.parametrize(
    ("environment", "model"),
    [
        ({}, Model("local/template")),
        ({"LITELLM_URL": "http://h:4000"}, Model("judge", "http://h:4000/v1", "no-key")),
        ({"LITELLM_URL": "http://h:4000", "LITELLM_MODEL": "writer"}, Model("judge", "http://h:4000/v1", "no-key")),
        ({"LITELLM_URL": "http://h:4000", "JUDGE_MODEL": "strict"}, Model("strict", "http://h:4000/v1", "no-key")),
        ({"LITELLM_MODEL": "gpt-4o", "LITELLM_API_KEY": "k"}, Model("gpt-4o", None, "k")),
        ({"LITELLM_MODEL": "gpt-4o", "JUDGE_MODEL": "bedrock/x"}, Model("bedrock/x")),
        ({"LITELLM_URL": "http://h:4000", "JUDGE_MODEL": "local/template"}, Model("local/template")),
    ],
)
def test_the_judge_is_resolved_from_settings(environment: dict[str, str], model: Model) -> None:
    assert resolve_judge(Settings.from_env(environment), environment.get("JUDGE_MODEL")) == model


def said(context: dict[str, Any]) -> Any:
    message: Message = {"role": "user", "content": f"Judge this.\n{context_block(context)}"}
    return json.loads(local_template.answer([message]).text)


def reaction(likes: list[str], dislikes: list[str], kind: str, facts: list[str], content: str = "x") -> dict[str, Any]:
    tip = {"kind": kind, "content": content, "facts": facts}
    answer: dict[str, Any] = said({"judge": "reaction", "person": {"likes": likes, "dislikes": dislikes}, "tip": tip})
    return answer


def test_what_is_liked_is_done_and_what_is_not_is_refused() -> None:
    for content in ("a", "b", "c", "d", "e"):
        liked = reaction(["overdue"], ["insight"], "task", ["overdue"], content)
        assert liked["action"] == "done"
        assert 15_000 <= liked["dwell_ms"] < 120_000
        refused = reaction(["overdue"], ["insight"], "insight", ["evening"], content)
        assert refused["action"] in ("dismiss", "not_helpful")


def test_a_habit_of_two_words_needs_both() -> None:
    assert reaction(["evening advice"], [], "advice", ["evening"])["action"] in ("done", "helpful")
    indifferent = {reaction(["evening advice"], [], "advice", ["morning"], str(n))["action"] for n in range(30)}
    assert indifferent == {"snooze", "done", "dismiss"}


def test_ratings_are_one_to_five_in_the_order_of_the_tips() -> None:
    tips = [
        {"content": "“Pay the rent” is overdue: open your bank now and finish it in five minutes, you can."},
        {"content": "You must never be lazy again!!"},
    ]
    ratings = said({"judge": "rubric", "tips": tips, "tasks": [{"title": "Pay the rent"}]})["ratings"]
    assert len(ratings) == 2
    assert all(1 <= grade <= 5 for rating in ratings for grade in rating.values())
    for name in ("relevance", "actionability", "tone"):
        assert ratings[0][name] > ratings[1][name]


@pytest.mark.parametrize(
    "context", [{"judge": "reaction"}, {"judge": "rubric", "tips": "x"}, {"judge": "reaction", "tip": 3}]
)
def test_a_strange_question_gets_an_object_all_the_same(context: dict[str, Any]) -> None:
    assert isinstance(said(context), dict)


def test_the_alias_answers_through_the_gateway_without_a_model() -> None:
    messages: list[Message] = [
        {"role": "system", "content": "You judge."},
        {"role": "user", "content": context_block({"judge": "rubric", "tips": [{"content": "Start now."}]})},
    ]
    judge = resolve_judge(Settings())
    loop = asyncio.new_event_loop()
    try:
        answer = loop.run_until_complete(gateway.complete(judge, messages, Parameters(temperature=0.0), 10.0))
    finally:
        loop.close()
    assert len(json.loads(answer.text)["ratings"]) == 1
