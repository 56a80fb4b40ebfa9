"""Profile features in batch: equal to what is counted online, and put back where that was lost."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from devstack.events import envelope, jetstream_batch
from offline.cli import main
from offline.feature_store.logs import Logs
from offline.pipelines.profiles import Events, compared, events_of, refilled, summary
from offline.pipelines.profiles_commands import AUDIT
from tests.conftest import LocalTable
from tests.lab.exports import exported
from tips.features.profile_counters import CountedReaction, ProfileCounters
from tips.features.profile_schema import DAY_SEC
from tips.state import erasure, keys, profiles
from tips.state.table import Table

DAY_US = DAY_SEC * 1_000_000
START_US = 20_000 * DAY_US


def live(score: Any, consume: Any, users: tuple[str, ...], seed: int = 0) -> None:
    """Serve people, and let them react: by HTTP and by events, revised, shown or not."""
    rng = random.Random(seed)
    events = []
    for user in users:
        for _ in range(8):
            body = score.call("POST", "/score", {"user_id": user, "candidates": [{"id": "a"}, {"id": "b"}]}).json
            about = {"user_id": user, "tip_id": body["tip_id"], "decision_id": body["decision_id"]}
            if rng.random() < 0.8:
                events.append(("signals.tip.served", envelope({**about, "shown_at": datetime.now(UTC).isoformat()})))
            for _ in range(rng.randrange(3)):
                action = rng.choice(["done", "done", "dismiss", "snooze"])
                more: dict[str, Any] = {"dwell_ms": rng.randrange(500_000)} if rng.random() < 0.6 else {}
                events.append(("signals.tip.feedback", envelope({**about, "action": action, **more})))
            if rng.random() < 0.2:
                score.call("POST", "/reward", {**about, "reward": 0.3})
    rng.shuffle(events)
    for start in range(0, len(events), 10):
        assert consume.invoke(jetstream_batch(events[start : start + 10])) == {"batchItemFailures": []}


def as_of_now() -> int:
    return time.time_ns() // 1000


@pytest.mark.parametrize("seed", range(3))
def test_what_is_counted_in_batch_is_what_is_counted_online(
    score: Any, consume: Any, client: Table, table: LocalTable, tmp_path: Path, seed: int
) -> None:
    users = ("anna", "ben", "cleo")
    live(score, consume, users, seed)
    events = events_of(exported(table.items(), tmp_path / "logs", as_of_us=as_of_now()))
    for user in users:
        online = profiles.read(client, user)
        batch = events[user].counters(online.reactions_at, online.shown_at)
        assert (batch.reactions, batch.shown) == (online.reactions, online.shown)
        assert {name: one.value for name, one in batch.features().items()} == {
            name: one.value for name, one in online.features().items()
        }


def test_equal_features_are_found_equal(score: Any, consume: Any, table: LocalTable, tmp_path: Path) -> None:
    live(score, consume, ("anna", "ben"))
    statuses = {status for _, _, status in compared(exported(table.items(), tmp_path / "logs", as_of_us=as_of_now()))}
    assert statuses == {"equal"}


moments = st.builds(lambda day, hour: day * DAY_US + hour * DAY_US // 24, st.integers(0, 33), st.integers(0, 23))
reactions = st.tuples(moments, st.sampled_from(["done", "dismiss", "snooze"]), st.none() | st.integers(0, 600_000))


@given(st.lists(reactions, max_size=25), st.lists(moments, max_size=25))
@example([(0, "done", 9), (29 * DAY_US, "done", None)], [0, 29 * DAY_US])
@example([(0, "done", 9), (30 * DAY_US, "done", None)], [0, 30 * DAY_US])
def test_over_weeks_the_window_is_the_online_one(reacted: list[tuple[int, str, int | None]], shown: list[int]) -> None:
    online, told = ProfileCounters(), Events()
    for at, action, dwell in sorted(reacted, key=lambda one: one[0]):
        one = CountedReaction.at(START_US + at, action, dwell)
        online = online.with_reaction(None, one, START_US + at)
        told.reactions.append((START_US + at, one))
    for at in sorted(shown):
        online = online.with_shown(START_US + at, START_US + at)
        told.shown.append(START_US + at)
    batch = told.counters(online.reactions_at, online.shown_at)
    assert (batch.reactions, batch.shown) == (online.reactions, online.shown)
    assert batch.features() == online.features()


# What is put back


def done_at(at_us: int, dwell_ms: int | None = None) -> tuple[int, CountedReaction]:
    return at_us, CountedReaction.at(at_us, "done", dwell_ms)


TOLD = Events([done_at(START_US + day * DAY_US) for day in range(5)], [START_US + day * DAY_US for day in range(5)])
AS_OF = START_US + 5 * DAY_US
STORED = TOLD.counters(START_US + 4 * DAY_US, START_US + 4 * DAY_US)


def test_what_is_missing_is_put_back_as_of_the_export() -> None:
    refill = refilled(None, TOLD, AS_OF)
    assert refill is not None
    assert refill.why == "missing"
    assert (refill.counters.reactions, refill.counters.shown) == (STORED.reactions, STORED.shown)
    assert (refill.counters.reactions_at, refill.counters.shown_at) == (AS_OF, AS_OF)


def test_fresh_and_equal_counts_stay() -> None:
    fresh = TOLD.counters(AS_OF - 1, AS_OF - 1)
    refill = refilled(fresh, TOLD, AS_OF)
    assert refill is not None
    assert refill.why is None


def test_stale_counts_are_brought_to_the_exports_time_and_lose_what_is_too_old() -> None:
    later = START_US + 32 * DAY_US
    refill = refilled(STORED, TOLD, later)
    assert refill is not None
    assert refill.why == "stale"
    assert sorted(refill.counters.reactions) == [20_003, 20_004]
    assert all(one.is_fresh(DAY_SEC, later) for one in refill.counters.features().values())


def test_counts_that_have_moved_since_the_export_are_left_alone() -> None:
    assert refilled(TOLD.counters(AS_OF + 1, AS_OF), TOLD, START_US + 2 * DAY_US) is None


def test_a_day_of_which_more_is_stored_than_the_logs_know_is_kept() -> None:
    more = STORED.with_reaction(None, done_at(START_US + 4 * DAY_US)[1], START_US + 4 * DAY_US)
    more = more.with_shown(START_US + 4 * DAY_US, START_US + 4 * DAY_US)
    less = Events(TOLD.reactions[1:], TOLD.shown[1:])
    refill = refilled(more, less, AS_OF)
    assert refill is not None
    assert refill.counters.reactions == more.reactions
    assert refill.counters.shown == more.shown


def test_lost_reactions_are_counted_again() -> None:
    lost = Events(TOLD.reactions[:3], TOLD.shown).counters(START_US + 4 * DAY_US, START_US + 4 * DAY_US)
    refill = refilled(lost, TOLD, AS_OF)
    assert refill is not None
    assert refill.why == "different"
    assert refill.counters.reactions == STORED.reactions


def test_nothing_is_kept_longer_of_who_has_long_not_been_here() -> None:
    assert refilled(None, TOLD, START_US + 40 * DAY_US) is None


# The commands


@pytest.fixture
def tips(table: LocalTable, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*arguments: str, code: int = 0) -> str:
        options = ["--table", table.name, "--endpoint", table.endpoint] if arguments[0] == "backfill" else []
        got = main(["profiles", *arguments, *options])
        out, err = capsys.readouterr()
        assert got == code, err or out
        return err if code == 2 else out

    return run


@pytest.fixture
def logs(score: Any, consume: Any, table: LocalTable, tmp_path: Path) -> Path:
    live(score, consume, ("anna", "ben", "cleo", "dora"))
    exported(table.items(), tmp_path / "logs", as_of_us=as_of_now() + 1_000_000)  # a manifest names seconds
    return tmp_path / "logs"


def test_a_backfill_counts_first_then_writes_what_was_lost(
    tips: Callable[..., str], logs: Path, client: Table, table: LocalTable
) -> None:
    before = profiles.read(client, "anna")
    for user in ("anna", "ben"):
        client.delete(*keys.profile(user))
    erasure.erase(client, "ben", 5000)
    lost = profiles.read(client, "cleo")
    damaged = {"reactions": {"S": "{}"}}
    item = client.get(*keys.profile("cleo"))
    assert item is not None
    client.put({**item, **damaged})

    told = tips("backfill", "--logs", str(logs))
    assert "2 would be written: add --write" in told
    assert client.get(*keys.profile("anna")) is None, "nothing without --write"

    told = tips("backfill", "--logs", str(logs), "--write", "--reason", "lost in a restore", "--by", "ann")
    assert "2 written" in told
    assert profiles.read(client, "anna").reactions == before.reactions
    assert profiles.read(client, "anna").shown == before.shown
    assert profiles.read(client, "cleo").reactions == lost.reactions
    assert client.get(*keys.profile("ben")) is None, "who was erased does not come back"
    (entry,) = client.query(AUDIT, "0", "~", limit=10)
    assert (entry["actor"]["S"], entry["reason"]["S"]) == ("ann", "lost in a restore")
    assert json.loads(entry["after"]["S"]) == {"missing": 1, "different": 1, "erased": 1, "as it should be": 1}
    assert "0 would be written" in tips("backfill", "--logs", str(logs))


def test_who_reacted_since_the_export_is_left_alone(
    tips: Callable[..., str], logs: Path, client: Table, score: Any, consume: Any
) -> None:
    time.sleep(1.0)
    live(score, consume, ("anna",), seed=9)
    now = profiles.read(client, "anna")
    assert "moved since the export" in tips("backfill", "--logs", str(logs), "--write", "--reason", "r")
    assert profiles.read(client, "anna") == now


def test_somebody_who_is_erased_meanwhile_is_not_written(
    tips: Callable[..., str], logs: Path, client: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.delete(*keys.profile("anna"))
    real = Table.transact
    erased: list[bool] = []

    def erasing(self: Table, writes: Any) -> None:
        if not erased:
            erased.append(True)
            erasure.erase(client, "anna", 5000)
        real(self, writes)

    monkeypatch.setattr(Table, "transact", erasing)
    told = tips("backfill", "--logs", str(logs), "--write", "--reason", "r")
    assert "0 written" in told
    assert client.get(*keys.profile("anna")) is None


def test_check_names_the_features_that_differ(
    tips: Callable[..., str], logs: Path, table: LocalTable, client: Table, tmp_path: Path
) -> None:
    assert "backfill" not in tips("check", "--logs", str(logs))
    client.delete(*keys.profile("anna"))
    item = client.get(*keys.profile("cleo"))
    assert item is not None
    client.put({**item, "served": {"S": json.dumps({str(as_of_now() // DAY_US): 50})}})
    other = exported(table.items(), tmp_path / "other", as_of_us=as_of_now())
    told = tips("check", "--logs", str(tmp_path / "other"), code=1)
    assert "More stored: shown without a known decision" in told
    counts = {row["feature"]: row for row in summary(Logs.read(other.folder)).iter_rows(named=True)}
    assert counts["completion_rate_30d"]["missing"] == 1
    assert counts["completion_rate_30d"]["equal"] == 3
    assert counts["tip_volume_30d"]["more stored"] == 1


def test_writing_takes_a_reason(tips: Callable[..., str], logs: Path) -> None:
    assert "--reason: say why" in tips("backfill", "--logs", str(logs), "--write", code=2)
