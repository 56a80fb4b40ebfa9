"""`bench.generate` measures what it says: all sides make the same call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench import generate
from bench.generate_tables import markdown
from bench.instant_model import MODEL, InstantModel
from bench.timing import Times, interleaved, more
from devstack.template import ROOT
from tips.llm.models import Model
from tips.prompts.registry import prompts

PROMPT = prompts()["v1"]


def run(code: str) -> Any:
    """Run code in a fresh process, where LiteLLM is as it comes, and return what it prints last."""
    path = os.pathsep.join(map(str, (ROOT / "layers" / "shared", ROOT)))
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.long
def test_all_sides_make_one_call_and_only_litellm_keeps_its_connection() -> None:
    # That they send the same body and read the same answer is checked whenever it is measured.
    opened = run(
        "import json; from bench.gateway_case import case, connections\n"
        "with case() as measured: opened = connections(measured)\n"
        "print(json.dumps(opened))"
    )
    assert opened == {"direct": 0.0, "closed": 1.0, "gateway": 1.0, "written": 1.0}


@pytest.mark.long
def test_another_body_is_not_measured() -> None:
    said = run(
        "import dataclasses, json; from bench import gateway_case\n"
        "model = gateway_case.Model\n"
        "gateway_case.Model = lambda name, base, key: model('another', base, key)\n"
        "try:\n"
        "    with gateway_case.case(): said = 'measured'\n"
        "except RuntimeError as error: said = str(error)[:17]\n"
        "print(json.dumps(said))"
    )
    assert said == "not the same call"


def test_the_model_names_what_it_heard_and_what_it_costs() -> None:
    import asyncio

    from tips.llm import gateway

    with InstantModel("[]") as server:
        model = Model("tip-generator", f"{server.url}/v1", "key")
        asked = PROMPT.render({}, 3)
        answer = asyncio.run(gateway.complete(model, asked, PROMPT.parameters, 5.0))
        heard = server.heard()
        assert (heard.calls, heard.connections, heard.body["messages"]) == (1, 1, asked)
        assert (answer.text, answer.model) == ("[]", MODEL)
        assert answer.cost_usd is not None
        assert answer.cost_usd > 0
        assert server.heard().calls == 0


def test_differences_are_taken_round_by_round() -> None:
    times, base = Times([3000.0, 9000.0, 5000.0], [2000.0] * 3), Times([2000.0, 8000.0, 3000.0], [1500.0] * 3)
    assert more(times, base) == {"more_ms": 1.0, "low": 1.0, "high": 1.5, "processor": 0.5}


def test_what_comes_between_is_off_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]

    def passes(microseconds: int) -> None:
        now[0] += microseconds * 1000

    monkeypatch.setattr(time, "perf_counter_ns", lambda: now[0])
    monkeypatch.setattr(time, "thread_time_ns", lambda: now[0])
    times = interleaved({"a": lambda: passes(5)}, rounds=2, per_round=3, between=lambda: passes(1000))
    assert times["a"] == Times([5.0, 5.0], [5.0, 5.0])
    assert now == [9 * 1_005_000]


@pytest.mark.long
def test_a_quick_run_reports_all_that_the_tables_need(tmp_path: Path) -> None:
    out = tmp_path / "generate.json"
    path = os.pathsep.join(map(str, (ROOT / "layers" / "shared", ROOT)))
    command = [sys.executable, "-m", "bench.generate", "--quick", "--out", str(out)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, check=True
    )
    result = json.loads(out.read_text())
    calls = {row["name"]: row for row in result["calls"]}
    assert list(calls) == ["direct", "closed", "gateway", "written"]
    assert calls["direct"]["more_ms"] == 0.0
    for row in calls.values():
        assert row["low"] <= row["more_ms"] <= row["high"]
    assert result["call_bar"] == {"more_ms": generate.MORE_MS, "met": calls["gateway"]["more_ms"] <= generate.MORE_MS}
    assert markdown(result) in done.stdout
