"""The whole stack with the real functions, as `make dev` runs it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import botocore.session
import httpx
import pytest

from devstack.events import REGION, envelope, jetstream_batch
from devstack.stack import PortTaken, Stack
from devstack.template import ROOT
from tests.bridge_process import eventually, publish

CANDIDATES = [
    {"id": "rent", "features": {"is_overdue": True, "priority": 3}},
    {"id": "walk", "features": {"task_age_days": 2}},
]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    environment = {"DEFAULT_PROMPT_VERSION": "v2-mentor", "ACTIVE_POLICY": "linucb", "TABLE_NAME": "elsewhere"}
    with Stack(environment=environment, table_name="tips-stack-test") as stack:
        yield stack


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60, trust_env=False) as http:
        yield http


def test_a_decision_is_made_rewarded_and_learned(stack: Stack, http: httpx.Client) -> None:
    decision = http.post(f"{stack.score_url}/score", json={"user_id": "ann", "candidates": CANDIDATES}).json()
    assert decision["logged"] is True
    assert decision["policy"] == "linucb"  # of the environment, not of the template
    reward = {"user_id": "ann", "decision_id": decision["decision_id"], "action": "helpful"}
    assert http.post(f"{stack.score_url}/reward", json=reward).json()["applied"] is True
    assert http.get(f"{stack.score_url}/stats/ann").json()["pulls"] == 1


def test_events_are_consumed_through_the_invoke_api(stack: Stack, http: httpx.Client) -> None:
    decision = http.post(f"{stack.score_url}/score", json={"user_id": "bob", "candidates": CANDIDATES}).json()
    payload = {"user_id": "bob", "tip_id": decision["tip_id"], "decision_id": decision["decision_id"], "action": "done"}
    session = botocore.session.Session()
    client: Any = session.create_client("lambda", endpoint_url=stack.invoke_url, region_name=REGION)
    batch = jetstream_batch([("feedback.tip", envelope(payload)), ("feedback.tip", b"{broken")])
    answer = client.invoke(FunctionName="ConsumeFunction", Payload=json.dumps(batch).encode())
    assert json.loads(answer["Payload"].read()) == {"batchItemFailures": [{"itemIdentifier": "2"}]}
    assert http.get(f"{stack.score_url}/stats/bob").json()["pulls"] == 1
    client.close()


def test_tips_are_written_under_the_callers_default_prompt(stack: Stack, http: httpx.Client) -> None:
    answer = http.post(f"{stack.generate_url}/generate", json={"user_id": "ann", "n": 2}).json()
    assert answer["prompt_version"] == "v2-mentor"
    assert len(answer["candidates"]) == 2


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stack = Stack(invoke_port=port, environment={}, table_name="tips-port-test")
        with pytest.raises(PortTaken, match=f"{port}"), stack:
            pass


def dev(**ports: int) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT / "layers" / "shared"), str(ROOT)])
    free = {f"DEV_{name}_PORT": "0" for name in ("TABLE", "SCORE", "GENERATE", "INVOKE", "NATS", "BRIDGE")}
    chosen = {f"DEV_{name.upper()}_PORT": str(port) for name, port in ports.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "devstack"],
        env={**os.environ, "PYTHONPATH": path, **free, **chosen},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.thorough),
        pytest.param(signal.SIGTERM, marks=pytest.mark.long),
    ],
)
def test_the_command_prints_where_everything_is_and_stops_cleanly(stop: signal.Signals, http: httpx.Client) -> None:
    with dev() as process:
        assert process.stdout is not None
        printed = ""
        while "Ctrl-C" not in printed:
            line = process.stdout.readline()
            assert line, printed
            printed += line
        assert len(set(re.findall(r"http://127\.0\.0\.1:\d+", printed))) == 5
        command = re.search(r"curl -s (\S+) -d '(.*)'", printed)
        assert command
        answer: Any = http.post(command[1], content=command[2]).json()
        assert answer["explanation"]["sentence"]
        nats_url = re.search(r"nats://\S+", printed)
        assert nats_url
        event = envelope({"user_id": "ann", "tip_id": answer["tip_id"], "action": "done"})
        asyncio.run(publish(nats_url[0], ("feedback.tip", json.dumps(event).encode())))
        stats = command[1].replace("/score", "/stats/ann")
        eventually(lambda: http.get(stats).json()["pulls"] == 1)
        process.send_signal(stop)
        assert process.wait(10) == 0
        rest = process.stdout.read()
        assert "stopped" in rest
        assert "Traceback" not in rest


@pytest.mark.thorough
def test_the_command_says_which_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with dev(generate=port) as process:
            output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"port {port}" in output
    assert "DEV_GENERATE_PORT" in output
    assert "Traceback" not in output


@pytest.mark.thorough
def test_a_proxy_is_not_asked_for_what_is_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Stack() as stack:
        answer = httpx.post(f"{stack.score_url}/score", json={"user_id": "ann", "candidates": CANDIDATES}).json()
    assert (answer["degraded"], answer["logged"]) == (False, True)
