"""Changes of one person carried out together: the same result as one by one, in fewer and whole transactions."""

from __future__ import annotations

import json
import math
import random
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from devstack.events import envelope, jetstream_batch
from tests.deciding import remember
from tests.requests import score_request
from tips.bandit.decision import Decision
from tips.errors import ConditionNotMet, DecisionUnreadable, LearningUnreadable, OutOfTime, TableUnavailable
from tips.features.profile_counters import CountedReaction
from tips.ingest.process import process_batch
from tips.ingest.records import records_of
from tips.settings import Settings
from tips.state import decisions, keys, learning, profiles, signals, waits
from tips.state.changes import AT_ONCE, Change, Outcome, carry_out
from tips.state.erasure import erase
from tips.state.marks import Mark, mark_write
from tips.state.reactions import Report
from tips.state.table import Table, retrying
from tips.state.teaching import LearningRules

RULES = LearningRules(default_reward=-0.25)
CANDIDATES: list[dict[str, Any]] = [
    {"id": "a", "kind": "task", "features": {"priority": 3}},
    {"id": "b", "source": "llm"},
]


class Counting(Table):
    """Counts calls, and how large each transaction is; may refuse those of some people."""

    def __init__(self, table: Any, refused: Sequence[str] = ()) -> None:
        super().__init__(Settings(table_name=table.name, dynamodb_endpoint=table.endpoint), timeout_ms=8000)
        self.calls: Counter[str] = Counter()
        self.transactions: list[int] = []
        self.refused = refused

    def _call(self, operation: str, *, named: bool = True, **arguments: Any) -> Any:
        if any(f"U#{user}'" in repr(arguments) for user in self.refused):
            raise TableUnavailable("the table is throttled")
        self.calls[operation] += 1
        if operation == "transact_write_items":
            self.transactions.append(len(arguments["TransactItems"]))
        return super()._call(operation, named=named, **arguments)


def past_us(seconds: float) -> int:
    return round((time.time() - seconds) * 1e6)


def decided(client: Table, user: str, count: int, **options: Any) -> list[Decision]:
    return [remember(client, user, past_us(3600 - number), CANDIDATES, **options) for number in range(count)]


def reaction(decision: Decision, reward: float = 0.5, event_id: str | None = None, **options: Any) -> Report:
    return Report(
        decision.user_id, decision.decision_id, event_id=event_id or str(uuid.uuid4()), reward=reward, **options
    )


def learned(client: Table, user: str) -> tuple[int, float]:
    (one,) = learning.read(client, user).schemas.values()
    return one.statistics.pulls, one.statistics.cumulative_reward


def test_a_persons_reactions_are_one_read_and_one_transaction(client: Table, table: Any) -> None:
    changes = [reaction(one) for one in decided(client, "anna", 25)]
    counting = Counting(table)
    assert carry_out(counting, changes, RULES, 8000) == [Outcome(True)] * 25
    assert counting.calls == {"batch_get_item": 1, "transact_write_items": 1}
    # A decision and an event's mark each, and what was learned: tips, and the line on preferences where there is one.
    assert counting.transactions[0] <= 2 * 25 + 2
    assert learned(client, "anna") == (25, 12.5)
    assert carry_out(counting, changes, RULES, 8000) == [Outcome(False, "duplicate")] * 25
    assert counting.calls == {"batch_get_item": 2, "transact_write_items": 1}


def story(rng: random.Random, deferred: Decision, plain: Sequence[Decision]) -> list[Change]:
    """Reactions to three decisions, revised, repeated and told by their tip alone, showings, ends of waits, signals."""
    user = deferred.user_id
    changes: list[Change] = [
        waits.Served(user, deferred.tip_id, past_us(1800), deferred.decision_id, "shown"),
        signals.TaskSynced(user, "todoist", 3, past_us(100)),
        signals.TaskSynced(user, "todoist", 5, past_us(50)),
        signals.TokenExpired(user, "todoist", past_us(70)),
        waits.WaitOver(user, plain[0].decision_id),
    ]
    for number, one in enumerate([deferred, *plain, *plain]):
        at = past_us(rng.randrange(10, 1000))
        action = rng.choice(["done", "dismiss", "snooze", None])
        changes.append(
            Report(
                user,
                one.decision_id if rng.random() < 0.7 else None,
                tip_id=one.tip_id,
                event_id=f"e{number}",
                action=action,  # type: ignore[arg-type]
                reward=None if action else 0.3,
                dwell_ms=rng.choice([None, 40_000]),
                occurred_at=at,
            )
        )
    changes += rng.sample(changes, 4)
    rng.shuffle(changes)
    return changes


def state_of(table: Any, user: str) -> dict[str, Any]:
    """Everything kept of a person, but for how often it was written and when."""
    own = {keys.user(user), keys.generation(user)}
    found = {}
    for item in table.items():
        if item["pk"]["S"] in own:
            one = {name: value for name, value in item.items() if name not in ("pk", "rev", "ttl", "schemas")}
            for clock in ("reactions_at", "served_at"):
                one.pop(clock, None)
            if "reactions" in one and item["sk"]["S"].startswith("D#"):
                one["reactions"] = sorted_reactions(one["reactions"]["S"])
            found[item["sk"]["S"]] = one
    return found


def sorted_reactions(text: str) -> Any:
    log = json.loads(text)
    log.pop("learned_in")  # in which revision, which is what differs
    return {**log, "reactions": sorted(log["reactions"])}


@pytest.mark.parametrize("seed", range(8))
def test_any_split_into_batches_leaves_the_state_of_one_by_one(client: Table, table: Any, seed: int) -> None:
    rng = random.Random(seed)
    user = "anna"
    deferred = remember(client, user, past_us(7200), CANDIDATES, deferred=True)
    plain = [
        remember(client, user, past_us(3600 - n), CANDIDATES, policies=("linucb", "egreedy-v2")[n % 2 :])
        for n in range(2)
    ]
    before = table.items()
    changes = story(rng, deferred, plain)

    def after(parts: Sequence[Sequence[Change]]) -> tuple[dict[str, Any], dict[str, Any]]:
        for item in table.items():
            table.client.delete_item(TableName=table.name, Key={name: item[name] for name in ("pk", "sk")})
        for item in before:
            table.client.put_item(TableName=table.name, Item=item)
        for part in parts:
            for result in carry_out(client, part, RULES, 8000):
                assert isinstance(result, Outcome), result
        sums = {
            one.schema_name: (one.statistics.xx, one.statistics.rx, one.statistics.pulls)
            for one in learning.read(client, user).schemas.values()
        }
        return sums, state_of(table, user)

    alone_sums, alone = after([[change] for change in changes])
    cuts = sorted(rng.sample(range(1, len(changes)), 3))
    split = [changes[start:end] for start, end in zip([0, *cuts], [*cuts, len(changes)], strict=True)]
    for parts in ([changes], split):
        sums, together = after(parts)
        assert together == alone
        assert sums.keys() == alone_sums.keys()
        for name, (xx, rx, pulls) in sums.items():
            np.testing.assert_allclose(xx, alone_sums[name][0], atol=1e-9)
            np.testing.assert_allclose(rx, alone_sums[name][1], atol=1e-9)
            assert pulls == alone_sums[name][2]


def test_a_schema_that_begins_between_two_lessons_holds_the_first_only_as_far_as_they_share_names(
    client: Table,
) -> None:
    """Revised to nothing, both lessons cancel exactly, also what was carried over from one schema to the other."""
    first = remember(client, "anna", past_us(60), CANDIDATES, policies=("linucb",), deferred=True)
    second = remember(client, "anna", past_us(50), CANDIDATES, policies=("egreedy-v2",))
    changes = [reaction(first, 1.0, occurred_at=past_us(20)), reaction(second, -1.0, occurred_at=past_us(20))]
    assert carry_out(client, changes, RULES, 8000) == [Outcome(True)] * 2
    assert carry_out(client, [reaction(first, 0.0), reaction(second, 0.0)], RULES, 8000) == [Outcome(True)] * 2
    for one in learning.read(client, "anna").schemas.values():
        np.testing.assert_allclose(one.statistics.rx, 0.0, atol=1e-12)
        assert one.statistics.rr == pytest.approx(0.0, abs=1e-12)


def test_more_than_a_transaction_holds_becomes_several(client: Table, table: Any) -> None:
    # Of a deferred decision the first reaction also makes the marker of its wait.
    changes = [reaction(one) for one in decided(client, "anna", 90, deferred=True)]
    counting = Counting(table)
    assert carry_out(counting, changes, RULES, 8000) == [Outcome(True)] * 90
    assert len(counting.transactions) > 2
    assert max(counting.transactions) <= 100
    assert learned(client, "anna") == (90, 45.0)


def test_decisions_that_are_large_do_not_make_a_transaction_that_is_too_large(
    client: Table, table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = decided(client, "anna", 12)
    size = max(len(item["doc"]["B"]) for item in table.items() if "doc" in item)
    monkeypatch.setattr("tips.state.person.MAX_BYTES", 3 * size)
    counting = Counting(table)
    assert carry_out(counting, [reaction(each) for each in one], RULES, 8000) == [Outcome(True)] * 12
    assert len(counting.transactions) >= 3
    assert learned(client, "anna") == (12, 6.0)


def test_a_damaged_decision_fails_alone(client: Table, table: Any) -> None:
    good, bad, fine = decided(client, "anna", 3)
    key = {"pk": {"S": "U#anna"}, "sk": {"S": keys.decision(bad.decision_id)}}
    table.client.update_item(
        TableName=table.name,
        Key=key,
        UpdateExpression="SET doc = :doc",
        ExpressionAttributeValues={":doc": {"B": b"\x01junk"}},
    )
    results = carry_out(client, [reaction(one) for one in (good, bad, fine)], RULES, 8000)
    assert [isinstance(one, DecisionUnreadable) for one in results] == [False, True, False]
    assert learned(client, "anna") == (2, 1.0)


def test_learning_that_cannot_be_read_fails_reactions_and_nothing_else(client: Table, table: Any) -> None:
    (one,) = decided(client, "anna", 1)
    table.client.put_item(TableName=table.name, Item={"pk": {"S": "U#anna"}, "sk": {"S": "L"}, "rev": {"N": "1"}})
    results = carry_out(client, [reaction(one), signals.TaskSynced("anna", "todoist", 2, 5)], RULES, 8000)
    assert isinstance(results[0], LearningUnreadable)
    assert results[1] == Outcome(True)


class Impossible:
    """A change that spoils the transaction of whoever shares it."""

    user_id = "anna"

    def needs(self, now_us: int) -> Any:
        return signals.TokenExpired("anna", "s", 1).needs(now_us)

    def carry_out(self, person: Any) -> Outcome:
        person.advance("S#s", "clock", {"clock": {"N": "1"}, "ttl": {"N": "1"}})
        return Outcome(True)


@pytest.mark.parametrize("fault", [TableUnavailable("refused", malformed=True), TypeError("ours")])
def test_a_change_that_makes_an_impossible_transaction_fails_alone(client: Table, table: Any, fault: Exception) -> None:
    class Refusing(Counting):
        def transact(self, writes: Any) -> None:
            if "S#s" in repr(writes):
                raise fault
            super().transact(writes)

    one, two = decided(client, "anna", 2)
    results = carry_out(Refusing(table), [reaction(one), Impossible(), reaction(two)], RULES, 8000)
    assert [each is fault for each in results] == [False, True, False]
    assert learned(client, "anna") == (2, 1.0)


def test_a_request_that_dynamodb_finds_malformed_is_not_repeated(client: Table, table: Any) -> None:
    counting = Counting(table)
    put = {"Put": {"Item": {"pk": {"S": "U#anna"}, "sk": {"S": "S#s"}}}}
    with pytest.raises(TableUnavailable) as raised:
        retrying(counting, 8000, lambda bounded, _: bounded.transact([put, put]))
    assert raised.value.malformed
    assert counting.calls["transact_write_items"] == 1


def batch_of(*reports: Report) -> Any:
    messages = [
        (
            "signals.tip.reward_failed",
            envelope(
                {"user_id": one.user_id, "tip_id": "a", "decision_id": one.decision_id, "reward": one.reward},
                event_id=one.event_id,
            ),
        )
        for one in reports
    ]
    return records_of(jetstream_batch(messages))


def test_a_table_that_throttles_one_person_fails_only_their_records(client: Table, table: Any) -> None:
    users = [f"user-{number}" for number in range(12)]
    only = [{"id": "a"}]
    reports = [reaction(remember(client, user, past_us(60), only)) for user in users for _ in range(3)]
    refused = ("user-3", "user-7")
    started = time.monotonic()
    results = process_batch(Counting(table, refused), batch_of(*reports), RULES, 1500)
    for report, result in zip(reports, results, strict=True):
        assert isinstance(result, TableUnavailable) == (report.user_id in refused), (report.user_id, result)
    # Both wait for their deadline at the same time, and the others not at all.
    assert time.monotonic() - started < 60
    assert all(learned(client, user) == (3, 1.5) for user in users if user not in refused)


def of_several_people(client: Table, people: int = 12) -> list[Report]:
    only = [{"id": "a"}]
    users = [f"user-{number}" for number in range(people)]
    return [reaction(remember(client, user, past_us(60), only)) for user in users for _ in range(3)]


def test_several_people_are_read_at_once(client: Table, table: Any) -> None:
    reports = of_several_people(client)
    counting = Counting(table)
    assert process_batch(counting, batch_of(*reports), RULES, 8000) == ["RewardApplied"] * 36
    # Four keys of each person, and three decisions: 84 of the 100 that one read takes.
    assert counting.calls == {"batch_get_item": 1, "transact_write_items": 12}
    assert all(learned(client, f"user-{number}") == (3, 1.5) for number in range(12))


def test_a_person_who_learned_since_all_were_read_is_read_again(client: Table, table: Any) -> None:
    reports = of_several_people(client)
    late = {report.user_id: reaction(remember(client, report.user_id, past_us(30), CANDIDATES)) for report in reports}

    class Meanwhile(Counting):
        def transact(self, writes: Any) -> None:
            user = next(iter(next(iter(writes[0].values()))["Key"].values()))["S"].removeprefix("U#")
            if other := late.pop(user, None):
                assert carry_out(client, [other], RULES, 8000) == [Outcome(True)]
            super().transact(writes)

    counting = Meanwhile(table)
    assert process_batch(counting, batch_of(*reports), RULES, 8000) == ["RewardApplied"] * 36
    assert counting.calls == {"batch_get_item": 1 + 12, "transact_write_items": 24}
    assert all(learned(client, f"user-{number}") == (4, 2.0) for number in range(12))


def test_a_person_who_was_erased_since_all_were_read_stays_erased(client: Table, table: Any) -> None:
    reports = of_several_people(client)

    class Meanwhile(Counting):
        def get_all(self, keys: Any) -> Any:
            found = super().get_all(keys)
            if self.calls["batch_get_item"] == 1:
                erase(client, "user-5", 8000)
            return found

    results = process_batch(Meanwhile(table), batch_of(*reports), RULES, 8000)
    outcomes = {report.user_id: result for report, result in zip(reports, results, strict=True)}
    assert outcomes.pop("user-5") == "RewardNotApplied_erased"
    assert set(outcomes.values()) == {"RewardApplied"}
    assert not client.keys_of("U#user-5", limit=10)
    assert not client.keys_of("G#user-5", limit=10)


def test_a_read_of_several_people_that_fails_fails_nobody_and_is_the_last(client: Table, table: Any) -> None:
    refused = []

    class Refusing(Counting):
        def get_all(self, keys: Any) -> Any:
            if len(keys) > 7:
                refused.append(len(keys))
                raise TableUnavailable("the table is throttled")
            return super().get_all(keys)

    counting = Refusing(table)
    assert process_batch(counting, batch_of(*of_several_people(client, 30)), RULES, 8000) == ["RewardApplied"] * 90
    assert counting.calls == {"batch_get_item": 30, "transact_write_items": 30}
    assert refused == [98]  # of 14 people; the others are not even asked for


def test_a_person_who_cannot_be_read_fails_alone(client: Table, table: Any) -> None:
    reports = of_several_people(client)
    client.put({"pk": {"S": "U#user-5"}, "sk": {"S": "L"}, "ttl": {"S": "soon"}})
    results = process_batch(client, batch_of(*reports), RULES, 8000)
    for report, result in zip(reports, results, strict=True):
        assert isinstance(result, KeyError) == (report.user_id == "user-5"), (report.user_id, result)
    assert all(learned(client, f"user-{number}") == (3, 1.5) for number in range(12) if number != 5)


def test_of_many_changes_the_first_are_read_ahead_and_the_rest_as_they_are_by_then(client: Table, table: Any) -> None:
    only = [{"id": "a"}]
    reports = [reaction(remember(client, user, past_us(60), only)) for user in ("anna", "ben") for _ in range(80)]
    counting = Counting(table)
    assert process_batch(counting, batch_of(*reports), RULES, 8000) == ["RewardApplied"] * len(reports)
    # Of each person 4 keys and as many decisions as are tried at once, in one request; then one for each transaction.
    assert AT_ONCE < 48
    assert counting.calls == {"batch_get_item": 1 + 2, "transact_write_items": 2 * 2}
    assert all(learned(client, user) == (80, 40.0) for user in ("anna", "ben"))


def test_what_learning_was_before_a_reset_is_not_what_a_tip_is_looked_for_with(client: Table, table: Any) -> None:
    others = of_several_people(client)
    remember(client, "anna", past_us(60), [{"id": "a"}])

    class Meanwhile(Counting):
        def get_all(self, keys: Any) -> Any:
            found = super().get_all(keys)
            if self.calls["batch_get_item"] == 1:
                learning.reset(client, "anna", 8000)
                decisions.remember(client, replace(remember(client, "anna", past_us(0), [{"id": "a"}]), epoch=1))
                time.sleep(0.002)  # of an id, the millisecond is known
            return found

    # By a clock that is ahead: it counts as told when it arrives.
    occurred_at = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    told = envelope({"user_id": "anna", "tip_id": "a", "reward": 1.0}, occurred_at=occurred_at)
    batch = [*batch_of(*others), *records_of(jetstream_batch([("signals.tip.reward_failed", told)]))]
    results = process_batch(Meanwhile(table), batch, RULES, 8000)
    assert results == ["RewardApplied"] * len(batch)
    assert learned(client, "anna") == (1, 1.0)


def test_no_person_is_begun_after_the_time_to_stop(client: Table) -> None:
    reports = [reaction(remember(client, f"user-{number}", past_us(60), [{"id": "a"}])) for number in range(3)]
    sent: list[str] = []
    connection: Any = client._client
    connection.meta.events.register("before-send.dynamodb", lambda request, **_: sent.append(request.url))
    results = process_batch(client, batch_of(*reports), RULES, 8000, stop_at=time.monotonic() - 1)
    assert all(isinstance(one, OutOfTime) for one in results)
    assert not sent
    assert all(learning.read(client, one.user_id).schemas == {} for one in reports)
    assert process_batch(client, batch_of(*reports), RULES, 8000, math.inf) == ["RewardApplied"] * 3


def test_a_transaction_that_reports_failure_but_was_carried_out_is_reported_as_done(client: Table, table: Any) -> None:
    class Unheard(Counting):
        def transact(self, writes: Any) -> None:
            super().transact(writes)
            if len(self.transactions) == 1:
                raise TableUnavailable("unheard", ambiguous=True)

    changes: list[Change] = [reaction(one) for one in decided(client, "anna", 5)]
    changes.append(waits.Served("anna", "a", past_us(5), None, "shown"))
    assert [one.applied for one in carry_out(Unheard(table), changes, RULES, 8000) if isinstance(one, Outcome)] == [
        True
    ] * 6
    assert learned(client, "anna") == (5, 2.5)


def test_many_tips_told_by_name_alone_are_learned_on_a_table_that_takes_its_time(client: Table, table: Any) -> None:
    """Each asks for a query of its own: so many that none would be in time must not be asked for at once."""

    class Slow(Counting):
        def _call(self, operation: str, *, named: bool = True, **arguments: Any) -> Any:
            time.sleep(0.05)
            return super()._call(operation, named=named, **arguments)

    decided_on = [remember(client, "anna", past_us(60), [{"id": f"tip-{number}"}]) for number in range(30)]
    changes = [Report("anna", tip_id=one.tip_id, event_id=one.tip_id, action="done") for one in decided_on]
    slow = Slow(table)
    assert carry_out(slow, changes, RULES, 8000) == [Outcome(True)] * 30
    assert slow.calls["transact_write_items"] >= 4
    assert learned(client, "anna")[0] == 30


def test_what_is_too_large_for_its_time_is_tried_in_smaller_steps(client: Table, table: Any) -> None:
    class Small(Counting):
        def transact(self, writes: Any) -> None:
            if len(writes) > 20:
                raise TableUnavailable("throttled")
            super().transact(writes)

    changes = [reaction(one) for one in decided(client, "anna", 30)]
    assert carry_out(Small(table), changes, RULES, 300) == [Outcome(True)] * 30
    assert learned(client, "anna") == (30, 15.0)


def tell(client: Table, *changes: Change) -> list[Any]:
    return [one for change in changes for one in carry_out(client, [change], RULES, 8000)]


def counted(client: Table) -> tuple[int, int]:
    window = profiles.read(client, "anna").window()
    return window.reactions, window.shown


def test_a_reaction_that_found_no_decision_is_learned_when_it_is_told_again_in_a_form_that_does(client: Table) -> None:
    by_tip = Report("anna", tip_id="a", event_id="e", action="done", occurred_at=past_us(3601))
    (decision,) = decided(client, "anna", 1)  # decided a second after what the teller's clock said
    assert tell(client, by_tip, by_tip) == [Outcome(False, "unknown_decision")] * 2
    assert counted(client) == (1, 0)
    by_decision = Report("anna", decision.decision_id, event_id="e", action="done", occurred_at=past_us(3601))
    assert tell(client, by_decision, by_decision, by_tip) == [Outcome(True), *[Outcome(False, "duplicate")] * 2]
    assert counted(client) == (1, 0)
    assert learned(client, "anna") == (1, 0.6)


def test_a_mark_is_replaced_only_while_it_is_as_it_was_read(client: Table) -> None:
    apart, sk, now_us = Mark(CountedReaction(20_000, 1, "done")), keys.event("e"), past_us(0)
    for before, after in ((None, apart), (apart, Mark())):
        client.transact([mark_write("anna", sk, before, after, now_us)])
    for before in (None, apart):
        with pytest.raises(ConditionNotMet):
            client.transact([mark_write("anna", sk, before, Mark(), now_us)])


def test_a_reaction_that_found_no_decision_is_learned_from_features_that_come_later(client: Table) -> None:
    told = {"tip_id": "x", "event_id": "e", "action": "done"}
    with_features = Report("anna", **told, features={"priority": 2}, policy="linucb")  # type: ignore[arg-type]
    assert tell(client, Report("anna", **told)) == [Outcome(False, "unknown_decision")]  # type: ignore[arg-type]
    assert tell(client, with_features, with_features) == [Outcome(True), Outcome(False, "duplicate")]
    assert counted(client) == (1, 0)
    assert learned(client, "anna")[0] == 1


def test_both_forms_in_one_batch_are_one_reaction(client: Table) -> None:
    (decision,) = decided(client, "anna", 1)
    by_tip = Report("anna", tip_id="a", event_id="e", action="done", occurred_at=past_us(3700))
    by_decision = Report("anna", decision.decision_id, event_id="e", action="done", occurred_at=past_us(3700))
    results = carry_out(client, [by_tip, by_decision, by_tip], RULES, 8000)
    assert results == [Outcome(False, "unknown_decision"), Outcome(True), Outcome(False, "duplicate")]
    assert counted(client) == (1, 0)


def test_a_decision_that_is_named_and_not_remembered_is_not_replaced_by_features(client: Table) -> None:
    report = Report("anna", "01ARZ3NDEKTSV4RRFFQ69G5FAV", tip_id="a", reward=1.0, features={}, policy="linucb")
    assert tell(client, report, report) == [Outcome(False, "unknown_decision")] * 2
    assert learning.read(client, "anna").schemas == {}


def test_an_event_that_was_told_of_another_decision_is_a_duplicate_for_one_it_names(client: Table, table: Any) -> None:
    first, second = (remember(client, "anna", past_us(3600 - n), [{"id": "a"}]) for n in range(2))
    assert tell(client, Report("anna", first.decision_id, event_id="e", reward=0.5)) == [Outcome(True)]
    counting = Counting(table)
    other = reaction(second, 1.0, event_id="new")
    again = Report("anna", second.decision_id, event_id="e", reward=1.0)
    # The named decision does not know the event; its mark does, and keeps the transaction from being carried out.
    assert carry_out(counting, [again, other], RULES, 8000) == [Outcome(False, "duplicate"), Outcome(True)]
    assert counting.calls["transact_write_items"] == 2
    assert learned(client, "anna") == (2, 1.5)


def test_an_event_that_its_decision_has_forgotten_is_still_a_duplicate(client: Table) -> None:
    (decision,) = decided(client, "anna", 1)
    told = [
        Report("anna", decision.decision_id, event_id=f"e{n}", reward=n / 100, occurred_at=past_us(900 - n))
        for n in range(20)
    ]
    assert [one.applied for one in tell(client, *told)] == [True] * 20
    assert tell(client, *told[:3]) == [Outcome(False, "duplicate")] * 3
    assert learned(client, "anna") == (1, 0.19)


def test_a_showing_and_its_reaction_may_have_one_event_id(client: Table) -> None:
    (decision,) = decided(client, "anna", 1)
    served = waits.Served("anna", decision.tip_id, past_us(20), decision.decision_id, "same")
    told = Report("anna", decision.decision_id, event_id="same", action="done")
    assert tell(client, served, told, served, told) == [Outcome(True)] * 2 + [Outcome(False, "duplicate")] * 2
    assert counted(client) == (1, 1)


def test_a_showing_that_found_no_decision_begins_the_wait_when_it_is_told_again(client: Table) -> None:
    (decision,) = decided(client, "anna", 1, deferred=True)
    by_tip = waits.Served("anna", decision.tip_id, past_us(3700), None, "s")
    by_decision = waits.Served("anna", decision.tip_id, past_us(3700), decision.decision_id, "s")
    assert tell(client, by_tip, by_decision) == [Outcome(False, "unknown_decision"), Outcome(True)]
    remembered = decisions.find(client, "anna", decision.decision_id)
    assert remembered is not None
    assert remembered.activated_at == keys.decided_at_us(decision.decision_id)
    assert counted(client) == (0, 1)


@pytest.mark.parametrize("damaged", [[None, 0, 0, 0, 0, {}], ["x"], [1, 1, 1, 1, 1, {"a": None}], 7])
def test_a_damaged_profile_lets_no_half_of_a_reaction_through(client: Table, damaged: Any) -> None:
    (decision,) = decided(client, "anna", 1)
    pk, sk = keys.profile("anna")
    item = {"pk": {"S": pk}, "sk": {"S": sk}, "rev": {"N": "1"}, "served": {"S": "{}"}, "served_at": {"N": "0"}}
    today = past_us(0) // 86_400_000_000
    client.put({**item, "reactions": {"S": json.dumps({today: damaged})}, "reactions_at": {"N": str(past_us(1))}})
    told = Report("anna", decision.decision_id, event_id="e", action="done")
    assert tell(client, told, told, told) == [Outcome(True), *[Outcome(False, "duplicate")] * 2]
    assert learned(client, "anna") == (1, 0.6)
    assert counted(client) == (1, 0)


def test_counts_that_were_lost_are_not_taken_out(client: Table, table: Any) -> None:
    (decision,) = decided(client, "anna", 1)
    tell(client, Report("anna", decision.decision_id, event_id="e1", action="dismiss", occurred_at=past_us(20)))
    pk, sk = keys.profile("anna")
    table.client.delete_item(TableName=table.name, Key={"pk": {"S": pk}, "sk": {"S": sk}})
    tell(client, Report("anna", tip_id="other", event_id="e2", action="helpful"))
    tell(client, Report("anna", decision.decision_id, event_id="e3", action="done", occurred_at=past_us(10)))
    window = profiles.read(client, "anna").window()
    assert min(window.dismissed, window.with_dwell, window.dwell_ms) == 0
    assert window.done == 1


def test_what_is_known_of_a_source_and_has_expired_does_not_come_back(client: Table) -> None:
    key = {"pk": {"S": "U#anna"}, "sk": {"S": keys.source_sync("todoist")}}
    old = {"task_count": {"N": "7"}, "synced_at": {"N": str(past_us(5))}, "ttl": {"N": str(int(time.time()) - 9)}}
    client.put({**key, **old})
    assert tell(client, signals.TokenExpired("anna", "todoist", past_us(100))) == [Outcome(True)]
    found = client.get("U#anna", keys.source_sync("todoist"))
    assert found is not None
    assert "task_count" not in found


def test_the_same_event_twice_in_a_batch_is_one(score: Any, consume: Any) -> None:
    body = score.call("POST", "/score", score_request()).json
    told = envelope({"user_id": "anna", "tip_id": body["tip_id"], "decision_id": body["decision_id"], "action": "done"})
    by_tip = {**told, "payload": {"user_id": "anna", "tip_id": body["tip_id"], "action": "done"}}
    event = jetstream_batch([("signals.tip.feedback", told), ("feedback.tip", told), ("feedback.tip", by_tip)])
    assert consume.invoke(event) == {"batchItemFailures": []}
    assert score.call("GET", "/stats/anna").json["pulls"] == 1
    (remembered,) = decisions.newest(connect_of(score), "anna", 5)
    assert len(remembered.reactions.reactions) == 1


def connect_of(function: Any) -> Table:
    environment = function.environment
    return Table(
        Settings(table_name=environment["TABLE_NAME"], dynamodb_endpoint=environment["DYNAMODB_ENDPOINT"]), 5000
    )
