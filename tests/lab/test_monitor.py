"""The monitor finds what was changed, names it, and stays quiet where nothing was."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from offline import cli
from offline.feature_store.logs import Logs
from offline.feature_store.schema import DECISIONS
from offline.reports.calibration import calibration
from offline.reports.monitor import ALARM, CANNOT_TELL, FINE, Monitored, monitor
from offline.reports.monitor_page import page_of
from offline.reports.stability import Stability, stability
from tests.lab.made_logs import WAIT, Row, made_decisions, made_profiles, write_export

DAYS = 28
RECENT = DAYS - 7


def recently(changed: Callable[[Row], dict[str, Any]]) -> Callable[[Row, float], dict[str, Any]]:
    return lambda row, day: changed(row) if day > RECENT else {}


def export_of(folder: Path, rows: list[Row], **more: Any) -> Path:
    return write_export(folder, rows, **{"profiles": made_profiles(rows), **more})


def looked_at(folder: Path, rows: list[Row], **more: Any) -> Monitored:
    logs = Logs.read(export_of(folder, rows, **more))
    return monitor(logs, logs, 7)


def window(chance: np.random.Generator, people: list[int], habit: float, shift: float = 0.0) -> pl.DataFrame:
    """Return a feature of which each person has a level of their own, known by their number."""
    rows = [
        (f"p{person}", shift + habit * np.sin(person * 12.9898) + float(chance.normal()))
        for person in people
        for _ in range(1 + int(chance.poisson(6)))
    ]
    return pl.DataFrame(rows, schema=["user_id", "value"], orient="row")


@pytest.mark.parametrize("panel", [True, False])
@pytest.mark.parametrize("habit", [0.0, 2.0])
def test_without_drift_the_index_passes_its_limit_as_rarely_as_is_said(panel: bool, habit: float) -> None:
    chance = np.random.default_rng(11)
    found: list[Stability] = []
    for turn in range(200):
        people = [int(one) for one in chance.integers(0, 10**6, 40)]
        others = people if panel else [int(one) for one in chance.integers(0, 10**6, 40)]
        found.append(stability("g", str(turn), window(chance, people, habit), window(chance, others, habit)))

    assert sum(one.p_value < 0.05 for one in found) <= 22
    assert sum(one.verdict == "drift" for one in found) <= 6
    # And it is no limit that nothing could pass: the mean is what was expected, or less.
    assert np.mean([one.psi for one in found]) <= 1.2 * np.mean([one.expected for one in found])
    assert np.mean([one.psi for one in found]) >= 0.5 * np.mean([one.expected for one in found])


def test_a_service_that_decides_no_more_is_not_fine(tmp_path: Path) -> None:
    rows = made_decisions(5, days=DAYS)
    newest = max(row["decided_at"] for row in rows)
    assert looked_at(tmp_path / "a", rows, exported_at=newest + timedelta(days=6)).exit_code() == FINE
    silent = looked_at(tmp_path / "b", rows, exported_at=newest + timedelta(days=8))
    assert silent.exit_code() == CANNOT_TELL
    assert silent.now.decisions == 0


def test_the_index_is_its_formula() -> None:
    def of(counts: dict[str, int]) -> pl.DataFrame:
        values = [name for name, count in counts.items() for _ in range(count)]
        return pl.DataFrame({"user_id": [f"p{n % 20}" for n in range(len(values))], "value": values})

    found = stability("g", "f", of({"a": 600, "b": 400}), of({"a": 300, "b": 700}))

    p, q = np.array([600.5, 400.5]) / 1001, np.array([300.5, 700.5]) / 1001
    assert found.psi == pytest.approx(float(((q - p) * np.log(q / p)).sum()))
    assert found.verdict == "drift"
    assert {part.label: round(part.now, 2) for part in found.bins} == {"a": 0.3, "b": 0.7}


def test_what_goes_missing_and_what_is_new_is_drift_as_well() -> None:
    people = [f"p{n % 30}" for n in range(600)]
    before = pl.DataFrame({"user_id": people, "value": ["x", "y"] * 300})
    numbers = pl.DataFrame({"user_id": people, "value": np.random.default_rng(1).normal(size=600)})

    new = stability("g", "f", before, before.with_columns(pl.lit("z").alias("value")))
    missing = stability("g", "f", numbers, numbers.with_columns(pl.lit(None, pl.Float64).alias("value")))

    assert (new.verdict, missing.verdict) == ("drift", "drift")
    assert {part.label for part in new.bins} == {"x", "y", "other"}
    assert "missing" in {part.label for part in missing.bins}


def test_few_people_cannot_tell_however_much_they_do() -> None:
    chance = np.random.default_rng(2)
    before, now = (window(chance, [1, 2, 3] * 100, 0.0, shift) for shift in (0.0, 1.0))

    assert stability("g", "f", before, now).verdict == "cannot tell"


@pytest.mark.parametrize(("people", "looks"), [(30, 8), (120, 3)])
def test_nothing_changed_raises_no_alarm(tmp_path: Path, people: int, looks: int) -> None:
    found = [looked_at(tmp_path / str(seed), made_decisions(seed, people=people)) for seed in range(looks)]

    assert [one.alarms for one in found] == [{}] * len(found)
    # Of thirty people a week is sometimes too little to tell.
    assert {one.exit_code() for one in found} <= ({FINE} if people == 120 else {FINE, CANNOT_TELL})


def test_few_decisions_are_no_reason_for_an_alarm(tmp_path: Path) -> None:
    rows = made_decisions(5, change=recently(lambda row: {"task_count": row["task_count"] + 20}))
    recent = [row for row in rows if row["task_count"] >= 20]

    found = looked_at(tmp_path / "logs", [*(row for row in rows if row["task_count"] < 20), *recent[::6]])

    assert any(one.verdict == "drift" for one in found.drift)
    assert "drift" in found.untold
    assert found.exit_code() == CANNOT_TELL


def test_a_shifted_feature_is_found_and_named(tmp_path: Path) -> None:
    def shifted(row: Row) -> dict[str, Any]:
        return {"task_count": row["task_count"] + 4, "completion_rate_30d": row["completion_rate_30d"] / 3}

    found = looked_at(tmp_path / "logs", made_decisions(5, change=recently(shifted)))

    assert {one.feature for one in found.drift if one.verdict == "drift"} == {"task_count", "completion_rate_30d"}
    assert found.exit_code() == ALARM
    assert "task_count (context) drifted" in " ".join(found.alarms["drift"])
    assert "task_count" in page_of(found).html()


def test_a_shifted_component_of_a_vector_is_found_and_named(tmp_path: Path) -> None:
    def shifted(row: Row) -> dict[str, Any]:
        vector = row["evaluations"][0]["vector"]
        return {"evaluations": [row["evaluations"][0] | {"vector": [1.0, vector[1], vector[2] + 0.6]}]}

    found = looked_at(tmp_path / "logs", made_decisions(6, change=recently(shifted)))

    assert [(one.group[:6], one.feature) for one in found.drift if one.verdict == "drift"] == [("vector", "completion")]


def test_a_feature_that_goes_missing_is_found(tmp_path: Path) -> None:
    found = looked_at(tmp_path / "logs", made_decisions(7, change=recently(lambda row: {"tip_volume_30d": None})))

    assert found.exit_code(["profile"]) == ALARM
    assert found.alarms["profile"] == ["tip_volume_30d is missing in 100 % of decisions, before in 0 %"]


def test_stale_profiles_are_found_and_idle_people_are_none(tmp_path: Path) -> None:
    rows = made_decisions(8)
    idle = looked_at(tmp_path / "idle", rows, exported_at=max(row["decided_at"] for row in rows) + 6 * WAIT)
    stale = looked_at(tmp_path / "stale", rows, profiles=made_profiles(rows, lag=-3 * WAIT))

    of_idle = {one.feature: one for one in idle.profile}["completion_rate_30d"]
    assert (of_idle.past_ttl, of_idle.behind, of_idle.alarms) == (1.0, 0.0, ())
    assert [one.feature for one in stale.profile if "stale" in one.alarms] == [
        "completion_rate_30d",
        "dismiss_rate_30d",
        "mean_dwell_ms_30d",  # three days behind; the preferred hour keeps for a week
    ]
    assert stale.exit_code() == ALARM


def test_miscalibration_is_found(tmp_path: Path) -> None:
    worse = recently(lambda row: {"reward": max(-1.0, row["reward"] - 0.5)})

    found = looked_at(tmp_path / "logs", made_decisions(9, change=worse))

    assert list(found.alarms) == ["calibration"]
    (one,) = found.calibration
    assert one.error == pytest.approx(0.47, abs=0.06)
    assert one.gap is not None
    assert one.gap.mean == pytest.approx(-0.47, abs=0.06)
    assert found.exit_code(["calibration"]) == ALARM
    assert found.exit_code(["drift", "profile"]) == FINE


def test_what_chance_adds_to_the_error_is_taken_out() -> None:
    errors = []
    for seed in range(20):
        rows = made_decisions(seed, people=25, days=7, each_day=1.2)
        columns = {name: DECISIONS.field(name) for name in ("user_id", "policy", "chosen", "reward", "evaluations")}
        frame = pl.DataFrame(pl.from_arrow(pa.Table.from_pylist(rows, pa.schema(list(columns.values())))))
        errors += [one.error for one in calibration(frame) if one.error is not None]

    # Bins of some twenty-five rewards with a spread of 0.3 miss by 0.06 each, where predictions are exact.
    assert len(errors) == 20
    assert np.mean(np.square(errors)) < 0.035**2


def test_a_slope_that_is_too_steep_is_told(tmp_path: Path) -> None:
    def flat(row: Row) -> dict[str, Any]:
        mean = row["evaluations"][0]["mean"]
        return {"evaluations": [row["evaluations"][0] | {"mean": [4 * one for one in mean]}]}

    (one,) = looked_at(tmp_path / "logs", made_decisions(10, change=lambda row, day: flat(row))).calibration

    assert one.slope is not None
    assert one.slope[1] < 0.25 < one.slope[2]
    assert one.alarm


def test_slower_reactions_are_found_and_open_waits_are_not_taken_for_quick_ones(tmp_path: Path) -> None:
    def slower(row: Row) -> dict[str, Any]:
        if row["reward_delay_sec"] is None:
            return {}
        delay = min(86_000.0, row["reward_delay_sec"] * 8)
        return {"reward_delay_sec": delay, "reacted_at": row["decided_at"] + timedelta(seconds=delay)}

    def unless_quick(row: Row) -> dict[str, Any]:
        quick = row["reward_delay_sec"] is not None and row["reward_delay_sec"] < 200
        return {} if quick else {"reward": None, "reward_source": None, "reward_delay_sec": None, "reacted_at": None}

    late = looked_at(tmp_path / "late", made_decisions(11, change=recently(slower)))
    rows = made_decisions(12, change=lambda row, day: unless_quick(row) if day > DAYS - 1 else {})
    young = looked_at(tmp_path / "young", rows, exported_at=max(row["decided_at"] for row in rows))

    assert "reactions take another time" in late.alarms["delay"][0]
    assert young.delay is not None
    newest = max(row["decided_at"] for row in rows)
    of_now = [row for row in rows if newest - 7 * WAIT < row["decided_at"] <= newest - WAIT]
    assert young.delay.rows[1] == sum(row["reward_delay_sec"] is not None for row in of_now)
    assert "delay" not in young.alarms


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["monitor", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_exit_codes_are_for_schedules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fine = str(export_of(tmp_path / "fine", made_decisions(1)))
    few = str(export_of(tmp_path / "few", made_decisions(1, people=4)))
    empty = str(export_of(tmp_path / "empty", []))
    drifted = str(export_of(tmp_path / "drifted", made_decisions(2, change=lambda row, day: {"hour_of_day": 3.0})))

    assert run(capsys, "--logs", fine)[0] == FINE
    assert run(capsys, "--logs", few)[0] == CANNOT_TELL
    assert run(capsys, "--logs", empty)[0] == CANNOT_TELL
    code, out, _ = run(capsys, "--train", fine, "--now", drifted)
    assert code == ALARM
    assert "ALARM        drift: hour_of_day (context) drifted" in out
    assert run(capsys, "--train", fine, "--now", drifted, "--fail-on", "profile,delay")[0] == FINE


def test_what_was_found_is_kept_for_programs_people_and_mlflow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = str(export_of(tmp_path / "logs", made_decisions(3)))
    out, store = tmp_path / "pages" / "monitor.html", f"sqlite:///{tmp_path / 'mlflow.db'}"

    code, said, _ = run(capsys, "--logs", logs, "--json", "--out", str(out), "--tracking", store)

    found = json.loads(said)
    assert (code, found["exit_code"], found["verdict"]) == (0, 0, "fine")
    assert {one["feature"] for one in found["drift"]} >= {"hour_of_day", "completion_rate_30d", "kind", "is_overdue"}
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
    from offline.registry.tracking import tracking

    client = tracking(store)
    experiment = client.get_experiment_by_name("monitoring")
    assert experiment is not None
    (logged,) = client.search_runs([experiment.experiment_id])
    assert logged.data.metrics["psi_context_hour_of_day"] == pytest.approx(
        next(one["psi"] for one in found["drift"] if one["feature"] == "hour_of_day")
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "--logs"),
        (("--logs", "x", "--now", "y"), "--logs"),
        (("--train", "x"), "--train and --now"),
        (("--logs", "x", "--days", "0"), "--days"),
        (("--logs", "x", "--days", "1e300"), "--days"),
        (("--logs", "x", "--fail-on", "weather"), "--fail-on"),
        (("--logs", "nowhere"), "no export"),
    ],
)
def test_what_is_asked_for_wrongly_is_said(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], named: str
) -> None:
    code, _, err = run(capsys, *arguments)

    assert code == 2
    assert named in err
