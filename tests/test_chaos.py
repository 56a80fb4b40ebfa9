"""From JetStream to learning, nothing lost and nothing twice, while everything on the way fails.

CHAOS_EVENTS=5000 makes the short form that long. With CHAOS_KEEP=1, the figures of the whole go to `bench/chaos.md`.
"""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import figures, poison
from tests.chaos.run import Run, go
from tests.chaos.streams import Left
from tests.chaos.workload import Sizes

SMALL = Sizes(events=1_000, users=20, bridge_kills=2, server_restarts=1)
MIDDLE = Sizes(events=5_000, users=60, bridge_kills=4, server_restarts=2)
WHOLE = Sizes(events=20_000, users=200, bridge_kills=10, server_restarts=2)
SEED = 20261121


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param(
            MIDDLE if os.environ.get("CHAOS_EVENTS") == "5000" else SMALL, id="short", marks=pytest.mark.timeout(600)
        ),
        pytest.param(WHOLE, id="whole", marks=[pytest.mark.long, pytest.mark.timeout(1200)]),
    ],
)
def test_every_reaction_is_learned_once_and_nothing_is_lost(sizes: Sizes, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        run, faults, numbers = go(sizes, SEED, log, limit_sec=100 + sizes.events / 40)
    print("nats-server", run.server_version)
    print("seed", SEED, json.dumps(numbers))
    assert not faults, f"seed {SEED}, {len(faults)} faults:\n{faults}"
    assert numbers["errors"] == {}
    _was_chaos(run, numbers)
    if os.environ.get("CHAOS_KEEP") == "1" and sizes is WHOLE:
        figures.keep(numbers)


def _was_chaos(run: Run, numbers: dict[str, Any]) -> None:
    """Without these, the run would have shown nothing."""
    sizes = run.sizes
    assert run.confirmed == sizes.events
    assert run.bridge_kills == sizes.bridge_kills
    assert run.server_stops + run.server_kills == sizes.server_restarts
    assert run.server_kills > 0
    assert numbers["redeliveries"] > numbers["malformed"] * 3
    assert numbers["most_deliveries"] >= 5
    assert numbers["good_failed"] > 0
    assert min(run.revised, run.late) > 0
    assert min(numbers["faults"][kind] for kind in ("silent", "dropped", "throttled", "partition hot")) > 0
    # One of twenty, at two places, of which the last twenty may not be full.
    assert numbers["table_refused"] >= numbers["table_requests"] // 20 - 1
    assert numbers["table_misreported"] > 0


def test_what_always_fails_holds_up_nobody_and_is_learned_once_it_can_be(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        seen = poison.play(log, limit_sec=120)
    print("nats-server", seen.server_version)
    assert seen.left == Left(pending=0, ack_pending=1), "only the poison is left"
    assert seen.stats_meanwhile == dict.fromkeys(poison.OTHERS, (3, 1.8))
    assert seen.letters_meanwhile == [poison.BAD_RECORD], "a bad record is given up; a good one that fails never is"
    gaps = [after - before for before, after in itertools.pairwise(seen.deliveries)]
    # At least half of a delay that doubles each time, up to its greatest; answered at once or later, never sooner.
    assert all(gap >= poison.NAK_MIN_SEC * 2**number / 2 for number, gap in enumerate(gaps[:6])), gaps
    assert seen.errors == {}, "it must not take its neighbours in a batch with it"
    assert seen.stats_after == {**dict.fromkeys(poison.OTHERS, (3, 1.8)), poison.POISONED: (2, 1.2)}
    assert seen.letters_after == [poison.BAD_RECORD]
