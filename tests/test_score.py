"""`/score` and what shows its decisions, through the real handler and a real table."""

from __future__ import annotations

import json
import logging
import math
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests import reference
from tests.requests import CANDIDATES, CONTEXT, PROFILE, score_request
from tips.bandit.decision import replay
from tips.bandit.registry import policy_named

PATHS = [("/score", "igw-ucb"), ("/score/egreedy", "egreedy-v1"), ("/score/egreedy/v2", "egreedy-v2")]


@pytest.mark.parametrize(("path", "policy"), PATHS)
def test_each_path_answers_with_its_policy(score: Any, path: str, policy: str) -> None:
    answer = score.call("POST", path, score_request())
    assert answer.status == 200
    body = answer.json
    assert body["policy"] == policy
    assert body["schema_hash"] == policy_named(policy).schema.hash
    assert body["policy_version"] == "1"
    assert body["tip_id"] in {candidate["id"] for candidate in CANDIDATES}
    assert (body["degraded"], body["logged"]) == (False, True)
    ranking = {row["id"]: row for row in body["ranking"]}
    assert ranking.keys() == {candidate["id"] for candidate in CANDIDATES}
    assert math.fsum(row["propensity"] for row in body["ranking"]) == pytest.approx(1, abs=1e-12)
    assert ranking[body["tip_id"]]["propensity"] == body["propensity"]
    assert ranking[body["tip_id"]]["score"] == body["score"]
    assert "explanation" not in body


@pytest.mark.parametrize("policy", ["linucb", "egreedy-v1", "egreedy-v2"])
def test_scores_equal_the_reference_after_learning(score: Any, policy: str) -> None:
    learned: list[tuple[list[float], float]] = []
    by_id = {candidate["id"]: candidate["features"] for candidate in CANDIDATES}
    for round_ in range(12):
        context = {**CONTEXT, "hour_of_day": (7 * round_) % 24, "day_of_week": round_ % 7}
        body = score.call("POST", "/score", score_request(policy=policy, context=context)).json
        for row in body["ranking"]:
            mean, width = reference.predict(learned, reference.vector(policy, by_id[row["id"]], context, PROFILE))
            assert row["score"] == pytest.approx(mean + (width if policy == "linucb" else 0), abs=1e-9)
        reward = round(math.sin(round_), 3)
        score.call("POST", "/reward", {"user_id": "anna", "decision_id": body["decision_id"], "reward": reward})
        learned.append((reference.vector(policy, by_id[body["tip_id"]], context, PROFILE), reward))


def test_the_ranking_is_by_score_and_says_when_it_explored(score: Any) -> None:
    seen = set()
    for _ in range(60):
        body = score.call("POST", "/score", score_request()).json
        scores = [row["score"] for row in body["ranking"]]
        assert scores == sorted(scores, reverse=True)
        assert body["explored"] == (body["score"] < scores[0])
        seen.add(body["explored"])
        reward = 1.0 if body["tip_id"] == "report" else -1.0
        score.call("POST", "/reward", {"user_id": "anna", "decision_id": body["decision_id"], "reward": reward})
    assert False in seen


def test_a_decision_is_remembered_whole_and_can_be_replayed(score: Any) -> None:
    first = score.call("POST", "/score", score_request()).json
    score.call("POST", "/reward", {"user_id": "anna", "decision_id": first["decision_id"], "action": "helpful"})
    body = score.call("POST", "/score", score_request(defer=True)).json
    answer = score.call("GET", f"/decisions/{body['decision_id']}", query={"user_id": "anna"})
    assert answer.status == 200
    logged = answer.json
    assert logged["decision_id"] == body["decision_id"]
    assert [one["id"] for one in logged["candidates"]] == [one["id"] for one in CANDIDATES]
    assert logged["candidates"][0]["features"] == {"is_overdue": True, "priority": 4}
    assert logged["candidates"][2]["features"] == {"unknown": 0.25}
    assert logged["profile_features"] == PROFILE
    assert logged["deferred"] is True
    evaluation = logged["evaluations"]["igw-ucb"]
    chosen, replayed = replay(
        policy_named("igw-ucb"), body["decision_id"], *(evaluation[part] for part in ("mean", "width", "parameters"))
    )
    assert replayed.propensity.tolist() == evaluation["propensity"]
    assert replayed.score.tolist() == evaluation["score"]
    assert logged["candidates"][chosen]["id"] == body["tip_id"]
    assert {row["id"]: row["propensity"] for row in body["ranking"]} == dict(
        zip([one["id"] for one in logged["candidates"]], evaluation["propensity"], strict=True)
    )
    shown = next(one for one in CANDIDATES if one["id"] == body["tip_id"])
    expected = reference.crossed(shown, CONTEXT, PROFILE)
    assert list(evaluation["features"].values()) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("context", "hour", "day"),
    [
        ({"timezone": "Asia/Kathmandu"}, None, None),
        ({"timezone": "Asia/Kathmandu", "hour_of_day": 3}, 3, None),
        ({"timezone": "Asia/Kathmandu", "day_of_week": 6}, None, 6),
    ],
)
def test_a_clock_that_was_not_given_is_read_in_the_time_zone(
    score: Any, context: dict[str, Any], hour: int | None, day: int | None
) -> None:
    zone = timezone(timedelta(hours=5, minutes=45))
    before = datetime.now(zone)
    body = score.call("POST", "/score", score_request(context=context)).json
    after = datetime.now(zone)
    logged = score.call("GET", f"/decisions/{body['decision_id']}", query={"user_id": "anna"}).json
    assert logged["hour_of_day"] in ([before.hour, after.hour] if hour is None else [hour])
    assert logged["day_of_week"] in ([before.weekday(), after.weekday()] if day is None else [day])


def test_no_content_is_stored(score: Any, table: Any) -> None:
    for _ in range(3):
        score.call("POST", "/score", score_request(candidates=CANDIDATES[2:]))
    decision_id = score.call("POST", "/score", score_request()).json["decision_id"]
    assert "secret" not in score.call("GET", f"/decisions/{decision_id}", query={"user_id": "anna"}).text
    assert "secret" not in repr(table.items())


def test_features_shows_the_last_hundred_newest_first(score: Any) -> None:
    decided = [score.call("POST", "/score", score_request()).json for _ in range(103)]
    history = score.call("GET", "/features/anna").json["history"]
    assert len(history) == 100
    assert {one["decision_id"] for one in history} <= {one["decision_id"] for one in decided[1:]}
    assert [one["ts"] for one in history] == sorted((one["ts"] for one in history), reverse=True)
    entry = next(one for one in history if one["decision_id"] == decided[-1]["decision_id"])
    assert entry["score"] == decided[-1]["score"]
    assert entry["propensity"] == decided[-1]["propensity"]
    assert list(entry["features"]) == list(policy_named("igw-ucb").schema.names)
    assert entry["reward"] is None


def test_nothing_stored_is_zeros_and_empty_lists(score: Any) -> None:
    for path in ("/stats/nobody", "/stats/egreedy/nobody", "/stats/egreedy/v2/nobody"):
        stats = score.call("GET", path)
        assert stats.status == 200
        assert stats.json | {"policy": "", "schema_hash": ""} == {
            "user_id": "nobody",
            "policy": "",
            "policy_version": "1",
            "schema_hash": "",
            "pulls": 0,
            "pulls_without_decision": 0,
            "cumulative_reward": 0.0,
            "estimated_mean": 0.0,
            "last_updated": None,
        }
    assert score.call("GET", "/features/nobody").json == {"history": []}
    answer = score.call("GET", "/decisions/01ARZ3NDEKTSV4RRFFQ69G5FAV", query={"user_id": "nobody"})
    assert (answer.status, answer.json["error"]["code"]) == (404, "not_found")


def test_a_decision_belongs_to_one_user(score: Any) -> None:
    decision_id = score.call("POST", "/score", score_request()).json["decision_id"]
    assert score.call("GET", f"/decisions/{decision_id}", query={"user_id": "ben"}).status == 404


@pytest.mark.parametrize(
    "user", ["юзер", "a/b", "egreedy", "egreedy/x", "egreedy/v2/x", "50% #1?", "%2F", "汉字-🙂", " "]
)
def test_any_printable_id_is_a_user(score: Any, user: str) -> None:
    body = score.call("POST", "/score", score_request(user_id=user)).json
    score.call("POST", "/reward", {"user_id": user, "decision_id": body["decision_id"], "action": "done"})
    stats = score.call("GET", f"/stats/{quoted(user)}").json
    assert (stats["user_id"], stats["pulls"]) == (user, 1)


def quoted(user: str) -> str:
    from urllib.parse import quote

    return quote(user, safe="")


def test_explain(score: Any) -> None:
    body = score.call("POST", "/score", score_request(explain=True, policy="linucb")).json
    contributions = body["explanation"]["contributions"]
    assert math.fsum(contributions.values()) == pytest.approx(body["score"], abs=1e-12)
    assert contributions["optimism"] > 0
    assert body["explanation"]["sentence"].endswith(".")


def test_reset_forgets_all_policies_and_raises_the_epoch(score: Any) -> None:
    old = [score.call("POST", path, score_request()).json for path, _ in PATHS[:2]]
    for body in old:
        score.call("POST", "/reward", {"user_id": "anna", "decision_id": body["decision_id"], "action": "done"})
    assert score.call("POST", "/reset/anna").json == {"ok": True, "user_id": "anna", "epoch": 1}
    assert score.call("GET", "/stats/anna").json["pulls"] == 0
    assert score.call("GET", "/stats/egreedy/anna").json["pulls"] == 0
    late = score.call(
        "POST", "/reward", {"user_id": "anna", "decision_id": old[0]["decision_id"], "action": "dismiss"}
    ).json
    assert (late["applied"], late["reason"]) == (False, "older_epoch")
    assert score.call("GET", "/stats/anna").json["pulls"] == 0
    logged = score.call("GET", f"/decisions/{old[0]['decision_id']}", query={"user_id": "anna"}).json
    assert (logged["reaction"]["action"], logged["reaction"]["learned"]) == ("dismiss", False)
    new = score.call("POST", "/score", score_request()).json
    assert score.call("POST", "/reward", {"user_id": "anna", "decision_id": new["decision_id"], "action": "done"}).json[
        "applied"
    ]
    assert score.call("POST", "/reset/anna").json["epoch"] == 2


def test_the_active_policy_is_a_setting(load_function: Any, table: Any) -> None:
    score = load_function("score", ACTIVE_POLICY="linucb")
    assert score.call("POST", "/score", score_request()).json["policy"] == "linucb"
    assert score.call("GET", "/stats/anna").json["policy"] == "linucb"
    with pytest.raises(Exception, match="unknown policy"):
        load_function("score", ACTIVE_POLICY="thompson")


def test_health(score: Any) -> None:
    idle = {"last_msg_ts": None, "processed": 0, "errors": 0}
    assert score.call("GET", "/health").json == {
        "ok": True,
        "version": "0.1.0",
        "nats": {"enabled": False, "consumers": {"signals": idle, "feedback": idle}},
    }


def test_a_heartbeat_that_cannot_be_read_is_none(score: Any, table: Any, load_function: Any) -> None:
    for item in ({}, {"health": {"S": "no json"}}, {"health": {"S": "{}"}}, {"health": {"N": "1"}}):
        key = {"pk": {"S": "C#HEALTH"}, "sk": {"S": "bridge"}}
        table.client.put_item(TableName=table.name, Item={**key, **item})
        answer = score.call("GET", "/health")
        assert (answer.status, answer.json["ok"], answer.json["nats"]["enabled"]) == (200, True, False)
        load_function("score", AWS_EXECUTION_ENV="AWS_Lambda_python3.13")  # deployed: opens its connections


def test_a_heartbeat_is_shown(score: Any, table: Any) -> None:
    consumers = {"signals": {"last_msg_ts": "2026-11-20T08:30:00Z", "processed": 5, "errors": 1}}
    health = {"S": json.dumps({"enabled": True, "consumers": consumers})}
    key = {"pk": {"S": "C#HEALTH"}, "sk": {"S": "bridge"}}
    table.client.put_item(TableName=table.name, Item={**key, "health": health})
    assert score.call("GET", "/health").json["nats"] == {"enabled": True, "consumers": consumers}


def test_a_fault_of_ours_has_the_errors_shape_and_says_nothing_of_the_request(
    score: Any, monkeypatch: Any, caplog: Any, capsys: Any
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("anna-secret")

    monkeypatch.setattr("tips.state.learning.read", fail)
    answer = score.call("GET", "/stats/anna-secret")
    assert answer.status == 500
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["error"]["code"] == "internal_error"
    assert answer.json["request_id"]
    (record,) = caplog.records
    assert record.exception == "RuntimeError"
    printed = capsys.readouterr().out
    assert "UnforeseenError" in printed
    assert "secret" not in repr(record.__dict__) + printed + answer.text


def test_linucb_without_learning_does_not_speak_of_chance(score: Any) -> None:
    body = score.call("POST", "/score", score_request(explain=True, policy="linucb")).json
    assert body["propensity"] == 1.0
    assert "chance" not in body["explanation"]["sentence"]


def test_no_log_line_names_the_person(score: Any, caplog: Any, capsys: Any) -> None:
    caplog.set_level(logging.DEBUG)
    score.call("POST", "/score", score_request(user_id="anna-secret"))
    for path in ("/stats/anna-secret", "/features/anna-secret", "/nowhere/anna-secret"):
        score.call("GET", path)
    ours = [repr(record.__dict__) for record in caplog.records if not record.name.startswith(("botocore", "urllib3"))]
    assert "secret" not in "".join(ours) + capsys.readouterr().out
