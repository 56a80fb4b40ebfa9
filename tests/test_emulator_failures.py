"""Environments that crash, run out of time or of memory, or do not start: what the caller gets, and what is stored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from werkzeug.wrappers import Response

from devstack.events import envelope, jetstream_batch
from tests.conftest import LocalTable
from tests.deciding import remember
from tests.meddled_table import Call, MeddledTable, pass_on, refusal
from tests.one_environment import Environment, one_environment
from tests.requests import CANDIDATES, score_request
from tips.features.crossed_v3 import CROSSED_V3
from tips.state import learning
from tips.state.table import Table

pytestmark = pytest.mark.emulator

Items = dict[str, list[dict[str, Any]]]
NOBODY_LISTENS = refusal("InternalServerError", 500)
"""Of a request whose sender is gone."""


def stored(table: LocalTable) -> Items:
    """Return everything in the table by partition, in one order."""
    partitions: Items = {}
    for item in sorted(table.items(), key=lambda one: (one["pk"]["S"], one["sk"]["S"])):
        partitions.setdefault(item["pk"]["S"], []).append(item)
    return partitions


def learned(client: Table, user: str) -> tuple[int, float, list[float]]:
    """Return pulls, cumulative reward and the sums of what the person has taught."""
    statistics = learning.read(client, user).statistics(CROSSED_V3)
    return statistics.pulls, statistics.cumulative_reward, [*statistics.rx.tolist(), *statistics.xx.ravel().tolist()]


def decided(client: Table, user: str, *, deferred: bool = False) -> str:
    decision = remember(client, user, time.time_ns() // 1000 - 60_000_000, CANDIDATES[:1], deferred=deferred)
    return decision.decision_id


@dataclass
class Crash:
    """Kills the function's process as its so-manieth call of an operation arrives, or once that is carried out."""

    kill: Callable[[], None]
    operation: str
    place: int
    carried_out: bool
    done: bool = False

    def __call__(self, call: Call) -> Response:
        if self.done or (call.operation, call.place) != (self.operation, self.place):
            return call.pass_on()
        self.done = True
        if self.carried_out:
            call.pass_on()
        self.kill()
        return NOBODY_LISTENS


def crashes(meddled: MeddledTable, function: Environment) -> Iterator[Crash]:
    """Yield a crash at each kind of call that was counted, at most at the second of a kind, writes before and after."""
    counted = dict(meddled.calls)
    assert counted
    for operation, count in counted.items():
        for place in range(1, min(count, 2) + 1):
            for carried_out in (False, True) if "Write" in operation else (False,):
                yield Crash(function.kill, operation, place, carried_out)


REWARD = {"action": "done", "dwell_ms": 30_000, "event_id": "e1"}


@pytest.mark.parametrize("route", ["/reward", "/activate"])
def test_a_crash_between_table_calls_leaves_all_or_nothing_and_the_request_can_come_again(
    route: str, variables: dict[str, str], meddled: MeddledTable, table: LocalTable, client: Table
) -> None:
    extra = REWARD if route == "/reward" else {}
    with one_environment("ScoreFunction", variables) as score:

        def request(user: str) -> dict[str, Any]:
            return {"user_id": user, "decision_id": decided(client, user, deferred=route == "/activate"), **extra}

        clean = request("clean")
        assert score.call("GET", "/health").status_code == 200
        meddled.follow(pass_on)
        assert score.call("POST", route, clean).json()["applied"]
        carried_out = []
        for number, crash in enumerate(crashes(meddled, score)):
            body = request(f"user-{number}")
            before = stored(table)
            assert score.call("GET", "/health").status_code == 200
            meddled.follow(crash)
            assert score.call("POST", route, body).status_code == 502
            assert crash.done
            left = stored(table)
            again = score.call("POST", route, body)
            assert again.status_code == 200
            # All was stored, so that the second time changes nothing, or nothing was.
            carried_out.append(again.json()["applied"] is False)
            assert left == (stored(table) if carried_out[-1] else before)
            assert carried_out[-1] == crash.carried_out
            assert score.call("POST", route, body).json()["applied"] is False
            assert learned(client, f"user-{number}") == learned(client, "clean")
        assert set(carried_out) == {True, False}


def test_a_crash_in_score_leaves_a_whole_decision_or_none(
    variables: dict[str, str], meddled: MeddledTable, table: LocalTable
) -> None:
    with one_environment("ScoreFunction", variables) as score:
        assert score.call("GET", "/health").status_code == 200
        meddled.follow(pass_on)
        assert score.call("POST", "/score", score_request(user_id="clean")).json()["logged"]
        kinds = sorted(item["sk"]["S"][:2] for item in stored(table)["U#clean"])
        for number, crash in enumerate(crashes(meddled, score)):
            body = score_request(user_id=f"user-{number}")
            assert score.call("GET", "/health").status_code == 200
            meddled.follow(crash)
            assert score.call("POST", "/score", body).status_code == 502
            assert crash.done
            items = stored(table).get(f"U#user-{number}", [])
            assert sorted(item["sk"]["S"][:2] for item in items) == (kinds if crash.carried_out else [])
            assert score.call("POST", "/score", body).json()["logged"]


def test_an_erasure_that_crashed_goes_on_and_tells_all_that_went(
    variables: dict[str, str], meddled: MeddledTable, table: LocalTable, client: Table
) -> None:
    # As in the template: an erasure waits for writes that may be on their way.
    budgets = {"SCORE_READ_BUDGET_MS": "30", "SCORE_WRITE_BUDGET_MS": "30"}
    with one_environment("ScoreFunction", {**variables, **budgets}) as score:

        def known(user: str) -> str:
            decided(client, user)
            body = {"user_id": user, "decision_id": decided(client, user), **REWARD}
            assert score.call("POST", "/reward", body).json()["applied"]
            return f"/users/{user}"

        path = known("clean")
        meddled.follow(pass_on)
        clean = score.call("DELETE", path).json()
        assert clean["erased_total"] >= 5
        for number, crash in enumerate(crashes(meddled, score)):
            user = f"user-{number}"
            path = known(user)
            meddled.follow(crash)
            assert score.call("DELETE", path).status_code == 502
            assert crash.done
            erased = score.call("DELETE", path)
            assert erased.status_code == 200
            assert erased.json() == {**clean, "user_id": user}
            assert not [pk for pk in stored(table) if user in pk]
            decision_id = decided(client, "other")
            late = score.call("POST", "/reward", {"user_id": user, "decision_id": decision_id, **REWARD})
            assert late.json()["reason"] == "erased"


def test_a_batch_that_crashed_comes_again_and_is_learned_once(
    variables: dict[str, str], meddled: MeddledTable, table: LocalTable, client: Table
) -> None:
    people = ("anna", "ben")

    def batch(prefix: str) -> dict[str, Any]:
        messages = []
        for person in people:
            user = f"{prefix}-{person}"
            payload = {"user_id": user, "tip_id": CANDIDATES[0]["id"], "decision_id": decided(client, user)}
            messages.append(("signals.tip.feedback", envelope({**payload, **REWARD}, event_id=f"{user}-e")))
        return jetstream_batch(messages)

    with one_environment("ConsumeFunction", variables) as consume:
        clean = batch("clean")
        meddled.follow(pass_on)
        assert consume.invoke(clean) == {"batchItemFailures": []}
        for number, crash in enumerate(crashes(meddled, consume)):
            event, before = batch(str(number)), stored(table)
            meddled.follow(crash)
            with pytest.raises(AssertionError, match=r"Runtime\.ExitError"):
                consume.invoke(event)
            assert crash.done
            left = stored(table)
            assert consume.invoke(event) == {"batchItemFailures": []}
            after = stored(table)
            for person in people:
                user = f"{number}-{person}"
                parts = [pk for pk in after if pk.endswith(f"#{user}")]
                state = [[items.get(pk) for pk in parts] for items in (before, left, after)]
                assert state[1] in (state[0], state[2])
                assert learned(client, user) == learned(client, f"clean-{person}")
            assert consume.invoke(event) == {"batchItemFailures": []}
            assert stored(table) == after
