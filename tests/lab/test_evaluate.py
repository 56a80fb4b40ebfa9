"""`tips evaluate`: what it reads, which decisions it judges by, what it says and writes, how it refuses."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ulid import ULID

from offline.cli import main
from offline.command import BadInput
from offline.experiments.evaluation import evaluate
from offline.experiments.trials import Candidacy, answering, find
from offline.feature_store.logs import Logs
from tests.lab.lived_logs import Row, lived, write
from tests.lab.made_logs import START, made_decisions, write_export
from tips.bandit.prior import Prior
from tips.bandit.registry import POLICIES
from tips.state.priors import pack_prior

# MLflow's own use of SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

IGW, EGREEDY = POLICIES["igw-ucb"], POLICIES["egreedy-v2"]
Tips = Callable[..., tuple[str, str]]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no store of MLflow lies."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tips(capsys: pytest.CaptureFixture[str]) -> Tips:
    def run(*arguments: str | Path, code: int = 0) -> tuple[str, str]:
        got = main(list(map(str, arguments)))
        out, err = capsys.readouterr()
        assert got == code, err or out
        return out, err

    return run


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return lived(people=15, each=20)


@pytest.fixture
def logs(rows: list[Row], tmp_path: Path) -> Path:
    return write(tmp_path / "logs", rows)


def watched(things: Any, total: int, what: str) -> Any:
    return things


def judged(folder: Path, **options: Any) -> dict[str, Any]:
    challenger = Candidacy(IGW, **options)
    return evaluate(Logs.read(folder), challenger, Candidacy(EGREEDY), watched=watched).as_json()


def test_a_shadow_is_judged_by_what_was_logged_and_the_result_is_as_promised(logs: Path, tips: Tips) -> None:
    out, _ = tips("evaluate", "--policy", "igw-ucb", "--logs", logs, "--out", "results/evaluation.json")
    result = json.loads(Path("results/evaluation.json").read_text())
    assert (result["policy"], result["against"]) == ("igw-ucb", "egreedy-v2")
    assert result["method"] == "shadow"
    assert list(result["estimates"]) == ["ips", "snips", "dm", "dr", "sndr", "dros"]
    for one in result["estimates"].values():
        assert one["bootstrap"][0] <= one["value"] <= one["bootstrap"][1]
    assert result["logs"]["decisions"] == result["logs"]["used"] == 300
    assert result["logs"]["people"] == 15
    sequence = result["difference"]["confidence_sequence"]
    assert sequence["times"] == [100, 200, 300]
    assert sequence["low"] == sequence["lows"][-1] <= result["difference"]["dr"] <= sequence["high"]
    assert len(sequence["lows"]) == len(sequence["highs"]) == 3
    assert result["overlap"]["ess_share"] == pytest.approx(result["overlap"]["effective_sample_size"] / 300)
    assert result["sample_ratio"] is None
    assert "igw-ucb against egreedy-v2, by its logged distributions" in out
    assert "300 of 300 decisions of 15 people" in out
    assert f"{result['estimates']['dr']['value']:+.4f}" in out
    assert "mlflow" not in out.lower()


def test_estimates_are_those_of_the_definitions(logs: Path, rows: list[Row]) -> None:
    weight, reward = [], []
    for row in rows:
        b, p = (one["propensity"][row["chosen"]] for one in row["evaluations"])
        weight.append(p / b)
        reward.append(row["reward"])
    result = judged(logs)
    assert result["estimates"]["ips"]["value"] == pytest.approx(np.mean(np.multiply(weight, reward)), abs=1e-12)
    assert result["logged_value"]["value"] == pytest.approx(np.mean(reward), abs=1e-12)
    assert result["overlap"]["max_weight"] == pytest.approx(max(weight))


def test_recomputed_is_what_the_shadow_was(logs: Path) -> None:
    """Rewards came an hour after each decision, and the shadow learned of them at once."""
    by_shadow, recomputed = judged(logs), judged(logs, method="recomputed")
    assert recomputed.pop("method") != by_shadow.pop("method")
    for name, one in by_shadow["estimates"].items():
        assert recomputed["estimates"][name]["value"] == pytest.approx(one["value"], abs=1e-9)


def test_a_policy_that_was_no_shadow_is_recomputed(logs: Path, tips: Tips) -> None:
    out, _ = tips("evaluate", "--policy", "squarecb", "--logs", logs)
    assert "squarecb against egreedy-v2, by its distributions recomputed in time order" in out
    _, err = tips("evaluate", "--policy", "squarecb", "--logs", logs, "--method", "shadow", code=2)
    assert "squarecb was no shadow" in err


def test_it_compares_with_the_configured_policy_else_with_the_one_that_decided_most(tmp_path: Path) -> None:
    rows = made_decisions(1, people=4, days=3)
    for number, row in enumerate(rows):
        row["policy"] = "lints" if number == len(rows) - 1 else "squarecb"
    assert answering(Logs.read(write_export(tmp_path / "silent", rows))) == "squarecb"
    changes = [
        {"at": START + timedelta(days=day), "kind": "configuration", "after": json.dumps({"active_policy": name})}
        for day, name in enumerate(("lints", "igw-ucb"))
    ]
    assert answering(Logs.read(write_export(tmp_path / "told", rows, audit=changes))) == "igw-ucb"
    changes.append({"at": START + timedelta(days=9), "kind": "configuration", "after": '{"active_policy": null}'})
    assert answering(Logs.read(write_export(tmp_path / "default", rows, audit=changes))) == "squarecb"


def test_decisions_are_left_out_by_time_and_never_by_what_became_of_them(rows: list[Row], tmp_path: Path) -> None:
    """Of two decisions whose wait was not over, the one with a quick reaction is left out like the other."""
    exported = max(row["decided_at"] for row in rows) + timedelta(days=30)
    late = {"wait_ends_at": exported + timedelta(seconds=1)}
    changed = [dict(row) for row in rows]
    changed[-1] |= late
    changed[-2] |= late | {"reward": None, "reward_source": None, "reacted_at": None}
    changed[-3] |= {"deferred": True, "wait_ends_at": None, "reward": None, "reward_source": None, "reacted_at": None}
    changed[-4] |= {"degraded": True}
    changed[-5] |= {"reward": 0.0, "reward_source": "default", "reacted_at": None}
    # Had nobody reacted, nobody would know that it was shown.
    changed[-6] |= {"deferred": True, "wait_began_at": changed[-6]["reacted_at"]}
    changed[-7] |= {"deferred": True, "wait_began_at": changed[-7]["reacted_at"] - timedelta(seconds=1)}
    found = find(Logs.read(write(tmp_path / "logs", changed)), Candidacy(IGW), Candidacy(EGREEDY), watched)
    kept = [*rows[:-6], *rows[-5:-3]]
    assert found.frame["decision_id"].to_list() == [row["decision_id"] for row in kept]
    assert found.left_out == {
        "reward wait not over": 2,
        "deferred and never activated": 1,
        "deferred and shown by the word of their reaction alone": 1,
    }
    assert found.degraded == 1
    # A default reward is known when the wait is over, a reaction's at once.
    assert found.trials.known_at[-2] - found.trials.decided_at[-2] == 24 * 3600 * 1_000_000
    assert found.trials.known_at[-1] - found.trials.decided_at[-1] < 24 * 3600 * 1_000_000


def test_a_distribution_that_is_to_be_as_logged_is_never_recomputed(rows: list[Row], tmp_path: Path) -> None:
    """In the last five decisions, as an experiment would have it, the policy compared with had no part."""
    changed = [dict(row) for row in rows]
    for row in changed[-5:]:
        row["policy"] = IGW.name
        row["evaluations"] = [one | {"role": "active"} for one in row["evaluations"] if one["policy"] == IGW.name]
    read = Logs.read(write(tmp_path / "logs", changed))
    found = find(read, Candidacy(IGW, "shadow"), Candidacy(EGREEDY, "shadow"), watched)
    assert found.left_out == {"without egreedy-v2's distribution": 5}
    logged = [dict(zip(("igw", "greedy"), row["evaluations"][::-1], strict=True)) for row in rows[:-5]]
    assert found.trials.against.tolist() == [p for one in logged for p in one["greedy"]["propensity"]]
    with pytest.raises(BadInput, match="distributions of both"):
        find(read, Candidacy(IGW, "shadow"), Candidacy(POLICIES["lints"], "shadow"), watched)


def test_where_a_policy_would_show_what_could_not_be_drawn_nothing_is_said(tmp_path: Path, tips: Tips) -> None:
    lonely = lived(people=5, each=10, active="linucb", shadows=("igw-ucb",))
    # Where tips are alike in all respects, it does draw among them.
    rows = [row for row in lonely if max(row["evaluations"][0]["propensity"]) == 1]
    folder = write(tmp_path / "never-explores", rows)
    _, err = tips("evaluate", "--policy", "igw-ucb", "--logs", folder, code=2)
    assert "linucb gave no probability to tips that igw-ucb or linucb would show" in err
    mixed = [*rows, *lived(people=5, each=20)[50:]]
    found = find(Logs.read(write(tmp_path / "mixed", mixed)), Candidacy(IGW), Candidacy(EGREEDY, "shadow"), watched)
    assert len(found.trials) == 50
    mixed_out = evaluate(
        Logs.read(write(tmp_path / "again", mixed)), Candidacy(IGW), Candidacy(EGREEDY), watched=watched
    ).as_json()
    assert mixed_out["logs"]["used"] == 50
    assert any("could not be shown" in note for note in mixed_out["notes"])


def test_decisions_without_the_shadow_are_left_out_and_counted(rows: list[Row], tmp_path: Path) -> None:
    changed = [dict(row) for row in rows]
    for row in changed[:40]:
        row["evaluations"] = row["evaluations"][:1]
    for row in changed[40:50]:  # an earlier version of the policy is another policy
        row["evaluations"] = [row["evaluations"][0], {**row["evaluations"][1], "policy_version": "0"}]
    result = judged(write(tmp_path / "logs", changed))
    assert result["logs"]["used"] == 250
    assert "left out: 50 decisions, without igw-ucb's distribution" in result["notes"]


def test_rewards_of_the_future_move_no_bound_of_the_past(rows: list[Row], tmp_path: Path) -> None:
    """The sequence's reward model knows the past alone."""
    before = judged(write(tmp_path / "one", rows))["difference"]["confidence_sequence"]
    changed = [row | {"reward": -row["reward"]} if place >= 200 else row for place, row in enumerate(rows)]
    after = judged(write(tmp_path / "two", changed))["difference"]["confidence_sequence"]
    assert after["lows"][:2] == pytest.approx(before["lows"][:2], abs=1e-12)
    assert after["lows"][2] != before["lows"][2]


def test_wrong_probabilities_are_noticed(rows: list[Row], tmp_path: Path) -> None:
    right = judged(write(tmp_path / "one", rows))["overlap"]
    assert right["propensity_p_value"] > 0.01
    changed = []
    for row in rows:
        active = row["evaluations"][0]
        uniform = [0.25] * 4  # as if chosen by chance
        changed.append(row | {"evaluations": [{**active, "propensity": uniform}, row["evaluations"][1]]})
    wrong = judged(write(tmp_path / "two", changed))["overlap"]
    assert wrong["propensity_p_value"] < 0.001


def test_an_experiment_is_checked_against_its_configured_shares(tmp_path: Path, tips: Tips) -> None:
    arms = {"a": 0.5, "b": 0.5}
    configured = {"experiments": [{"name": "tone", "kind": "prompt_version", "arms": arms}]}
    audit = [
        {
            **dict.fromkeys(("actor", "command", "reason"), "x"),
            "at": datetime(2026, 3, 1, tzinfo=UTC),
            "kind": "configuration",
            "before": "{}",
            "after": json.dumps(configured),
        }
    ]
    rows = lived(people=60, each=2, experiments={"tone": "ab"})
    folder = write(tmp_path / "one", rows, audit)
    out, _ = tips("evaluate", "--policy", "igw-ucb", "--logs", folder)
    assert "experiment tone: people by arm (expected)" in out
    assert "as configured (p =" in out
    skewed = write(tmp_path / "two", lived(people=60, each=2, experiments={"tone": "aaab"}), audit)
    assert "MISMATCH" in tips("evaluate", "--policy", "igw-ucb", "--logs", skewed)[0]
    told = tips("evaluate", "--policy", "igw-ucb", "--logs", skewed, "--shares", 'tone={"a": 0.75, "b": 0.25}')[0]
    assert "as configured" in told
    unknown = write(tmp_path / "three", rows)
    assert "its shares are not known" in tips("evaluate", "--policy", "igw-ucb", "--logs", unknown)[0]


def prior_of(at: datetime, path: Path) -> Path:
    d = IGW.schema.dimension
    version = str(ULID.from_timestamp(at.timestamp()))
    prior = Prior(IGW.schema.names, np.ones(1), np.full((1, d), 4.0), np.full((1, d), 0.05), 0.5, version)
    path.write_bytes(pack_prior(prior))
    return path


def test_an_experiment_is_checked_on_all_decisions_and_not_on_those_judged(tmp_path: Path) -> None:
    """In one arm the judged policy is no shadow: that says nothing of how people were assigned."""
    changed = lived(people=60, each=2, experiments={"tone": "ab"})
    for row in changed:
        if row["experiments"] == [("tone", "b")]:
            row["evaluations"] = row["evaluations"][:1]
    read = Logs.read(write(tmp_path / "logs", changed))
    options: dict[str, Any] = {"watched": watched, "shares": {"tone": {"a": 0.5, "b": 0.5}}}
    (ratio,) = evaluate(read, Candidacy(IGW, "shadow"), Candidacy(EGREEDY), **options).sample_ratios
    assert sum(ratio.people.values()) == 60
    assert ratio.p_value is not None
    assert ratio.p_value > 0.001


def test_a_prior_is_judged_on_what_came_after_its_training_alone(logs: Path, rows: list[Row], tips: Tips) -> None:
    file = prior_of(rows[100]["decided_at"], Path("prior.bin"))
    out, _ = tips("evaluate", "--policy", "igw-ucb", "--logs", logs, "--prior", file)
    # The decision at the very time of its training is the last that may have taught it.
    assert "199 of 300 decisions" in out
    assert "left out: 101 decisions, before what is judged" in out
    late = prior_of(rows[-1]["decided_at"] + timedelta(days=1), Path("late.bin"))
    _, err = tips("evaluate", "--policy", "igw-ucb", "--logs", logs, "--prior", late, code=2)
    assert "no decision in it can be judged" in err


def test_it_is_kept_in_mlflow_when_asked(logs: Path, tips: Tips, tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    out, _ = tips("evaluate", "--policy", "igw-ucb", "--logs", logs, "--tracking", f"sqlite:///{store}")
    assert "kept in MLflow: run" in out
    with sqlite3.connect(store) as database:
        metrics = dict(database.execute("select key, value from latest_metrics"))
    database.close()
    assert metrics["dr.value"] == pytest.approx(judged(logs)["estimates"]["dr"]["value"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--policy", "nobody"], "--policy: unknown policy 'nobody'; known are"),
        (["--policy", "egreedy-v2"], "--against: egreedy-v2 cannot be compared with itself"),
        (["--policy", "igw-ucb", "--against", "nobody"], "--against: unknown policy"),
        (["--policy", "igw-ucb", "--method", "guess"], "--method: must be one of auto, shadow, recomputed"),
        (["--policy", "igw-ucb", "--shares", "tone"], "--shares: 'tone' must be EXPERIMENT=JSON"),
        (["--policy", "igw-ucb", "--shares", 'tone={"a": 2}'], "--shares"),
        (["--policy", "igw-ucb", "--prior", "missing.bin"], "--prior: missing.bin is no population prior"),
        (["--policy", "igw-ucb", "--out", "/dev/null/x.json"], "--out: /dev/null/x.json cannot be written"),
    ],
)
def test_bad_input_is_named(logs: Path, tips: Tips, arguments: list[str], said: str) -> None:
    _, err = tips("evaluate", "--logs", logs, *arguments, code=2)
    assert said in err


def test_a_folder_that_is_no_export_is_named(tips: Tips, tmp_path: Path) -> None:
    _, err = tips("evaluate", "--policy", "igw-ucb", "--logs", tmp_path, code=2)
    assert "is no export" in err
