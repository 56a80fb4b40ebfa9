"""One decision teaches once: whatever the order, repetition, race or crash, and however a reaction is told."""

from __future__ import annotations

import threading
import time
import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ulid import ULID

from tests.requests import connect, decided_at_us, score_request, stats
from tips.bandit.learning import UserLearning
from tips.errors import TableUnavailable
from tips.features.crossed_v3 import CROSSED_V3
from tips.settings import Settings
from tips.state import learning, reactions
from tips.state.changes import Outcome
from tips.state.reactions import Report
from tips.state.table import Table
from tips.state.teaching import LearningRules, belongs

RULES = LearningRules()

reports = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([-1.0, 0.1, 0.6, 1.0]), st.integers(0, 5)), min_size=1, max_size=6
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reports, st.data())
def test_any_order_and_repetition_of_reactions_leaves_the_latest_one(
    score: Any, client: Table, told: list[tuple[int, float, int]], data: st.DataObject
) -> None:
    """Each example is a person of their own: the table is shared."""
    user = str(uuid.uuid4())
    body = score.call("POST", "/score", score_request(user_id=user)).json
    decided = decided_at_us(body["decision_id"])
    # One id is one reaction: the first telling of an id says what it was.
    by_id = {f"e{number}": (at, reward) for at, reward, number in reversed(told)}
    once = [
        Report(user, body["decision_id"], event_id=event_id, reward=reward, occurred_at=decided + at)
        for event_id, (at, reward) in by_id.items()
    ]
    repeated = data.draw(st.permutations(once + data.draw(st.lists(st.sampled_from(once), max_size=4))))
    for report in repeated:
        reactions.apply(client, report, RULES, 2000)
    event_id = max(by_id, key=lambda one: (by_id[one][0], one))
    statistics = learning.read(client, user).statistics(CROSSED_V3)
    assert statistics.pulls == 1
    assert statistics.cumulative_reward == pytest.approx(by_id[event_id][1], abs=1e-12)


def test_concurrent_workers_learn_each_reaction_once(score: Any, table: Any) -> None:
    """Eight workers, ten decisions of one person, every reaction told by every worker."""
    decided = [score.call("POST", "/score", score_request()).json["decision_id"] for _ in range(10)]
    errors: list[BaseException] = []

    def work(number: int) -> None:
        own = connect(table)
        try:
            for decision_id in decided[number:] + decided[:number]:
                reactions.apply(own, Report("anna", decision_id, event_id="e" + decision_id, reward=0.5), RULES, 30_000)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    pulls, cumulative = stats(score)
    assert pulls == 10
    assert cumulative == pytest.approx(5.0, abs=1e-9)


class Flaky(Table):
    """Writes that fail before or after they are carried out, as the script says."""

    def __init__(self, table: Any, script: list[str]) -> None:
        super().__init__(Settings(table_name=table.name, dynamodb_endpoint=table.endpoint), timeout_ms=5000)
        self.script = script

    def transact(self, writes: Any) -> None:
        step = self.script.pop(0) if self.script else "ok"
        if step == "lost":
            raise TableUnavailable("lost", ambiguous=True)
        super().transact(writes)
        if step == "unheard":
            raise TableUnavailable("unheard", ambiguous=True)


@pytest.mark.parametrize("script", [["lost"], ["unheard"], ["lost", "unheard"], ["lost", "lost", "ok"]])
def test_a_write_that_reports_failure_is_applied_once_and_reported_so(
    score: Any, table: Any, script: list[str]
) -> None:
    decision_id = score.call("POST", "/score", score_request()).json["decision_id"]
    report = Report("anna", decision_id, event_id="e1", reward=0.5)
    assert reactions.apply(Flaky(table, script), report, RULES, 2000).applied
    assert not reactions.apply(Flaky(table, []), report, RULES, 2000).applied
    assert stats(score) == (1, 0.5)


def test_a_write_that_never_succeeds_ends_at_the_deadline_with_nothing_half_written(score: Any, table: Any) -> None:
    decision_id = score.call("POST", "/score", score_request()).json["decision_id"]
    before = table.items()
    with pytest.raises(TableUnavailable):
        reactions.apply(Flaky(table, ["lost"] * 1000), Report("anna", decision_id, reward=0.5), RULES, 100)
    assert table.items() == before


class Meddled(Table):
    """Somebody else acts between the read and the first write of an attempt."""

    def __init__(self, table: Any, meddle: Any) -> None:
        super().__init__(Settings(table_name=table.name, dynamodb_endpoint=table.endpoint), timeout_ms=5000)
        self.meddles = [meddle]

    def transact(self, writes: Any) -> None:
        if self.meddles:
            self.meddles.pop()()
        super().transact(writes)


def test_a_reaction_that_came_between_read_and_write_is_not_overwritten(score: Any, table: Any, client: Table) -> None:
    """The one in between changes the decision alone, so that only the decision's condition can tell."""
    decision_id = score.call("POST", "/score", score_request()).json["decision_id"]
    start = decided_at_us(decision_id)

    def report(event_id: str, after_us: int, reward: float) -> Report:
        return Report("anna", decision_id, event_id=event_id, reward=reward, occurred_at=start + after_us)

    reactions.apply(client, report("a", 10, 1.0), RULES, 2000)
    meddled = Meddled(table, lambda: reactions.apply(client, report("c", 30, 1.0), RULES, 2000))
    assert reactions.apply(meddled, report("b", 20, -1.0), RULES, 2000) == Outcome(False, "superseded")
    assert stats(score) == (1, 1.0)


def test_a_reset_between_read_and_write_is_not_undone(score: Any, table: Any) -> None:
    decision_id = score.call("POST", "/score", score_request()).json["decision_id"]
    meddled = Meddled(table, lambda: score.call("POST", "/reset/anna"))
    outcome = reactions.apply(meddled, Report("anna", decision_id, reward=1.0), RULES, 2000)
    assert outcome == Outcome(False, "older_epoch")
    assert stats(score) == (0, 0.0)


def test_a_retry_means_the_same_decision_although_the_tip_was_shown_again(score: Any, table: Any) -> None:
    only = score_request(candidates=score_request()["candidates"][:1])
    score.call("POST", "/score", only)
    flaky = Flaky(table, ["unheard"])
    original = flaky.transact

    def transact(writes: Any) -> None:
        try:
            original(writes)
        finally:
            score.call("POST", "/score", only)

    flaky.transact = transact  # type: ignore[method-assign]
    assert reactions.apply(flaky, Report("anna", tip_id="report", reward=0.5), RULES, 2000).applied
    assert stats(score) == (1, 0.5)


def test_what_was_superseded_is_not_said_to_be_applied(score: Any, table: Any, client: Table) -> None:
    decision_id = score.call("POST", "/score", score_request()).json["decision_id"]
    start = decided_at_us(decision_id)
    for event_id in ("late", None):
        later = Report("anna", decision_id, event_id="later", reward=1.0, occurred_at=start + 30)
        reactions.apply(client, later, RULES, 2000)
        early = Report("anna", decision_id, event_id=event_id, reward=-1.0, occurred_at=start + 10)
        assert not reactions.apply(Flaky(table, ["unheard"]), early, RULES, 2000).applied
    assert stats(score) == (1, 1.0)


@pytest.mark.parametrize("features_first", [True, False])
def test_one_event_in_two_forms_is_one_reaction(score: Any, features_first: bool) -> None:
    only = score_request(candidates=score_request()["candidates"][:1])
    by_tip = {"user_id": "anna", "tip_id": "report", "event_id": "e1", "reward": 0.5, "features": {"priority": 2}}
    if features_first:
        assert score.call("POST", "/reward", by_tip).json["applied"]
    decision_id = score.call("POST", "/score", only).json["decision_id"]
    by_decision = {"user_id": "anna", "decision_id": decision_id, "event_id": "e1", "reward": 0.5}
    assert score.call("POST", "/reward", by_decision).json["applied"] != features_first
    score.call("POST", "/score", only)
    assert score.call("POST", "/reward", by_tip).json["reason"] == "duplicate"
    assert stats(score) == (1, 0.5)


def test_an_event_is_remembered_for_its_time_and_no_longer(score: Any, table: Any) -> None:
    reward = {"user_id": "anna", "tip_id": "t", "event_id": "e1", "reward": 0.5, "features": {"priority": 2}}
    score.call("POST", "/reward", reward)
    (mark,) = (item for item in table.items() if item["sk"]["S"].startswith("E#"))
    assert 34.9 * 86_400 < int(mark["ttl"]["N"]) - time.time() < 35.1 * 86_400
    # Expired, but TTL has not removed it yet.
    table.client.put_item(TableName=table.name, Item={**mark, "ttl": {"N": str(int(time.time()) - 10)}})
    assert score.call("POST", "/reward", reward).json["applied"]


@pytest.mark.parametrize(("told", "first"), [("0001-01-01T00:00:00Z", True), ("2999-01-01T00:00:00Z", False)])
def test_a_reaction_is_between_its_decision_and_its_arrival(score: Any, told: str, first: bool) -> None:
    decision_id = score.call("POST", "/score", score_request()).json["decision_id"]
    by_decision = {"user_id": "anna", "decision_id": decision_id}
    assert score.call("POST", "/reward", {**by_decision, "reward": 0.25, "occurred_at": told}).json["applied"]
    logged = score.call("GET", f"/decisions/{decision_id}", query={"user_id": "anna"}).json
    assert (logged["reaction"]["occurred_at"] == logged["ts"]) == first
    assert logged["reaction"]["occurred_at"] < "2999"
    # Told later without a time, it occurred later.
    assert score.call("POST", "/reward", {**by_decision, "reward": -0.25}).json["applied"]


def test_learning_that_cannot_be_read_is_neither_used_nor_overwritten_but_can_be_reset(score: Any, table: Any) -> None:
    body = score.call("POST", "/score", score_request()).json
    reward = {"user_id": "anna", "decision_id": body["decision_id"], "action": "done"}
    score.call("POST", "/reward", reward)
    (item,) = (item for item in table.items() if item["sk"]["S"] == "L")
    block = item["schemas"]["M"][body["schema_hash"]]
    packed = block["B"]
    other_format = b"\x09" + packed[1:]
    for damaged in (other_format, packed[:20], packed[:-8], packed[:90] + bytes(4) + packed[94:], b""):
        block["B"] = damaged
        table.client.put_item(TableName=table.name, Item=item)
        answer = score.call("POST", "/score", score_request())
        assert (answer.status, answer.json["degraded"], answer.json["logged"]) == (200, True, True)
        refused = score.call("POST", "/reward", {**reward, "action": "dismiss"})
        assert (refused.status, refused.json["error"]["code"]) == (503, "learning_unreadable")
        assert item in table.items()
    assert score.call("POST", "/reset/anna").json["epoch"] == 1
    assert score.call("GET", "/stats/anna").json["pulls"] == 0


def test_a_decision_taken_blindly_belongs_to_the_epoch_of_its_time(score: Any, client: Table) -> None:
    now_us = time.time_ns() // 1000
    blind = SimpleNamespace(epoch=None, decision_id=str(ULID()))
    assert belongs(blind, UserLearning(1, 3, now_us - 10_000_000))  # type: ignore[arg-type]
    assert not belongs(blind, UserLearning(1, 3, now_us + 10_000_000))  # type: ignore[arg-type]
