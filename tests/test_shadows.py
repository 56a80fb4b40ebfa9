"""Configuration at work in `/score`: active policy, shadows, experiments, cached; a shadow is never felt."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from devstack.ttl import expire
from tests.requests import CANDIDATES, score_request, stats
from tips.bandit import registry
from tips.bandit.learning import SchemaLearning, UserLearning
from tips.bandit.posterior import Posterior
from tips.bandit.squarecb import SquareCB
from tips.bandit.statistics import Statistics
from tips.contracts.configuration import Configuration, Experiment
from tips.errors import TableUnavailable
from tips.features.crossed_v3 import CROSSED_V3
from tips.state import configuration, keys
from tips.state.learning import learning_item
from tips.state.table import Table


@pytest.fixture
def configure(client: Table) -> Callable[..., None]:
    def change(**fields: Any) -> None:
        configuration.change(
            client, lambda _: Configuration(**fields), command="test", actor="test", reason="", deadline_ms=5000
        )

    return change


@pytest.fixture
def fresh(load_function: Callable[..., Any], table: Any) -> Any:
    """A score function that reads the configuration with every request."""
    return load_function("score", CONFIG_CACHE_SEC="0", DEFAULT_REWARD="-0.3")


def logged(score: Any, decision_id: str) -> dict[str, Any]:
    body: dict[str, Any] = score.call("GET", f"/decisions/{decision_id}", query={"user_id": "anna"}).json
    return body


def test_shadows_are_logged_whole_and_learn_from_the_same_rewards(fresh: Any, table: Any, configure: Any) -> None:
    configure(shadows=["egreedy-v2", "squarecb", "linucb"])
    for number in range(4):
        body = fresh.call("POST", "/score", score_request()).json
        decision = logged(fresh, body["decision_id"])
        assert list(decision["evaluations"]) == ["igw-ucb", "egreedy-v2", "squarecb", "linucb"]
        assert body["policy"] == decision["policy"] == "igw-ucb"
        for name, seen in decision["evaluations"].items():
            assert math.fsum(seen["propensity"]) == pytest.approx(1, abs=1e-12)
            assert seen["schema_hash"] == registry.POLICIES[name].schema.hash
            assert len(seen["mean"]) == len(seen["width"]) == len(seen["score"]) == len(CANDIDATES)
        assert {row["id"]: row["propensity"] for row in body["ranking"]} == dict(
            zip((one["id"] for one in CANDIDATES), decision["evaluations"]["igw-ucb"]["propensity"], strict=True)
        )
        reward = {"user_id": "anna", "decision_id": body["decision_id"], "reward": 0.5}
        assert fresh.call("POST", "/reward", reward).json["applied"]
        for path in ("/stats/anna", "/stats/egreedy/v2/anna"):
            assert stats(fresh, path) == (number + 1, 0.5 * (number + 1))
    assert stats(fresh, "/stats/egreedy/anna") == (0, 0.0)


def test_shadows_learn_the_default_and_revisions_too(
    fresh: Any, table: Any, configure: Any, load_function: Callable[..., Any]
) -> None:
    configure(shadows=["egreedy-v2"])
    consume = load_function("consume", DEFAULT_REWARD="-0.3")
    decision_id = fresh.call("POST", "/score", score_request()).json["decision_id"]
    for event in expire(table, time.time() + 2 * 86_400):
        consume.invoke(event)
    assert stats(fresh, "/stats/egreedy/v2/anna") == (1, -0.3)
    fresh.call("POST", "/reward", {"user_id": "anna", "decision_id": decision_id, "reward": 0.5})
    for path in ("/stats/anna", "/stats/egreedy/v2/anna"):
        assert stats(fresh, path) == pytest.approx((1, 0.5), abs=1e-12)


class Broken(SquareCB):
    def replay(self, mean: Any, width: Any, parameters: Any) -> Any:
        raise ZeroDivisionError("anna-secret")


class Nonsense(SquareCB):
    def replay(self, mean: Any, width: Any, parameters: Any) -> Any:
        return dataclasses.replace(super().replay(mean, width, parameters), propensity=np.full(len(mean), np.nan))


@pytest.mark.parametrize("kind", [Broken, Nonsense, None])
def test_a_shadow_that_fails_is_logged_and_never_felt(
    load_function: Callable[..., Any],
    table: Any,
    configure: Any,
    kind: type[SquareCB] | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if kind is not None:
        broken = kind(name="squarecb", schema=registry.POLICIES["squarecb"].schema)
        monkeypatch.setitem(registry.POLICIES, "squarecb", broken)
    configure(shadows=["squarecb" if kind else "of-a-later-release", "egreedy-v2"])
    score = load_function("score", CONFIG_CACHE_SEC="0")
    answer = score.call("POST", "/score", score_request(explain=True))
    assert (answer.status, answer.json["degraded"], answer.json["logged"]) == (200, False, True)
    assert list(logged(score, answer.json["decision_id"])["evaluations"]) == ["igw-ucb", "egreedy-v2"]
    assert "ShadowFailed" in capsys.readouterr().out
    assert "secret" not in "".join(repr(record.__dict__) for record in caplog.records)


def test_policies_on_one_schema_form_one_belief(fresh: Any, configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(shadows=["squarecb", "lints"])
    calls = []
    original = Posterior.predict

    def predict(self: Posterior, X: Any) -> Any:
        calls.append(self)
        return original(self, X)

    monkeypatch.setattr(Posterior, "predict", predict)
    fresh.call("POST", "/score", score_request())
    assert len(calls) == 3
    assert len({id(one) for one in calls}) == 1


def test_the_configured_policy_is_active_and_the_request_still_has_its_say(fresh: Any, configure: Any) -> None:
    assert fresh.call("POST", "/score", score_request()).json["policy"] == "igw-ucb"
    configure(active_policy="squarecb", shadows=["igw-ucb"])
    body = fresh.call("POST", "/score", score_request()).json
    assert body["policy"] == "squarecb"
    assert list(logged(fresh, body["decision_id"])["evaluations"]) == ["squarecb", "igw-ucb"]
    assert fresh.call("GET", "/stats/anna").json["policy"] == "squarecb"
    assert fresh.call("POST", "/score", score_request(policy="linucb")).json["policy"] == "linucb"
    # The active one as a shadow of itself is one evaluation.
    body = fresh.call("POST", "/score", score_request(policy="igw-ucb")).json
    assert list(logged(fresh, body["decision_id"])["evaluations"]) == ["igw-ucb"]
    configure(active_policy="of-a-later-release")
    assert fresh.call("POST", "/score", score_request()).json["policy"] == "igw-ucb"


def test_the_configuration_is_read_again_after_the_cache_time_and_not_before(
    load_function: Callable[..., Any], table: Any, configure: Any
) -> None:
    score = load_function("score", CONFIG_CACHE_SEC="1.5")
    started = time.monotonic()
    assert score.call("POST", "/score", score_request()).json["policy"] == "igw-ucb"
    configure(active_policy="squarecb")
    body = score.call("POST", "/score", score_request()).json
    if time.monotonic() - started < 1.4:
        assert body["policy"] == "igw-ucb"
    time.sleep(1.6)
    assert score.call("POST", "/score", score_request()).json["policy"] == "squarecb"


def test_it_is_all_one_read_and_one_write(fresh: Any, configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(shadows=["egreedy-v2", "linucb"])
    calls: list[str] = []
    original = Table._call

    def call(self: Table, operation: str, **options: Any) -> Any:
        calls.append(operation)
        return original(self, operation, **options)

    monkeypatch.setattr(Table, "_call", call)
    fresh.call("POST", "/score", score_request())
    assert calls == ["batch_get_item", "batch_write_item"]


def test_a_damaged_configuration_leaves_the_last_good_one(
    fresh: Any, table: Any, configure: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(active_policy="squarecb")
    assert fresh.call("POST", "/score", score_request()).json["policy"] == "squarecb"
    key = {"pk": {"S": "C#CONFIG"}, "sk": {"S": "current"}}
    for damaged in ({"document": {"S": "{"}}, {"document": {"N": "1"}, "version": {"N": "2"}}, {}):
        table.client.put_item(TableName=table.name, Item={**key, **damaged})
        assert fresh.call("POST", "/score", score_request()).json["policy"] == "squarecb"
    assert "SharedKnowledgeDamaged" in capsys.readouterr().out


def experiment(**fields: Any) -> Experiment:
    start = datetime.now(UTC) - timedelta(hours=1)
    values = {"name": "first", "kind": "policy", "arms": {"squarecb": 0.5, "egreedy-v2": 0.3}, "salt": "s"}
    return Experiment(**{**values, "start": start, **fields})


def test_people_stay_in_their_arm_and_the_decision_says_which(fresh: Any, configure: Any) -> None:
    voices = experiment(name="voices", kind="prompt_version", arms={"v1": 0.5, "v2-mentor": 0.5})
    configure(experiments=[experiment(), voices])
    arms: Counter[str] = Counter()
    for number in range(60):
        user = f"user-{number}"
        bodies = [fresh.call("POST", "/score", score_request(user_id=user)).json for _ in range(2)]
        assert bodies[0]["policy"] == bodies[1]["policy"]
        arms[bodies[0]["policy"]] += 1
        decision = fresh.call("GET", f"/decisions/{bodies[0]['decision_id']}", query={"user_id": user}).json
        assert decision["experiments"].get("first", "igw-ucb") == bodies[0]["policy"]
        assert decision["experiments"]["voices"] in ("v1", "v2-mentor")
    assert arms.keys() == {"squarecb", "egreedy-v2", "igw-ucb"}
    assert arms["squarecb"] > arms["igw-ucb"]
    # Whoever names a policy gets it, and took no part.
    body = fresh.call("POST", "/score/egreedy", score_request(user_id="user-1")).json
    assert body["policy"] == "egreedy-v1"
    decision = fresh.call("GET", f"/decisions/{body['decision_id']}", query={"user_id": "user-1"}).json
    assert decision["experiments"].keys() == {"voices"}


def test_an_experiment_that_is_over_or_names_an_unknown_policy_changes_nothing(fresh: Any, configure: Any) -> None:
    over = experiment(arms={"squarecb": 1.0}, end=datetime.now(UTC) - timedelta(minutes=1))
    configure(experiments=[over])
    assert fresh.call("POST", "/score", score_request()).json["policy"] == "igw-ucb"
    configure(experiments=[experiment(arms={"of-a-later-release": 1.0})])
    body = fresh.call("POST", "/score", score_request()).json
    assert body["policy"] == "igw-ucb"
    assert logged(fresh, body["decision_id"])["experiments"] == {}


def test_shared_knowledge_that_cannot_be_read_does_not_hold_up_what_can(
    load_function: Callable[..., Any], table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person's own items answer; the batch that asks for the configuration too does not."""
    score = load_function("score")
    original = Table.get_all

    def get_all(self: Table, keys: Any) -> Any:
        if len(keys) > 3:
            raise TableUnavailable("slow")
        return original(self, keys)

    monkeypatch.setattr(Table, "get_all", get_all)
    degraded = [score.call("POST", "/score", score_request()).json["degraded"] for _ in range(4)]
    assert degraded[0]
    assert not all(degraded)


def test_statistics_from_which_no_belief_can_be_formed_degrade_the_answer(
    load_function: Callable[..., Any], table: Any, client: Table
) -> None:
    score = load_function("score")
    absurd = Statistics(np.full((32, 32), -1e308), np.full(32, 1e308), 5.0)
    learned = {CROSSED_V3.hash: SchemaLearning(absurd, "crossed-v3", CROSSED_V3.names, 1)}
    client.put(learning_item(keys.learning("anna"), UserLearning(1, schemas=learned)))
    answer = score.call("POST", "/score", score_request())
    assert (answer.status, answer.json["degraded"], answer.json["logged"]) == (200, True, True)


def test_a_damaged_decision_is_said_to_be_so_and_hides_no_other(fresh: Any, table: Any) -> None:
    first, second = (fresh.call("POST", "/score", score_request()).json["decision_id"] for _ in range(2))
    item = next(one for one in table.items() if one["sk"]["S"] == f"D#{first}")
    for damaged in (b"", b"\x01junk", b"\x07" + item["doc"]["B"][1:], item["doc"]["B"][:-9]):
        table.client.put_item(TableName=table.name, Item={**item, "doc": {"B": damaged}})
        reward = {"user_id": "anna", "decision_id": first, "action": "done"}
        calls = [
            fresh.call("POST", "/reward", reward),
            fresh.call("POST", "/activate", {"user_id": "anna", "decision_id": first}),
            fresh.call("GET", f"/decisions/{first}", query={"user_id": "anna"}),
        ]
        assert [(one.status, one.json["error"]["code"]) for one in calls] == [(503, "decision_unreadable")] * 3
        history = fresh.call("GET", "/features/anna").json["history"]
        assert [one["decision_id"] for one in history] == [second]
