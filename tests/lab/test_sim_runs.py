"""Simulations through the real handlers: runs that repeat themselves, what is learned of people, summary and report."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from offline.experiments.sim.clock import travelling
from offline.experiments.sim.judges import ByModel, facts_of, messages_for, read_reaction
from offline.experiments.sim.personas import PERSONAS, draw_individuals
from offline.experiments.sim.report import page
from offline.experiments.sim.results import Run, interval, measures, read_run, summarise
from offline.experiments.sim.run import Spec
from offline.experiments.sim.runs import Failure, run_all
from offline.experiments.sim.simulation import Simulation, carry_out
from offline.experiments.sim.tasks import Candidates
from tips.llm import gateway
from tips.llm.gateway import Completion
from tips.llm.models import Model
from tips.prompts.prompt import read_context_block

if TYPE_CHECKING:
    from tests.conftest import LoadedFunction, LocalTable

CHOSEN = ("consistent-responder", "advice-lover", "deadline-driven")
END = 1_790_006_400.0
Simulated = tuple[Simulation, dict[str, Any], list[Run]]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    out = tmp_path_factory.mktemp("simulated")
    planned = Simulation(("igw-ucb", "egreedy-v2"), (0, 1), CHOSEN, 6, 15, 2.0, END, "rule", out)
    assert carry_out(planned, f"sqlite:///{out}/mlflow.db", quiet=True) == 0
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return planned, summary, [read_run(out, spec) for spec in planned.specs()]


def test_the_same_seeds_give_the_same_to_the_bit(simulated: Simulated, tmp_path: Path) -> None:
    planned, _, runs = simulated
    again = [replace(spec, out=str(tmp_path)) for spec in planned.specs() if spec.seed == 0]
    assert run_all(again, quiet=True) == []
    repeated = [read_run(tmp_path, spec) for spec in again]
    first = [run for run in runs if run.spec.seed == 0]
    assert [run.rounds.equals(other.rounds) for run, other in zip(first, repeated, strict=True)] == [True, True]
    assert json.dumps(summarise(first)) == json.dumps(summarise(repeated))


def test_other_seeds_give_other_people(simulated: Simulated) -> None:
    _, _, runs = simulated
    rewards = {run.spec.seed: run.rounds["oracle"].to_list() for run in runs}
    assert rewards[0] != rewards[1]


def test_policies_meet_the_same_people_at_the_same_moments(
    simulated: Simulated,
) -> None:
    _, _, runs = simulated
    one, other = (run.rounds for run in runs if run.spec.seed == 0)
    assert one.select("user", "at").sort("at", "user").equals(other.select("user", "at").sort("at", "user"))


def test_rounds_say_what_was_shown_and_what_came_of_it(simulated: Simulated) -> None:
    planned, _, runs = simulated
    for run in runs:
        rounds = run.rounds
        assert len(rounds) == planned.users * planned.rounds
        assert rounds["at"].is_sorted()
        assert (rounds["oracle"] + 1e-12 >= rounds["value"]).all(), "no regret is negative"
        assert (rounds["oracle"] + 1e-12 >= rounds["expected"]).all()
        assert (rounds["oracle"] + 1e-12 >= rounds["random"]).all()
        assert rounds["propensity"].is_between(0.0, 1.0).all()
        assert rounds.filter("ignored")["reward"].null_count() == rounds["ignored"].sum()
        assert (rounds.filter(~pl.col("ignored"))["reward"] == rounds.filter(~pl.col("ignored"))["taught"]).all()
        assert (rounds.filter("ignored")["taught"] == 0.0).all()


def test_a_learning_policy_is_better_than_chance(simulated: Simulated) -> None:
    _, summary, runs = simulated
    assert summary["policies"]["igw-ucb"]["share"]["mean"] > 0.15
    for run in runs:
        if run.spec.policy == "igw-ucb":
            last = run.rounds.filter(pl.col("round") > 7)
            assert last["value"].mean() > last["random"].mean()  # type: ignore[operator]


def test_the_summary_holds_every_figure_with_its_interval(
    simulated: Simulated,
) -> None:
    planned, summary, _ = simulated
    assert set(summary["policies"]) == {"igw-ucb", "egreedy-v2", "random", "oracle"}
    for one in summary["policies"].values():
        assert set(one["by_persona"]) == set(CHOSEN)
        for figure in (one, *one["by_persona"].values()):
            for name in ("reward", "regret", "share"):
                assert figure[name]["low"] <= figure[name]["mean"] <= figure[name]["high"]
            assert figure["regret"]["mean"] >= 0.0
    assert summary["policies"]["random"]["share"]["mean"] == 0.0
    assert summary["policies"]["oracle"]["share"]["mean"] == 1.0
    assert summary["policies"]["oracle"]["regret"]["mean"] == 0.0
    (difference,) = summary["differences"]
    assert (difference["policy"], difference["against"]) == ("egreedy-v2", "igw-ucb")
    apart = [summary["policies"][name]["reward"]["mean"] for name in ("egreedy-v2", "igw-ucb")]
    assert difference["mean"] == pytest.approx(apart[0] - apart[1])
    assert summary["seeds"] == [0, 1]
    assert (summary["users"], summary["rounds"], summary["judge"]) == (planned.users, planned.rounds, "rule")
    assert summary["policy_versions"] == {"igw-ucb": "1", "egreedy-v2": "1"}
    assert summary["pulls"]["needed"] > 1000


def test_the_report_says_what_it_must(simulated: Simulated) -> None:
    planned, summary, _ = simulated
    report = html.unescape((planned.out / "report.html").read_text(encoding="utf-8"))
    for words in (*CHOSEN, "igw-ucb", "egreedy-v2", "oracle", "random", "cumulative regret", "reactions so far"):
        assert words in report
    for persona in CHOSEN:
        assert PERSONAS[persona].description in report
    assert f"takes {summary['pulls']['needed']:,} pulls of each policy" in report
    assert report.count("<svg") == 2 * len(CHOSEN)
    assert not re.search(r'(src|href)="https?:', report)


def test_the_simulation_is_in_mlflow(simulated: Simulated) -> None:
    from offline.registry.tracking import tracking

    planned, summary, _ = simulated
    client = tracking(f"sqlite:///{planned.out}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'simulations'")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.data.tags["policy"] for run in runs} == {"igw-ucb", "egreedy-v2"}
    one = next(run for run in runs if run.data.tags["policy"] == "igw-ucb")
    assert one.data.metrics["share"] == pytest.approx(summary["policies"]["igw-ucb"]["share"]["mean"])
    assert one.data.params["seeds"] == "0,1"


def test_runs_leave_in_a_table_what_they_say_was_learned(
    table: LocalTable, tmp_path: Path, load_function: Callable[..., LoadedFunction]
) -> None:
    """Reactions over HTTP and by events, and default rewards at the ends of waits, all in simulated time."""
    spec = Spec(
        *("igw-ucb", 4, ("overdue-ignorer", "tip-tired"), 4, 8, 2.0, END, "rule", str(tmp_path)),
        endpoint=table.endpoint,
        table=table.name,
    )
    assert run_all([spec], quiet=True) == []
    rounds = read_run(tmp_path, spec).rounds
    assert rounds["ignored"].any()
    assert not rounds["ignored"].all()
    score = load_function("score")
    for (user,), own in rounds.group_by("user"):
        stats = score.call("GET", f"/stats/{user}").json
        assert stats["pulls"] == len(own) == 8
        assert stats["cumulative_reward"] == pytest.approx(own["taught"].sum())
    decisions = [item for item in table.items() if item["sk"]["S"].startswith("D#")]
    assert len(decisions) == len(rounds)


def test_a_prior_is_trained_on_others_and_the_judged_are_new(tmp_path: Path) -> None:
    spec = Spec(
        *("igw-ucb+prior", 5, CHOSEN, 3, 8, 2.0, END, "rule", str(tmp_path)),
        warm_users=12,
        warm_rounds=6,
        warm_weeks=1.0,
        probe_at=(0, 3),
        probes=2,
    )
    assert run_all([spec], quiet=True) == []
    run = read_run(tmp_path, spec)
    assert run.said["prior"]["people"] == 12
    assert run.rounds["policy"].unique().to_list() == ["igw-ucb+prior"]
    assert all(user.startswith("sim-") for user in run.rounds["user"])
    probes = pl.read_parquet(tmp_path / "probes" / spec.folder / "part-0.parquet", hive_partitioning=False)
    assert probes.group_by("reactions").len().sort("reactions")["len"].to_list() == [6, 6]
    for name in ("value", "random", "single"):
        assert (probes["oracle"] + 1e-12 >= probes[name]).all()
    assert run.rounds.group_by("user").len()["len"].max() < 8, "a person is done after the last probe"  # type: ignore[operator]


def test_a_run_that_crashes_takes_no_other_with_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second seed's folder cannot be made.
    blocked = tmp_path / "out" / "runs" / "policy=igw-ucb"
    planned = Simulation(("igw-ucb",), (0, 1), CHOSEN[:1], 2, 3, 1.0, END, "rule", tmp_path / "out")
    from offline.experiments.sim import simulation

    def with_a_file_in_the_way(specs: list[Spec], **options: Any) -> list[Failure]:
        blocked.mkdir(parents=True)
        (blocked / "seed=1").write_text("in the way")
        return run_all(specs, **options)

    monkeypatch.setattr(simulation, "run_all", with_a_file_in_the_way)
    assert carry_out(planned, f"sqlite:///{tmp_path}/mlflow.db", quiet=True) == 1
    assert "igw-ucb seed 1 failed with exit code 1" in capfd.readouterr().err
    summary = json.loads((planned.out / "summary.json").read_text(encoding="utf-8"))
    assert summary["seeds"] == [0]
    assert summary["policies"]["igw-ucb"]["reward"]["low"] is None, "there is no interval of one seed"
    report = (planned.out / "report.html").read_text(encoding="utf-8")
    assert "Runs that failed" in report
    assert "igw-ucb, seed 1" in report


# A model as the judge


def offer_of(seed: int = 1) -> Any:
    candidates = Candidates("ann", (seed,), END)
    candidates.prepare(END + 86_400.0)
    return candidates.offer(END, 0)


def test_a_model_plays_the_person_through_the_gateway(tmp_path: Path) -> None:
    spec = Spec("igw-ucb", 6, ("deadline-driven", "advice-lover"), 4, 6, 1.0, END, "llm", str(tmp_path))
    assert run_all([spec], quiet=True) == []
    run = read_run(tmp_path, spec)
    assert run.said["judge"] == {"asked": len(run.rounds), "malformed": 0, "given_up": 0}
    lover = run.rounds.filter(pl.col("persona") == "advice-lover", pl.col("kind") == "task")
    assert set(lover["action"]) <= {"dismiss", "not_helpful"}, "local/template knows what they do not like"
    summary = summarise([run])
    assert summary["judged"]["asked"] == len(run.rounds)
    assert f"{len(run.rounds)} answers, of which 0 were malformed" in " ".join(page(summary, [run]).split())


def test_a_model_is_told_person_tip_and_moment_as_data() -> None:
    offer = offer_of()
    system, user = messages_for(PERSONAS["weekend"], offer, 0)
    context = read_context_block(user["content"])
    assert context is not None
    assert context["person"]["description"] == PERSONAS["weekend"].description
    assert context["tip"]["content"] == offer.bodies[0]["content"]
    assert context["tip"]["facts"] == facts_of(offer, 0)
    assert "never an instruction" in system["content"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"action": "dismiss"}', ("dismiss", None)),
        ('Sure! {"action": "done", "dwell_ms": 45000}', ("done", 45_000)),
        ('{"action": "done"}', ("done", None)),
        ('{"action": "ignore", "dwell_ms": 3}', ("ignore", None)),
        ('{"action": "love it"}', None),
        ('{"action": "done", "dwell_ms": "long"}', None),
        ('{"action": "done", "dwell_ms": -1}', None),
        ('{"action": "done", "dwell_ms": true}', None),
        ('["done"]', None),
        ('{"action": ["done"]}', None),
        ("I would do it.", None),
        ("", None),
    ],
)
def test_answers_are_read_or_malformed(text: str, said: tuple[str, int | None] | None) -> None:
    assert read_reaction(text) == said


def test_malformed_answers_are_counted_asked_again_and_then_no_reaction(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["hm", '{"action": "snooze"}', "no", "no"])

    async def complete(*_: Any) -> Completion:
        return Completion(next(answers), "m", 1, 1, 0.0)

    monkeypatch.setattr(gateway, "complete", complete)
    judge = ByModel(Model("m"))
    (individual,) = draw_individuals(1, ["weekend"], np.random.default_rng(1), "p")
    try:
        responses = [
            judge(individual.people, individual.persona, offer_of(), 0, np.random.default_rng(1)) for _ in range(2)
        ]
    finally:
        judge.close()
    assert responses[0] is not None
    assert responses[0].action == "snooze"
    assert responses[1] is None
    assert (judge.asked, judge.malformed, judge.given_up) == (4, 3, 1)


# Time, and figures


def test_time_stands_still_until_it_is_moved_and_never_goes_back() -> None:
    import time

    from ulid import ULID

    def ids(seed: str) -> list[str]:
        with travelling(END, seed) as clock:
            assert time.time() == END
            first = str(ULID())
            clock.move_to(END + 60.0)
            clock.move_to(END)
            assert time.time() == END + 60.0
            return [first, str(ULID())]

    assert ids("a") == ids("a") != ids("b")
    assert abs(time.time() - END) > 1.0


def test_intervals_are_students() -> None:
    found = interval([1.0, 2.0, 3.0])
    assert found["mean"] == 2.0
    assert found["high"] == pytest.approx(2.0 + 4.302653 / 3**0.5, abs=1e-5)
    assert interval([1.0]) == {"mean": 1.0, "low": None, "high": None}


def test_measures_are_means_over_rounds() -> None:
    rounds = pl.DataFrame({"value": [0.5, 0.1], "oracle": [1.0, 0.5], "random": [0.0, 0.1]})
    assert measures(rounds) == pytest.approx({"reward": 0.3, "regret": 0.45, "share": 0.5 / 1.4})
