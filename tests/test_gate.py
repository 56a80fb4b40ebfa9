"""The gate before a promotion: each condition alone refuses, and what has no evidence is not met."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from offline.experiments.gate import Evidence, Thresholds, difference_between, judged

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ASKED = Thresholds(margin=0.05, shadow=1000, effective_sample=200.0, seeds=3, age=timedelta(days=14))


def evaluation(low: float = -0.04, high: float = 0.1, ess: float = 500.0, **said: Any) -> dict[str, Any]:
    return {
        "policy": "lints",
        "against": "igw-ucb",
        "difference": {"confidence_sequence": {"low": low, "high": high, "decisions": 4000}},
        "overlap": {"effective_sample_size": ess, "propensity_p_value": 0.5},
        **said,
    }


def simulation(low: float | None = -0.04, high: float | None = 0.1, **said: Any) -> dict[str, Any]:
    return {
        "seeds": [0, 1, 2],
        "policy_versions": {"lints": "1", "igw-ucb": "1"},
        "differences": [{"policy": "lints", "against": "igw-ucb", "seeds": 3, "mean": 0.03, "low": low, "high": high}],
        **said,
    }


GOOD = Evidence(
    policy="lints",
    active="igw-ucb",
    version="1",
    active_version="1",
    now=NOW,
    data_hash="abc",
    shadow_decisions=1000,
    exported_at=NOW - timedelta(days=13),
    evaluation=evaluation(),
    simulation=simulation(),
)


def unmet(evidence: Evidence) -> list[str]:
    return [one.name for one in judged(evidence, ASKED) if not one.passed]


def test_all_conditions_are_met_at_their_thresholds() -> None:
    assert unmet(GOOD) == []
    assert unmet(replace(GOOD, evaluation=evaluation(ess=200.0))) == []


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("shadow", {"shadow_decisions": 999}),
        ("recent", {"exported_at": NOW - timedelta(days=14, seconds=1)}),
        ("recent", {"exported_at": NOW + timedelta(hours=1)}),
        ("recent", {"exported_at": None}),
        ("not-worse", {"evaluation": evaluation(low=-0.05)}),
        ("not-worse", {"evaluation": evaluation(low=math.nan)}),
        ("not-worse", {"evaluation": evaluation(policy="squarecb")}),
        ("not-worse", {"evaluation": evaluation(against="linucb")}),
        ("effective-sample", {"evaluation": evaluation(ess=199.0)}),
        ("effective-sample", {"evaluation": evaluation(ess=math.nan)}),
        ("simulation", {"simulation": None}),
        ("simulation", {"simulation": simulation(low=-0.05)}),
        ("simulation", {"simulation": simulation(low=math.nan)}),
        ("simulation", {"simulation": simulation(seeds=[0, 1])}),
        (
            "probabilities",
            {"evaluation": evaluation(overlap={"effective_sample_size": 500.0, "propensity_p_value": 1e-6})},
        ),
        ("simulation", {"simulation": simulation(seeds=[1, 1, 1])}),
        ("simulation", {"simulation": simulation(differences=[{**simulation()["differences"][0], "seeds": 2}])}),
        ("simulation", {"simulation": simulation(low=None, high=None)}),
        ("simulation", {"simulation": simulation(policy_versions={"lints": "2", "igw-ucb": "1"})}),
        ("simulation", {"simulation": simulation(policy_versions={"lints": "1", "igw-ucb": "0"})}),
        ("simulation", {"simulation": simulation(policy_versions={"lints": "1"})}),
        ("simulation", {"simulation": simulation(differences=[])}),
        ("card", {"card_lacks": ["no offline metrics"]}),
    ],
)
def test_each_condition_alone_refuses(name: str, changed: dict[str, Any]) -> None:
    assert unmet(replace(GOOD, **changed)) == [name]


def test_without_any_evidence_nothing_is_taken_for_granted() -> None:
    nothing = Evidence("lints", "igw-ucb", "1", "1", NOW, card_lacks=["no card"])
    assert len(unmet(nothing)) == len(judged(nothing, ASKED)) == 7


def test_a_difference_is_read_from_either_side() -> None:
    assert difference_between(simulation(-0.04, 0.1), "lints", "igw-ucb") == (-0.04, 0.1, 3)
    assert difference_between(simulation(-0.04, 0.1), "igw-ucb", "lints") == (-0.1, 0.04, 3)
    assert difference_between(simulation(), "igw-ucb", "squarecb") is None
