"""Contract tests run a second time, against what `make build` left, under Lambda's runtime interface emulator.

With `pytest --emulated` the fixture `load_function`, and with it every test that is chosen here, calls functions in
processes of their own. Environments are kept between tests, as the cloud keeps them, and so is the name of the table.
"""

from __future__ import annotations

import builtins
import inspect
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from devstack.emulator import BUILD, BUILD_COMMAND, Emulated
from devstack.events import url_event
from devstack.template import Template
from tests.conftest import LoadedFunction

LOCALLY = {"AWS_SAM_LOCAL": "true"}
"""As the SAM CLI runs functions: not deployed, so that `generate` may write without a model, and an erasure need not
wait for as long as the tests' wide budgets let a write be on its way."""

CONTRACT: dict[str, dict[str, str]] = {
    "test_auto": LOCALLY,
    "test_bad_input": {},
    "test_consume": {},
    "test_consume_stream": {},
    "test_default_reward_stack": {},
    "test_erasure": LOCALLY,
    "test_events": LOCALLY,
    "test_exactly_once": {},
    "test_explanation": {},
    "test_fuzz_score": LOCALLY,
    "test_generate": LOCALLY,
    "test_generate_failures": LOCALLY,
    "test_profile": LOCALLY,
    "test_prompt_arms": LOCALLY,
    "test_reward": {},
    "test_reward_wait": {},
    "test_score": {},
    "test_shadows": {},
    "test_table_faults": {},
}
"""Modules whose tests are of the contract, with variables of their own."""

_TIME = "it gives the handler less time than its environment has"
_SOURCE = "it is about the document in the source"
EXCLUDED = {
    "test_consume::test_without_time_left_the_rest_is_reported_as_failed": _TIME,
    "test_fuzz_score::test_no_route_is_left_out": _SOURCE,
    "test_generate::test_no_route_is_left_out_above": _SOURCE,
    "test_generate::test_the_time_lambda_leaves_is_kept": _TIME,
    "test_generate_failures::test_a_slow_table_does_not_carry_a_request_past_its_time": _TIME,
}
"""Tests of these modules that say something of a process of ours, and what."""

_LOOKING_INSIDE = {"monkeypatch", "capsys", "caplog"}
"""What a test asks for that changes or hears the process that it runs in."""
_TIMEOUT_SEC = 60.0  # for init and answer on a busy machine
_POOLS = 6  # of functions with different variables; beyond it, the one that was longest out of use is ended
TABLE_NAME = "tips-emulated"
_DEPLOYED = {"AWS_EXECUTION_ENV", "LITELLM_URL", "LITELLM_MODEL"}
_FIRST_EVENTS: dict[str, Any] = {
    "score": url_event("GET", "/"),
    "generate": url_event("GET", "/"),
    "consume": {"source": "nats.jetstream", "stream": "signals", "records": []},
}
"""What makes a function start and leaves nothing behind."""


def is_contract(item: Any) -> bool:
    """Whether a test runs against built functions in this run."""
    if not (item.config.getoption("--emulated") and isinstance(item, pytest.Function)):
        return False
    if item.path.stem not in CONTRACT or f"{item.path.stem}::{item.originalname}" in EXCLUDED:
        return False
    asked = {name for mark in item.iter_markers("usefixtures") for name in mark.args}
    asked |= inspect.signature(item.function).parameters.keys()
    return "load_function" in item.fixturenames and "ended" not in item.fixturenames and not asked & _LOOKING_INSIDE


def uses_emulator(item: Any) -> bool:
    return is_contract(item) or "load_emulated" in item.fixturenames


class EmulatorError(Exception):
    """A function ended with an error of a type that is none of Python's own."""


class Elsewhere:
    """Stands for the module of a function that runs in another process."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the function runs in another process: a test that asks for {name} is in EXCLUDED")


@dataclass(frozen=True)
class EmulatedFunction(LoadedFunction):
    """A built function under one set of variables. `source`: the same in this process, for what is the same there."""

    pool: Emulated
    source: Callable[[], LoadedFunction]

    def invoke(self, event: Any, *, timeout: float = _TIMEOUT_SEC) -> Any:
        assert timeout == _TIMEOUT_SEC, "the time a function has is its environment's: the test is in EXCLUDED"
        return _result(self.pool, event)

    def openapi(self) -> dict[str, Any]:
        return self.source().openapi()


def _result(pool: Emulated, event: Any) -> Any:
    """Return what a handler returned. What it raised is raised, by the name and the message that it got out with."""
    outcome = pool.invoke(json.dumps(event).encode())
    result = json.loads(outcome.payload)
    if not outcome.is_error:
        return result
    kind = getattr(builtins, result["errorType"], None)
    message = result.get("errorMessage", "")
    if isinstance(kind, type) and issubclass(kind, Exception):
        raise kind(message)
    raise EmulatorError(f"{result['errorType']}: {message}")


class Pools:
    """Environments of built functions, by name and variables. `folder`: for what they log."""

    def __init__(self, folder: Path) -> None:
        self._definitions = {
            name.removesuffix("Function").lower(): replace(one, timeout=_TIMEOUT_SEC)
            for name, one in Template().functions().items()
        }
        self._log = (folder / "log").open("wb")
        self._pools: OrderedDict[tuple[str, frozenset[tuple[str, str]]], Emulated] = OrderedDict()
        missing = [one.name for one in self._definitions.values() if not (BUILD / one.name).is_dir()]
        if missing:
            pytest.fail(f"{BUILD} holds no {', '.join(missing)}: run `{BUILD_COMMAND}`", pytrace=False)

    def get(self, name: str, variables: Mapping[str, str]) -> Emulated:
        """Return the environments with these variables, the first of them started. Raises what its init raises."""
        definition = self._definitions[name]
        variables = {**definition.environment, **variables}
        key = name, frozenset(variables.items())
        if key in self._pools:
            self._pools.move_to_end(key)
            return self._pools[key]
        pool = Emulated(definition, variables, build=BUILD, log=self._log, limit=2)
        try:
            _result(pool, _FIRST_EVENTS[name])
        except BaseException:
            pool.close()
            raise
        self._pools[key] = pool
        while len(self._pools) > _POOLS:
            self._pools.popitem(last=False)[1].close()
        return pool

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        self._log.close()


def variables_of(item: Any, given: Mapping[str, str], kept: Callable[[str], bool]) -> dict[str, str]:
    """Return the variables of a function that a test loads. `kept`: which ones of this process are the function's."""
    variables = {
        **{name: value for name, value in os.environ.items() if kept(name)},
        "CONFIG_CACHE_SEC": "0",  # the environment outlives the test that wrote the configuration
        # LiteLLM is loaded in the init: bounds in seconds are those of a function that has it.
        "AWS_LAMBDA_INITIALIZATION_TYPE": "provisioned-concurrency",
        **CONTRACT.get(item.path.stem, {}),
        **given,
    }
    if given.keys() & _DEPLOYED:
        variables.pop("AWS_SAM_LOCAL", None)
    return variables
