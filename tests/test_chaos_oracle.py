"""The chaos test's own parts: an oracle that is wrong, or faults that are never thrown, would prove nothing."""

from __future__ import annotations

import ast
import io
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos import oracle
from tests.chaos.facts import DAY_US, Decided, Fact, Generated
from tests.chaos.faulty_table import FaultyTable
from tests.chaos.messages import malformed, script
from tests.chaos.workload import Events, Sizes
from tips.errors import BadRecord
from tips.ingest import process
from tips.ingest.records import Record

NOON = 20_000 * DAY_US + DAY_US // 2
HOUR = DAY_US // 24
VECTORS = {"h": {"a": 1.0, "b": 0.5}}


def reaction(event_id: str, at_us: int, **said: Any) -> Fact:
    said = {"decision_id": "D1", "action": "done", "dwell_ms": 60_000, **said}
    return Fact("reaction", "feedback.tip", event_id, "anna", at_us, "tip", **said)


def expect(*facts: Fact, deferred: bool = False, today: int = 20_000) -> oracle.Expected:
    decided = Decided("anna", "D1", "tip", NOON, deferred, "G1")
    generated = Generated("anna", "G1", "v1", {"v1": 1.0})
    return oracle.expected([decided], {"D1": VECTORS}, [generated], facts, HOUR, today)


def test_the_oracle_takes_the_latest_reaction_in_time_and_each_id_once() -> None:
    facts = [
        reaction("e1", NOON + 5),
        reaction("e3", NOON + 7, action="dismiss", dwell_ms=None),
        reaction("e2", NOON + 7),
        reaction("late", NOON + HOUR + 1, action="helpful"),
    ]
    found = expect(*facts)
    assert found.learned == {"D1": -1.0}
    assert (found.late, found.revised) == (1, 1)
    sums = found.sums["anna"]["h"]
    assert (sums.pulls, sums.cumulative, sums.weight, sums.rr) == (1, -1.0, 1.0, 1.0)
    assert dict(sums.rx) == {"a": -1.0, "b": -0.5}
    assert dict(sums.xx) == {("a", "a"): 1.0, ("a", "b"): 0.5, ("b", "a"): 0.5, ("b", "b"): 0.25}
    assert dict(found.prompts["anna"].rx) == {"v1": -1.0}
    assert found.counts["v1"] == oracle.Counts(1, -1.0, 1.0)
    assert found.profiles["anna"].reactions == {20_000: [1, 0, 1, 0, 0, {}]}


def test_the_oracle_begins_a_deferred_wait_with_whatever_shows_the_tip_first() -> None:
    served = Fact("served", "signals.tip.served", "s", "anna", NOON + HOUR, "tip", "D1")
    assert expect(deferred=True).learned == {"D1": None}
    assert expect(reaction("e", NOON + 3 * HOUR), deferred=True).learned == {"D1": 1.0}
    assert expect(reaction("e", NOON + 3 * HOUR), served, deferred=True).learned == {"D1": None}
    assert expect(reaction("e", NOON + 2 * HOUR), served, deferred=True).learned == {"D1": 1.0}


def test_the_oracle_finds_a_tip_alone_only_from_its_decision_on_and_counts_others_by_themselves() -> None:
    assert expect(reaction("e", NOON, decision_id=None)).learned == {"D1": 1.0}
    before = expect(reaction("e", NOON - 1, decision_id=None, dwell_ms=None))
    assert before.learned == {"D1": None}
    assert before.profiles["anna"].reactions == {20_000: [1, 1, 0, 0, 0, {11: 1}]}
    assert expect(reaction("e", NOON, decision_id=None), today=20_029).profiles["anna"].reactions != {}
    assert expect(reaction("e", NOON, decision_id=None), today=20_030).profiles["anna"].reactions == {}
    by_reward = expect(reaction("e", NOON, action=None, reward=0.25))
    assert by_reward.learned == {"D1": 0.25}
    assert by_reward.profiles == {}


@pytest.mark.parametrize(
    ("said", "reward"),
    [
        ({"dwell_ms": None}, 0.6),
        ({"dwell_ms": 14_999}, -0.3),
        ({"dwell_ms": 15_000}, 1.0),
        ({"dwell_ms": 120_000}, 0.6),
        ({"dwell_ms": 600_000}, 0.6),
        ({"dwell_ms": 600_001}, 0.3),
        ({"action": "snooze"}, 0.1),
        ({"reward": -0.7}, -0.7),
    ],
)
def test_the_oracle_has_the_rewards_of_the_contract(said: dict[str, Any], reward: float) -> None:
    assert oracle.reward_of(reaction("e", NOON, **said)) == reward


def test_the_oracle_imports_nothing_of_the_service() -> None:
    for module in ("oracle.py", "facts.py"):
        tree = ast.parse((Path(__file__).parent / "chaos" / module).read_text(encoding="utf-8"))
        named = {one.module for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)}
        named |= {alias.name for one in ast.walk(tree) if isinstance(one, ast.Import) for alias in one.names}
        assert not [name for name in named if name and name.split(".")[0] in ("tips", "devstack", "numpy")]


def test_every_malformed_message_is_bad_whatever_its_subject_and_differs_from_all_others() -> None:
    messages = malformed(random.Random(1), 200)
    assert len({one.data for one in messages}) == len(messages)
    assert [len(one.data) for one in messages if len(one.data) > 800_000] == [900 * 1024]
    for one in messages:
        for subject in ("signals.tip.feedback", "feedback.tip", "signals.tip.reward_failed", "signals.tip.served"):
            with pytest.raises(BadRecord):
                process.change_of(Record("1", "signals", subject, 1, one.data))


def test_a_script_has_its_shares_and_every_good_message_of_it_can_be_read() -> None:
    rng = random.Random(2)
    sizes = Sizes(events=2_000, users=10, bridge_kills=0, server_restarts=0)
    decided = [Decided(f"person-{one % 10}", f"D{one:03}", f"tip-{one % 7}", NOON, one % 5 == 0) for one in range(300)]
    made = script(rng, sizes, Events(rng, decided, HOUR, NOON + DAY_US))
    assert len(made.messages) == 2_000
    assert sum(one.malformed for one in made.messages) == 20
    assert len(made.facts) == 2_000 - 20 - 400
    assert len(made.rewards) == 100
    assert len({one.event_id for one in made.facts}) == len(made.facts)
    for one in made.messages:
        if not one.malformed:
            process.change_of(Record("1", "signals", one.subject, 1, one.data))
    kinds = {one.subject for one in made.messages}
    assert kinds > {"signals.tip.feedback", "feedback.tip", "signals.tip.reward_failed", "signals.tip.served"}


def test_faults_come_in_their_shares_and_a_write_reported_failed_was_carried_out() -> None:
    carried_out: list[str] = []

    def table(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        carried_out.append(environ["HTTP_X_AMZ_TARGET"])
        start_response("200 OK", [])
        return [b"{}"]

    faulty = FaultyTable(table, 1, refused=0.05, misreported=0.02, silence=0.0, hot_sec=0.0)
    told = [_told(faulty, "PutItem") for _ in range(2_000)]
    reported_done = sum(one.startswith("200") for one in told)
    refused = sum(count for name, count in faulty.faults.items() if not name.startswith("done, "))
    assert refused == 100
    assert len(carried_out) == 2_000 - refused
    assert len(carried_out) - reported_done == faulty.faults.total() - refused == 38
    assert faulty.faults.keys() == {
        *("silent", "dropped", "throttled", "throttled account"),
        *("done, dropped", "done, reported failed"),
    }


def test_a_hot_partition_refuses_one_person_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("tests.chaos.faulty_table.time", SimpleNamespace(monotonic=lambda: now))
    faulty = FaultyTable(
        lambda _, begin: begin("200 OK", []) or [b""], 1, refused=0.05, misreported=0.0, silence=0.0, hot_sec=6.0
    )
    for _ in range(1_000):
        _told(faulty, "GetItem", '{"pk": {"S": "U#anna"}}')
    assert faulty.faults["partition hot"] > 0
    assert {_told(faulty, "GetItem", '{"pk": {"S": "U#anna"}}') for _ in range(50)} == {"400 Refused"}
    assert "200 OK" in {_told(faulty, "GetItem", '{"pk": {"S": "U#anna-maria"}}') for _ in range(50)}
    now = 7.0
    assert "200 OK" in {_told(faulty, "GetItem", '{"pk": {"S": "U#anna"}}') for _ in range(50)}


def _told(faulty: FaultyTable, operation: str, body: str = "{}") -> str:
    """Return the status that the client sees, "" where the connection is dropped."""
    said: list[str] = []
    environ = {
        "HTTP_X_AMZ_TARGET": f"DynamoDB_20120810.{operation}",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body.encode()),
    }
    try:
        list(faulty(environ, lambda status, _: said.append(status)))
    except ConnectionResetError:
        return ""
    return said[0]
