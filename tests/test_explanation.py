"""Explanations: contributions that add up to the score, and one plain sentence that is true of the person."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from tests.requests import score_request
from tips.bandit.explanation import _DESCRIPTIONS, _HABITS
from tips.bandit.registry import POLICIES
from tips.features.crossed_v3 import CROSSED_V3
from tips.features.vectors import EGREEDY_V2

TASK: dict[str, Any] = {"id": "task", "kind": "task", "source": "todoist", "features": {"priority": 2}}
ADVICE: dict[str, Any] = {"id": "advice", "kind": "advice", "source": "advice"}
OVERDUE: dict[str, Any] = {
    "id": "overdue",
    "kind": "task",
    "source": "todoist",
    "features": {"priority": 2, "is_overdue": True},
}


def teach(score: Any, likes: Any, hours: tuple[int, ...] = (8, 9, 20, 21), rounds: int = 60) -> None:
    rng = random.Random(5)
    for _ in range(rounds):
        only = dict(rng.choice([TASK, ADVICE, OVERDUE]))
        hour = rng.choice(hours)
        context = {"hour_of_day": hour}
        body = score.call("POST", "/score", score_request(candidates=[only], context=context)).json
        reward = 1.0 if likes(only["id"], hour) else -1.0
        score.call("POST", "/reward", {"user_id": "anna", "decision_id": body["decision_id"], "reward": reward})


def best(score: Any, hour: int, *candidates: Any) -> tuple[str, str]:
    """Return what is held best and, once it is drawn, the sentence."""
    for _ in range(50):
        request = score_request(candidates=list(candidates), context={"hour_of_day": hour}, explain=True)
        body = score.call("POST", "/score", request).json
        if not body["explored"]:
            return body["tip_id"], body["explanation"]["sentence"]
    raise AssertionError("nothing but exploration in 50 draws")


def test_a_habit_of_the_hour_is_told(score: Any) -> None:
    teach(score, lambda tip, hour: (tip != "advice") == (hour < 12))
    shown, sentence = best(score, 9, TASK, ADVICE)
    assert (shown, sentence[:40]) == ("task", "You usually finish tasks around this hou")
    shown, sentence = best(score, 21, TASK, ADVICE)
    assert shown == "advice"
    assert "around this hour" in sentence


def test_a_property_and_a_habit_are_one_sentence(score: Any) -> None:
    teach(score, lambda tip, hour: tip == "overdue" and hour < 12)
    shown, sentence = best(score, 9, OVERDUE, TASK, ADVICE)
    assert shown == "overdue"
    assert sentence.startswith("Overdue")
    assert sentence.endswith(".")
    assert sentence.count(".") == 1


@pytest.mark.parametrize("policy", POLICIES)
def test_contributions_add_up_whatever_the_policy(score: Any, policy: str) -> None:
    teach(score, lambda tip, _: tip == "advice", rounds=8)
    body = score.call("POST", "/score", score_request(explain=True, policy=policy)).json
    contributions = body["explanation"]["contributions"]
    assert math.fsum(contributions.values()) == pytest.approx(body["score"], abs=1e-12)
    assert contributions.keys() - {"optimism"} == set(POLICIES[policy].schema.names)


def test_every_component_of_ours_that_differs_among_candidates_can_be_told() -> None:
    told = {*_DESCRIPTIONS, *_HABITS}
    told |= {f"hour_{part}:{name[5:]}" for name in _HABITS if name.startswith("hour:") for part in ("sin", "cos")}
    assert set(CROSSED_V3.names) - {"bias"} <= told
    alike = {name for name in EGREEDY_V2.names if name not in CROSSED_V3.names}
    assert all(encoder.of_candidate is None for encoder in EGREEDY_V2.encoders if encoder.name in alike)


def test_nothing_known_and_nothing_to_choose_are_said(score: Any) -> None:
    for candidates, words in (([TASK], "only candidate"), ([TASK, {**TASK, "id": "twin"}], "by chance")):
        body = score.call("POST", "/score", score_request(candidates=candidates, explain=True, user_id="new")).json
        assert words in body["explanation"]["sentence"]
    body = score.call("POST", "/score", score_request(explain=True, user_id="new")).json
    assert "Nothing is known yet" in body["explanation"]["sentence"]


@pytest.mark.parametrize(("day", "shown"), [(1, "task"), (6, "advice")])
def test_what_is_said_of_a_day_is_true_of_it(score: Any, day: int, shown: str) -> None:
    rng = random.Random(3)
    for _ in range(60):
        only, on = dict(rng.choice([TASK, ADVICE])), rng.randrange(7)
        context = {"day_of_week": on}
        body = score.call("POST", "/score", score_request(candidates=[only], context=context)).json
        reward = 1.0 if (only["id"] == "task") == (on < 5) else -1.0
        score.call("POST", "/reward", {"user_id": "anna", "decision_id": body["decision_id"], "reward": reward})
    for _ in range(50):
        request = score_request(candidates=[TASK, ADVICE], context={"day_of_week": day}, explain=True)
        body = score.call("POST", "/score", request).json
        if not body["explored"]:
            break
    assert body["tip_id"] == shown
    sentence = body["explanation"]["sentence"]
    if shown == "task":
        assert "usually finish tasks on such a day" in sentence
        assert "something other than a task" not in sentence
    else:
        assert "usually welcome something other than a task on such a day" in sentence
        assert "usually finish tasks" not in sentence
