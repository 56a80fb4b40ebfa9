"""When `generate` loads LiteLLM, and who waits for it: whoever wants a tip, and nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import LoadedFunction
from tests.model_server import GOOD
from tips.llm import gateway, loading
from tips.llm.gateway import Completion

BODY = {"user_id": "u-1", "context": {"tasks": [{"id": "t", "content": "Renew the passport"}]}}
LONG_SEC = 30.0
"""Never reached but on a machine that hangs."""

Load = Callable[..., LoadedFunction]


class SlowImport:
    """Stands in for LiteLLM's import, which goes on until `end` is set; as often as `failing` says it then fails."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.begun = threading.Event()
        self.end = threading.Event()
        self.awaited = threading.Event()
        self.failing = 0

    def load(self) -> ModuleType:
        self.threads.append(threading.current_thread())
        self.begun.set()
        assert self.end.wait(LONG_SEC)
        if len(self.threads) <= self.failing:
            raise ImportError("not this time")
        return ModuleType("litellm")

    async def complete(self, *_: Any, **__: Any) -> Completion:
        assert self.end.is_set(), "asked before it was imported"
        return Completion(GOOD, "m", 10, 10, 0.0)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowImport]:
    one = SlowImport()
    done_within = loading.done_within

    def awaited(seconds: float) -> bool:
        one.awaited.set()
        return done_within(seconds)

    monkeypatch.setattr(gateway, "_load", cache(one.load))
    monkeypatch.setattr(gateway, "complete", one.complete)
    monkeypatch.setattr(loading, "_thread", None)
    monkeypatch.setattr(loading, "done_within", awaited)
    monkeypatch.setenv("DYNAMODB_ENDPOINT", "http://127.0.0.1:1")
    yield one
    one.end.set()
    assert done_within(LONG_SEC)


@pytest.fixture
def on_demand(slow: SlowImport, load_function: Load) -> LoadedFunction:
    function = load_function("generate", AWS_LAMBDA_INITIALIZATION_TYPE="on-demand")
    assert slow.begun.wait(LONG_SEC)
    return function


def test_only_a_tip_waits_for_the_import(slow: SlowImport, on_demand: LoadedFunction) -> None:
    for path in ("/health", "/prompts"):
        assert on_demand.call("GET", path).status == 200
    assert on_demand.call("POST", "/generate", {**BODY, "prompt_version": "none-such"}).status == 422
    assert not slow.awaited.is_set()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(on_demand.call, "POST", "/generate", BODY)
        assert slow.awaited.wait(LONG_SEC)
        assert not answer.done()
        slow.end.set()
        assert answer.result().status == 200
    assert answer.result().json["fallback"] is False
    assert len(slow.threads) == 1


def test_an_import_that_fails_is_tried_again_by_each_request(slow: SlowImport, on_demand: LoadedFunction) -> None:
    slow.failing = 2
    slow.end.set()
    assert loading.done_within(LONG_SEC)
    statuses = [on_demand.call("POST", "/generate", BODY).status for _ in range(3)]
    assert statuses == [500, 200, 200]
    assert len(slow.threads) == 3


@pytest.mark.parametrize(("fallback", "status"), [("true", 200), ("false", 503)])
def test_an_import_that_takes_too_long_is_as_a_model_that_does(
    slow: SlowImport, load_function: Load, fallback: str, status: int
) -> None:
    function = load_function(
        "generate",
        AWS_LAMBDA_INITIALIZATION_TYPE="on-demand",
        LITELLM_TOTAL_TIMEOUT_SEC="0.2",
        GENERATE_FALLBACK=fallback,
        LITELLM_URL="http://127.0.0.1:1",
    )
    answer = function.call("POST", "/generate", BODY)
    assert answer.status == status
    if status == 200:
        assert answer.json["fallback"] is True
        assert "Renew the passport" in answer.json["candidates"][0]["content"]
    else:
        assert answer.json["error"]["code"] == "model_unavailable"
        assert int(answer.headers["retry-after"]) > 0
    assert not slow.end.is_set()


@pytest.mark.parametrize("kind", ["provisioned-concurrency", "lambda-managed-instances"])
def test_where_nobody_waits_it_is_imported_during_the_init(slow: SlowImport, load_function: Load, kind: str) -> None:
    slow.end.set()
    load_function("generate", AWS_LAMBDA_INITIALIZATION_TYPE=kind)
    assert slow.threads == [threading.main_thread()]


def test_elsewhere_it_is_imported_for_the_first_tip(slow: SlowImport, load_function: Load) -> None:
    slow.end.set()
    function = load_function("generate")
    assert not slow.threads
    assert function.call("POST", "/generate", BODY).status == 200
    assert len(slow.threads) == 1


def test_two_who_load_at_once_import_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2)
    loads: list[str] = []

    def load() -> ModuleType:
        loads.append(threading.current_thread().name)
        with suppress(threading.BrokenBarrierError):
            both.wait(0.3)  # as long as the other one has to get here too
        return ModuleType("litellm")

    monkeypatch.setattr(gateway, "_load", cache(load))
    with ThreadPoolExecutor(2) as pool:
        first, second = (loaded.result() for loaded in [pool.submit(gateway.load) for _ in range(2)])
    assert first is second
    assert len(loads) == 1
