"""One MLflow trace per generation, where `MLFLOW_TRACKING_URI` is set: numbers and names, never text.

The package `mlflow-tracing` is not part of the artifact; see docs/deploy.md for how to add it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from functools import cache
from threading import Thread
from types import ModuleType
from typing import Protocol

from tips import telemetry

LONGEST_WAIT_SEC = 1.0
PAUSE_SEC = 60.0
"""How long nothing is traced after a failure: a server that is away must not slow every answer down."""

_pause_until = 0.0
_running: Thread | None = None


class Call(Protocol):
    """One call of a model; `outcome` is `ok` or the code of its failure."""

    @property
    def model(self) -> str: ...
    @property
    def outcome(self) -> str: ...
    @property
    def latency_ms(self) -> float: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def completion_tokens(self) -> int: ...
    @property
    def cost_usd(self) -> float | None: ...


class _Complaints(logging.Handler):
    """Hears MLflow fail: it logs what went wrong, with addresses, and raises nothing."""

    heard = False

    def emit(self, record: logging.LogRecord) -> None:
        self.heard = True


_complaints = _Complaints(logging.WARNING)


@cache
def load() -> ModuleType:
    """Import MLflow, half a second that is best spent at init; raises `ImportError` where it is not installed."""
    # Read at import. What it would send of itself goes to its makers; Lambda freezes right after the answer, so
    # nothing may be left to a background queue; and it would try seven times, for two minutes each.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = "false"
    os.environ["MLFLOW_CONFIGURE_LOGGING"] = "false"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    import mlflow

    logger = logging.getLogger("mlflow")
    logger.addHandler(_complaints)
    logger.propagate = False
    return mlflow


def trace(generation: Mapping[str, object], calls: Sequence[Call], wait_sec: float = LONGEST_WAIT_SEC) -> None:
    """Send one trace with a span per call, where `MLFLOW_TRACKING_URI` is set; raises nothing.

    `generation` has numbers, names and codes, among them `latency_ms`. Takes `wait_sec`, and at most
    `LONGEST_WAIT_SEC`, beside the import the first time; a trace not stored by then is counted as `TraceFailed`.
    """
    global _pause_until, _running
    if not os.environ.get("MLFLOW_TRACKING_URI", "").strip():
        return
    if time.monotonic() < _pause_until or (_running is not None and _running.is_alive()):
        telemetry.count("TraceFailed")
        return
    failure: list[str] = []

    def send() -> None:
        try:
            _send(generation, calls)
        except Exception as error:  # its text may hold the address, with a password
            failure.append(type(error).__name__)

    _complaints.heard = False
    try:
        load()
        _running = Thread(target=send, name="MLflow trace", daemon=True)
        _running.start()
        _running.join(min(wait_sec, LONGEST_WAIT_SEC))
        if _running.is_alive():
            failure.append("late")
        elif _complaints.heard:
            failure.append("not stored")
    except Exception as error:
        failure.append(type(error).__name__)
    if failure:
        _pause_until = time.monotonic() + PAUSE_SEC
        telemetry.count("TraceFailed")
        telemetry.logger.warning("no trace was stored", extra={"reason": failure[0], "pause_sec": PAUSE_SEC})


def _send(generation: Mapping[str, object], calls: Sequence[Call]) -> None:
    mlflow = load()
    end = time.time_ns()
    latency_ms = generation.get("latency_ms")
    start = end - (_nanoseconds(latency_ms) if isinstance(latency_ms, int | float) else 0)
    root = mlflow.start_span_no_context(
        "generate",
        span_type="CHAIN",
        attributes=_plain(generation),
        tags={name: str(generation[name]) for name in ("model", "prompt_version") if name in generation},
        # By its number: the small package cannot look one up by name. 0 is every server's default experiment.
        experiment_id=os.environ.get("MLFLOW_EXPERIMENT_ID", "").strip() or "0",
        start_time_ns=start,
    )
    # One after another, as they were made; what lay between them is not known here.
    for call in calls:
        stop = start + _nanoseconds(call.latency_ms)
        span = mlflow.start_span_no_context("model call", span_type="LLM", parent_span=root, start_time_ns=start)
        span.set_attributes(_attributes(call))
        span.end(status="OK" if call.outcome == "ok" else "ERROR", end_time_ns=stop)
        start = stop
    root.end(end_time_ns=max(end, start))


def _nanoseconds(milliseconds: float) -> int:
    return round(milliseconds * 1_000_000)


def _plain(generation: Mapping[str, object]) -> dict[str, object]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in generation.items()}


def _attributes(call: Call) -> dict[str, object]:
    usage = {
        "input_tokens": call.prompt_tokens,
        "output_tokens": call.completion_tokens,
        "total_tokens": call.prompt_tokens + call.completion_tokens,
    }
    attributes: dict[str, object] = {
        "model": call.model,
        "outcome": call.outcome,
        "latency_ms": call.latency_ms,
        "mlflow.chat.tokenUsage": usage,  # MLflow sums these up over a trace
    }
    if call.cost_usd is not None:
        attributes["cost_usd"] = call.cost_usd
    return attributes
