"""Run every event through `sam local`, and compare answers and table with the same handlers run without a container.

    scripts/sam-local-check [--if-possible] [BUILD]

BUILD is what `make build` left (.aws-sam/build). First `sam local invoke` for each of events/, then their records of
JetStream on the whole way: nats-server, the bridge, `sam local start-lambda`, a container, the table. Both sides begin
with the same items. What may differ is listed in scripts/sam_local_compare.py. Exit codes: 0 all the same, 1 a
difference, 2 nothing was run; with --if-possible 0 when that is for want of a container engine.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import IO, Any

import nats

from devstack.bridge import BridgeProcess
from devstack.http_server import HttpServer
from devstack.instances import Instances
from devstack.invoke_api import invoke_api
from devstack.nats import NatsServer
from devstack.proxies import bypass_for_loopback
from devstack.table import TableServer, client, create_table
from devstack.template import ROOT, FunctionDefinition, Template
from scripts.sam_local_compare import differences, draw, opened, readable
from scripts.sam_local_engine import IMAGE, Engine, NotPossible, find_engine
from scripts.sam_local_run import NoAnswer, SamLocal, events, variables
from tips.ingest.handover import ConsumeClient, HandoverFailed, failed_identifiers
from tips.ingest.records import JETSTREAM_SOURCE

_MOST_DRAWS = 2000
_BRIDGED_SEC = 600
_CONSUME = "ConsumeFunction"
# Decides with the same probability for every candidate, so that a few draws show each.
_SEED_EVENT = "score_legacy.json"

Items = Sequence[Mapping[str, Any]]


@dataclass
class Tables:
    """Tables of one moto server. inside: its URL on loopback; outside: the one that containers reach."""

    inside: str
    outside: str
    seed: Items = ()
    _numbers: Iterator[int] = field(default_factory=count)

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """Yield the name of a table that holds the seed, and delete it."""
        name = f"tips-{next(self._numbers)}"
        self._fill(name)
        try:
            yield name
        finally:
            client(self.inside).delete_table(TableName=name)

    def begin_anew(self, name: str) -> None:
        client(self.inside).delete_table(TableName=name)
        self._fill(name)

    def _fill(self, name: str) -> None:
        create_table(self.inside, name)
        for item in self.seed:
            client(self.inside).put_item(TableName=name, Item=item)

    def items(self, name: str) -> list[dict[str, Any]]:
        pages = client(self.inside).get_paginator("scan").paginate(TableName=name)
        return [item for page in pages for item in page["Items"]]


@dataclass
class Check:
    """Both ways of running. log: of the functions that run without a container."""

    sam: SamLocal
    tables: Tables
    log: IO[bytes]
    different: int = 0

    def instances(self, function: str, table: str) -> Instances:
        definition = self.sam.functions[function]
        chosen = variables(definition, table, self.tables.inside)
        return Instances(definition, {**definition.environment, **chosen}, log=self.log, limit=1)

    def event(self, function: str, event: Path) -> list[str]:
        """Run one event both ways, and return what differs."""

        def both() -> list[str]:
            with self.tables.fresh() as table:
                answer = self.sam.invoke(function, event, table, self.tables.outside)
                theirs = opened((answer, readable(self.tables.items(table))))
            return differences(theirs, self._here(function, event, draw(theirs)))

        return within_an_hour(both)

    def _here(self, function: str, event: Path, drawn: Any) -> dict[str, Any]:
        """Run an event without a container, until the draw is as it was in one."""
        with self.tables.fresh() as table, closing(self.instances(function, table)) as instances:
            for _ in range(_MOST_DRAWS):
                answer = json.loads(instances.invoke(event.read_bytes()).payload)
                ours = opened((answer, readable(self.tables.items(table))))
                if draw(ours) == drawn:
                    break
                self.tables.begin_anew(table)
            return ours

    def row(self, what: str, run: Callable[[], list[str]]) -> None:
        """Run, and print one line of the table, with what differs below it."""
        began = time.monotonic()
        try:
            found = run()
        except (NoAnswer, TimeoutError) as error:
            found = [f"no answer: {error}"]
        self.different += bool(found)
        print(f"{what:<64} {time.monotonic() - began:5.1f} s  {'DIFFERENT' if found else 'same'}", flush=True)
        for line in found[:20]:
            print(f"    {line}")

    def bridged(self, messages: Sequence[tuple[str, bytes]]) -> list[str]:
        """Send messages by NATS and the bridge, to containers and to handlers here; compare the tables then."""

        def both() -> list[str]:
            with self.tables.fresh() as table, self.sam.lambda_api(table, self.tables.outside) as url:
                theirs = self._sent(messages, url, table)
            with (
                self.tables.fresh() as table,
                closing(self.instances(_CONSUME, table)) as consume,
                HttpServer("invoke", invoke_api({_CONSUME: consume})) as api,
            ):
                return differences(theirs, self._sent(messages, api.url, table))

        return within_an_hour(both)

    def _sent(self, messages: Sequence[tuple[str, bytes]], endpoint: str, table: str) -> list[dict[str, Any]]:
        with NatsServer() as nats_server:
            bridge = BridgeProcess(
                nats_url=nats_server.url,
                lambda_endpoint=endpoint,
                dynamodb_endpoint=self.tables.inside,
                table_name=table,
                environment={"BRIDGE_NAK_MIN_SEC": "0.1", "BRIDGE_BATCH_AGE_MS": "1"},
                log=self.log,
            )
            try:
                bridge.wait_until_ready()
                asyncio.run(asyncio.wait_for(_publish_one_by_one(nats_server.url, messages), _BRIDGED_SEC))
            finally:
                bridge.stop()
        return readable(self.tables.items(table))

    def raised(self) -> list[str]:
        """Hand `consume` what makes it raise: start-lambda marks no error, and yet nothing may count as done."""
        with self.tables.fresh() as table, self.sam.lambda_api(table, self.tables.outside) as url:
            consume = ConsumeClient(_CONSUME, endpoint=url, region="eu-west-1")
            try:
                answer = consume.invoke({"of": "no known shape"})
            except HandoverFailed as error:
                return [f"no answer: {error}"]
            try:
                failed_identifiers(answer, ())
            except HandoverFailed:
                return [] if b'"errorType"' in answer else [f"no error: {answer[:200]!r}"]
            return [f"taken for done: {answer[:200]!r}"]


async def _publish_one_by_one(url: str, messages: Sequence[tuple[str, bytes]]) -> None:
    """Publish each message when all before it are done, so that both sides handle them in one order."""
    connection = await nats.connect(url)
    try:
        js = connection.jetstream()
        for subject, data in messages:
            stream = (await js.publish(subject, data)).stream
            while True:
                (consumer,) = await js.consumers_info(stream)
                if consumer.num_pending == 0 and consumer.num_ack_pending == 0:
                    break
                await asyncio.sleep(0.05)
    finally:
        await connection.close()


def within_an_hour(run: Callable[[], list[str]]) -> list[str]:
    """Run again when the hour turned meanwhile: profiles count reactions by hour and day."""
    for _ in range(3):
        began = time.time() // 3600
        found = run()
        if time.time() // 3600 == began:
            break
    return found


def messages_of(found: Sequence[tuple[str, Path]]) -> list[tuple[str, bytes]]:
    """Return subject and data of every JetStream record in the events, each once, in the order of the stream."""
    records = {
        record["stream_seq"]: record
        for function, path in found
        if function == _CONSUME and (event := json.loads(path.read_text())).get("source") == JETSTREAM_SOURCE
        for record in event["records"]
    }
    return [(one["subject"], base64.b64decode(one["data"])) for _, one in sorted(records.items())]


def seed(check: Check) -> Items:
    """Return a table's items after decisions that showed each of two tips, so that reactions find what they mean."""
    with check.tables.fresh() as table, closing(check.instances("ScoreFunction", table)) as score:
        shown: set[str] = set()
        event = (ROOT / "events" / _SEED_EVENT).read_bytes()
        for _ in range(_MOST_DRAWS):
            shown.add(json.loads(json.loads(score.invoke(event).payload)["body"])["tip_id"])
            if {"task-report", "task-plants"} <= shown:
                return check.tables.items(table)
    raise RuntimeError(f"of {_MOST_DRAWS} decisions all showed {', '.join(shown)}")


def run(engine: Engine, build: Path) -> int:
    """Print a line for each event and return how many differ."""
    bypass_for_loopback()
    os.environ.update(AWS_ACCESS_KEY_ID="local", AWS_SECRET_ACCESS_KEY="local")  # noqa: S106 (of a local client)
    # Containers and processes are ended when this one is, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    functions: Mapping[str, FunctionDefinition] = Template().functions()
    found = events()
    with ExitStack() as opening:
        work = Path(opening.enter_context(tempfile.TemporaryDirectory(prefix="sam-local-")))
        server = opening.enter_context(TableServer())
        # The same application, and so the same lock.
        outside = opening.enter_context(HttpServer("outside", server.application, host=engine.bind))
        tables = Tables(server.url, f"http://{engine.seen_as}:{outside.port}")
        log = opening.enter_context((work / "functions.log").open("wb"))
        check = Check(SamLocal(engine, build, functions, work), tables, log)
        tables.seed = seed(check)
        print(f"{IMAGE} at {engine.address}; the table for containers at {tables.outside}")
        for function, path in found:
            check.row(f"sam local invoke {function} {path.name}", partial(check.event, function, path))
        messages = messages_of(found)
        check.row(f"{len(messages)} messages, bridge, sam local start-lambda", partial(check.bridged, messages))
        check.row("an error through sam local start-lambda", check.raised)
    print(f"{check.different} of {len(found) + 2} differ")
    return check.different


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="sam-local-check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--if-possible", action="store_true", help="no container engine is no failure")
    parser.add_argument("build", nargs="?", type=Path, default=ROOT / ".aws-sam" / "build", metavar="BUILD")
    chosen = parser.parse_args(arguments)
    try:
        engine = find_engine(os.environ)
    except NotPossible as reason:
        print(f"sam local was NOT run: {reason}")
        return 0 if chosen.if_possible else 2
    if not (chosen.build / "template.yaml").exists():
        print(f"sam local was NOT run: nothing is built in {chosen.build}; make build does that")
        return 2
    return 1 if run(engine, chosen.build.resolve()) else 0


if __name__ == "__main__":
    sys.exit(main())
