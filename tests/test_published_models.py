"""What `score` makes of a published model: its prior and its parameters together, or neither."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.conftest import LoadedFunction
from tests.requests import score_request
from tips.bandit.prior import Prior
from tips.bandit.registry import POLICIES
from tips.bandit.tuning import BOUNDS, parameters_of, tuned
from tips.features.crossed_v3 import CROSSED_V3
from tips.state import priors
from tips.state.priors import PolicyConfiguration, PublishedModel
from tips.state.table import Table

Item = dict[str, Any]
OWN = {"alpha": 0.3, "c": 300.0}


def prior(version: str, names: tuple[str, ...] = CROSSED_V3.names) -> Prior:
    d = len(names)
    return Prior(names, np.ones(1), np.full((1, d), 4.0), np.full((1, d), 0.1), 0.3, version)


def item(version: str = "p1", change: str = "c1", policies: Any = None, **attributes: Any) -> Item:
    """A published model's item; policies: what its JSON holds, by default igw-ucb with alpha 0.7."""
    model = PublishedModel("m", "1", CROSSED_V3.hash, {"igw-ucb": PolicyConfiguration("1", {"alpha": 0.7, "c": 90.0})})
    made = {
        **priors.prior_item(priors.in_use("crossed-v3"), prior(version)),
        **priors.model_attributes(model),
        "change": {"S": change},
    }
    if policies is not None:
        made["policies"] = {"S": policies if isinstance(policies, str) else json.dumps(policies)}
    return {**made, **attributes}


@pytest.fixture
def seen(
    load_function: Callable[..., LoadedFunction], client: Table, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[str | None, dict[str, float], str]]:
    """Puts an item in use and decides. Returns the prior's version, alpha and c, and what was printed."""
    score = load_function("score", CONFIG_CACHE_SEC="0")

    def run(stored: Item | None, policy: str = "igw-ucb") -> tuple[str | None, dict[str, float], str]:
        if stored is None:
            client.delete(*priors.in_use("crossed-v3"))
        else:
            client.put(stored)
        capsys.readouterr()
        answer = score.call("POST", "/score", score_request(policy=policy))
        assert answer.status == 200
        printed = capsys.readouterr().out
        got = score.call("GET", f"/decisions/{answer.json['decision_id']}", query={"user_id": "anna"}).json
        one = got["evaluations"][policy]
        return one["prior"], one["parameters"], printed

    return run


def own(parameters: dict[str, float]) -> bool:
    return parameters["alpha"] == OWN["alpha"]


def test_prior_and_parameters_are_taken_over_together_and_given_up_together(seen: Any) -> None:
    version, parameters, printed = seen(item())
    assert (version, parameters["alpha"]) == ("p1", 0.7)
    assert "ModelOfOtherSchema" not in printed
    version, parameters, _ = seen(None)
    assert version is None
    assert own(parameters)


def test_an_item_from_before_there_were_models_is_a_prior_alone(seen: Any) -> None:
    seen(item())
    version, parameters, printed = seen(priors.prior_item(priors.in_use("crossed-v3"), prior("p1")))
    assert version == "p1"
    assert own(parameters), "the same prior, and no model's parameters any more"
    assert "SharedKnowledgeDamaged" not in printed


def test_a_change_of_parameters_alone_is_noticed(seen: Any) -> None:
    seen(item())
    _, parameters, _ = seen(item(change="c2", policies={"igw-ucb": ["1", {"alpha": 1.1}]}))
    assert parameters["alpha"] == 1.1


@pytest.mark.parametrize(
    "policies",
    [
        {"igw-ucb": ["1", {"alpha": 11.0}]},
        {"igw-ucb": ["1", {"alpha": -0.1}]},
        {"igw-ucb": ["1", {"alpha": "1"}]},
        {"igw-ucb": ["1", {"alpha": True}]},
        {"igw-ucb": ["1", {"alpha": None}]},
        {"igw-ucb": ["1", {"beta": 1.0}]},
        {"igw-ucb": ["1", {"min_explore": 0.5}]},
        {"igw-ucb": ["1", {"name": "x"}]},
        {"igw-ucb": {"alpha": 1.0}},
        {"igw-ucb": ["1"]},
        {"igw-ucb": None},
        {"exp4": ["1", {}]},
        {"egreedy-v2": ["1", {"epsilon": 0.2}]},
        ["igw-ucb"],
        "null",
        '{"igw-ucb": ["1", {"alpha": NaN}]}',
        '{"igw-ucb": ["1", {"alpha": 1e999}]}',
        '{"igw-ucb": ["1", {"alpha": 1%s}]}' % ("0" * 400),
        "no JSON",
    ],
)
def test_what_cannot_be_meant_is_refused_whole_and_the_last_good_stays(seen: Any, policies: Any) -> None:
    seen(item())
    version, parameters, printed = seen(item("p2", "c2", policies))
    assert (version, parameters["alpha"]) == ("p1", 0.7)
    assert "SharedKnowledgeDamaged" in printed


@pytest.mark.parametrize(
    "broken",
    [
        {"model": {"S": "x"}},
        {"model": {"N": "1"}},
        {"schema_hash": {"N": "1"}},
        {"data": {"B": b"x"}},
        {"change": {"N": "1"}},
    ],
)
def test_a_damaged_item_is_refused_even_by_one_that_just_started(seen: Any, broken: Item) -> None:
    version, parameters, printed = seen({**item(), **broken})
    assert version is None
    assert own(parameters)
    assert "SharedKnowledgeDamaged" in printed


def test_a_prior_that_no_posterior_can_be_made_of_is_refused(seen: Any) -> None:
    d = len(CROSSED_V3.names)
    absurd = Prior(CROSSED_V3.names, np.full(2, 0.5), np.full((2, d), 4.0), np.full((2, d), 1e160), 0.3, "p9")
    version, parameters, printed = seen({**item(), **priors.prior_item(priors.in_use("crossed-v3"), absurd)})
    assert version is None
    assert own(parameters)
    assert "SharedKnowledgeDamaged" in printed


def test_a_model_of_another_schema_is_mapped_by_name_and_counted(seen: Any) -> None:
    names = (*CROSSED_V3.names[:-1], "gone")
    stored = item(schema_hash={"S": "0" * 16}) | priors.prior_item(priors.in_use("crossed-v3"), prior("p3", names))
    version, parameters, printed = seen(stored)
    assert (version, parameters["alpha"]) == ("p3", 0.7)
    assert '"ModelOfOtherSchema":[1.0]' in printed
    assert "ModelOfOtherSchema" not in seen(stored)[2], "counted when it is taken over, not at each read"


def test_parameters_of_another_version_of_a_policy_are_left_and_counted(seen: Any) -> None:
    version, parameters, printed = seen(item(policies={"igw-ucb": ["2", {"alpha": 0.7}]}))
    assert version == "p1"
    assert own(parameters)
    assert '"ParametersOfOtherVersion":[1.0]' in printed


def test_every_policy_has_bounds_that_hold_its_own_parameters() -> None:
    assert BOUNDS.keys() == POLICIES.keys()
    for policy in POLICIES.values():
        assert tuned(policy, parameters_of(policy)) == policy
        assert parameters_of(policy), "a model could say nothing of it"


def test_parameters_are_stored_exactly() -> None:
    exact = PublishedModel("m", "7", "0" * 16, {"igw-ucb": PolicyConfiguration("1", {"alpha": 0.1 + 0.2})})
    assert priors.read_model(priors.model_attributes(exact)) == exact
    assert priors.read_model({"data": {"B": b""}}) is None
