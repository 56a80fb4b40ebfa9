"""The report says what the export says, with intervals that hold, and says so where there is nothing."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline import cli
from offline.feature_store.logs import Logs
from offline.reports.means import mean, means
from offline.reports.report import report
from tests.lab.made_logs import START, made_decisions, write_export


def page_of(folder: Path) -> str:
    return report(Logs.read(folder)).html()


def words(html: str) -> str:
    """Return what a page says, without its figures."""
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"<svg.*?</svg>|<style.*?</style>", "", html, flags=re.S)).split())


def section(html: str, heading: str) -> str:
    found = re.search(rf"<h2>{re.escape(heading)}</h2>(.*?)</section>", html, re.S)
    assert found, heading
    return found[1]


def cells(html: str, first: str) -> list[str]:
    """Return the row of a table that begins with `first`."""
    for row in re.findall(r"<tr>(.*?)</tr>", html, re.S):
        found = [str(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.S)]
        if found[:1] == [first]:
            return found
    raise AssertionError(f"no row of {first}")


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefg"), st.floats(-1, 1), st.sampled_from(["x", "y"])), min_size=1, max_size=60
    )
)
def test_a_mean_is_that_of_its_rows_and_its_interval_that_of_the_formula(rows: list[tuple[str, float, str]]) -> None:
    frame = pl.DataFrame(rows, schema=["user_id", "value", "group"], orient="row")

    for (group,), of in means(frame, "value", ["group"]):
        mine = [(user, value) for user, value, name in rows if name == group]
        average = sum(value for _, value in mine) / len(mine)
        people = {user for user, _ in mine}
        residuals = [sum(value - average for user, value in mine if user == one) for one in people]
        assert (of.n, of.people) == (len(mine), len(people))
        assert of.mean == pytest.approx(average)
        if of.low is not None and of.high is not None:
            assert len(people) >= 5
            error = (len(people) / (len(people) - 1) * sum(one**2 for one in residuals)) ** 0.5 / len(mine)
            quantile = {5: 2.7764451, 6: 2.5705818, 7: 2.4469119}[len(people)]
            assert of.low == pytest.approx(max(-1, average - quantile * error), abs=1e-6)
            assert of.high == pytest.approx(min(1, average + quantile * error), abs=1e-6)


def test_an_interval_covers_as_often_as_it_says_though_a_persons_decisions_are_alike() -> None:
    chance = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        frame = pl.concat(
            pl.DataFrame({"user_id": [str(person)] * n, "value": np.clip(chance.normal(0.2) * 0.3 + own, -1, 1)})
            for person in range(25)
            if (n := int(chance.integers(1, 20)))
            for own in [chance.normal(0, 0.05, n)]
        )
        of = mean(frame, "value")
        assert of is not None
        assert of.low is not None
        assert of.high is not None
        covered += of.low <= 0.06 <= of.high
    # Not 380 exactly: the sums of few people are not normal.
    assert covered >= 360


def test_rows_without_a_value_and_few_people_have_no_say() -> None:
    frame = pl.DataFrame({"user_id": ["a", "b", "c"], "value": [1.0, None, 0.0]})

    of = mean(frame, "value")

    assert of is not None
    assert (of.n, of.people, of.mean, of.low) == (2, 2, 0.5, None)
    assert mean(frame.filter(pl.col("user_id") == "b"), "value") is None


def test_the_report_says_what_the_export_holds(tmp_path: Path) -> None:
    def change(row: dict[str, Any], day: float) -> dict[str, Any]:
        changed: dict[str, Any] = {"policy": "egreedy-v1"} if row["user_id"] < "person-2" else {}
        return changed | ({"reward": None, "reward_source": None, "action": None} if day > 6 else {})

    rows = made_decisions(3, people=30, days=7, change=change)
    html = page_of(write_export(tmp_path / "logs", rows))
    known = [row["reward"] for row in rows if row["reward"] is not None]
    egreedy = [row for row in rows if row["policy"] == "egreedy-v1"]
    rewarded = [row["reward"] for row in egreedy if row["reward"] is not None]
    opened = [row for row in rows if row["reward"] is None]

    assert f"Mean reward {np.mean(known):.3f}" in words(html)
    assert cells(section(html, "Reward by policy"), "egreedy-v1")[1:5] == [
        f"{len(egreedy)}",
        f"{len({row['user_id'] for row in egreedy})}",
        f"{len(rewarded)}",
        f"{np.mean(rewarded):.3f}",
    ]
    assert cells(section(html, "Rewards: known, open, by default"), "open (waiting)")[1] == f"{len(opened)}"
    took = np.quantile([row["took_ms"] for row in rows], 0.95, method="nearest")
    assert cells(section(html, "Latency"), "all")[3] == f"{took:.2f}"


def test_prompt_versions_are_counted_by_the_tips_of_models_that_were_shown(tmp_path: Path) -> None:
    written = {"prompt_version": "v1", "generation_id": "01K00000000000000000000000", "source": "llm"}
    cases: list[tuple[dict[str, Any], int]] = [
        (written, 3),
        ({**written, "reward": None, "reward_source": None}, 2),
        ({**written, "reward": None, "reward_source": None, "wait_began_at": None, "deferred": True}, 5),
        ({**written, "source": "fallback"}, 5),
        ({**written, "generation_id": None}, 2),
    ]
    wanted = [change for change, times in cases for _ in range(times)]
    rows = [row | {"prompt_version": None} for row in made_decisions(4, people=20, days=4)]
    rows = [row | change for row, change in zip(rows, wanted, strict=False)]

    row = cells(section(page_of(write_export(tmp_path / "logs", rows)), "Reward by prompt version"), "v1")

    assert row[1:3] == ["7", "5"]


def test_costs_are_those_of_the_generations(tmp_path: Path) -> None:
    spent: dict[str, Any] = {"prompt_tokens": 700, "completion_tokens": 50, "attempts": 1, "took_ms": 900.0}
    generations = [
        {"generation_id": f"g{n}", "generated_at": START + timedelta(hours=n), "model": "m", "prompt_version": "v1"}
        for n in range(6)
    ]
    generations = [
        one | (spent | {"cost_usd": 0.25 if n < 4 else None} if n < 5 else {}) for n, one in enumerate(generations)
    ]
    folder = write_export(tmp_path / "logs", made_decisions(1, people=5, days=2), generations=generations)

    said = section(page_of(folder), "Costs")

    assert cells(said, "m")[1:8] == ["v1", "5", "3,500", "250", "$1.0000", "$250.00", "1.00"]
    assert "1 older generations do not tell" in said
    assert "Of 1 nobody knows a price" in said


def test_where_there_is_nothing_the_page_says_so(tmp_path: Path) -> None:
    empty = page_of(write_export(tmp_path / "empty", []))
    bare = {"took_ms": None, "reward": None, "reward_source": None, "reward_delay_sec": None, "prompt_version": None}
    rows = [row | bare for row in made_decisions(1, people=5, days=2)]
    html = page_of(write_export(tmp_path / "bare", rows))

    assert "no decisions" in words(empty)
    for said in (
        "No reward is known yet",
        "No tip that was shown names its prompt version",
        "No decision in this export says how long it took",
        "No reaction has come yet",
        "No generation is kept",
        "Nothing was changed",
    ):
        assert said in words(html)


def test_no_axis_shows_a_formula_and_one_day_is_no_years(tmp_path: Path) -> None:
    page = page_of(write_export(tmp_path / "logs", made_decisions(2, people=30, days=1, each_day=4)))
    assert "mathdefault" not in page
    assert not re.search(r">20(24|25|27|28)<", page)


def test_the_command_writes_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_export(tmp_path / "logs", made_decisions(2, people=6, days=3))
    out = tmp_path / "pages" / "report.html"

    assert cli.main(["report", "--logs", str(folder), "--out", str(out)]) == 0
    assert "6 people" in capsys.readouterr().out
    assert out.read_text(encoding="utf-8") == page_of(folder)
    assert cli.main(["report", "--logs", str(tmp_path)]) == 2
    assert "--logs" in capsys.readouterr().err
    assert cli.main(["report", "--logs", str(folder), "--out", str(folder)]) == 2
    assert "--out" in capsys.readouterr().err
