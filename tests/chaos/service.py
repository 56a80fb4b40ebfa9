"""The real parts on one machine: table, functions in their processes, Invoke API, and the bridge's process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Self, TypeVar

from moto.moto_server.werkzeug_app import create_backend_app

from devstack import moto_table
from devstack.function_url import function_url
from devstack.http_server import Application, HttpServer, QuietHandler
from devstack.instances import Instances, Outcome
from devstack.invoke_api import invoke_api
from devstack.proxies import bypass_for_loopback
from devstack.table import client, create_table, one_at_a_time
from devstack.template import ROOT, FunctionDefinition, Template
from tests.chaos.faulty_table import FaultyTable

TABLE_NAME = "chaos"
MAX_DELIVER = 5
_TABLE_DEADLINE_MS = 3000
_ENVIRONMENT = {
    # moto is slow, and so may the machine be
    "SCORE_READ_BUDGET_MS": "10000",
    "SCORE_WRITE_BUDGET_MS": "10000",
    "TABLE_DEADLINE_MS": str(_TABLE_DEADLINE_MS),
    "NATS_MAX_DELIVER": str(MAX_DELIVER),
    "LOG_LEVEL": "WARNING",
}
_BRIDGE = {
    "CONSUME_FUNCTION": "ConsumeFunction",
    "BRIDGE_BATCH_MESSAGES": "50",
    "BRIDGE_BATCH_AGE_MS": "50",
    "BRIDGE_MAX_IN_FLIGHT": "2",
    "BRIDGE_ACK_WAIT_SEC": "4",
    "BRIDGE_NAK_MIN_SEC": "0.1",
    "BRIDGE_NAK_MAX_SEC": "1",
    "BRIDGE_DRAIN_SEC": "20",
    "BRIDGE_HEALTH_PORT": "0",
    "BRIDGE_HEARTBEAT_SEC": "1",
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_REGION": "eu-west-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


AnyInstances = TypeVar("AnyInstances", bound=Instances)


class _DroppingHandler(QuietHandler):
    def connection_dropped(self, error: BaseException, environ: Any = None) -> None:
        self.close_connection = True


@dataclass
class Seen:
    """What `consume` was handed, counted. done: (stream, sequence) that were answered and not named as failed."""

    invocations: int = 0
    deliveries: int = 0
    redeliveries: int = 0
    most_deliveries: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    done: set[tuple[str, str]] = field(default_factory=set)
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    delivered: defaultdict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    """When each message was answered (of `time.monotonic`), once for every delivery."""


class WatchedConsume(Instances):
    """Consume's instances. `before` and `after` are called around every batch that is handled."""

    before: Callable[[], None] | None = None
    after: Callable[[], None] | None = None

    def __init__(self, definition: FunctionDefinition, environment: Mapping[str, str], **options: Any) -> None:
        super().__init__(definition, environment, **options)
        self.seen = Seen()
        self._seen_lock = threading.Lock()

    def invoke(self, payload: bytes) -> Outcome:
        event = json.loads(payload)
        if self.before is not None:
            self.before()
        outcome = super().invoke(payload)
        self._count(event, outcome)
        if self.after is not None:
            self.after()
        return outcome

    def _count(self, event: Any, outcome: Outcome) -> None:
        records = [(event["stream"], str(one["stream_seq"]), one["num_delivered"]) for one in event["records"]]
        answer = json.loads(outcome.payload)
        with self._seen_lock:
            seen = self.seen
            seen.invocations += 1
            seen.deliveries += len(records)
            for stream, sequence, deliveries in records:
                seen.redeliveries += deliveries > 1 or (stream, sequence) in seen.delivered
                seen.most_deliveries = max(seen.most_deliveries, deliveries)
                seen.delivered[stream, sequence].append(time.monotonic())
            if outcome.is_error:
                seen.errors[answer["errorType"]] += 1
                return
            failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
            seen.failed.update((stream, one) for one in failed)
            seen.done |= {(stream, sequence) for stream, sequence, _ in records if sequence not in failed}


class Service:
    """Table, score, consume and what is in front of them, while entered. Only consume and `/reward` meet the faults.

    log: where the functions write. reward_wait: as the variable REWARD_WAIT says it. refused, misreported: as in
    `FaultyTable`.
    """

    def __init__(
        self,
        seed: int,
        log: IO[Any],
        *,
        reward_wait: str = "24h",
        instances: int = 2,
        refused: float = 0.0,
        misreported: float = 0.0,
    ) -> None:
        self._seed = seed
        self._hot_sec = (
            2.3 * _TABLE_DEADLINE_MS / 1000 if refused else 0.0
        )  # longer than all tries, of many and then of one
        self._shares = {"refused": refused, "misreported": misreported}
        self._log = log
        self._environment = {**_ENVIRONMENT, "REWARD_WAIT": reward_wait}
        self._instances = instances
        self._open = ExitStack()

    def __enter__(self) -> Self:
        bypass_for_loopback()
        with ExitStack() as opening:
            moto_table.install()
            table = one_at_a_time(create_backend_app("dynamodb"))
            self.table_url = self._served(opening, HttpServer("table", table))
            self.faulty = [self._faulty(opening, table, self._seed + number) for number in range(2)]
            consume_table, reward_table = (
                self._served(opening, HttpServer("faulty table", one, 0, _DroppingHandler)) for one in self.faulty
            )
            self.table = client(self.table_url)
            create_table(self.table_url, TABLE_NAME)
            opening.callback(self.table.delete_table, TableName=TABLE_NAME)
            definitions = Template().functions()
            score, consume = definitions["ScoreFunction"], definitions["ConsumeFunction"]
            score = replace(score, timeout=60.0)  # more than its table's deadline here
            deciding = self._function(opening, Instances, score, self.table_url)
            rewarded = self._function(opening, Instances, score, reward_table)
            self.consume = self._function(opening, WatchedConsume, consume, consume_table)
            self.score_url = self._served(opening, HttpServer("score", function_url(deciding)))
            self.reward_url = self._served(opening, HttpServer("reward", function_url(rewarded)))
            self.invoke_url = self._served(opening, HttpServer("invoke", invoke_api({"ConsumeFunction": self.consume})))
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def warm(self) -> None:
        """Start what is called first while there is something else to do."""
        self.consume.warm(self._instances)

    def put(self, item: dict[str, Any]) -> None:
        self.table.put_item(TableName=TABLE_NAME, Item=item)

    def items(self) -> list[dict[str, Any]]:
        """Return all there is in the table."""
        pages = self.table.get_paginator("scan").paginate(TableName=TABLE_NAME)
        return [item for page in pages for item in page["Items"]]

    def bridge(self, nats_url: str, **environment: str) -> Bridge:
        """Return a bridge that has not been started."""
        return Bridge(
            {
                **_BRIDGE,
                "NATS_URL": nats_url,
                "LAMBDA_ENDPOINT": self.invoke_url,
                "TABLE_NAME": TABLE_NAME,
                "DYNAMODB_ENDPOINT": self.table_url,
                **environment,
            },
            self._log,
        )

    def _faulty(self, opening: ExitStack, table: Application, seed: int) -> FaultyTable:
        faulty = FaultyTable(
            table,
            seed,
            silence=_TABLE_DEADLINE_MS / 1000,
            hot_sec=self._hot_sec,
            **self._shares,
        )
        opening.callback(faulty.stop)
        return faulty

    def _function(
        self, opening: ExitStack, kind: type[AnyInstances], definition: FunctionDefinition, table_url: str
    ) -> AnyInstances:
        chosen = {**self._environment, "TABLE_NAME": TABLE_NAME, "DYNAMODB_ENDPOINT": table_url}
        variables = {name: chosen.get(name, value) for name, value in definition.environment.items()}
        variables["LOG_LEVEL"] = "WARNING"
        instances = kind(definition, variables, log=self._log, limit=self._instances)
        opening.callback(instances.close)
        return instances

    @staticmethod
    def _served(opening: ExitStack, server: HttpServer) -> str:
        opening.callback(server.stop)
        return server.url


class Bridge:
    """The bridge's process, which may be killed and started again."""

    def __init__(self, environment: Mapping[str, str], log: IO[Any]) -> None:
        self._environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "NO_PROXY", "no_proxy") if name in os.environ},
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "layers" / "shared", ROOT))),
            **environment,
        }
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.kills = 0

    def start(self) -> None:
        self.starts += 1
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bridge", "--ensure-streams"],
            cwd=Path(ROOT),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    @property
    def exit_code(self) -> int | None:
        """The code with which the process ended, None while it runs."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """End the process as a crash would (SIGKILL)."""
        assert self._process is not None
        self.kills += 1
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """End the process as its operator would; returns its exit code."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
