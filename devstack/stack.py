"""Everything of the service on one machine, from template.yaml."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Self

from devstack.bridge import BridgeProcess
from devstack.function_url import function_url
from devstack.http_server import LOOPBACK, Application, HttpServer
from devstack.instances import Instances
from devstack.invoke_api import invoke_api
from devstack.nats import NatsServer
from devstack.proxies import bypass_for_loopback
from devstack.table import TableServer, client, create_table
from devstack.template import TEMPLATE, FunctionDefinition, Template
from devstack.ttl import TimeToLive

# moto is slow, and a busy machine is slower.
LOCAL_BUDGETS = {
    "SCORE_READ_BUDGET_MS": "2000",
    "SCORE_WRITE_BUDGET_MS": "2000",
    "GENERATE_TABLE_BUDGET_MS": "2000",
    "TABLE_DEADLINE_MS": "3000",
}


class PortTaken(Exception):
    """Another program listens on a port that the stack was told to use."""


def _taken(port: int, name: str, error: OSError) -> PortTaken:
    return PortTaken(f"port {port} ({name}) cannot be used: {error.strerror or error}")


class Stack:
    """The table with its time to live, the function URLs of score and generate, and the Invoke API, while entered.

    Ports: 0 takes a free one. `environment`: the caller's; it sets those variables that the template declares for a
    function. `log`: where the functions' logs go, a file or its descriptor. `ttl_interval`: seconds between two looks
    for items whose time is over. `nats`: with a nats-server, its two streams and the bridge to `consume`, ready when
    the context is entered. `table_host`: one more address on which the table answers. `lambda_endpoint`: another Invoke
    API for the bridge to hand events to. Raises `PortTaken`; with `nats`, `NatsNotStarted` and `BridgeNotStarted`.
    """

    def __init__(
        self,
        *,
        table_port: int = 0,
        score_port: int = 0,
        generate_port: int = 0,
        invoke_port: int = 0,
        nats: bool = False,
        nats_port: int = 0,
        bridge_port: int = 0,
        table_host: str | None = None,
        lambda_endpoint: str | None = None,
        environment: Mapping[str, str] | None = None,
        log: int | IO[Any] = 2,
        max_instances: int = 8,
        ttl_interval: float = 1.0,
        table_name: str = "tips",
        template: Path = TEMPLATE,
    ) -> None:
        self._ports = {
            "table": table_port,
            "score": score_port,
            "generate": generate_port,
            "invoke": invoke_port,
            "nats": nats_port,
            "bridge": bridge_port,
        }
        self._nats = nats
        self._table_host = table_host
        self._lambda_endpoint = lambda_endpoint
        self._environment = os.environ if environment is None else environment
        self._log = log
        self._max_instances = max_instances
        self._ttl_interval = ttl_interval
        self._template = Template(template)
        self._open = ExitStack()
        self.table_name = table_name
        self.functions: dict[str, Instances] = {}

    def __enter__(self) -> Self:
        bypass_for_loopback()
        with ExitStack() as opening:
            table = self._opened(opening, "table", TableServer)
            self.table_endpoint = table.url
            self.table_endpoint_outside = self._outside(opening, table)
            create_table(self.table_endpoint, self.table_name, self._template)
            opening.callback(client(self.table_endpoint).delete_table, TableName=self.table_name)
            for name, definition in self._template.functions().items():
                variables = self._variables(definition)
                instances = Instances(definition, variables, log=self._log, limit=self._max_instances)
                opening.callback(instances.close)
                self.functions[name] = instances
            self.score_url = self._served(opening, "score", function_url(self.functions["ScoreFunction"]))
            self.generate_url = self._served(opening, "generate", function_url(self.functions["GenerateFunction"]))
            self.invoke_url = self._served(opening, "invoke", invoke_api(self.functions))
            self._started_time_to_live(opening)
            if self._nats:
                self._started_bridge(opening)
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _outside(self, opening: ExitStack, table: HttpServer) -> str | None:
        """Serve the table on the other address too, where one was asked for; returns its URL there."""
        if self._table_host is None:
            return None
        try:
            server = HttpServer("table", table.application, table.port, host=self._table_host)
        except OSError as error:
            raise _taken(table.port, f"table on {self._table_host}", error) from error
        opening.callback(server.stop)
        return server.url

    def _started_time_to_live(self, opening: ExitStack) -> None:
        time_to_live = TimeToLive(
            client(self.table_endpoint),
            self.table_name,
            self._template,
            self.functions[self._template.stream_trigger().function],
            interval=self._ttl_interval,
            log=self._write_log,
        )
        time_to_live.start()
        opening.callback(time_to_live.stop)

    def _started_bridge(self, opening: ExitStack) -> None:
        for name in ("nats", "bridge"):
            self._check_free(name)
        # nats-server tells of every connection; what goes wrong with it, the bridge says.
        self.nats_url = opening.enter_context(NatsServer(self._ports["nats"])).url
        bridge = BridgeProcess(
            nats_url=self.nats_url,
            lambda_endpoint=self._lambda_endpoint or self.invoke_url,
            dynamodb_endpoint=self.table_endpoint,
            table_name=self.table_name,
            port=self._ports["bridge"],
            environment=self._environment,
            log=self._log,
        )
        opening.callback(bridge.stop)
        bridge.wait_until_ready()
        self.bridge_url = bridge.url

    def _check_free(self, name: str) -> None:
        """A program of its own would only end where its port is taken, and another NATS there would answer for it."""
        try:
            socket.create_server((LOOPBACK, self._ports[name])).close()
        except OSError as error:
            raise _taken(self._ports[name], name, error) from error

    def _write_log(self, line: str) -> None:
        os.write(self._log if isinstance(self._log, int) else self._log.fileno(), f"{line}\n".encode())

    def _served(self, opening: ExitStack, name: str, application: Application) -> str:
        return self._opened(opening, name, lambda port: HttpServer(name, application, port)).url

    def _opened(self, opening: ExitStack, name: str, open_on: Callable[[int], HttpServer]) -> HttpServer:
        port = self._ports[name]
        try:
            server = open_on(port)
        except OSError as error:
            raise _taken(port, name, error) from error
        opening.callback(server.stop)
        return server

    def _variables(self, definition: FunctionDefinition) -> dict[str, str]:
        table = {"TABLE_NAME": self.table_name, "DYNAMODB_ENDPOINT": self.table_endpoint}
        chosen = {**LOCAL_BUDGETS, **self._environment, **table}
        return {name: chosen.get(name, value) for name, value in definition.environment.items()}
