"""A machine's clock that jumps, between requests and within them: rewards are taught once, and nobody gets a 5xx."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from werkzeug.wrappers import Response

from devstack.events import envelope, jetstream_batch
from tests.conftest import LocalTable, fresh_table
from tests.meddled_table import Call, MeddledTable, pass_on
from tests.one_environment import Environment, one_environment
from tests.requests import decided_at_us, score_request
from tips.contracts.configuration import Configuration
from tips.state import keys, learning
from tips.state.table import Table

pytestmark = pytest.mark.emulator

HOUR = 3600.0
DAY = 24 * HOUR
JUMPS = (2 * HOUR, -2 * HOUR, 3 * DAY, -3 * DAY)

# Loaded by the function's process before all else. The monotonic clock does not jump, as on Linux; the deadline of a
# request is told by the jumped clock, as it is by Lambda when a request begins.
CLOCK = """
import datetime, time

_datetime, _time, _time_ns = datetime.datetime, time.time, time.time_ns

def offset_sec():
    with open({file!r}) as said:
        return float(said.read())

time.time = lambda: _time() + offset_sec()
time.time_ns = lambda: _time_ns() + int(offset_sec() * 1e9)

class Kind(type):
    def __instancecheck__(self, one):
        return isinstance(one, _datetime)

class Jumping(_datetime, metaclass=Kind):
    @classmethod
    def now(cls, tz=None):
        return _datetime.now(tz) + datetime.timedelta(seconds=offset_sec())

    @classmethod
    def utcnow(cls):
        return cls.now(datetime.timezone.utc).replace(tzinfo=None)

datetime.datetime = Jumping

from awslambdaric.lambda_context import LambdaContext

begin = LambdaContext.__init__

def begin_by_this_clock(self, *arguments, **named):
    begin(self, *arguments, **named)
    self._epoch_deadline_time_in_ms += int(offset_sec() * 1000)

LambdaContext.__init__ = begin_by_this_clock
"""


@dataclass(frozen=True)
class Clock:
    """The clock of the functions' machine: this one's with an offset."""

    file: Path

    def jump(self, offset_sec: float) -> None:
        fresh = self.file.with_suffix(".new")
        fresh.write_text(str(offset_sec))
        fresh.replace(self.file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("clock")
    (made / "sitecustomize.py").write_text(CLOCK.format(file=str(made / "offset")))
    (made / "offset").write_text("0")
    return made


@pytest.fixture
def clock(folder: Path) -> Iterator[Clock]:
    yield (clock := Clock(folder / "offset"))
    clock.jump(0)


@pytest.fixture(scope="module")
def functions(meddled: MeddledTable, folder: Path) -> Iterator[dict[str, Environment]]:
    variables = {
        "TABLE_NAME": "clock",
        "DYNAMODB_ENDPOINT": meddled.url,
        "CONFIG_CACHE_SEC": "0.3",
        # An erasure waits until a write that began before it is over.
        "SCORE_READ_BUDGET_MS": "200",
        "SCORE_WRITE_BUDGET_MS": "200",
    }
    with (
        one_environment("ScoreFunction", variables, path=(folder,)) as score,
        one_environment("ConsumeFunction", variables, path=(folder,)) as consume,
    ):
        yield {"score": score, "consume": consume}


@pytest.fixture
def score(functions: dict[str, Environment]) -> Environment:
    return functions["score"]


@pytest.fixture
def table(meddled: MeddledTable) -> Iterator[LocalTable]:
    # By the server's own port: what is planned is for the functions.
    with fresh_table(meddled.behind, "clock") as table:
        yield table
        meddled.follow(pass_on)


def decide(score: Environment) -> dict[str, Any]:
    """Return the answer of a decision that was logged; on a busy machine the budget may be too small for one."""
    for _ in range(20):
        given = score.call("POST", "/score", score_request())
        assert given.status_code == 200
        if given.json()["logged"] and not given.json()["degraded"]:
            answer: dict[str, Any] = given.json()
            return answer
    pytest.fail("no decision was logged")


def react(score: Environment, decision_id: str) -> tuple[bool, str | None]:
    body = {"user_id": "anna", "decision_id": decision_id, "action": "done", "dwell_ms": 30_000}
    given = score.call("POST", "/reward", body)
    assert given.status_code == 200
    return given.json()["applied"], given.json().get("reason")


def pulls(client: Table) -> int:
    return sum(one.statistics.pulls for one in learning.read(client, "anna").schemas.values())


def jumping(clock: Clock, offset_sec: float, operation: str) -> Callable[[Call], Response]:
    """Return a plan by which the clock jumps as the first call of this operation is carried out."""

    def plan(call: Call) -> Response:
        done = call.pass_on()
        if call.operation == operation:
            clock.jump(offset_sec)
        return done

    return plan


@pytest.mark.parametrize("offset_sec", JUMPS)
def test_rewards_are_taught_once_on_both_sides_of_a_jump(
    offset_sec: float, score: Environment, clock: Clock, table: LocalTable, client: Table
) -> None:
    before = decide(score)["decision_id"]
    clock.jump(offset_sec)
    is_late = offset_sec > DAY
    assert react(score, before) == ((False, "late") if is_late else (True, None))
    assert react(score, before) == (False, "duplicate")
    within = decide(score)["decision_id"]
    assert decided_at_us(within) == pytest.approx(1e6 * (time.time() + offset_sec), abs=60e6)
    for path in ("/stats/anna", "/features/anna", "/profile/anna", "/health", f"/decisions/{within}?user_id=anna"):
        assert score.call("GET", path).status_code == 200
    clock.jump(0)
    after = decide(score)["decision_id"]
    # To a decision of the future, or of days ago: a reaction is never earlier than what it is about.
    is_late = offset_sec < -DAY
    assert react(score, within) == ((False, "late") if is_late else (True, None))
    assert react(score, within) == (False, "duplicate")
    assert react(score, after) == (True, None)
    assert pulls(client) == (2 if abs(offset_sec) > DAY else 3)


@pytest.mark.parametrize("offset_sec", JUMPS)
def test_a_jump_within_a_request_changes_nothing_of_what_comes_of_it(
    offset_sec: float,
    functions: dict[str, Environment],
    clock: Clock,
    meddled: MeddledTable,
    table: LocalTable,
    client: Table,
) -> None:
    score = functions["score"]
    decisions = [decide(score) for _ in range(3)]
    meddled.follow(jumping(clock, offset_sec, "BatchGetItem"))
    assert react(score, decisions[0]["decision_id"]) == (True, None)
    clock.jump(0)
    payload = {"user_id": "anna", "tip_id": decisions[1]["tip_id"], "decision_id": decisions[1]["decision_id"]}
    event = jetstream_batch([("signals.tip.feedback", envelope({**payload, "action": "done"}))])
    assert functions["consume"].invoke(event) == {"batchItemFailures": []}
    clock.jump(0)
    given = score.call("POST", "/score", score_request())
    assert given.status_code == 200
    clock.jump(0)
    meddled.follow(pass_on)
    assert functions["consume"].invoke(event) == {"batchItemFailures": []}
    assert [react(score, one["decision_id"])[0] for one in decisions] == [False, True, True]
    assert pulls(client) == 3


@pytest.mark.parametrize("offset_sec", JUMPS)
def test_an_erasure_is_complete_and_answers_whatever_the_clock_does_meanwhile(
    offset_sec: float, score: Environment, clock: Clock, meddled: MeddledTable, table: LocalTable
) -> None:
    decide(score)
    meddled.follow(jumping(clock, offset_sec, "TransactWriteItems"))
    erased = score.call("DELETE", "/users/anna")
    assert erased.status_code == 200
    meddled.follow(pass_on)
    clock.jump(0)
    assert score.call("DELETE", "/users/anna").status_code == 200
    assert not [item for item in table.items() if "anna" in item["pk"]["S"]]


@pytest.mark.parametrize("offset_sec", JUMPS)
def test_a_changed_configuration_is_taken_up_after_a_jump(
    offset_sec: float, score: Environment, clock: Clock, table: LocalTable
) -> None:
    _decides_by(score, "igw-ucb")
    clock.jump(offset_sec)
    pk, sk = keys.CONFIGURATION
    document = Configuration(active_policy="linucb").model_dump_json()
    item = {"pk": pk, "sk": sk, "change": "01M7YYVCV6EATNRANDWSNHRZSN", "document": document}
    numbers = {"version": {"N": "1"}, "origin": {"N": "1"}}
    table.client.put_item(TableName="clock", Item={**{k: {"S": v} for k, v in item.items()}, **numbers})
    _decides_by(score, "linucb")


def _decides_by(score: Environment, policy: str) -> None:
    give_up = time.monotonic() + 20
    while decide(score)["policy"] != policy:
        assert time.monotonic() < give_up
        time.sleep(0.05)
