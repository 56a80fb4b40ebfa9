"""Model cards: one for each policy, of the code as it is, with what logs say of it."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from offline.cli import main
from offline.command import BadInput
from offline.experiments.estimators import Rounds
from offline.feature_store.logs import Logs
from offline.feature_store.schema import SCHEMAS
from offline.pipelines.intervals import difference_over_people, mean_over_people
from offline.registry.cards import card, check, evidence
from offline.registry.cards.check import card_is_complete, files_of
from offline.registry.cards.evidence import evidence_of
from offline.registry.cards.history import history_of
from tests.lab.learning_people import World
from tips.bandit.registry import POLICIES

EVALUATION = {
    "policy": "igw-ucb",
    "against": "egreedy-v2",
    "method": "shadow",
    "logs": {"data_hash": "abc"},
    "estimates": {
        "snips": {"value": 0.3, "bootstrap": [0.2, 0.4], "bernstein": [0.0, 0.6]},
        "dr": {"value": 0.31, "bootstrap": [0.2, 0.4], "bernstein": [0.0, 0.6]},
    },
    "difference": {
        "dr": 0.05,
        "confidence_sequence": {"alpha": 0.05, "low": -0.01, "high": 0.1, "decisions": 300, "times": [], "lows": []},
    },
}


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cards") / "logs"
    World(people=16, decisions=24, shadows=("egreedy-v2",)).export(folder)
    return folder


@pytest.fixture(scope="module")
def built(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cards") / "built"
    evaluation = folder.parent / "evaluation.json"
    evaluation.write_text(json.dumps(EVALUATION))
    arguments = ["--logs", str(logs), "--to", str(folder), "--no-registry", "--evaluation", str(evaluation)]
    assert main(["cards", "build", *arguments]) == 0
    return folder


@pytest.fixture
def cards(built: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(built, tmp_path / "cards")
    return tmp_path / "cards"


# Those that are committed


@pytest.mark.parametrize("policy", POLICIES)
def test_every_registered_policy_has_a_card_that_is_whole_and_of_this_code(policy: str) -> None:
    assert card_is_complete(policy) == [], "run `tips cards build`"


def test_no_card_is_of_a_policy_that_is_gone() -> None:
    assert {path.stem for path in check.FOLDER.glob("*.json")} == set(POLICIES)


# What makes one stale


def test_a_card_that_was_just_built_is_complete(built: Path) -> None:
    assert {name: card_is_complete(name, built) for name in POLICIES} == {name: [] for name in POLICIES}


@pytest.mark.parametrize("ending", ["json", "md", "html"])
def test_a_missing_file_is_told(cards: Path, ending: str) -> None:
    (cards / f"lints.{ending}").unlink()
    assert card_is_complete("lints", cards) == [f"lints.{ending} is missing"]
    assert main(["cards", "check", "--to", str(cards)]) == 1
    assert main(["cards", "check", "--to", str(cards), "--policy", "igw-ucb"]) == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": "2"}, "the policy's version was '1' and is '2'"),
        ({"alpha": 0.5}, "the parameters was {'alpha': 0.3, 'c': 300.0} and is {'alpha': 0.5, 'c': 300.0}"),
        ({"schema": POLICIES["egreedy-v2"].schema}, "the schema's hash was"),
    ],
)
def test_a_change_of_the_policy_makes_its_card_stale(
    cards: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], says: str
) -> None:
    policies = {**POLICIES, "igw-ucb": replace(POLICIES["igw-ucb"], **change)}
    monkeypatch.setattr(check, "POLICIES", policies)
    assert any(says in one for one in card_is_complete("igw-ucb", cards))


def test_a_changed_description_of_an_input_makes_cards_stale(cards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = POLICIES["igw-ucb"]
    first, *others = policy.schema.encoders
    schema = replace(policy.schema, encoders=(replace(first, definition="one"), *others))
    monkeypatch.setattr(check, "POLICIES", {**POLICIES, "igw-ucb": replace(policy, schema=schema)})
    assert any("schema's hash" in one for one in card_is_complete("igw-ucb", cards))


def test_evidence_that_was_changed_by_hand_is_found(cards: Path) -> None:
    file = files_of("igw-ucb", cards)[0]
    document = json.loads(file.read_text())
    document["metrics"]["reward_dr"]["value"] = 0.99
    file.write_text(json.dumps(document))
    assert card_is_complete("igw-ucb", cards) == [
        "stale: the Markdown is not what code and evidence give",
        "stale: the HTML page is of another text",
    ]
    assert main(["cards", "build", "--to", str(cards), "--policy", "igw-ucb"]) == 0
    assert card_is_complete("igw-ucb", cards) == []


@pytest.mark.parametrize("name", ["slices", "metrics", "logs", "history", "model"])
def test_evidence_that_lacks_something_is_no_card(cards: Path, name: str) -> None:
    file = files_of("igw-ucb", cards)[0]
    document = json.loads(file.read_text())
    del document[name]
    file.write_text(json.dumps(document))
    assert card_is_complete("igw-ucb", cards) == [f"the evidence lacks something: KeyError '{name}'"]


def test_a_card_without_slices_or_a_use_is_incomplete(cards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = files_of("igw-ucb", cards)[0]
    file.write_text(json.dumps({**json.loads(file.read_text()), "slices": []}))
    monkeypatch.setattr(card, "TEXTS", {})
    found = card_is_complete("igw-ucb", cards)
    assert {"Intended use: is empty", "Fairness checks: is empty", "Limits: is empty"} <= set(found)


def test_an_unknown_policy_has_no_card() -> None:
    assert card_is_complete("exp4") == ["no policy is called 'exp4'"]


# What one says


def test_the_same_evidence_gives_the_same_files(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "again")
    for name in POLICIES:
        for path in files_of(name, tmp_path / "again")[1:]:
            path.unlink()
    assert main(["cards", "build", "--to", str(tmp_path / "again")]) == 0
    for name in POLICIES:
        for before, after in zip(files_of(name, built), files_of(name, tmp_path / "again"), strict=True):
            assert before.read_bytes() == after.read_bytes(), before.name


def test_the_same_logs_give_the_same_evidence(built: Path, logs: Path) -> None:
    again = evidence_of(Logs.read(logs), ["squarecb"], "people served", [], {})["squarecb"]
    assert again == json.loads(files_of("squarecb", built)[0].read_text())


def test_a_card_tells_inputs_metrics_slices_and_evaluations(built: Path) -> None:
    written = files_of("igw-ucb", built)[1].read_text()
    for encoder in POLICIES["igw-ucb"].schema.encoders:
        assert f"| `{encoder.name}` |" in written
    assert re.search(r"reward a decision, doubly robust \| -?0\.\d{3} \(-?0\.\d{3} to -?0\.\d{3}\)", written)
    assert "Evaluated against egreedy-v2 (shadow, data `abc`): difference 0.0500" in written
    assert "confidence sequence at 95% from -0.0100 to 0.1000 after 300 decisions" in written
    assert "| new people (fewer than 10 rewards known) |" in written
    page = files_of("igw-ucb", built)[2].read_text()
    assert page.count("<svg") == 3
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page).replace("http://www.w3.org", "")


def test_the_policy_that_was_logged_has_its_logged_reward(built: Path) -> None:
    """Weights of one: doubly robust is the mean of the rewards, whatever the reward model says."""
    found = json.loads(files_of("igw-ucb", built)[0].read_text())
    assert found["method"] == "logged"
    assert found["metrics"]["effective_sample"] == found["logs"]["decisions"] > 16 * 22
    assert found["metrics"]["mean_weight"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert found["metrics"]["reward_snips"]["value"] == pytest.approx(found["logs"]["logged"]["value"], abs=1e-6)
    assert json.loads(files_of("egreedy-v2", built)[0].read_text())["method"] == "logged"
    assert json.loads(files_of("lints", built)[0].read_text())["method"] == "recomputed"


def test_too_few_decisions_make_no_card(tmp_path: Path) -> None:
    World(people=4, decisions=10).export(tmp_path / "logs")
    with pytest.raises(BadInput, match="a card takes 100 decisions of 5 people"):
        evidence_of(Logs.read(tmp_path / "logs"), ["igw-ucb"], "people served", [], {})


def judged(gap: float, extra_exploration: float = 0.0, people: int = 60) -> dict[str, Any]:
    """A slice of half the decisions of everybody, with so much less reward and more exploration; chance brings -0.5."""
    chance = np.random.default_rng(3)
    inside = np.arange(people * 40) % 2 == 0
    reward = 0.3 - gap * inside + 0.3 * chance.standard_normal(len(inside))
    rounds = Rounds(reward, np.ones_like(reward), np.zeros_like(reward), np.zeros_like(reward))
    exploration = 0.1 + extra_exploration * inside
    persons = np.repeat(np.arange(people), 40)
    uniform = np.full(len(inside), -0.5)
    (row, *_) = evidence._judged_slices({"slice": inside, "others": ~inside}, rounds, exploration, uniform, persons)
    return row


def test_a_slice_passes_fails_or_cannot_be_told() -> None:
    assert (judged(0.0)["verdict"], judged(0.05)["verdict"]) == ("passes", "passes")
    assert judged(0.3)["because"] == "less reward than the others by more than the threshold"
    assert judged(0.0, extra_exploration=0.2)["because"] == (
        "more exploration than the others by more than the threshold"
    )
    assert judged(1.2)["because"] == "served worse than by chance"
    assert judged(0.14)["verdict"] == "cannot tell"
    assert judged(0.0, people=4)["because"] == "fewer than 5 people"


def test_intervals_over_people_hold_what_they_promise() -> None:
    """People differ much and decisions of one little: an interval over decisions would nearly always miss."""
    chance = np.random.default_rng(5)
    people = np.repeat(np.arange(30), 20)
    inside = np.arange(600) % 4 == 0
    hits = differences = 0
    for _ in range(400):
        values = chance.standard_normal(30)[people] + 0.1 * chance.standard_normal(600)
        one = mean_over_people(values, people, 0.95)
        hits += one.low <= 0.0 <= one.high
        other = difference_over_people(values + 0.2 * inside, inside, people, 0.95)
        differences += other.low <= 0.2 <= other.high
    assert 365 <= hits <= 395
    assert 365 <= differences <= 395


def test_the_history_is_the_policys_own() -> None:
    def row(kind: str, schema: str | None, before: str, after: str, minute: int, command: str) -> dict[str, Any]:
        at = f"2026-03-01T10:{minute:02}:00+00:00"
        said = {"actor": "ann", "reason": "why", "kind": kind, "schema": schema, "before": before, "after": after}
        return {"at": at, "command": command, **said}

    shadow, active = '{"shadows": ["igw-ucb"]}', '{"active_policy": "igw-ucb", "shadows": ["linucb"]}'
    rows = [
        row("configuration", None, "{}", shadow, 1, "config set"),
        row("configuration", None, shadow, active, 2, "promote igw-ucb"),
        row("configuration", None, active, active, 3, "config set prompts"),
        row("prior", "crossed-v3", "", "p1", 4, "publish igw-ucb 1"),
        row("prior", "egreedy-v2", "", "p2", 5, "prior activate p2"),
        row("profiles", None, "", '{"missing": 2}', 6, "profiles backfill"),
    ]
    audit = pl.DataFrame(rows).with_columns(pl.col("at").str.to_datetime(time_zone="UTC"))
    assert set(SCHEMAS["audit"].names) == set(audit.columns)
    told = [(one["change"], one["command"]) for one in history_of(POLICIES["igw-ucb"], audit)]
    assert told == [
        ("prior of crossed-v3: none -> p1", "publish igw-ucb 1"),
        ("shadow -> active", "promote igw-ucb"),
        ("not in use -> shadow", "config set"),
    ]
    assert "ann" not in json.dumps(history_of(POLICIES["igw-ucb"], audit))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("build", "--policy", "exp4"), "--policy: 'exp4' is no policy"),
        (("build", "--to", "{empty}"), "give --logs to measure anew"),
        (("build", "--evaluation", "x.json"), "--evaluation is shown beside what logs say"),
        (("build", "--logs", "{logs}", "--evaluation", "{logs}/manifest.json"), "is not what `tips evaluate --out`"),
        (("build", "--logs", "{empty}", "--no-registry"), "is no export"),
    ],
)
def test_what_cannot_be_done_is_told(
    logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    given = [one.format(logs=logs, empty=tmp_path) for one in arguments]
    assert main(["cards", *given]) == 2
    assert says in capsys.readouterr().err


def test_the_registered_champion_is_named(
    logs: Path, tmp_path: Path, table: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = ["--tracking", f"sqlite:///{tmp_path}/mlflow.db"]
    at = ["--table", table.name, "--endpoint", table.endpoint]
    assert main(["train", "--logs", str(logs), "--register", *at, *uri]) == 0
    cards = tmp_path / "cards"
    assert main(["cards", "build", "--logs", str(logs), "--to", str(cards), "--policy", "igw-ucb", *uri]) == 0
    assert "Registered: igw-ucb 1, with alpha 0.3, c 300" in (cards / "igw-ucb.md").read_text()
    assert card_is_complete("igw-ucb", cards) == []


def test_nothing_of_the_lab_is_needed_to_check_cards() -> None:
    source = Path(check.__file__).read_text() + Path(card.__file__).read_text()
    for package in ("polars", "mlflow", "matplotlib", "scipy", "offline.pages", "feature_store"):
        assert package not in source
