"""A policy replayed on logs: the service's own arithmetic, from what was known then."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import time_machine

from devstack.ttl import expire
from offline.cli import main
from offline.experiments.recompute import recomputed
from offline.feature_store.logs import Logs, logged_decisions
from tests.conftest import LocalTable
from tests.lab.lived_logs import lived, write
from tests.requests import connect
from tips.bandit.posterior import form_posterior
from tips.bandit.registry import POLICIES
from tips.bandit.statistics import Statistics
from tips.contracts.configuration import Configuration
from tips.state import configuration

STEPS, DEFERRED = 40, (4, 13, 30)
SHADOWS = ["egreedy-v2", "squarecb", "linucb"]


def serve(load: Callable[..., Any], table: LocalTable, half_life: str = "") -> None:
    """Serve four people for days: reactions soon, late and never, features, a reset, deferred decisions."""
    chance = random.Random(7)
    settings = {"CONFIG_CACHE_SEC": "0", "DEFAULT_REWARD": "-0.2", "HALF_LIFE_DAYS": half_life}
    score, consume = load("score", **settings), load("consume", **settings)
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(days=20)
    waiting: list[tuple[datetime, str, str]] = []
    with time_machine.travel(at, tick=False) as clock:
        configuration.change(
            connect(table),
            lambda _: Configuration(shadows=SHADOWS),
            command="test",
            actor="test",
            reason="",
            deadline_ms=5000,
        )
        for step in range(STEPS):
            at += timedelta(hours=chance.choice([1, 5, 9]), seconds=chance.randrange(60))
            for due in sorted(one for one in waiting if one[0] <= at):
                clock.move_to(due[0])
                reward = {"user_id": due[1], "decision_id": due[2], "reward": chance.choice([-1.0, 0.3, 0.6, 1.0])}
                assert score.call("POST", "/reward", reward).json["ok"]
                waiting.remove(due)
            clock.move_to(at)
            for event in expire(table, at.timestamp()):
                consume.invoke(event)
            user = f"person-{step % 4}"
            if step == 21:
                assert score.call("POST", "/reset/person-1").json
            candidates = [
                {
                    "id": f"c{place}",
                    "kind": chance.choice(["task", "advice"]),
                    "source": chance.choice(["todoist", "llm"]),
                    "features": {"priority": chance.randint(1, 4), "is_overdue": chance.random() < 0.3},
                }
                for place in range(5)
            ]
            request = {"user_id": user, "candidates": candidates, "context": {"hour_of_day": at.hour}}
            answer = score.call("POST", "/score", {**request, "defer": step in DEFERRED}).json
            assert not answer["degraded"]
            if step == DEFERRED[-1]:
                continue  # never shown
            if step in DEFERRED:
                score.call("POST", "/activate", {"user_id": user, "decision_id": answer["decision_id"]})
            if chance.random() < 0.7:
                waiting.append((at + timedelta(minutes=chance.randrange(5, 1300)), user, answer["decision_id"]))


@pytest.mark.parametrize("half_life", ["", "5"])
def test_replaying_what_was_served_gives_the_logged_probabilities(
    load_function: Callable[..., Any],
    table: LocalTable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    half_life: str,
) -> None:
    """Of the policy that decided, and of shadows on three schemas, to 1e-9."""
    serve(load_function, table, half_life)
    monkeypatch.setenv("DEFAULT_REWARD", "-0.2")
    place = ("--table", table.name, "--endpoint", table.endpoint)
    assert main(["export", "--to", str(tmp_path / "logs"), *place]) == 0
    frame = Logs.read(tmp_path / "logs").decisions
    assert frame.height == STEPS
    assert frame["epoch"].max() == 1
    assert set(frame["reward_source"]) == {"reaction", "default", None}
    half_life_us = round(float(half_life) * 86_400_000_000) if half_life else 0
    for name in ("igw-ucb", *SHADOWS):
        replayed = recomputed(frame, POLICIES[name], half_life=half_life_us)
        for decision, propensity in zip(logged_decisions(frame), replayed, strict=True):
            assert propensity == pytest.approx(decision.evaluations[name].propensity, abs=1e-9), decision.decision_id
    capsys.readouterr()
    assert main(["evaluate", "--policy", "egreedy-v2", "--logs", str(tmp_path / "logs")]) == 0
    out = capsys.readouterr().out
    assert "egreedy-v2 against igw-ucb, by its logged distributions" in out
    assert "deferred and never activated" in out


@pytest.fixture
def frame(tmp_path: Path) -> pl.DataFrame:
    return Logs.read(write(tmp_path / "logs", lived(people=5, each=12))).decisions


def replayed(frame: pl.DataFrame, name: str = "igw-ucb") -> list[Any]:
    return list(recomputed(frame, POLICIES[name]))


def test_a_reward_teaches_nothing_before_it_arrived(frame: pl.DataFrame) -> None:
    """Whatever the rewards are that had not arrived by a decision, its distribution is the same."""
    # Each after the person's next decision, so that there is always one that is on its way.
    frame = frame.with_columns(reacted_at=pl.col("decided_at") + timedelta(hours=30))
    arrived = frame["reacted_at"]
    whole = replayed(frame)
    for place in (10, 31, 59):
        at = frame["decided_at"][place]
        other = frame.with_columns(
            pl.when(arrived > at).then(-pl.col("reward")).otherwise(pl.col("reward")).alias("reward")
        )
        for one, same in zip(whole[: place + 1], replayed(other)[: place + 1], strict=True):
            assert np.array_equal(one, same)
    # And those that had arrived do matter.
    assert any(
        not np.array_equal(one, other)
        for one, other in zip(whole, replayed(frame.with_columns(-pl.col("reward"))), strict=True)
    )


def test_a_decision_that_was_taken_blindly_is_replayed_blindly(frame: pl.DataFrame) -> None:
    blind = frame.with_columns(degraded=pl.int_range(pl.len()) == 50)
    candidates = next(one for place, one in enumerate(logged_decisions(frame)) if place == 50)
    policy = POLICIES["egreedy-v2"]
    X = policy.schema.encode(candidates.situation, candidates.candidates)
    nothing, _ = policy.distribution(X, form_posterior(Statistics.empty(policy.schema.dimension)))
    assert np.array_equal(replayed(blind, "egreedy-v2")[50], nothing.propensity)
    assert not np.array_equal(replayed(frame, "egreedy-v2")[50], nothing.propensity)


def test_rows_out_of_order_are_refused(frame: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="time order"):
        replayed(frame.reverse())
