"""Workers that are killed, batches that come twice, two at the same time: every decision is rewarded exactly once."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from devstack.events import envelope, jetstream_batch
from tests import reference
from tests.deciding import remember
from tips.features.crossed_v3 import CROSSED_V3
from tips.state import decisions, learning
from tips.state.table import Table

ROOT = Path(__file__).resolve().parents[1]
CANDIDATES: list[dict[str, Any]] = [
    {"id": "a", "kind": "task", "source": "todoist", "features": {"is_overdue": True, "priority": 4}},
    {"id": "b", "kind": "advice", "source": "llm", "prompt_version": "v1"},
    {"id": "c", "kind": "reminder", "source": "calendar", "features": {"task_age_days": 11, "priority": 2}},
]
BATCH = 25


class Worker:
    """Delivers batches from a queue to a process of its own, which is killed at random points and started again."""

    def __init__(self, batches: queue.Queue[Any], environment: dict[str, str], seed: int, mean_life_sec: float) -> None:
        self._batches = batches
        self._environment = environment
        self._rng = random.Random(seed)
        self._mean_life_sec = mean_life_sec
        self.kills = 0
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            process = self._start()
            try:
                while (batch := self._next()) is not None:
                    while not self._delivered(process, batch):
                        _end(process)
                        process = self._start()
            finally:
                _end(process)
        except BaseException as error:
            self.error = error

    def _next(self) -> Any:
        try:
            return self._batches.get_nowait()
        except queue.Empty:
            return None

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.crashing_worker"],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _delivered(self, process: subprocess.Popen[str], batch: Any) -> bool:
        """Hand over one batch; False when the process died on it, or failed a record: then it all comes again."""
        assert process.stdin is not None
        assert process.stdout is not None
        life = threading.Timer(self._rng.expovariate(1 / self._mean_life_sec), process.kill)
        life.start()
        try:
            process.stdin.write(json.dumps(batch) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                if line.startswith("ANSWER "):
                    return bool(json.loads(line.removeprefix("ANSWER ")) == {"batchItemFailures": []})
            self.kills += 1
            return False
        except BrokenPipeError:
            self.kills += 1
            return False
        finally:
            life.cancel()


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    with contextlib.suppress(BrokenPipeError):  # what the worker had not read yet
        process.stdin.close()
    process.wait()


@pytest.mark.parametrize(
    ("reactions", "people"),
    [(300, 8), pytest.param(5000, 20, marks=[pytest.mark.long, pytest.mark.timeout(900)])],
)
def test_the_sums_are_those_of_one_ordered_pass(table: Any, client: Table, reactions: int, people: int) -> None:
    rng = random.Random(reactions)
    now_us = time.time_ns() // 1000
    taught: dict[str, list[tuple[list[float], float]]] = {f"person-{number}": [] for number in range(people)}
    decided: dict[str, float] = {}
    messages = []
    for number in range(reactions):
        user = f"person-{number % people}"
        context = {"hour_of_day": rng.randrange(24), "day_of_week": rng.randrange(7)}
        decision = remember(client, user, now_us - rng.randrange(80_000_000_000), CANDIDATES, context=context)
        reward = round(rng.uniform(-1, 1), 3)
        shown = next(one for one in CANDIDATES if one["id"] == decision.tip_id)
        taught[user].append((reference.crossed(shown, context, {}), reward))
        decided[decision.decision_id] = reward
        payload = {"user_id": user, "tip_id": decision.tip_id, "decision_id": decision.decision_id, "reward": reward}
        messages.append(("signals.tip.reward_failed", envelope(payload, event_id=f"e{number}")))
    batches = [
        jetstream_batch(messages[start : start + BATCH], first_seq=start + 1) for start in range(0, reactions, BATCH)
    ]
    waiting: queue.Queue[Any] = queue.Queue()
    twice = batches + batches
    rng.shuffle(twice)
    for batch in twice:
        waiting.put(batch)

    environment = {
        **os.environ,
        **table.environment(),
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "layers" / "shared", ROOT))),
        "TABLE_DEADLINE_MS": "10000",
    }
    workers = [Worker(waiting, environment, seed, mean_life_sec=1.5) for seed in (1, 2)]
    for worker in workers:
        worker.join()
    assert sum(worker.kills for worker in workers) > 0

    for user, rows in taught.items():
        left = learning.read(client, user).statistics(CROSSED_V3)
        xx, rx = reference.sums(rows, CROSSED_V3.dimension)
        assert left.pulls == len(rows)
        assert left.cumulative_reward == pytest.approx(sum(reward for _, reward in rows), abs=1e-9)
        for i in range(CROSSED_V3.dimension):
            assert left.rx[i] == pytest.approx(rx[i], abs=1e-9)
            for j in range(CROSSED_V3.dimension):
                assert left.xx[i, j] == pytest.approx(xx[i][j], abs=1e-9)
        for remembered in decisions.newest(client, user, reactions):
            assert remembered.reactions.learned == decided.pop(remembered.decision_id)
            assert len(remembered.reactions.reactions) == 1
    assert decided == {}
