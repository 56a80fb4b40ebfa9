"""`tips prior ...`: from what was learned of everybody to what a newcomer is served."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from ulid import ULID

from offline import learning_scan, prior_store
from offline.cli import main
from offline.learning_scan import scan_learning
from tests.conftest import LoadedFunction, LocalTable
from tests.requests import score_request
from tips.bandit.forgetting import half_life_us
from tips.bandit.learning import SchemaLearning, UserLearning
from tips.bandit.statistics import Statistics
from tips.features.crossed_v3 import CROSSED_V3
from tips.features.vectors import Candidate, Situation
from tips.state import erasure, keys, priors
from tips.state.learning import write
from tips.state.table import Table

SITUATION = Situation(9, 2)
ADVICE, TASK = Candidate({}, "advice", "llm"), Candidate({"priority": 4}, "task", "todoist")
CHOICE = [
    {"id": "task", "kind": "task", "source": "todoist", "features": {"priority": 4}},
    {"id": "advice", "kind": "advice", "source": "llm"},
]


def teach(client: Table, user_id: str, *, likes: float = 1.0, reactions: int = 20, half_life: int = 0) -> None:
    """Somebody who likes advice, and dislikes tasks as much, learned through the functions' own write."""
    rng = np.random.default_rng(int.from_bytes(user_id.encode(), "big") % 2**32)
    statistics = Statistics.empty(CROSSED_V3.dimension).with_half_life(half_life, NOW)
    for number in range(reactions):
        candidate, liking = (ADVICE, likes) if number % 2 else (TASK, -likes)
        x = CROSSED_V3.encode(SITUATION, [candidate])[0]
        statistics = statistics.learn(x, NOW, None, 0.6 * liking + 0.2 * float(rng.standard_normal()))
    learned = SchemaLearning(statistics, CROSSED_V3.name, CROSSED_V3.names, NOW)
    client.transact([write(keys.learning(user_id), 0, UserLearning(1, schemas={CROSSED_V3.hash: learned}))])


NOW = 1_790_000_000_000_000
"""Microseconds since 1970."""


@pytest.fixture
def tips(table: LocalTable, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*arguments: str, code: int = 0) -> str:
        got = main(["prior", *arguments, "--table", table.name, "--endpoint", table.endpoint])
        out, err = capsys.readouterr()
        assert got == code, err or out
        return err if code else out

    return run


@pytest.fixture
def people(client: Table) -> list[str]:
    names = [f"person-{number}" for number in range(12)]
    for name in names:
        teach(client, name)
    return names


def version_in(text: str) -> str:
    found = re.search(r"\b[0-9A-HJKMNP-TV-Z]{26}\b", text)
    assert found, text
    return found[0]


def decide(score: LoadedFunction, user_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the answer to a newcomer, and the decision as it is remembered."""
    body = score_request(user_id=user_id, candidates=CHOICE, profile_features=None, policy="igw-ucb")
    answer = score.call("POST", "/score", body).json
    decision = score.call("GET", f"/decisions/{answer['decision_id']}", query={"user_id": user_id}).json
    return answer, decision["evaluations"]["igw-ucb"]


def test_from_everybodys_learning_to_a_newcomers_first_tip(
    tips: Callable[..., str], people: list[str], load_function: Callable[..., LoadedFunction], table: LocalTable
) -> None:
    score = load_function("score", CONFIG_CACHE_SEC="0")
    answer, evaluation = decide(score, "before")
    scores = {one["id"]: one["score"] for one in answer["ranking"]}
    assert evaluation["prior"] is None
    assert scores["advice"] < scores["task"] + 0.2, "nothing but the widths tells them apart"

    version = version_in(tips("train"))
    assert decide(score, "trained")[1]["prior"] is None, "not in use yet"

    tips("activate", version)
    answer, evaluation = decide(score, "newcomer")
    scores = {one["id"]: one["score"] for one in answer["ranking"]}
    assert evaluation["prior"] == version
    assert scores["advice"] > scores["task"] + 0.5
    assert answer["ranking"][0]["propensity"] > 0.9

    tips("deactivate")
    assert decide(score, "after")[1]["prior"] is None


def test_training_reports_what_it_went_by(tips: Callable[..., str], people: list[str]) -> None:
    told = tips("train")
    assert re.search(r"people +12 \(left out: 0 erased, 0 unreadable\)", told)
    assert re.search(r"reactions +240\n", told)
    assert re.search(r"components +95% with strength \d+\.\d; 5% with strength 3\.0\n", told)
    assert re.search(r"held-out gain +\d\.\d{3} ± \d\.\d{3} nats per reaction", told)
    assert re.search(r"People differ most in \w+", told)
    assert f"tips prior activate {version_in(told)}" in told


def test_versions_stay_and_one_is_in_use(tips: Callable[..., str], people: list[str], client: Table) -> None:
    assert "no prior for crossed-v3 has been trained yet" in tips("list")
    assert "no prior for crossed-v3 is in use" in tips("show")
    first = version_in(tips("train", "--activate", "--by", "ann", "--reason", "first"))
    second = version_in(tips("train"))
    listed = tips("list").splitlines()[1:]
    assert [line.split()[0] for line in listed] == [second, first], "newest first"
    assert [line.endswith("in use") for line in listed] == [False, True]
    assert f"{first}, in use" in tips("show")
    assert "ann: prior train --schema crossed-v3 --activate (first)" in tips("show")
    assert "12 people" in tips("show", second)

    tips("activate", second)
    tips("activate", first, "--reason", "the second was worse")
    changes = prior_store.changes(client, "crossed-v3", 10)
    assert [(one.before, one.after) for one in changes] == [(second, first), (first, second), ("", first)]
    assert changes[0].reason == "the second was worse"
    assert "nothing to change" in tips("activate", first)
    assert len(prior_store.changes(client, "crossed-v3", 10)) == 3


def test_the_copy_in_use_is_the_version(tips: Callable[..., str], people: list[str], client: Table) -> None:
    version = version_in(tips("train", "--activate"))
    in_use, kept = (client.get(*key) for key in (priors.in_use("crossed-v3"), priors.version("crossed-v3", version)))
    assert in_use is not None
    assert kept is not None
    assert in_use["data"] == kept["data"]
    assert "ttl" not in in_use
    assert ULID.from_str(version) is not None


def test_a_change_and_its_audit_entry_are_one_transaction(
    tips: Callable[..., str], people: list[str], client: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = version_in(tips("train"))
    written: list[int] = []
    real = Table.transact

    def counted(self: Table, writes: Sequence[Mapping[str, Any]]) -> None:
        written.append(len(writes))
        real(self, writes)

    monkeypatch.setattr(Table, "transact", counted)
    tips("activate", version)
    tips("deactivate")
    assert written == [2, 2]


def test_another_schema_has_a_prior_of_its_own(tips: Callable[..., str], people: list[str], client: Table) -> None:
    assert "too little was learned under egreedy-v2: 0 reactions" in tips("train", "--schema", "egreedy-v2", code=2)
    tips("train", "--activate")
    assert client.get(*priors.in_use("egreedy-v2")) is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("train",), "too little was learned under crossed-v3: 0 reactions of 0 people, and it takes 100 of 10"),
        (("train", "--schema", "crossed-v2"), "'crossed-v2' is no schema; there are linucb"),
        (("activate", "01M7YYVCV6EATNRANDWSNHRZSN"), "there is no prior '01M7YYVCV6EATNRANDWSNHRZSN' for crossed-v3"),
        (("show", "x"), "there is no prior 'x'"),
    ],
)
def test_what_cannot_be_done_is_told(tips: Callable[..., str], arguments: tuple[str, ...], says: str) -> None:
    assert says in tips(*arguments, code=2)


def test_ten_people_of_few_reactions_are_too_few(tips: Callable[..., str], client: Table) -> None:
    for number in range(12):
        teach(client, f"quiet-{number}", reactions=2)
    assert "24 reactions of 12 people" in tips("train", code=2)


# What is read


def test_all_pages_are_read(people: list[str], client: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = 0
    real = Table._call

    def small_pages(self: Table, operation: str, **arguments: Any) -> Any:
        nonlocal pages
        if operation == "scan":
            pages += 1
            arguments["Limit"] = 5
        return real(self, operation, **arguments)

    monkeypatch.setattr(Table, "_call", small_pages)
    monkeypatch.setattr(learning_scan, "_BATCH", 2)
    learned = scan_learning(client, CROSSED_V3, NOW, 5000)
    assert pages >= 3
    assert len(learned.people) == len(people)


def test_erased_people_are_left_out(people: list[str], client: Table) -> None:
    erasure.erase(client, people[0], 5000)
    teach(client, people[0])  # as a write that was on its way might
    learned = scan_learning(client, CROSSED_V3, NOW, 5000)
    assert (len(learned.people), learned.erased) == (len(people) - 1, 1)


def test_what_cannot_be_read_is_left_out_and_counted(people: list[str], client: Table, table: LocalTable) -> None:
    item = client.get(keys.user(people[0]), keys.LEARNING)
    assert item is not None
    table.client.put_item(TableName=table.name, Item={**item, "schemas": {"M": {"x": {"B": b"damaged"}}}})
    learned = scan_learning(client, CROSSED_V3, NOW, 5000)
    assert (len(learned.people), learned.unreadable) == (len(people) - 1, 1)


def test_other_items_and_people_without_reactions_are_no_people(client: Table, score: LoadedFunction) -> None:
    assert score.call("POST", "/score", score_request()).status == 200
    assert score.call("POST", "/reset/anna").status == 200
    assert scan_learning(client, CROSSED_V3, NOW, 5000).people == []


def test_statistics_are_as_of_now(client: Table) -> None:
    half_life = half_life_us(7.0)
    teach(client, "ann", half_life=half_life)
    (then,) = scan_learning(client, CROSSED_V3, NOW, 5000).people
    (later,) = scan_learning(client, CROSSED_V3, NOW + 2 * half_life, 5000).people
    assert then.weight == pytest.approx(20.0)
    assert later.weight == pytest.approx(5.0)
