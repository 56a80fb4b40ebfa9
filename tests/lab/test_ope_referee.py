"""Our estimators beside those of Open Bandit Pipeline, on the same logs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import ope
from offline.experiments.estimators import tuned_shrinkage

pytestmark = pytest.mark.skipif(
    not ope.REFEREE.exists(), reason="Open Bandit Pipeline is in an environment of its own: run `make env-obp`"
)


def test_estimates_are_those_of_open_bandit_pipeline(tmp_path: Path) -> None:
    """Six estimators, DRos with a lambda given and with one chosen, on random logs from easy to hopeless."""
    arrays: dict[str, Any] = {}
    rewards = np.array([-1.0, -0.3, 0.0, 0.6, 1.0])
    for run, (k, flatness) in enumerate([(3, 1.0), (10, 0.3), (40, 0.1), (5, 5.0), (20, 0.2), (2, 0.5)]):
        generator = np.random.default_rng(run)
        n = 400
        behaviour = generator.dirichlet(np.full(k, flatness), n) * 0.98 + 0.02 / k
        action = (behaviour.cumsum(axis=1) < generator.random((n, 1))).sum(axis=1).clip(0, k - 1)
        arrays |= {
            f"{run}/action": action,
            # In every other run the reward model is far off, so that shrinking its correction does not pay.
            f"{run}/reward": generator.choice(rewards[3 * (run % 2) :], n),
            f"{run}/pscore": behaviour[np.arange(n), action],
            f"{run}/action_dist": generator.dirichlet(np.full(k, flatness), n),
            f"{run}/expected": generator.uniform(-1, 1 - 1.8 * (run % 2), (n, k)),
        }
    np.savez(tmp_path / "given.npz", **arrays)
    compared, chosen = 0, set()
    for answer in ope.refereed("given", str(tmp_path / "given.npz")):
        rounds = ope.rounds_of(Path(answer["file"]))
        got = ope.ours(rounds)
        assert set(got) == set(answer["estimates"])
        for name, theirs in answer["estimates"].items():
            assert got[name] == pytest.approx(theirs, abs=1e-8), (answer["run"], name)
        assert tuned_shrinkage(rounds) == answer["lambda"]
        chosen.add(answer["lambda"])
        compared += 1
    assert compared == 6
    assert len(chosen) > 1
