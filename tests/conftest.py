"""Fixtures that several tests share: a table server, fresh tables, functions loaded as Lambda loads them."""

from __future__ import annotations

import gc
import importlib.util
import itertools
import os
import socket
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from devstack.events import REGION, Answer, LambdaContext, url_event
from devstack.proxies import bypass_for_loopback
from devstack.template import ROOT, FunctionDefinition

if TYPE_CHECKING:
    from devstack.table import TableServer
    from tests.emulated import Pools
    from tests.meddled_table import MeddledTable
    from tips.state.table import Table

# A slow machine is no fault of an example. Examples are the same in every run, but under `--hypothesis-profile new`.
_any_machine = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("same", _any_machine, derandomize=True)
hypothesis.settings.register_profile("new", _any_machine)
hypothesis.settings.load_profile("same")

_load_numbers = itertools.count(1)

# What would make a test depend on the machine that runs it.
_FOREIGN_VARIABLES = (
    "AWS_",
    "LITELLM_",
    "JUDGE_",
    "NATS_",
    "DEV_",
    "SCORE_",
    "POWERTOOLS_",
    "CONFIG_",
    "PRIOR_",
    "REWARD_",
    "GENERATE_",
    "CAP_",
)
_LOCAL_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENBLAS_NUM_THREADS": "1",
    # moto is slow, and so may the machine be
    "SCORE_READ_BUDGET_MS": "5000",
    "SCORE_WRITE_BUDGET_MS": "5000",
    "GENERATE_TABLE_BUDGET_MS": "5000",
    "TABLE_DEADLINE_MS": "8000",
}
_OWN_VARIABLES = (
    *("TABLE_NAME", "DYNAMODB_ENDPOINT", "ACTIVE_POLICY", "DEFAULT_PROMPT_VERSION", "TABLE_DEADLINE_MS"),
    *("DEFAULT_REWARD", "HALF_LIFE_DAYS", "MIN_EXPLORE", "MLFLOW_TRACKING_URI"),
)
bypass_for_loopback()
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is first imported


def pytest_addoption(parser: pytest.Parser) -> None:
    help_ = "run the contract tests against what `make build` left, under Lambda's runtime interface emulator"
    parser.addoption("--emulated", action="store_true", help=help_)


def pytest_report_header() -> str:
    from devstack.nats import NatsNotStarted, nats_server_binary, nats_server_version

    try:
        binary = nats_server_binary()
    except NatsNotStarted as error:
        return str(error)
    return f"nats-server {nats_server_version(binary)}"


@pytest.fixture(autouse=True)
def _isolated_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if _is_of_a_function(name):
            monkeypatch.delenv(name)
    for name, value in _LOCAL_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def _is_of_a_function(variable: str) -> bool:
    return variable in _OWN_VARIABLES or variable.startswith(_FOREIGN_VARIABLES)


_WITH_NATS = ("test_bridge", "test_chaos", "test_event_window", "test_event_replay", "test_devstack_stack", "test_docs")
"""Modules with connections that break, or are refused: nats-py leaves their transports to the garbage collector."""


def _is_with_nats(module: Any) -> bool:
    return str(module.__name__).rpartition(".")[2].startswith(_WITH_NATS)


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    from tests.emulated import is_contract

    for item in items:
        if is_contract(item):
            item.add_marker(pytest.mark.emulator)
        if isinstance(item, pytest.Function) and _is_with_nats(item.module):
            for left in ("<function StreamWriter.__del__", "<function _SelectorTransport.__del__", "<socket.socket"):
                ignored = f"ignore:Exception ignored in. {left}:pytest.PytestUnraisableExceptionWarning"
                item.add_marker(pytest.mark.filterwarnings(ignored))


@pytest.fixture(autouse=True, scope="module")
def _broken_connections_are_collected(request: pytest.FixtureRequest) -> Iterator[None]:
    """What such a module has left is collected before the next one, whose tests its warnings would fail."""
    yield
    if _is_with_nats(request.module):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@dataclass(frozen=True)
class LocalTable:
    """A fresh table. `client`: a botocore DynamoDB client."""

    endpoint: str
    name: str
    client: Any

    def items(self) -> list[dict[str, Any]]:
        """Everything in the table, as typed attribute values."""
        pages = self.client.get_paginator("scan").paginate(TableName=self.name)
        return [item for page in pages for item in page["Items"]]

    def environment(self) -> dict[str, str]:
        return {"TABLE_NAME": self.name, "DYNAMODB_ENDPOINT": self.endpoint}


@pytest.fixture(scope="session")
def table_server() -> Iterator[TableServer]:
    from devstack.table import TableServer

    with TableServer() as server:
        yield server


@pytest.fixture
def new_table(request: pytest.FixtureRequest, table_server: TableServer) -> Iterator[Callable[[], LocalTable]]:
    """Makes as many fresh tables as a test asks for (Hypothesis tests need one per example)."""
    from devstack.table import client, create_table
    from tests import emulated

    dynamodb = client(table_server.endpoint)
    names: list[str] = []

    def make() -> LocalTable:
        name = f"tips-{uuid.uuid4().hex[:12]}"
        if emulated.uses_emulator(request.node) and not names:
            name = emulated.TABLE_NAME  # one name, so that environments that are kept find it
        create_table(table_server.endpoint, name)
        names.append(name)
        return LocalTable(table_server.endpoint, name, dynamodb)

    yield make
    for name in names:
        dynamodb.delete_table(TableName=name)


@pytest.fixture
def table(new_table: Callable[[], LocalTable]) -> LocalTable:
    return new_table()


@pytest.fixture(scope="module")
def meddled(table_server: TableServer) -> Iterator[MeddledTable]:
    """The table's server as functions see it when a test plans for it to fail."""
    from tests.meddled_table import MeddledTable

    with MeddledTable(table_server) as server:
        yield server


@pytest.fixture
def variables(meddled: MeddledTable, table: LocalTable) -> Iterator[dict[str, str]]:
    """Those by which a function finds `table` behind `meddled`; afterwards nothing is planned any more."""
    from tests.meddled_table import pass_on

    yield {"TABLE_NAME": table.name, "DYNAMODB_ENDPOINT": meddled.url}
    meddled.follow(pass_on)


@contextmanager
def fresh_table(endpoint: str, name: str) -> Iterator[LocalTable]:
    """A table under the one name that environments know which serve several tests."""
    from devstack.table import client, create_table

    dynamodb = client(endpoint)
    create_table(endpoint, name)
    yield LocalTable(endpoint, name, dynamodb)
    dynamodb.delete_table(TableName=name)


@dataclass(frozen=True)
class LoadedFunction:
    """One configuration of a function, in this process."""

    module: Any
    environment: Mapping[str, str]

    def invoke(self, event: Any, *, timeout: float = 60.0) -> Any:
        """Call the handler with a raw event; what it raises is raised."""
        return self.module.handler(event, LambdaContext(self.module.__name__, timeout))

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        """Call the handler as its function URL would. `options`: those of `devstack.events.url_event`."""
        return Answer.from_result(self.invoke(url_event(method, path, body, **options)))

    def openapi(self) -> dict[str, Any]:
        """Return the document that describes its routes."""
        document: dict[str, Any] = self.module.app.openapi()
        return document


@pytest.fixture(scope="session")
def emulated_pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pools]:
    """Environments of built functions that run under the emulator."""
    from tests import faulty_dynamodb
    from tests.emulated import Pools
    from tests.model_server import ModelServer

    with pytest.MonkeyPatch.context() as patch:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            patch.setattr(ModelServer, "usual_port", one.getsockname()[1])
            patch.setattr(faulty_dynamodb, "usual_port", other.getsockname()[1])
        pools = Pools(tmp_path_factory.mktemp("emulated"))
        yield pools
        pools.close()


@pytest.fixture
def load_emulated(
    request: pytest.FixtureRequest, emulated_pools: Pools, load_in_process: Callable[..., LoadedFunction]
) -> Callable[..., LoadedFunction]:
    """`load_function`, of what `make build` left, under the emulator."""
    from tests.emulated import Elsewhere, EmulatedFunction, variables_of

    def load(name: str, **environment: str) -> LoadedFunction:
        given = {**_table_of(request), **environment}
        pool = emulated_pools.get(name, variables_of(request.node, given, _is_of_a_function))
        return EmulatedFunction(Elsewhere(), given, pool, lambda: load_in_process(name, **environment))

    return load


@pytest.fixture
def load_function(request: pytest.FixtureRequest) -> Callable[..., LoadedFunction]:
    """`load_in_process`, or with `--emulated` and for tests of the contract `load_emulated`."""
    from tests.emulated import is_contract

    name = "load_emulated" if is_contract(request.node) else "load_in_process"
    load: Callable[..., LoadedFunction] = request.getfixturevalue(name)
    return load


def _table_of(request: pytest.FixtureRequest) -> dict[str, str]:
    return request.getfixturevalue("table").environment() if "table" in request.fixturenames else {}


@pytest.fixture
def load_in_process(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., LoadedFunction]]:
    """`load_in_process("score", ACTIVE_POLICY="linucb")`: functions/score/app.py under that environment.

    Where the test has the fixture `table`, the function gets that table. Each load is a module of its own.
    """
    modules: list[str] = []

    def load(name: str, **environment: str) -> LoadedFunction:
        folder = ROOT / "functions" / name
        environment = {**_table_of(request), **environment}
        with monkeypatch.context() as patch:
            for key, value in environment.items():
                patch.setenv(key, value)
            patch.setattr(sys, "path", [str(folder), *sys.path])
            module_name = f"function_{name}_{next(_load_numbers)}"
            modules.append(module_name)
            return LoadedFunction(_load(folder / "app.py", module_name), environment)

    yield load
    for module_name in modules:
        sys.modules.pop(module_name, None)


def _load(path: Path, module_name: str) -> Any:
    _forget_modules_of_functions()
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module


def _forget_modules_of_functions() -> None:
    # Each function's folder is its own top level: two functions may both have a `routes.py`.
    functions = str(ROOT / "functions") + os.sep
    for name, module in list(sys.modules.items()):
        file = str(getattr(module, "__file__", None) or "")
        if file.startswith(functions) and not name.startswith("function_"):
            del sys.modules[name]


@pytest.fixture
def tiny_function(tmp_path: Path) -> Callable[..., FunctionDefinition]:
    """`tiny_function("def handler(event, context): ...")`: a function of a test's own, in a folder of its own."""

    def make(code: str, name: str = "TinyFunction", timeout: float = 10.0) -> FunctionDefinition:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "app.py").write_text(code, encoding="utf-8")
        return FunctionDefinition(name, folder, timeout=timeout)

    return make


@pytest.fixture
def score(load_function: Callable[..., LoadedFunction], table: LocalTable) -> LoadedFunction:
    return load_function("score")


@pytest.fixture
def consume(load_function: Callable[..., LoadedFunction], table: LocalTable) -> LoadedFunction:
    return load_function("consume")


@pytest.fixture
def client(table: LocalTable) -> Table:
    """The table as the functions' own code sees it."""
    from tests.requests import connect

    return connect(table)
