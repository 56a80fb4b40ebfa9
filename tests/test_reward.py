"""Rewards: three forms, over HTTP and by event, and what each of them means."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from ulid import ULID

from devstack.events import envelope, jetstream_batch
from tests.requests import decided_at_us, score_request, stats
from tips.features.crossed_v3 import CROSSED_V3
from tips.state import learning, reactions
from tips.state.changes import Outcome
from tips.state.reactions import Report
from tips.state.table import Table
from tips.state.teaching import LearningRules


def feedback(decision: dict[str, Any], event_id: str = "e1", **payload: Any) -> dict[str, Any]:
    payload = {"user_id": "anna", "tip_id": decision["tip_id"], "decision_id": decision["decision_id"], **payload}
    return jetstream_batch([("feedback.tip", envelope(payload, event_id=event_id))])


def test_by_decision_id_the_path_does_not_matter(score: Any) -> None:
    body = score.call("POST", "/score/egreedy", score_request()).json
    reward = {"user_id": "anna", "decision_id": body["decision_id"], "action": "done", "dwell_ms": 30_000}
    assert score.call("POST", "/reward/egreedy/v2", reward).json == {"ok": True, "applied": True, "reward": 1.0}
    assert stats(score, "/stats/egreedy/anna") == (1, 1.0)
    assert stats(score, "/stats/egreedy/v2/anna") == (0, 0.0)


def test_by_tip_id_means_the_newest_decision_that_showed_it(score: Any) -> None:
    request = score_request(candidates=score_request()["candidates"][:1])
    decisions = [score.call("POST", "/score", request).json["decision_id"] for _ in range(3)]
    newest = max(decisions)
    assert score.call("POST", "/reward", {"user_id": "anna", "tip_id": "report", "action": "helpful"}).json["applied"]
    shown = score.call("GET", "/features/anna").json["history"]
    assert {one["decision_id"]: one["reward"] for one in shown}[newest] == 0.5
    assert stats(score) == (1, 0.5)


def test_by_tip_id_decisions_after_the_reaction_do_not_count(score: Any) -> None:
    score.call("POST", "/score", score_request(candidates=score_request()["candidates"][:1]))
    early = {"user_id": "anna", "tip_id": "report", "action": "done", "occurred_at": "2020-01-01T00:00:00Z"}
    answer = score.call("POST", "/reward", early).json
    assert answer == {"ok": True, "applied": False, "reason": "unknown_decision", "reward": 0.6}


def test_by_tip_id_the_same_event_means_the_same_decision_although_the_tip_was_shown_again(
    score: Any, consume: Any
) -> None:
    only = score_request(candidates=score_request()["candidates"][:1])
    reward = {"user_id": "anna", "tip_id": "report", "action": "helpful", "event_id": "e1"}
    first = score.call("POST", "/score", only).json["decision_id"]
    assert score.call("POST", "/reward", reward).json["applied"]
    second = score.call("POST", "/score", only).json["decision_id"]
    assert first < second
    assert score.call("POST", "/reward", reward).json["reason"] == "duplicate"
    payload = {"user_id": "anna", "tip_id": "report", "action": "helpful"}
    assert consume.invoke(jetstream_batch([("feedback.tip", envelope(payload, event_id="e1"))])) == {
        "batchItemFailures": []
    }
    assert stats(score) == (1, 0.5)
    assert score.call("POST", "/reward", {**reward, "event_id": "e2"}).json["applied"]
    assert stats(score) == (2, 1.0)


def test_an_event_learned_by_its_features_is_not_learned_by_a_later_decision(score: Any) -> None:
    reward = {"user_id": "anna", "tip_id": "report", "reward": 0.5, "features": {"priority": 2}, "event_id": "e1"}
    assert score.call("POST", "/reward", reward).json["applied"]
    score.call("POST", "/score", score_request(candidates=score_request()["candidates"][:1]))
    assert score.call("POST", "/reward", reward).json["reason"] == "duplicate"
    assert stats(score) == (1, 0.5)


def test_features_of_a_reaction_before_the_last_reset_are_not_learned(score: Any) -> None:
    score.call("POST", "/reset/anna")
    reward = {"user_id": "anna", "tip_id": "report", "reward": 0.5, "features": {"priority": 2}}
    before = {**reward, "occurred_at": "2020-01-01T00:00:00Z"}
    assert score.call("POST", "/reward", before).json["reason"] == "older_epoch"
    assert score.call("POST", "/reward", reward).json["applied"]


@pytest.mark.parametrize(
    ("path", "stats_path"),
    [
        ("/reward", "/stats/anna"),
        ("/reward/egreedy", "/stats/egreedy/anna"),
        ("/reward/egreedy/v2", "/stats/egreedy/v2/anna"),
    ],
)
def test_the_original_form_learns_from_its_features(score: Any, path: str, stats_path: str) -> None:
    reward = {
        "user_id": "anna",
        "tip_id": "never-scored",
        "reward": 0.7,
        "features": {"is_overdue": True, "task_age_days": 5, "priority": 2, "hour_of_day": 8, "day_of_week": None},
    }
    assert score.call("POST", path, reward).json == {"ok": True, "applied": True, "reward": 0.7}
    again = score.call("POST", path, reward).json
    assert (again["applied"], again["reason"]) == (False, "duplicate")
    body = score.call("GET", stats_path).json
    assert (body["pulls"], body["pulls_without_decision"], body["cumulative_reward"]) == (1, 1, 0.7)


def test_the_original_form_uses_the_logged_vector_when_there_is_one(score: Any, client: Table) -> None:
    body = score.call("POST", "/score", score_request(candidates=score_request()["candidates"][:1])).json
    reward = {"user_id": "anna", "tip_id": "report", "reward": 0.5, "features": {"priority": 1}}
    assert score.call("POST", "/reward/egreedy", reward).json["applied"]
    learned = learning.read(client, "anna").schemas
    logged = score.call("GET", f"/decisions/{body['decision_id']}", query={"user_id": "anna"}).json
    vector = np.array(list(logged["evaluations"]["igw-ucb"]["features"].values()))
    (only,) = learned.values()
    assert only.schema_name == "crossed-v3"
    np.testing.assert_array_equal(only.statistics.xx, np.outer(vector, vector))
    np.testing.assert_array_equal(only.statistics.rx, 0.5 * vector)


@pytest.mark.parametrize(
    ("reward", "reason"),
    [
        ({"decision_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}, "unknown_decision"),
        ({"decision_id": "no ulid at all"}, "unknown_decision"),
        ({"tip_id": "never-scored"}, "unknown_decision"),
    ],
)
def test_what_cannot_be_learned_is_said(score: Any, table: Any, reward: dict[str, Any], reason: str) -> None:
    answer = score.call("POST", "/reward", {"user_id": "anna", "action": "done", **reward})
    assert answer.status == 200
    assert answer.json == {"ok": True, "applied": False, "reason": reason, "reward": 0.6}
    # Of the person's habits it tells all the same.
    assert sorted((item["pk"]["S"], item["sk"]["S"][:2]) for item in table.items()) == [
        ("G#anna", "P"),
        ("U#anna", "E#"),
    ]


def test_an_explicit_reward_without_a_decision_leaves_nothing(score: Any, table: Any) -> None:
    reward = {"user_id": "anna", "tip_id": "never-scored", "reward": 0.5}
    assert score.call("POST", "/reward", reward).json["reason"] == "unknown_decision"
    assert table.items() == []


def test_a_reaction_to_another_tip_than_the_one_shown_is_not_learned(score: Any) -> None:
    body = score.call("POST", "/score", score_request()).json
    other = {"user_id": "anna", "decision_id": body["decision_id"], "tip_id": "another", "action": "done"}
    assert score.call("POST", "/reward", other).json["reason"] == "tip_not_shown"
    assert stats(score) == (0, 0.0)


def test_five_times_the_same_event_moves_the_sums_once(score: Any, consume: Any) -> None:
    body = score.call("POST", "/score", score_request()).json
    event = feedback(body, action="done", dwell_ms=60_000)
    for _ in range(5):
        assert consume.invoke(event) == {"batchItemFailures": []}
    assert stats(score) == (1, 1.0)


@pytest.mark.parametrize("with_event_id", [True, False])
@pytest.mark.parametrize("event_first", [True, False])
def test_http_and_event_together_move_the_sums_once(
    score: Any, consume: Any, event_first: bool, with_event_id: bool
) -> None:
    body = score.call("POST", "/score", score_request()).json
    reward = {"user_id": "anna", "decision_id": body["decision_id"], "action": "done", "dwell_ms": 60_000}
    if with_event_id:
        reward["event_id"] = "e1"
    event = feedback(body, action="done", dwell_ms=60_000)
    for by_event in (event_first, not event_first, event_first, not event_first):
        if by_event:
            assert consume.invoke(event) == {"batchItemFailures": []}
        else:
            assert score.call("POST", "/reward", reward).status == 200
    assert stats(score) == (1, 1.0)


def test_a_later_reaction_revises_and_an_earlier_one_does_not(score: Any, client: Table) -> None:
    decision_id = score.call("POST", "/score", score_request()).json["decision_id"]
    start = decided_at_us(decision_id)

    def tell(event_id: str, after_us: int, reward: float) -> Outcome:
        return reactions.apply(
            client,
            Report("anna", decision_id, event_id=event_id, reward=reward, occurred_at=start + after_us),
            LearningRules(),
            2000,
        )

    assert tell("a", 20, 1.0) == Outcome(True)
    assert tell("b", 30, -1.0) == Outcome(True)
    assert tell("c", 10, 0.5) == Outcome(False, "superseded")
    assert tell("d", 40, -1.0) == Outcome(False, "same_reward")
    assert tell("b", 90, -1.0) == Outcome(False, "duplicate")
    assert stats(score) == (1, -1.0)
    logged = score.call("GET", f"/decisions/{decision_id}", query={"user_id": "anna"}).json
    vector = np.array(list(logged["evaluations"]["igw-ucb"]["features"].values()))
    learned = learning.read(client, "anna").statistics(CROSSED_V3)
    np.testing.assert_allclose(learned.rx, -vector, atol=1e-12)
    np.testing.assert_allclose(learned.xx, np.outer(vector, vector), atol=1e-12)


def test_an_expired_decision_that_is_still_there_does_not_hide_the_original_form(score: Any, table: Any) -> None:
    score.call("POST", "/score", score_request(candidates=score_request()["candidates"][:1]))
    (item,) = (item for item in table.items() if item["sk"]["S"].startswith("D#"))
    table.client.delete_item(TableName=table.name, Key={"pk": item["pk"], "sk": item["sk"]})
    old = str(ULID.from_timestamp(time.time() - 91 * 86_400))
    item["sk"]["S"] = f"D#{old}"
    item["tip_key"]["S"] = item["tip_key"]["S"].split("#")[0] + f"#{old}"
    item["ttl"]["N"] = str(int(time.time()) - 86_400)
    table.client.put_item(TableName=table.name, Item=item)
    reward = {"user_id": "anna", "tip_id": "report", "reward": 0.5, "features": {"priority": 2}}
    assert score.call("POST", "/reward", reward).json["applied"]
