"""The prompt benchmark counts what can be counted, asks a judge about the rest, and says how sure it is."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline import cli
from offline.command import BadInput
from offline.experiments.prompts.by_hand import read_sheet, sheet
from offline.experiments.prompts.judging import Rating, judge, read_ratings
from offline.experiments.prompts.leaderboard import composite, leaderboard
from offline.experiments.prompts.scenarios import BUILT_IN, Scenario, read_scenarios
from offline.experiments.prompts.writing import Sample, write_samples
from tests.model_server import GOOD, INVALID_JSON, WRONG_FIELDS, ModelServer, Reply, tips_reply
from tips.llm.models import Model
from tips.prompts.registry import prompts

SCENARIOS = read_scenarios(None)
ONE = [scenario for scenario in SCENARIOS if scenario.n == 3][:1]
FAIR = {"relevance": 3, "actionability": 3, "tone": 3}
GOOD_RATINGS = json.dumps({"ratings": [{"relevance": 4, "actionability": 5, "tone": 3}] * 3})


def model_at(server: ModelServer) -> Model:
    return Model("m", f"{server.url}/v1", "k", False, (2.0, 10.0))


def sample(**changes: Any) -> Sample:
    return Sample(
        **{
            "sample_id": "s",
            "model": "m",
            "version": "v1",
            "scenario": "one",
            "repeat": 0,
            "tips": ("Open the letter and read its first page.", "Put the bag beside the door tonight."),
            "format_ok": True,
            "overlong": False,
            "answered": True,
            "attempts": 1,
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "cost_usd": 0.5,
            "latency_ms": 100.0,
            "failures": (),
            **changes,
        }
    )


def written(*replies: Reply, scenarios: Sequence[Scenario] = ONE) -> Sample:
    with ModelServer(*replies) as server:
        (only,) = asyncio.run(write_samples([model_at(server)], [prompts()["v1"]], scenarios, 1))
    return only


def test_there_are_scenarios_for_what_is_difficult() -> None:
    names = {scenario.name for scenario in SCENARIOS}

    assert len(SCENARIOS) >= 8
    assert names >= {"busy-morning", "empty-list", "one-overdue", "evening", "weekend", "other-language"}
    assert names >= {"very-long-tasks", "injection"}


def test_a_sample_tells_what_it_took() -> None:
    one = written(Reply(GOOD, usage=(1000, 100)))

    assert (one.format_ok, one.overlong, one.answered, len(one.tips)) == (True, False, True, 3)
    assert (one.attempts, one.prompt_tokens, one.completion_tokens) == (1, 1000, 100)
    assert one.cost_usd == pytest.approx(0.003)
    assert one.latency_ms > 0


@pytest.mark.parametrize("first", [INVALID_JSON, WRONG_FIELDS])
def test_a_form_that_had_to_be_corrected_was_not_right(first: Reply) -> None:
    one = written(first, Reply(GOOD))

    assert (one.format_ok, len(one.tips), one.attempts) == (False, 3, 2)


def test_a_tip_that_cannot_be_shown_for_its_length_is_overlong() -> None:
    one = written(tips_reply("Begin. " * 60), tips_reply("Renew the passport: book the appointment now."))

    assert (one.format_ok, one.overlong) == (True, True)


def test_an_answer_without_a_tip_is_the_worst_and_no_answer_is_none() -> None:
    silly, away = written(INVALID_JSON), written(Reply(status=500))

    assert (silly.answered, silly.tips, silly.format_ok) == (True, (), False)
    assert composite(silly, {}) == {"relevance": 1, "actionability": 1, "tone": 1, "composite": 3}
    assert (away.answered, composite(away, {})) == (False, None)


@given(st.lists(st.tuples(*[st.integers(1, 5)] * 3), min_size=1, max_size=5), st.booleans(), st.booleans())
def test_the_composite_is_its_formula(marks: list[tuple[int, int, int]], format_ok: bool, overlong: bool) -> None:
    one = sample(tips=("x",) * len(marks), format_ok=format_ok, overlong=overlong)

    found = composite(one, {"s": [Rating(*given) for given in marks]})

    assert found is not None
    average = sum(map(sum, marks)) / len(marks)
    assert found["composite"] == pytest.approx(average + 2 * format_ok - overlong)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "five stars",
        "[4, 4, 4]",
        json.dumps({"ratings": [FAIR]}),
        json.dumps({"ratings": [FAIR, FAIR | {"tone": 6}]}),
        json.dumps({"ratings": [FAIR, {"relevance": 4, "actionability": 4}]}),
        json.dumps({"ratings": [FAIR | {"relevance": True}, FAIR]}),
        json.dumps({"ratings": [FAIR, FAIR, FAIR]}),
        "{" * 100_000,
    ],
)
def test_what_is_no_rating_of_both_tips_is_malformed(text: str) -> None:
    assert read_ratings(text, 2) is None


def test_ratings_are_found_in_what_stands_around_them() -> None:
    marks = {"relevance": 4, "actionability": 2, "tone": 5, "why": "fine"}

    assert read_ratings(f"Sure:\n```json\n{json.dumps({'ratings': [marks]})}\n```", 1) == [Rating(4, 2, 5)]


def test_a_malformed_answer_is_asked_for_once_more_and_counted() -> None:
    own = [replace(sample(scenario=ONE[0].name), tips=("a tip",) * 3)]
    with ModelServer(Reply("no"), Reply(GOOD_RATINGS)) as server:
        second = asyncio.run(judge(model_at(server), own, ONE))
    with ModelServer(Reply("no")) as server:
        never = asyncio.run(judge(model_at(server), own, ONE))

    assert (second.asked, second.malformed, second.given_up) == (2, 1, 0)
    assert second.ratings["s"] == [Rating(4, 5, 3)] * 3
    assert (never.asked, never.malformed, never.given_up, never.ratings) == (2, 2, 1, {})


def test_the_judge_sees_the_moment_and_the_tips_and_not_who_wrote_them() -> None:
    own = [sample(scenario=ONE[0].name, model="secret-model", version="v2-mentor", tips=("Water the plants now.",) * 3)]
    with ModelServer(Reply(GOOD_RATINGS)) as server:
        asyncio.run(judge(model_at(server), own, ONE))
        asked = json.dumps(server.received[0].body["messages"], ensure_ascii=False)

    assert "Water the plants now." in asked
    assert "Send the quarterly figures to finance" in asked
    assert "secret-model" not in asked
    assert "v2-mentor" not in asked


def rated(levels: dict[str, Sequence[int]]) -> tuple[list[Sample], dict[str, list[Rating]]]:
    """Return a sample per version and scenario, and its marks: all three of the given level."""
    samples = [
        sample(sample_id=f"{version}{place}", version=version, scenario=f"scenario-{place}", tips=("a tip",))
        for version, given in levels.items()
        for place, _ in enumerate(given)
    ]
    ratings = {
        f"{version}{place}": [Rating(level, level, level)]
        for version, given in levels.items()
        for place, level in enumerate(given)
        if level
    }
    return samples, ratings


def test_the_better_one_is_first_and_what_cannot_be_told_from_it_is_tied() -> None:
    samples, ratings = rated({"v1": [2, 3, 1, 2, 3, 2], "v2": [5, 4, 5, 4, 5, 4], "v3": [4, 5, 5, 4, 4, 5]})

    first, second, third = leaderboard(samples, ratings)

    assert [first.version, second.version, third.version] == ["v2", "v3", "v1"]
    assert [first.tied, second.tied, third.tied] == [True, True, False]
    assert first.composite.mean == pytest.approx(3 * 27 / 6 + 2)
    assert first.composite.low < first.composite.mean < first.composite.high
    assert third.behind is not None
    assert third.behind.high < 0


def test_a_difference_is_taken_scenario_by_scenario() -> None:
    samples, ratings = rated({"v1": [1, 2, 3, 4, 1, 3, 2, 4], "v2": [2, 3, 4, 5, 2, 4, 3, 5]})

    _, behind = leaderboard(samples, ratings)

    assert behind.behind is not None
    assert (behind.behind.low, behind.behind.mean, behind.behind.high) == pytest.approx((-3, -3, -3))
    assert behind.tied is False


def test_what_was_not_rated_is_in_no_score_and_is_counted() -> None:
    samples, ratings = rated({"v1": [5, 0, 5], "v2": [4, 4, 4]})
    samples.append(sample(sample_id="x", version="v2", scenario="scenario-0", answered=False, tips=(), cost_usd=None))

    entries = {entry.version: entry for entry in leaderboard(samples, ratings)}

    assert (entries["v1"].composite.mean, entries["v1"].unjudged) == (17, 1)
    assert (entries["v2"].composite.mean, entries["v2"].unanswered, entries["v2"].cost_usd) == (14, 1, None)
    assert entries["v1"].cost_usd == pytest.approx(1.5)


def by_hand() -> list[Sample]:
    return [
        sample(sample_id=f"id{n}", model=model, version=version, scenario=SCENARIOS[n % 3].name, tips=tips)
        for n, (model, version) in enumerate([("gpt-x", "v1"), ("gpt-y", "v2-mentor")] * 4)
        for tips in [(f"=cmd|'/c calc'!A{n}", f"Put bag {n} beside the door.")]
    ]


def test_the_sheet_is_blind_and_shuffled_and_runs_nothing() -> None:
    text = sheet(by_hand(), SCENARIOS)
    rows = list(csv.DictReader(text.splitlines()))

    assert len(rows) == 16
    assert not any(name in text for name in ("gpt-x", "gpt-y", "v2-mentor"))
    assert [row["tip_id"] for row in rows] != sorted(row["tip_id"] for row in rows)
    assert not any(cell.startswith("=") for row in rows for cell in row.values())
    assert text == sheet(by_hand(), SCENARIOS)


def fill(file: Path, marks: dict[str, str], **others: str) -> None:
    """Write the sheet with these marks in every row but those named in `others`, which get theirs throughout."""
    rows = list(csv.DictReader(sheet(by_hand(), SCENARIOS).splitlines()))
    with file.open("w", newline="", encoding="utf-8") as out:
        table = csv.DictWriter(out, list(rows[0]))
        table.writeheader()
        for row in rows:
            own = others.get(row["tip_id"].replace("-", "_"))
            table.writerow(row | (marks if own is None else dict.fromkeys(marks, own)))


def test_marks_come_back_to_the_tips_they_are_of(tmp_path: Path) -> None:
    marks = {"relevance": "3", "actionability": "4", "tone": "5"}
    fill(tmp_path / "s.csv", marks, id1_2="1", id2_1="")

    judged = read_sheet(tmp_path / "s.csv", by_hand())

    assert judged.ratings["id0"] == [Rating(3, 4, 5), Rating(3, 4, 5)]
    assert judged.ratings["id1"] == [Rating(3, 4, 5), Rating(1, 1, 1)]
    assert "id2" not in judged.ratings
    assert judged.given_up == 1


@pytest.mark.parametrize("mark", ["0", "6", "good", "3.5", "²"])
def test_a_mark_that_is_none_is_named_by_its_line(tmp_path: Path, mark: str) -> None:
    fill(tmp_path / "s.csv", {"relevance": "3", "actionability": "4", "tone": mark})

    with pytest.raises(BadInput, match="line 2: tone must be"):
        read_sheet(tmp_path / "s.csv", by_hand())


def test_a_sheet_of_another_run_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "s.csv", dict.fromkeys(("relevance", "actionability", "tone"), "3"))

    with pytest.raises(BadInput, match="another run"):
        read_sheet(tmp_path / "s.csv", by_hand()[:3])


@pytest.fixture
def offline_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LITELLM_URL", "LITELLM_MODEL", "JUDGE_MODEL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("offline_model")
def test_the_command_runs_without_a_model_and_says_what_that_is_worth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, store = tmp_path / "out", f"sqlite:///{tmp_path / 'mlflow.db'}"

    assert cli.main(["bench-prompts", "--repeats", "1", "--out", str(out), "--tracking", store]) == 0

    said = capsys.readouterr()
    found = json.loads((out / "leaderboard.json").read_text(encoding="utf-8"))
    assert "rules of thumb" in said.out
    assert found["judge"]["kind"] == "rules of thumb"
    assert {entry["version"] for entry in found["leaderboard"]} == {"v1", "v2-mentor", "v3-few-shot", "v4-orchestrator"}
    assert found["scenarios"] == [scenario.name for scenario in SCENARIOS]
    texts = "".join((out / name).read_text(encoding="utf-8") for name in ("leaderboard.json", "leaderboard.html"))
    written_tips = [tip for one in json.loads((out / "samples.json").read_text())["samples"] for tip in one["tips"]]
    for content in ("quarterly figures", "all previous instructions", *written_tips):
        assert content not in said.out + said.err + texts
    from offline.registry.tracking import tracking

    client = tracking(store)
    experiment = client.get_experiment_by_name("prompt-benchmark")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    best = found["leaderboard"][0]
    assert run.data.metrics[f"composite.local/template.{best['version']}"] == pytest.approx(best["composite"]["mean"])


@pytest.mark.usefixtures("offline_model")
def test_a_person_judges_what_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, rated_by_hand = tmp_path / "out", tmp_path / "sheet.csv"
    common = ("--out", str(out), "--tracking", f"sqlite:///{tmp_path / 'mlflow.db'}")

    assert cli.main(["bench-prompts", "--prompts", "v1,v2-mentor", "--export", str(rated_by_hand), *common]) == 0
    assert not (out / "leaderboard.json").exists()
    own = {one["sample_id"]: one["version"] for one in json.loads((out / "samples.json").read_text())["samples"]}
    with rated_by_hand.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with rated_by_hand.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        for row in rows:
            mark = "5" if own[row["tip_id"].rpartition("-")[0]] == "v2-mentor" else "2"
            table.writerow(row | dict.fromkeys(("relevance", "actionability", "tone"), mark))
    assert cli.main(["bench-prompts", "--import", str(rated_by_hand), *common]) == 0

    assert "Rated by a person" in capsys.readouterr().out
    first, second = json.loads((out / "leaderboard.json").read_text())["leaderboard"]
    assert (first["version"], first["composite"]["mean"]) == ("v2-mentor", 17)
    assert (second["version"], second["tied"]) == ("v1", False)


def test_models_that_cannot_be_reached_are_no_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ModelServer(Reply(status=401)) as server:
        monkeypatch.setenv("LITELLM_URL", server.url)
        scenarios = tmp_path / "two.json"
        scenarios.write_text(json.dumps(json.loads(BUILT_IN.read_text(encoding="utf-8"))[:2]))
        arguments = ["--scenarios", str(scenarios), "--prompts", "v1", "--repeats", "1", "--out", str(tmp_path)]
        assert cli.main(["bench-prompts", "--models", "some-model", *arguments]) == 1
        assert {one.body["model"] for one in server.received} == {"some-model"}

    assert "no model answered (refused)" in capsys.readouterr().err


@pytest.mark.usefixtures("offline_model")
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--prompts", "v1,nothing"), "v2-mentor"),
        (("--models", ","), "--models"),
        (("--scenarios", "nowhere.json"), "--scenarios"),
        (("--import", "x.csv", "--judge", "m"), "--import"),
        (("--import", "x.csv", "--out", "nowhere"), "--out"),
    ],
)
def test_what_is_asked_for_wrongly_is_said(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], named: str
) -> None:
    assert cli.main(["bench-prompts", *arguments]) == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(
    ("scenarios", "named"),
    [
        ("[]", "at least two"),
        ('[{"name": "a", "context": {}}, {"name": "a", "context": {}}]', "a name of its own"),
        ('[{"name": "a", "context": {"hour_of_day": 25}}]', "hour_of_day"),
        ('[{"name": "a", "context": {"timezone": "Mars/Base"}}]', "timezone"),
        ('[{"name": "a", "kontext": {}}]', "context"),
        ("{", "JSON"),
    ],
)
def test_scenarios_that_are_none_are_refused(tmp_path: Path, scenarios: str, named: str) -> None:
    file = tmp_path / "s.json"
    file.write_text(scenarios)

    with pytest.raises(BadInput, match=named):
        read_scenarios(file)
