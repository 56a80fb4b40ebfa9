"""Environments that run out of time or of memory, or do not start: what the caller gets, and what is stored."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from werkzeug.wrappers import Response

from tests.conftest import LocalTable
from tests.deciding import remember
from tests.meddled_table import Call, MeddledTable, pass_on, refusal
from tests.one_environment import one_environment
from tests.requests import CANDIDATES, score_request
from tips.state import learning
from tips.state.table import Table

pytestmark = pytest.mark.emulator

# Loaded before the handler, whose process then grows at a transaction as long as the file says so.
GROWING = """
import pathlib, time

from tips.state.table import Table

transact = Table.transact
when = pathlib.Path({when!r})

def growing(self, writes):
    grow = when.read_text() if when.exists() else ""
    if grow == "after":
        transact(self, writes)
    if grow:
        held = bytearray(600 * 1024 * 1024)
        held[::4096] = b"1" * len(held[::4096])
        time.sleep(60)
    transact(self, writes)

Table.transact = growing"""


def reward(client: Table, user: str = "anna") -> dict[str, Any]:
    decision = remember(client, user, time.time_ns() // 1000 - 60_000_000, CANDIDATES)
    return {"user_id": user, "decision_id": decision.decision_id, "action": "done", "dwell_ms": 30_000}


def pulls(client: Table, user: str = "anna") -> int:
    known = learning.read(client, user).schemas.values()
    return sum(one.statistics.pulls for one in known)


class Stalled:
    """A transaction of which nothing is heard until `release`; `carried_out` never, at once, or not before that."""

    def __init__(self, carried_out: str) -> None:
        self._carried_out = carried_out
        self._released, self._over = threading.Event(), threading.Event()
        self.answer: Response | None = None

    def __call__(self, call: Call) -> Response:
        if call.operation != "TransactWriteItems":
            return call.pass_on()
        if self._carried_out == "at once":
            self.answer = call.pass_on()
        self._released.wait(60)
        if self._carried_out == "late":
            self.answer = call.pass_on()
        self._over.set()
        return refusal("InternalServerError", 500)

    def release(self) -> None:
        self._released.set()
        assert self._over.wait(60)


@pytest.mark.parametrize("carried_out", ["never", "at once", "late"])
def test_a_time_out_in_the_middle_of_a_reward_may_or_may_not_have_taught_and_never_teaches_twice(
    carried_out: str, variables: dict[str, str], meddled: MeddledTable, table: LocalTable, client: Table
) -> None:
    # The handler would give up first, as it does below; here it has all the time, and Lambda has not.
    with one_environment("ScoreFunction", {**variables, "TABLE_DEADLINE_MS": "60000"}, timeout=3) as score:
        body, before = reward(client), table.items()
        score.warm()
        stalled = Stalled(carried_out)
        meddled.follow(stalled)
        given_up = score.call("POST", "/reward", body)
        assert (given_up.status_code, given_up.json()) == (502, {"Message": "Internal Server Error"})
        assert "Task timed out after 3.00 seconds" in score.logged()
        left = table.items()
        assert (left == before) == (carried_out != "at once")
    meddled.follow(pass_on)
    with one_environment("ScoreFunction", variables) as score:
        again = score.call("POST", "/reward", body)
        assert (again.status_code, again.json()["applied"]) == (200, carried_out != "at once")
        learned = table.items()
        assert (learned == left) == (carried_out == "at once")
        stalled.release()
        if carried_out == "late":
            assert stalled.answer is not None
            assert stalled.answer.status_code == 400, "its conditions do not hold any more"
        assert table.items() == learned
        assert pulls(client) == 1


def test_the_handler_gives_up_on_a_table_that_stalls_before_lambda_gives_up_on_the_handler(
    variables: dict[str, str], meddled: MeddledTable, table: LocalTable, client: Table
) -> None:
    with one_environment("ScoreFunction", {**variables, "TABLE_DEADLINE_MS": "500"}, timeout=20) as score:
        body, before = reward(client), table.items()
        score.warm()
        stalled = Stalled("never")
        meddled.follow(stalled)
        answer = score.call("POST", "/reward", body)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["error"]["code"] == "table_unavailable"
        assert table.items() == before
        processes = score.instances.processes()
        meddled.follow(pass_on)
        stalled.release()
        assert score.call("POST", "/reward", body).json()["applied"]
        assert score.instances.processes() == processes, "the environment goes on"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_that_outgrows_its_memory_around_the_write_is_killed_and_the_reward_taught_once(
    when: str, variables: dict[str, str], table: LocalTable, client: Table, tmp_path: Path
) -> None:
    grow = tmp_path / "grow"
    (tmp_path / "sitecustomize.py").write_text(GROWING.format(when=str(grow)))
    with one_environment("ScoreFunction", variables, memory_mb=512, path=(tmp_path,)) as score:
        body, before = reward(client), table.items()
        score.warm()
        grow.write_text(when)
        killed = score.call("POST", "/reward", body)
        assert (killed.status_code, killed.json()) == (502, {"Message": "Internal Server Error"})
        assert "signal: killed" in score.logged()
        left = table.items()
        assert (left == before) == (when == "before")
        grow.unlink()
        again = score.call("POST", "/reward", body)
        assert (again.status_code, again.json()["applied"]) == (200, when == "before")
        assert when == "before" or table.items() == left
        assert pulls(client) == 1


def test_too_little_memory_to_start_is_a_502_each_time_and_touches_nothing(
    variables: dict[str, str], meddled: MeddledTable, table: LocalTable
) -> None:
    meddled.follow(pass_on)
    with one_environment("ScoreFunction", variables, memory_mb=32) as score:
        for _ in range(2):
            assert score.call("POST", "/score", score_request()).status_code == 502
        assert "signal: killed" in score.logged()
    assert not any("Write" in operation for operation in meddled.calls)
    assert table.items() == []


@pytest.mark.parametrize(
    ("function", "variable", "value"),
    [
        ("ScoreFunction", "ACTIVE_POLICY", "nonsense"),
        ("ScoreFunction", "SCORE_READ_BUDGET_MS", "soon"),
        ("ConsumeFunction", "REWARD_WAIT", "a day"),
    ],
)
def test_a_setting_that_cannot_be_used_fails_the_start_and_the_log_names_it(
    function: str, variable: str, value: str, variables: dict[str, str], table: LocalTable
) -> None:
    with one_environment(function, {**variables, variable: value}) as wrong:
        for _ in range(2):
            refused = wrong.call("POST", "/score", score_request())
            assert (refused.status_code, refused.json()) == (502, {"Message": "Internal Server Error"})
        assert variable in wrong.logged()
    assert table.items() == []


def test_a_table_that_is_away_while_a_function_starts_fails_neither_the_start_nor_what_comes_later(
    variables: dict[str, str], meddled: MeddledTable
) -> None:
    meddled.follow(lambda _: refusal("InternalServerError", 500))
    with one_environment("ScoreFunction", {**variables, "CONFIG_CACHE_SEC": "0"}) as score:
        first = score.call("POST", "/score", score_request()).json()
        assert (first["degraded"], first["logged"]) == (True, False)
        processes = score.instances.processes()
        meddled.follow(pass_on)
        next_one = score.call("POST", "/score", score_request()).json()
        assert (next_one["degraded"], next_one["logged"]) == (False, True)
        assert score.instances.processes() == processes
