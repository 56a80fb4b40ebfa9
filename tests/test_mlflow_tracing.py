"""Tracing with the real MLflow package, against a recorder of its REST calls on loopback."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from devstack.http_server import HttpServer
from devstack.template import ROOT
from tests.conftest import LoadedFunction, LocalTable
from tests.model_server import ModelServer
from tips import telemetry
from tips.llm import tracing

SECRET = "Call Mr Bellweather about the divorce"


@dataclass(frozen=True)
class CallTrace:
    model: str
    outcome: str
    latency_ms: float
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


CALLS = [
    CallTrace("tip-generator", "timeout", 900.0, 0, 0, None),
    CallTrace("spare", "ok", 350.0, 120, 40, 0.0021),
]
GENERATION: dict[str, object] = {
    "generation_id": "01J00000000000000000000000",
    "model": "spare",
    "prompt_version": "v2-mentor",
    "prompt_tokens": 120,
    "completion_tokens": 40,
    "attempts": 2,
    "fallback": False,
    "cost_usd": 0.0021,
    "failures": ["timeout"],
    "latency_ms": 1300,
}


class TrackingServer:
    """As much of an MLflow server as a trace needs; keeps what it was sent."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.traces: list[dict[str, Any]] = []
        self.spans: list[Any] = []
        self.bytes = b""
        self.status = 200
        self.hold = threading.Event()
        self.hold.set()
        self._server = HttpServer("tracking server", self._serve)
        self.url = self._server.url

    def stop(self) -> None:
        self.hold.set()
        self._server.stop()

    def _serve(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        path = environ["PATH_INFO"]
        self.paths.append(path)
        self.bytes += body
        self.hold.wait(10)
        answer = b"{}"
        if path == "/version":
            answer = b"3.17.2"
        elif path == "/v1/traces":
            self.spans += spans_of(body)
        elif self.status == 200:
            trace = json.loads(body)["trace"]
            self.traces.append(trace["trace_info"])
            # The spans are already stored: no artifact is asked for.
            trace["trace_info"]["tags"]["mlflow.trace.spansLocation"] = "TRACKING_STORE"
            answer = json.dumps({"trace": trace}).encode()
        start_response(f"{self.status} Status", [("Content-Length", str(len(answer)))])
        return [answer]


def spans_of(body: bytes) -> list[Any]:
    request = ExportTraceServiceRequest.FromString(body)
    return [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]


def attributes(span: Any) -> dict[str, Any]:
    return plain(span.attributes)


def plain(pairs: Iterable[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        value: Any = getattr(pair.value, kind) if kind else None
        found[pair.key] = plain(value.values) if kind == "kvlist_value" else value
    return found


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TrackingServer]:
    server = TrackingServer()
    use(monkeypatch, server.url)
    yield server
    server.stop()
    if tracing._running is not None:
        tracing._running.join(10)


def use(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    """Point MLflow, which keeps to the first server it finds in a process, to `uri`."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
    monkeypatch.setattr(tracing, "_pause_until", 0.0)
    tracing.load().tracing.reset()


@dataclass
class Said:
    """What was warned of (with its extra fields) and counted."""

    warnings: list[dict[str, Any]]
    counted: list[str]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    said = Said([], [])
    monkeypatch.setattr(telemetry.logger, "warning", lambda message, extra: said.warnings.append(extra))
    monkeypatch.setattr(telemetry, "count", said.counted.append)
    return said


def test_a_generation_is_one_trace_with_a_span_per_call(server: TrackingServer, said: Said) -> None:
    tracing.trace(GENERATION, CALLS)
    assert (said.warnings, said.counted) == ([], [])
    (info,) = server.traces
    assert info["trace_location"]["mlflow_experiment"]["experiment_id"] == "0"
    assert info["tags"]["prompt_version"] == "v2-mentor"
    assert info["tags"]["model"] == "spare"
    (whole,) = (span for span in server.spans if span.name == "generate")
    assert attributes(whole).keys() >= GENERATION.keys()
    assert whole.end_time_unix_nano - whole.start_time_unix_nano == 1_300_000_000
    first, second = (span for span in server.spans if span.name == "model call")
    assert [span.parent_span_id for span in (first, second)] == [whole.span_id] * 2
    assert attributes(first)["outcome"] == "timeout"
    assert attributes(second)["model"] == "spare"
    assert attributes(second)["mlflow.chat.tokenUsage"]["total_tokens"] == 160
    assert attributes(second)["cost_usd"] == 0.0021
    assert "cost_usd" not in attributes(first)
    assert first.end_time_unix_nano - first.start_time_unix_nano == 900_000_000
    assert second.start_time_unix_nano == first.end_time_unix_nano
    assert first.status.code != second.status.code


def test_an_experiment_can_be_named_by_its_number(server: TrackingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "7")
    tracing.trace(GENERATION, [])
    assert server.traces[0]["trace_location"]["mlflow_experiment"]["experiment_id"] == "7"


def test_nothing_is_traced_or_imported_without_the_variable(server: TrackingServer) -> None:
    code = "import sys; from tips.llm import tracing; tracing.trace({}, []); assert 'mlflow' not in sys.modules"
    environment = {"PYTHONPATH": "layers/shared"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
    assert server.paths == []


def test_a_server_that_is_away_is_warned_of_once(monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    use(monkeypatch, "http://ann:hunter2@127.0.0.1:1")
    for _ in range(3):
        tracing.trace(GENERATION, CALLS)
    assert said.counted == ["TraceFailed"] * 3
    assert len(said.warnings) == 1
    assert "hunter2" not in str(said)


def test_a_server_is_asked_again_after_the_pause(server: TrackingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.status = 500
    tracing.trace(GENERATION, CALLS)
    server.status = 200
    tracing.trace(GENERATION, CALLS)
    assert server.traces == []
    monkeypatch.setattr(tracing, "_pause_until", time.monotonic())
    tracing.trace(GENERATION, CALLS)
    assert len(server.traces) == 1


def test_a_server_that_hangs_is_not_waited_for(
    server: TrackingServer, monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    assert tracing.LONGEST_WAIT_SEC <= 1.0
    monkeypatch.setattr(tracing, "LONGEST_WAIT_SEC", 0.2)
    server.hold.clear()
    started = time.monotonic()
    tracing.trace(GENERATION, CALLS)
    assert time.monotonic() - started < 1.0
    assert len(said.counted) == len(said.warnings) == 1
    # Threads that hang do not pile up, even when the pause is over.
    monkeypatch.setattr(tracing, "_pause_until", 0.0)
    hanging = tracing._running
    tracing.trace(GENERATION, CALLS)
    assert tracing._running is hanging
    assert len(said.counted) == 2


def test_a_package_that_is_missing_costs_a_warning(monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    use(monkeypatch, "http://127.0.0.1:1")
    tracing.load.cache_clear()
    monkeypatch.setitem(sys.modules, "mlflow", None)
    tracing.trace(GENERATION, CALLS)
    assert said.counted == ["TraceFailed"]
    assert [warning["reason"] for warning in said.warnings] == ["ModuleNotFoundError"]


def test_generate_traces_each_request_and_no_text(
    server: TrackingServer,
    load_function: Callable[..., LoadedFunction],
    table: LocalTable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ModelServer() as model:
        generate = load_function("generate", LITELLM_URL=model.url)
        monkeypatch.setattr(tracing, "LONGEST_WAIT_SEC", 30.0)
        context = {"tasks": [{"id": "t1", "content": SECRET}], "snippets": [SECRET]}
        answer = generate.call("POST", "/generate", {"user_id": "secretive-user", "context": context})
    assert answer.status == 200
    (info,) = server.traces
    assert info["tags"]["prompt_version"] == answer.json["prompt_version"]
    names = sorted(span.name for span in server.spans)
    assert names == ["generate", "model call"]
    (call,) = (attributes(span) for span in server.spans if span.name == "model call")
    assert (call["model"], call["outcome"]) == ("tip-generator", "ok")
    for text in (SECRET, "secretive-user", *(tip["content"] for tip in answer.json["candidates"])):
        assert text.encode() not in server.bytes
