"""Bad input to score: each case gets the error shape, the right status and the field's name; nothing is stored."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from devstack.events import url_event
from tests.requests import CANDIDATES, score_request


def with_features(**features: Any) -> dict[str, Any]:
    return score_request(candidates=[{"id": "a", "features": features}])


def candidates(count: int) -> dict[str, Any]:
    return score_request(candidates=[{"id": str(number)} for number in range(count)])


def reward(**changes: Any) -> dict[str, Any]:
    return {"user_id": "anna", "tip_id": "report", "action": "done", **changes}


NAN, INFINITY = float("nan"), float("inf")

SCORE: list[tuple[Any, int, str]] = [
    ("{", 400, "body"),
    ("", 400, "body"),
    (None, 400, "body"),
    ("null", 422, "body"),
    (b"\xff\xfe", 400, "body"),
    ("[" * 50_000, 400, "body"),
    ("1" * 10_000, 400, "body"),
    ([], 422, "body"),
    ("text", 400, "body"),
    ('"text"', 422, "body"),
    ({}, 422, "user_id"),
    (score_request(user_id=None), 422, "user_id"),
    (score_request(user_id=7), 422, "user_id"),
    (score_request(user_id=""), 422, "user_id"),
    (score_request(user_id="x" * 129), 422, "user_id"),
    (score_request(user_id="a\u0000b"), 422, "user_id"),
    (score_request(user_id="a\nb"), 422, "user_id"),
    (score_request(user_id="a\u2028b"), 422, "user_id"),
    (score_request(user_id="a\u202eb"), 422, "user_id"),
    (score_request(user_id="a\ufffdb"), 422, "user_id"),
    (score_request(user_id="\ufeffa"), 422, "user_id"),
    (score_request(user_id="\ud800"), 422, "user_id"),
    (score_request(candidates=None), 422, "candidates"),
    (score_request(candidates={}), 422, "candidates"),
    (candidates(0), 422, "candidates"),
    (candidates(201), 422, "candidates"),
    (score_request(candidates=["a"]), 422, "candidates.0"),
    (score_request(candidates=[{}]), 422, "candidates.0.id"),
    (score_request(candidates=[{"id": "\u0007"}]), 422, "candidates.0.id"),
    (score_request(candidates=[*CANDIDATES, CANDIDATES[0]]), 422, "candidates.3.id"),
    (score_request(candidates=[{"id": "a", "kind": "poem"}]), 422, "candidates.0.kind"),
    (score_request(candidates=[{"id": "a", "content": "x" * 501}]), 422, "candidates.0.content"),
    (with_features(x=NAN), 422, "candidates.0.features.x"),
    (with_features(x=INFINITY), 422, "candidates.0.features.x"),
    (with_features(x=-INFINITY), 422, "candidates.0.features.x"),
    (with_features(x="1"), 422, "candidates.0.features.x"),
    (with_features(x=None), 422, "candidates.0.features.x"),
    (with_features(x=[1]), 422, "candidates.0.features.x"),
    (with_features(x=10**400), 422, "candidates.0.features.x"),
    (with_features(priority=0), 422, "candidates.0.features.priority"),
    (with_features(priority=5), 422, "candidates.0.features.priority"),
    (with_features(is_overdue=2), 422, "candidates.0.features.is_overdue"),
    (with_features(**{f"f{i}": i for i in range(33)}), 422, "candidates.0.features"),
    (score_request(context={"hour_of_day": 24}), 422, "context.hour_of_day"),
    (score_request(context={"hour_of_day": "9"}), 422, "context.hour_of_day"),
    (score_request(context={"hour_of_day": 9.5}), 422, "context.hour_of_day"),
    (score_request(context={"hour_of_day": True}), 422, "context.hour_of_day"),
    (score_request(context={"day_of_week": 7}), 422, "context.day_of_week"),
    (score_request(context={"timezone": "Mars/Olympus"}), 422, "context.timezone"),
    (score_request(context={"timezone": "../../etc/passwd"}), 422, "context.timezone"),
    (score_request(context=[]), 422, "context"),
    (score_request(profile_features={"completion_rate_30d": 1.5}), 422, "profile_features.completion_rate_30d"),
    (score_request(profile_features={"tip_volume_30d": -1}), 422, "profile_features.tip_volume_30d"),
    (score_request(profile_features={"preferred_hour": NAN}), 422, "profile_features.preferred_hour"),
    (score_request(policy="thompson"), 422, "policy"),
    (score_request(policy=""), 422, "policy"),
    (score_request(explain="yes"), 422, "explain"),
    (score_request(defer=1), 422, "defer"),
]

REWARD: list[tuple[Any, int, str]] = [
    ({"user_id": "anna", "action": "done"}, 422, "decision_id"),
    ({"user_id": "anna", "tip_id": "report"}, 422, "action"),
    (reward(action="applaud"), 422, "action"),
    (reward(reward=1.01), 422, "reward"),
    (reward(reward=NAN), 422, "reward"),
    (reward(reward="1"), 422, "reward"),
    (reward(reward=True), 422, "reward"),
    (reward(dwell_ms=-1), 422, "dwell_ms"),
    (reward(dwell_ms=INFINITY), 422, "dwell_ms"),
    (reward(dwell_ms="12"), 422, "dwell_ms"),
    (reward(occurred_at="yesterday"), 422, "occurred_at"),
    (reward(occurred_at=1795163400), 422, "occurred_at"),
    (reward(occurred_at="1795163400"), 422, "occurred_at"),
    (reward(occurred_at="9999-12-31T23:59:59-10:00"), 422, "occurred_at"),
    (reward(event_id=""), 422, "event_id"),
    (reward(decision_id="\u0000"), 422, "decision_id"),
    (reward(features={"priority": 9}), 422, "features.priority"),
    (reward(features={"hour_of_day": 24}), 422, "features.hour_of_day"),
    (reward(features={"x": "1"}), 422, "features.x"),
    (reward(features=[]), 422, "features"),
    ("{", 400, "body"),
]


def check(answer: Any, status: int, field: str | None) -> None:
    body = answer.json
    assert answer.status == status, body
    assert answer.headers["content-type"] == "application/json"
    assert body["request_id"]
    assert set(body) == {"error", "request_id"}
    assert body["error"]["code"]
    assert body["error"]["message"]
    assert body["error"].get("field") == field
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(("body", "status", "field"), SCORE, ids=range(len(SCORE)))
def test_score(score: Any, table: Any, body: Any, status: int, field: str) -> None:
    for path in ("/score", "/score/egreedy", "/score/egreedy/v2"):
        check(score.call("POST", path, body), status, field)
    assert table.items() == []


@pytest.mark.parametrize(("body", "status", "field"), REWARD, ids=range(len(REWARD)))
def test_reward(score: Any, table: Any, body: Any, status: int, field: str) -> None:
    for path in ("/reward", "/reward/egreedy", "/reward/egreedy/v2"):
        check(score.call("POST", path, body), status, field)
    assert table.items() == []


def test_a_policy_that_contradicts_the_path(score: Any, table: Any) -> None:
    check(score.call("POST", "/score/egreedy", score_request(policy="linucb")), 422, "policy")
    assert score.call("POST", "/score/egreedy", score_request(policy="egreedy-v1")).status == 200


def test_bodies_over_one_mebibyte(score: Any, table: Any) -> None:
    request = json.dumps(score_request())
    fits = request[:-1] + " " * (1024 * 1024 - len(request)) + "}"
    assert score.call("POST", "/score", fits).status == 200
    stored = table.items()
    check(score.call("POST", "/score", fits + " "), 413, "body")
    check(score.call("POST", "/score", (fits + " ").encode()), 413, "body")
    assert table.items() == stored


@pytest.mark.parametrize("body", ["%%%", "a", "ü", "eyJ9===="])
def test_base64_that_is_none(score: Any, table: Any, body: str) -> None:
    check(score.call("POST", "/score", body, is_base64=True), 400, "body")
    assert table.items() == []


def test_base64_that_is_one(score: Any) -> None:
    body = base64.b64encode(json.dumps(score_request()).encode()).decode()
    assert score.call("POST", "/score", body, is_base64=True).status == 200


def test_a_body_is_json_whatever_its_content_type(score: Any) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert score.call("POST", "/score", json.dumps(score_request()), headers=form).status == 200
    assert score.call("POST", "/score", json.dumps(score_request()), add_content_type=False).status == 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/score", "POST"),
        ("PUT", "/score/egreedy", "POST"),
        ("DELETE", "/reward", "POST"),
        ("POST", "/stats/anna", "GET"),
        ("POST", "/features/anna", "GET"),
        ("GET", "/reset/anna", "POST"),
        ("POST", "/health", "GET"),
    ],
)
def test_a_wrong_method(score: Any, method: str, path: str, allowed: str) -> None:
    answer = score.call(method, path)
    check(answer, 405, None)
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/scores",
        "/score/",
        "/score%2Fegreedy",
        "/%73core",
        "/score/linucb",
        "/stats",
        "/openapi.json",
        "/docs",
        "//",
    ],
)
def test_a_wrong_path(score: Any, path: str) -> None:
    check(score.call("POST", path, score_request()), 404, None)


@pytest.mark.parametrize(
    "path",
    ["/stats/%00", "/stats/%ff", "/stats/%ED%A0%80", "/stats/a%0Ab", "/features/%1b", f"/stats/{'x' * 129}", "/stats/"],
)
def test_a_bad_user_in_the_path(score: Any, path: str) -> None:
    check(score.call("GET", path), 422, "user_id")


def test_a_decision_needs_its_user(score: Any) -> None:
    check(score.call("GET", "/decisions/01ARZ3NDEKTSV4RRFFQ69G5FAV"), 422, "user_id")


def test_messages_say_what_would_be_right(score: Any) -> None:
    message = score.call("POST", "/score", score_request(policy="thompson")).json["error"]["message"]
    assert "egreedy-v1, egreedy-v2, igw-ucb, lints, linucb, squarecb" in message
    message = score.call("POST", "/score", with_features(priority=5)).json["error"]["message"]
    assert message == "must be from 1 to 4"


@pytest.mark.parametrize("event", [{}, [], None, "text", {"version": "2.0"}, {"requestContext": {"http": {}}}])
def test_an_event_that_is_no_request(score: Any, event: Any) -> None:
    answer = score.invoke(event)
    assert answer["statusCode"] == 400
    assert json.loads(answer["body"])["error"]["code"] == "malformed_request"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("body", value) for value in ({"a": 1}, 7)),
        *(("headers", value) for value in ([1], "text", {"accept": None}, {"accept": 1})),
        *(("cookies", value) for value in ("a=1", [None], {"a": "1"})),
        *(("rawQueryString", value) for value in (7, ["a"])),
    ],
)
def test_an_event_that_only_a_hand_would_write_is_refused_by_name(score: Any, field: str, value: Any) -> None:
    answer = score.invoke({**url_event("POST", "/score", score_request()), field: value})
    assert answer["statusCode"] == 400
    assert json.loads(answer["body"])["error"]["field"] == field


@pytest.mark.parametrize("field", ["headers", "cookies", "rawQueryString"])
def test_an_event_may_leave_out_what_no_route_asks_for(score: Any, field: str) -> None:
    event = url_event("POST", "/score", score_request())
    assert score.invoke({**event, field: None})["statusCode"] == 200
    event.pop(field, None)
    event["requestContext"]["http"] = {"method": "POST", "sourceIp": None}
    assert score.invoke(event)["statusCode"] == 200
