"""`tips skew`: the vectors that were logged are those that today's encoders give, or the first other one is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from offline.cli import main
from tests.conftest import LoadedFunction
from tests.lab.exports import HOUR_US, NOW, US, decision, exported
from tests.requests import score_request
from tips.bandit import registry
from tips.features.vectors import EGREEDY_V2, Encoder, Schema, Situation
from tips.state.decision_codec import decision_item

NOW_US = round(NOW.timestamp() * US)
PROFILE = {
    "completion_rate_30d": 1 / 3,
    "dismiss_rate_30d": 0.2,
    "mean_dwell_ms_30d": 90_000.0,
    "preferred_hour": 20.5,
    "tip_volume_30d": 17.0,
}
Tips = Callable[..., str]


@pytest.fixture
def tips(capsys: pytest.CaptureFixture[str]) -> Tips:
    def run(*arguments: str, code: int = 0) -> str:
        got = main(list(arguments))
        out, err = capsys.readouterr()
        assert got == code, err or out
        return err if code > 1 else out

    return run


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Two decisions, each with a vector of two schemas; in all of them nothing is without effect."""
    situations = [Situation(9.0, 2.0, PROFILE), Situation(22.0, 6.0, {**PROFILE, "tip_volume_30d": 3.0})]
    decisions = [
        decision(at_us=NOW_US - number * HOUR_US, situation=situation, chosen=0)
        for number, situation in zip((2, 1), situations, strict=True)
    ]
    exported([decision_item(one) for one in decisions], tmp_path / "export")
    return tmp_path / "export"


def with_changed(schema: Schema, name: str) -> Schema:
    """The schema after somebody has changed one encoder by a millionth, and not its definition."""

    def changed(encoder: Encoder) -> Encoder:
        for part in ("of_candidate", "of_category", "of_situation"):
            function: Callable[[Any], float] | None = getattr(encoder, part)
            if function is not None:
                parts: dict[str, Any] = {part: lambda given, function=function: function(given) + 1e-6}
                return replace(encoder, **parts)
        raise AssertionError(f"{encoder.name} computes nothing")

    encoders = tuple(changed(one) if one.name == name else one for one in schema.encoders)
    after = Schema(schema.name, encoders)
    assert after.hash == schema.hash
    return after


def use(monkeypatch: pytest.MonkeyPatch, schemas: Sequence[Schema]) -> None:
    """Have policies on these schemas alone."""
    policies = {one.name: replace(registry.POLICIES["linucb"], schema=one) for one in schemas}
    monkeypatch.setattr(registry, "POLICIES", policies)


def test_what_was_logged_is_what_is_computed_now(logs: Path, tips: Tips) -> None:
    told = tips("skew", "--logs", str(logs))
    assert "vectors compared  4" in told
    assert "differing         0" in told


@pytest.mark.parametrize("name", EGREEDY_V2.names)
def test_an_encoder_changed_by_a_millionth_is_named(
    name: str, logs: Path, tips: Tips, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, [with_changed(one, name) if one is EGREEDY_V2 else one for one in registry.SCHEMAS])
    told = tips("skew", "--logs", str(logs), code=1)
    assert f"{name} of schema egreedy-v2" in told
    assert "differing         2" in told


def test_the_first_difference_is_the_earliest(logs: Path, tips: Tips, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "hour_sin:overdue"
    schema = next(one for one in registry.SCHEMAS if name in one.names)
    use(monkeypatch, [with_changed(schema, name)])
    told = tips("skew", "--logs", str(logs), code=1)
    assert f"{name} of schema {schema.name}" in told
    assert decision(at_us=NOW_US - 2 * HOUR_US).decision_id in told


def test_vectors_of_schemas_that_are_gone_are_counted_and_no_difference(
    logs: Path, tips: Tips, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, [one for one in registry.SCHEMAS if one is not EGREEDY_V2])
    told = tips("skew", "--logs", str(logs))
    assert "vectors compared         2" in told
    assert f"schema {EGREEDY_V2.hash}  2 vectors" in told
    use(monkeypatch, [])
    assert "nothing could be compared" in tips("skew", "--logs", str(logs), code=1)


def test_decisions_of_the_real_handler_show_no_skew(
    load_function: Callable[..., LoadedFunction], table: Any, tips: Tips, tmp_path: Path
) -> None:
    score = load_function("score")
    for policy in ("igw-ucb", "egreedy-v2", "egreedy-v1", "linucb"):
        assert score.call("POST", "/score", score_request(policy=policy)).json["logged"]
    where = ("--table", table.name, "--endpoint", table.endpoint)
    tips("export", "--to", str(tmp_path / "export"), *where)
    assert "vectors compared  4" in tips("skew", "--logs", str(tmp_path / "export"))


def test_a_folder_that_is_no_export_is_named(tips: Tips, tmp_path: Path) -> None:
    assert "--logs" in tips("skew", "--logs", str(tmp_path), code=2)
