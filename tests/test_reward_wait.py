"""The reward wait: default reward at its end, late reactions, deferred decisions; whatever becomes known first."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devstack.events import envelope, jetstream_batch
from devstack.ttl import expire
from tests.deciding import remember
from tests.requests import score_request, stats
from tips.features.crossed_v3 import CROSSED_V3
from tips.state import decisions, learning, reactions, waits
from tips.state.changes import carry_out_one
from tips.state.reactions import Report
from tips.state.table import Table
from tips.state.teaching import LearningRules

DAY_SEC = 86_400
CANDIDATES: list[dict[str, Any]] = [{"id": "a", "kind": "task", "features": {"is_overdue": True}}]


@pytest.fixture
def functions(load_function: Callable[..., Any]) -> tuple[Any, Any]:
    environment = {"DEFAULT_REWARD": "-0.2", "REWARD_WAIT": "24h"}
    return load_function("score", **environment), load_function("consume", **environment)


def pass_time(table: Any, consume: Any, seconds: float) -> int:
    """Let TTL do its work as if it were so much later. Returns how many stream events there were."""
    events = expire(table, time.time() + seconds)
    for event in events:
        assert consume.invoke(event) == {"batchItemFailures": []}
    return len(events)


def view(score: Any, decision_id: str) -> dict[str, Any]:
    body: dict[str, Any] = score.call("GET", f"/decisions/{decision_id}", query={"user_id": "anna"}).json
    return body


def test_without_a_reaction_the_default_is_learned_when_the_wait_ends(functions: Any, table: Any) -> None:
    score, consume = functions
    decision_id = score.call("POST", "/score", score_request()).json["decision_id"]
    (marker,) = (item for item in table.items() if item["sk"]["S"].startswith("W#"))
    assert set(marker) == {"pk", "sk", "ttl"}
    assert DAY_SEC - 5 < int(marker["ttl"]["N"]) - time.time() < DAY_SEC + 5
    assert pass_time(table, consume, DAY_SEC - 60) == 0
    assert stats(score) == (0, 0.0)
    assert pass_time(table, consume, DAY_SEC + 60) == 1
    assert stats(score) == (1, -0.2)
    logged = view(score, decision_id)
    assert (logged["learned_reward"], logged["reaction"]) == (-0.2, None)


def test_the_same_stream_record_again_changes_nothing(functions: Any, table: Any) -> None:
    score, consume = functions
    score.call("POST", "/score", score_request())
    (event,) = expire(table, time.time() + 2 * DAY_SEC)
    for _ in range(3):
        assert consume.invoke(event) == {"batchItemFailures": []}
    assert stats(score) == (1, -0.2)


def test_a_reaction_in_time_leaves_the_default_nothing_to_do(functions: Any, table: Any) -> None:
    score, consume = functions
    decision_id = score.call("POST", "/score", score_request()).json["decision_id"]
    score.call("POST", "/reward", {"user_id": "anna", "decision_id": decision_id, "reward": 0.5})
    assert pass_time(table, consume, 2 * DAY_SEC) == 1
    assert stats(score) == (1, 0.5)


def test_a_reaction_in_time_that_arrives_after_the_default_revises_it(functions: Any, table: Any) -> None:
    score, consume = functions
    decision_id = score.call("POST", "/score", score_request()).json["decision_id"]
    pass_time(table, consume, 2 * DAY_SEC)
    answer = score.call("POST", "/reward", {"user_id": "anna", "decision_id": decision_id, "reward": 0.5}).json
    assert answer == {"ok": True, "applied": True, "reward": 0.5}
    assert stats(score) == pytest.approx((1, 0.5), abs=1e-12)


def test_a_late_reaction_is_kept_and_not_learned(functions: Any, table: Any, client: Table) -> None:
    score, consume = functions
    decided_us = time.time_ns() // 1000 - 3 * DAY_SEC * 1_000_000
    decision = remember(client, "anna", decided_us, CANDIDATES)
    late = {"user_id": "anna", "decision_id": decision.decision_id, "reward": 1.0, "event_id": "late"}
    for _ in range(2):
        answer = score.call("POST", "/reward", late).json
        assert answer["applied"] is False
    assert stats(score) == (0, 0.0)
    # A marker that TTL has not removed yet makes no reaction in time, and the default is still learned at its end.
    assert pass_time(table, consume, 0) == 1
    assert stats(score) == (1, -0.2)
    logged = view(score, decision.decision_id)
    assert logged["reaction"] is None
    assert (logged["late_reaction"]["reward"], logged["late_reaction"]["learned"]) == (1.0, False)
    # One that occurred in time and was only told late counts.
    told_late = {**late, "event_id": "in-time", "reward": 0.3, "occurred_at": logged["reward_wait_ends_at"]}
    assert score.call("POST", "/reward", told_late).json["applied"] is True
    assert stats(score) == pytest.approx((1, 0.3), abs=1e-12)
    assert view(score, decision.decision_id)["late_reaction"]["event_id"] == "late"


def test_the_first_answer_to_a_late_reaction_says_so(functions: Any, client: Table) -> None:
    score, _ = functions
    decision = remember(client, "anna", time.time_ns() // 1000 - 2 * DAY_SEC * 1_000_000, CANDIDATES)
    answer = score.call("POST", "/reward", {"user_id": "anna", "decision_id": decision.decision_id, "action": "done"})
    assert answer.json == {"ok": True, "applied": False, "reason": "late", "reward": 0.6}


def test_the_wait_is_a_setting_and_stays_with_the_decision(load_function: Any, table: Any) -> None:
    short = load_function("score", REWARD_WAIT="1s")
    decision_id = short.call("POST", "/score", score_request()).json["decision_id"]
    time.sleep(1.1)
    longer = load_function("score", REWARD_WAIT="7d")
    reward = {"user_id": "anna", "decision_id": decision_id, "action": "done"}
    assert longer.call("POST", "/reward", reward).json["reason"] == "late"


def test_a_deferred_decision_that_is_never_shown_teaches_nothing(functions: Any, table: Any) -> None:
    score, consume = functions
    score.call("POST", "/score", score_request(defer=True))
    assert not any(item["sk"]["S"].startswith("W#") for item in table.items())
    assert pass_time(table, consume, 30 * DAY_SEC) == 0
    assert stats(score) == (0, 0.0)


def test_activation_begins_the_wait(functions: Any, table: Any) -> None:
    score, consume = functions
    decision_id = score.call("POST", "/score", score_request(defer=True)).json["decision_id"]
    body = {"user_id": "anna", "decision_id": decision_id}
    assert view(score, decision_id)["reward_wait_began_at"] is None
    assert score.call("POST", "/activate", body).json == {"ok": True, "applied": True}
    began_at = view(score, decision_id)["reward_wait_began_at"]
    assert began_at is not None
    assert score.call("POST", "/activate", body).json == {"ok": True, "applied": False, "reason": "already_active"}
    assert view(score, decision_id)["reward_wait_began_at"] == began_at
    assert pass_time(table, consume, DAY_SEC + 60) == 1
    assert stats(score) == (1, -0.2)


def test_activating_what_is_not_deferred_changes_nothing_and_what_is_not_there_is_not_found(score: Any) -> None:
    decision_id = score.call("POST", "/score", score_request()).json["decision_id"]
    answer = score.call("POST", "/activate", {"user_id": "anna", "decision_id": decision_id})
    assert answer.json == {"ok": True, "applied": False, "reason": "already_active"}
    for user, decision in (("ben", decision_id), ("anna", "01ARZ3NDEKTSV4RRFFQ69G5FAV"), ("anna", "x")):
        missing = score.call("POST", "/activate", {"user_id": user, "decision_id": decision})
        assert (missing.status, missing.json["error"]["field"]) == (404, "decision_id")


@pytest.mark.parametrize("with_decision_id", [True, False])
def test_tip_served_begins_the_wait(functions: Any, table: Any, with_decision_id: bool) -> None:
    score, consume = functions
    body = score.call("POST", "/score", score_request(defer=True)).json
    payload = {"user_id": "anna", "tip_id": body["tip_id"], "shown_at": "2999-01-01T00:00:00Z"}
    if with_decision_id:
        payload["decision_id"] = body["decision_id"]
    event = jetstream_batch([("signals.tip.served", envelope(payload))])
    assert consume.invoke(event) == {"batchItemFailures": []}
    logged = view(score, body["decision_id"])
    assert logged["shown_at"] == logged["reward_wait_began_at"] is not None
    assert logged["shown_at"] < "2999"
    assert pass_time(table, consume, DAY_SEC + 60) == 1
    assert stats(score) == (1, -0.2)


def test_a_reaction_begins_the_wait_of_a_deferred_decision(functions: Any, table: Any) -> None:
    score, consume = functions
    decision_id = score.call("POST", "/score", score_request(defer=True)).json["decision_id"]
    assert score.call("POST", "/reward", {"user_id": "anna", "decision_id": decision_id, "reward": 0.5}).json["applied"]
    assert stats(score) == (1, 0.5)
    pass_time(table, consume, 2 * DAY_SEC)
    assert stats(score) == (1, 0.5)


def test_a_reset_before_the_end_of_the_wait_leaves_nothing_to_learn(functions: Any, table: Any) -> None:
    score, consume = functions
    score.call("POST", "/score", score_request())
    score.call("POST", "/reset/anna")
    assert pass_time(table, consume, 2 * DAY_SEC) == 1
    assert stats(score) == (0, 0.0)


def test_a_tip_shown_of_another_decision_changes_nothing(functions: Any, table: Any) -> None:
    score, consume = functions
    body = score.call("POST", "/score", score_request(defer=True)).json
    payload = {
        "user_id": "anna",
        "tip_id": "another",
        "decision_id": body["decision_id"],
        "shown_at": "2026-01-01T00:00:00Z",
    }
    consume.invoke(jetstream_batch([("signals.tip.served", envelope(payload))]))
    assert view(score, body["decision_id"])["shown_at"] is None


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), deferred=st.booleans())
def test_what_a_decision_teaches_does_not_depend_on_what_was_known_first(
    client: Table, seed: int, deferred: bool
) -> None:
    rng = random.Random(seed)
    user, rules, wait_us = str(uuid.uuid4()), LearningRules(default_reward=-0.2), 1_000_000
    decided_us = (time.time_ns() // 1_000_000 - 60_000) * 1000
    decision = remember(client, user, decided_us, CANDIDATES, deferred=deferred, reward_wait_us=wait_us)
    told = [
        (decided_us + rng.randrange(4_000_000), f"e{n}", round(rng.uniform(-1, 1), 2)) for n in range(rng.randrange(4))
    ]
    shown = [decided_us + rng.randrange(4_000_000) for _ in range(rng.randrange(3))]

    def react(at: int, event_id: str, reward: float) -> Any:
        report = Report(user, decision.decision_id, event_id=event_id, reward=reward, occurred_at=at)
        return lambda: reactions.apply(client, report, rules, 5000)

    def serve(at: int) -> Any:
        return lambda: carry_out_one(client, waits.Served(user, "a", at, decision.decision_id), rules, 5000)

    steps = [react(*one) for one in told] + [serve(at) for at in shown]
    steps += rng.sample(steps, k=len(steps) // 2)
    rng.shuffle(steps)
    ends = not deferred or bool(steps)
    if ends:  # at any time after the wait has begun
        steps.insert(
            rng.randint(1 if deferred else 0, len(steps)),
            lambda: carry_out_one(client, waits.WaitOver(user, decision.decision_id), rules, 5000),
        )
    for step in steps:
        step()

    began = min([*shown, *(at for at, *_ in told)], default=None) if deferred else decided_us
    expected: float | None = None
    if began is not None:
        in_time = [one for one in told if one[0] <= began + wait_us]
        expected = max(in_time)[2] if in_time else (-0.2 if ends else None)
    remembered = decisions.find(client, user, decision.decision_id)
    assert remembered is not None
    assert remembered.reactions.learned == expected
    statistics = learning.read(client, user).statistics(CROSSED_V3)
    assert statistics.pulls == (expected is not None)
    assert statistics.cumulative_reward == pytest.approx(expected or 0.0, abs=1e-9)
    x = decision.active.vector
    assert statistics.rx == pytest.approx((expected or 0.0) * x, abs=1e-9)
