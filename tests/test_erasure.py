"""Erasure: everything of a person goes, in batches that resume, and nothing of theirs comes back."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest

from devstack.events import envelope, jetstream_batch
from devstack.ttl import expire
from tests.requests import CANDIDATES, score_request
from tips.errors import TableUnavailable
from tips.state import erasure, keys
from tips.state.table import Table


def live(score: Any, consume: Any, user: str, decisions: int = 3) -> list[dict[str, Any]]:
    """Leave something of every kind. Returns the decisions: a written tip each."""
    request = score_request(user_id=user, candidates=[CANDIDATES[-1]])
    decided = [score.call("POST", "/score", request).json for _ in range(decisions)]
    reward = {"user_id": user, "decision_id": decided[0]["decision_id"], "action": "done", "event_id": "e1"}
    assert score.call("POST", "/reward", reward).json["applied"]
    payload = {"user_id": user, "task_count": 3, "synced_at": "2026-11-20T08:30:00Z", "source": "todoist"}
    consume.invoke(jetstream_batch([("signals.task.synced", envelope(payload))]))
    return decided


def of(table: Any, user: str) -> Counter[str]:
    """Kinds of items of a user, by the beginning of their sort keys."""
    partitions = (keys.user(user), keys.generation(user))
    return Counter(item["sk"]["S"][:2] for item in table.items() if item["pk"]["S"] in partitions)


def test_everything_goes_and_is_counted_and_others_stay(score: Any, consume: Any, table: Any) -> None:
    for user in ("anna", "ann", "anna2"):
        live(score, consume, user)
    table.client.put_item(
        TableName=table.name, Item={"pk": {"S": keys.generation("anna")}, "sk": {"S": "SHOWN"}, "text": {"S": "x"}}
    )
    partitions = {keys.user("ann"), keys.user("anna2"), keys.generation("ann"), keys.generation("anna2")}
    others = [item for item in table.items() if item["pk"]["S"] in partitions]
    answer = score.call("DELETE", "/users/anna")
    assert answer.status == 200
    assert answer.json["erased"] == {
        "decisions": 3,
        "event_marks": 1,
        "generation": 4,
        "learning": 1,
        "profile": 1,
        "reward_waits": 3,
        "syncs": 1,
    }
    assert answer.json["erased_total"] == 14
    assert "prior" in " ".join(answer.json["remains"])
    assert of(table, "anna") == Counter()
    left = [item for item in table.items() if item["pk"]["S"] not in partitions]
    (tombstone,) = left
    assert "anna" not in repr(tombstone)
    assert 34.9 * 86_400 < int(tombstone["ttl"]["N"]) - time.time() < 35.1 * 86_400
    assert sorted(map(repr, others)) == sorted(map(repr, (one for one in table.items() if one != tombstone)))


def test_nothing_of_an_erased_person_comes_back(score: Any, consume: Any, table: Any) -> None:
    decided = live(score, consume, "anna")
    stream = expire(table, time.time() + 2 * 86_400)
    score.call("DELETE", "/users/anna")
    before = table.items()
    body = score.call("POST", "/score", score_request()).json
    assert (body["logged"], body["degraded"]) == (False, False)
    for decision_id in (decided[1]["decision_id"], body["decision_id"]):
        reward = {"user_id": "anna", "decision_id": decision_id, "action": "done"}
        assert score.call("POST", "/reward", reward).json["reason"] == "erased"
        answer = score.call("POST", "/activate", {"user_id": "anna", "decision_id": decision_id})
        assert answer.status == 404
    features = {"user_id": "anna", "tip_id": "t", "reward": 0.5, "features": {"priority": 2}, "event_id": "new"}
    assert score.call("POST", "/reward", features).json["reason"] == "erased"
    assert score.call("POST", "/reset/anna").json == {"ok": True, "user_id": "anna", "epoch": 0}
    tip = {"user_id": "anna", "tip_id": decided[1]["tip_id"], "decision_id": decided[1]["decision_id"]}
    at = "2026-11-20T08:30:00Z"
    events = [
        ("signals.task.synced", envelope({"user_id": "anna", "task_count": 3, "synced_at": at, "source": "other"})),
        ("signals.integration.token_expired", envelope({"user_id": "anna", "source": "other"})),
        ("signals.tip.served", envelope({**tip, "shown_at": at})),
        ("feedback.tip", envelope({**tip, "action": "done"})),
        ("signals.tip.reward_failed", envelope({**tip, "reward": 1.0})),
    ]
    for event in (jetstream_batch(events), *stream):
        assert consume.invoke(event) == {"batchItemFailures": []}
    assert table.items() == before
    assert score.call("GET", "/stats/anna").json["pulls"] == 0
    assert score.call("GET", "/features/anna").json == {"history": []}


class Interrupted(Table):
    """Stops, as if the function had died, after so many transactions."""

    def stop_after(self, transactions: int) -> Interrupted:
        self.left = [transactions]
        return self

    def transact(self, writes: Any) -> None:
        if self.left[0] == 0:
            raise KeyboardInterrupt
        self.left[0] -= 1
        super().transact(writes)


def test_an_interrupted_erasure_goes_on_and_counts_everything(
    score: Any, consume: Any, table: Any, client: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "BATCH", 4)
    live(score, consume, "anna", decisions=6)
    total = sum(of(table, "anna").values())
    client.__class__ = Interrupted
    with pytest.raises(KeyboardInterrupt):
        erasure.erase(client.stop_after(3), "anna", 5000)  # type: ignore[attr-defined]
    assert 0 < sum(of(table, "anna").values()) < total
    assert score.call("POST", "/score", score_request()).json["logged"] is False
    answer = score.call("DELETE", "/users/anna").json
    assert answer["erased_total"] == total
    assert of(table, "anna") == Counter()
    assert score.call("DELETE", "/users/anna").json["erased_total"] == total


class Tiring(Table):
    """Takes longer than there is time, after so many transactions."""

    def tire_after(self, transactions: int, seconds: float) -> Tiring:
        self.left, self.seconds = [transactions], seconds
        return self

    def transact(self, writes: Any) -> None:
        super().transact(writes)
        self.left[0] -= 1
        if self.left[0] == 0:
            time.sleep(self.seconds)


def test_more_than_fits_the_time_is_said_and_the_next_call_goes_on(
    score: Any, consume: Any, table: Any, client: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "BATCH", 2)
    live(score, consume, "anna", decisions=6)
    total = sum(of(table, "anna").values())
    client.__class__ = Tiring
    with pytest.raises(TableUnavailable, match="call again"):
        erasure.erase(client.tire_after(4, 3.0), "anna", 3000)  # type: ignore[attr-defined]
    assert 0 < sum(of(table, "anna").values()) < total
    answer = score.call("DELETE", "/users/anna")
    assert (answer.status, answer.json["erased_total"]) == (200, total)


@pytest.mark.parametrize(("look_takes", "settled_sec"), [(0.0, 1.5), (1.0, 0.9)])
def test_a_write_that_was_on_its_way_is_found(
    score: Any, consume: Any, table: Any, client: Table, look_takes: float, settled_sec: float
) -> None:
    """Somebody read before the tombstone was there and writes during the first look that finds nothing.

    That look may take until all has settled; then it is not the last.
    """
    live(score, consume, "anna")
    item = next(one for one in table.items() if one["sk"]["S"].startswith("D#"))

    class Late(Table):
        def keys_of(self, pk: str, *, limit: int) -> list[tuple[str, str]]:
            found = super().keys_of(pk, limit=limit)
            if not found and pk.startswith("G#") and waiting:
                client.put(waiting.pop())
                time.sleep(look_takes)
            return found

    waiting = [item]
    client.__class__ = Late
    erasure.erase(client, "anna", 5000, settled_sec=settled_sec)
    assert waiting == []
    assert of(table, "anna") == Counter()


def test_a_person_who_comes_back_after_the_tombstone_begins_anew(score: Any, consume: Any, table: Any) -> None:
    live(score, consume, "anna")
    score.call("DELETE", "/users/anna")
    (tombstone,) = table.items()
    # Expired, but TTL has not removed it yet.
    tombstone["ttl"]["N"] = str(int(time.time()) - 10)
    table.client.put_item(TableName=table.name, Item=tombstone)
    live(score, consume, "anna", decisions=1)
    features = {"user_id": "anna", "tip_id": "t", "reward": 0.5, "features": {"priority": 2}}
    assert score.call("POST", "/reward", features).json["applied"]
    assert score.call("POST", "/reset/anna").json["epoch"] == 1


def test_somebody_who_was_never_here_can_be_erased(score: Any) -> None:
    answer = score.call("DELETE", "/users/nobody").json
    assert (answer["erased"], answer["erased_total"]) == ({}, 0)


def test_a_degraded_decision_of_an_erased_person_is_not_kept(
    score: Any, table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unread(*_: Any) -> Any:
        raise TableUnavailable("slow")

    score.call("DELETE", "/users/anna")
    before = table.items()
    monkeypatch.setattr(Table, "get_all", unread)
    body = score.call("POST", "/score", score_request()).json
    assert (body["degraded"], body["logged"]) == (True, False)
    assert table.items() == before
    body = score.call("POST", "/score", score_request(user_id="ben")).json
    assert (body["degraded"], body["logged"]) == (True, True)
