"""The pooled goal: with ten seeds, through the real handlers."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from bench import pooled


def test_figures_and_goal_come_from_the_probes() -> None:
    def probes(value: float, single: float) -> pl.DataFrame:
        rows = [
            {"user": "u", "reactions": at, "value": value, "random": 0.1, "oracle": 0.5, "single": single}
            for at in pooled.CHECKPOINTS
        ]
        return pl.DataFrame(rows)

    def goal(value: float, single: float) -> bool:
        found = {(name, seed): probes(value, single) for name in (pooled.POOLED, pooled.ALONE) for seed in (0, 1)}
        result = pooled.summarise(found, pooled.QUICK, (0, 1))
        assert result["share"][pooled.POOLED]["5"]["mean"] == pytest.approx((value - 0.1) / 0.4)
        table = pooled.as_markdown(result)
        assert all(f"| {name} |" in table for name in (pooled.POOLED, pooled.ALONE, pooled.SINGLE))
        reached: bool = result["goal"]["reached"]
        assert ("reached" if reached else "missed") in table
        return reached

    assert goal(0.31, 0.29)
    assert not goal(0.29, 0.2)
    assert not goal(0.4, 0.35)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_after_five_reactions_newcomers_have_half_of_what_there_is(tmp_path: Path) -> None:
    assert pooled.main(["--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "pooled.json").read_text(encoding="utf-8"))
    assert result["seeds"] == list(range(10))
    assert result["goal"]["pooled_share"] >= 0.5 > result["goal"]["single_share"]
