"""`bench.cold` measures what it says: fresh environments in turn, the floor does all that we do and nothing of ours."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from bench import cold, cold_naive, cold_sides
from bench.cold_sides import Side, Sides, Start, functions, processor_ns, sides
from bench.cold_tables import markdown
from devstack.template import ROOT, FunctionDefinition


@dataclass
class Fake:
    """A side whose every start takes a given time longer than the one before."""

    name: str
    begun: list[str]
    walls: list[float]
    taken: list[float] = field(default_factory=list)

    def start(self) -> Start:
        self.begun.append(self.name)
        self.taken.append(self.walls[len(self.taken)])
        return Start(self.taken[-1], 10 * self.taken[-1], {})


def test_sides_start_in_turn_and_the_first_round_does_not_count() -> None:
    begun: list[str] = []
    fakes = {"ours": Fake("ours", begun, [99.0, 4.0, 6.0]), "floor": Fake("floor", begun, [1.0, 2.0, 4.0])}
    times = cold.alternating(cast(dict[str, Side], fakes), rounds=2)
    assert begun == ["floor", "ours", "ours", "floor", "floor", "ours"]
    assert (times["ours"].wall, times["ours"].processor) == ([4.0, 6.0], [40.0, 60.0])
    assert times["floor"].wall == [2.0, 4.0]


@pytest.mark.parametrize(("name", "over_naive"), [("score", True), ("consume", False)])
def test_ratios_are_of_one_round_and_held_against_the_bars(
    monkeypatch: pytest.MonkeyPatch, name: str, over_naive: bool
) -> None:
    class Compared:
        def __enter__(self) -> Sides:
            begun: list[str] = []
            walls = {"ours": [0, 4000, 9000], "floor": [0, 2000, 9000], "naive": [0, 16000, 18000]}
            fakes = {side: Fake(side, begun, list(map(float, each))) for side, each in walls.items()}
            return Sides(cast(dict[str, Side], fakes), 3, {"BatchGetItem": 1})

        def __exit__(self, *_: object) -> None:
            """Nothing was started."""

    monkeypatch.setattr(cold, "sides", lambda function, build: Compared())
    (function,) = (one for one in functions() if one.name == name)
    measured = cold.measure(function, Path(), rounds=2)
    rows = {row["name"]: row for row in measured["rows"]}
    # 2.0 and 1.0 over the floor: not 6.5 over 5.5, which medians apart would give.
    assert (rows["floor"]["ratio"], rows["floor"]["low"], rows["floor"]["high"]) == (1.5, 1.25, 1.75)
    assert (rows["floor"]["ms"], rows["floor"]["processor_ms"]) == (5.5, 55.0)
    assert rows["naive"]["ratio"] == 0.375
    expected = [{"side": "floor", "ratio": 1.15, "met": False}]
    assert measured["bars"] == expected + [{"side": "naive", "ratio": 0.45, "met": True}] * over_naive


def test_a_process_s_time_is_that_of_its_processor() -> None:
    began = time.process_time_ns()
    before = processor_ns(os.getpid())
    sum(range(300_000))
    after = processor_ns(os.getpid())
    assert began <= before < after <= time.process_time_ns()


def test_the_naive_build_has_boto3_s_client_no_bytecode_and_our_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, str] = {}

    def install(requirements: Path, target: Path, minor: str, arch: str) -> None:
        target.mkdir(parents=True)
        asked[target.name] = requirements.read_text()

    monkeypatch.setattr(cold_naive, "install", install)
    definition = FunctionDefinition("ConsumeFunction", ROOT / "functions" / "consume")
    cold_naive.build_naive(definition, tmp_path)
    table = (tmp_path / "SharedLayer" / "python" / "tips" / "state" / "table.py").read_text()
    assert "client = __import__('boto3').client(\n" in table
    assert (tmp_path / "ConsumeFunction" / "app.py").exists()
    assert not list(tmp_path.rglob("*.pyc"))
    pins = [line.partition("==")[0] for line in asked["ConsumeFunction"].splitlines() if "==" in line]
    assert {"boto3", "s3transfer", "botocore", "numpy"} <= set(pins)
    assert asked["ConsumeFunction"].count("--hash") >= 2 * len(["boto3", "s3transfer"])
    assert "pydantic" in asked["python"]


def test_a_client_made_elsewhere_is_no_naive_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_naive, "install", lambda requirements, target, minor, arch: target.mkdir(parents=True))
    monkeypatch.setattr(cold_naive, "_OURS", "_session.client_of_another_name(")
    definition = FunctionDefinition("ConsumeFunction", ROOT / "functions" / "consume")
    with pytest.raises(RuntimeError, match="makes no client"):
        cold_naive.build_naive(definition, tmp_path)


@pytest.mark.emulator
def test_the_floor_imports_and_calls_what_the_function_does() -> None:
    (consume,) = (one for one in functions() if one.name == "consume")
    with sides(consume, naive=False) as compared:
        started = {name: side.start() for name, side in compared.sides.items()}
    assert compared.calls == {"BatchGetItem": 1, "TransactWriteItems": 1}
    assert compared.modules > 100
    assert list(started) == ["ours", "floor", "spared"]
    assert started["ours"].answer == started["floor"].answer == {"batchItemFailures": []}
    for one in started.values():
        assert one.processor > 0
        assert one.wall > 0


@pytest.mark.emulator
def test_a_floor_that_makes_other_calls_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_sides, "_method", lambda operation: "batch_get_item")
    monkeypatch.setattr(
        cold_sides, "arguments", lambda body: {"RequestItems": {"tips": {"Keys": [{"pk": {"S": "a"}}]}}}
    )
    (consume,) = (one for one in functions() if one.name == "consume")
    with pytest.raises(RuntimeError, match="not the same calls"), sides(consume, naive=False):
        raise AssertionError("it was to be measured")


@pytest.mark.emulator
def test_a_floor_that_imports_more_is_not_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("cold_record", "cold_floor", "cold_bare"):
        (tmp_path / f"{name}.py").write_text((cold_sides.HERE / f"{name}.py").read_text())
    with (tmp_path / "cold_floor.py").open("a") as floor:
        floor.write("\nimport wave\n")
    monkeypatch.setattr(cold_sides, "HERE", tmp_path)
    (consume,) = (one for one in functions() if one.name == "consume")
    with (
        pytest.raises(RuntimeError, match=r"not the same imports for the floor: \['wave'\]"),
        sides(consume, naive=False),
    ):
        raise AssertionError("it was to be measured")


@pytest.mark.emulator
def test_an_error_is_no_first_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    (consume,) = (one for one in functions() if one.name == "consume")
    with sides(consume, naive=False) as compared, pytest.raises(RuntimeError, match="not the answer to measure"):
        Side(compared.sides["ours"].environments, {"no": "event"}).start()


@pytest.mark.emulator
@pytest.mark.long
def test_a_quick_run_reports_all_that_the_tables_need(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])  # it is changed
    out = tmp_path / "cold.json"
    assert cold.main(["--quick", "--out", str(out)]) == 0
    result: dict[str, Any] = json.loads(out.read_text())
    assert (result["quick"], result["rounds"]) == (True, 2)
    rows = {one["function"]: [row["name"] for row in one["rows"]] for one in result["functions"]}
    assert rows == {
        "score": ["ours", "floor", "spared", "bare", "naive"],
        "consume": ["ours", "floor", "spared", "naive"],
        "generate": ["ours", "floor", "spared", "/health", "/prompts", "naive"],
    }
    for one in result["functions"]:
        for row in one["rows"]:
            assert 0 < row["low"] <= row["ratio"] <= row["high"]
    assert markdown(result) in capsys.readouterr().out
