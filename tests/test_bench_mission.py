"""The mission's figure: that a small run gives whole tables. What they say is for `make bench`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import mission


@pytest.mark.long
def test_a_quick_run_gives_json_and_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mission.json"
    assert mission.main(["--quick", "--out", str(out)]) == 0
    result = json.loads(out.read_text(encoding="utf-8"))
    shares = {name: one["share"]["mean"] for name, one in result["constants"].items()}
    assert (shares["random"], shares["oracle"]) == (0.0, 1.0)
    for one in result["contestants"].values():
        assert list(one["at"]) == [str(at) for at in mission.CHECKPOINTS]
        assert all(-1.0 < figures["share"]["mean"] < 1.0 for figures in one["at"].values())
    learned, untaught = (result["contestants"][name]["at"] for name in (mission.POOLED, mission.FROM_NOTHING))
    assert learned["0"]["reward"]["mean"] > untaught["0"]["reward"]["mean"], "a newcomer gains from the population"
    tables = capsys.readouterr().out
    assert tables.strip() == mission.as_markdown(result)
    for name in (*result["contestants"], *result["constants"]):
        assert tables.count(f"| {name} |") == 2
