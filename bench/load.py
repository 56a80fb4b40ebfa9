"""Built `score` under load: `python -m bench.load --out FILE.json [--quick]`, after `make build`.

Requests come by the clock, whatever became of those before (an open loop), to environments under Lambda's runtime
interface emulator; each has one at a time. Of every request four times are told:

- whole: from when it was due to its answer. It contains the wait for an environment that is free.
- table: what the environment waited for the table, from the first byte of each call to the last of its answer, as a
  relay between the two saw it. It contains moto's work, and the wait for moto, which does one thing at a time.
- handler: from when the runtime client called it until it returned, less the table. It contains botocore, and whatever
  else ran on the cores meanwhile.
- on a core: of the handler, for how long its thread ran: what it would be with a core of its own.

What is left of the whole is Lambda's runtime client, the emulator and the wait for an environment.

`bench.load_tables` renders the result.
"""

from __future__ import annotations

import argparse
import json
import queue
import random
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.load_shares import Done, row_of, told
from bench.load_table import relayed_table
from bench.score_case import BUDGET_MS, CANDIDATES, REACTIONS, TABLE, learned, profile_item, score_request
from devstack.emulator import BUILD, Emulated
from devstack.events import url_event
from devstack.table import client
from devstack.template import Template
from tips.bandit.learning import SchemaLearning, UserLearning
from tips.bandit.registry import POLICIES
from tips.contracts.configuration import Configuration
from tips.state import keys
from tips.state.learning import learning_item

ENVIRONMENTS = 4
PER_SEC = 30.0
"""What two cores carry with moto, the emulators and the load itself on them, at about half of their time."""
SCORES_IN = (2, 3)
"""So many of so many requests are `/score`, the others are `/reward`, each for a decision made before."""
PEOPLE = 200
POLICY, SHADOW = "igw-ucb", "egreedy-v2"
GOAL_WHOLE_MS, BAR_HANDLER_MS = 50.0, 10.0
_WARM_UP = 25
"""Requests of each route to each environment, before the clock runs."""
_SETTLED_SEC = 0.5
_AT_ONCE = 64
_TELLING = Path(__file__).with_name("handled")


class Load:
    """Environments that take requests, and the decisions that may be rewarded."""

    def __init__(self, environments: Sequence[Emulated]) -> None:
        self._environments = environments
        self._free: queue.LifoQueue[int] = queue.LifoQueue()
        self._decided: deque[tuple[int, str, str]] = deque()
        self._lock = threading.Lock()
        self._rng = random.Random(7)  # noqa: S311
        self._scores = {user: _score_event(user) for user in map(_person, range(PEOPLE))}
        self.done: list[Done] = []

    def warm_up(self, requests: int) -> None:
        for number in range(len(self._environments)):
            # Twice as many decisions as rewards: the first rewards that are due must not wait for decisions.
            for route in ["/score"] * 2 * requests + ["/reward"] * requests:
                one = self._carry_out(route, *self._event(route), number, time.monotonic_ns())
                if one.fault:
                    raise RuntimeError(f"{route} while warming up: {one.fault}")
            self._free.put(number)

    def run(self, seconds: float, per_sec: float) -> None:
        """Send requests for so long, then wait for the last answer. Raises `RuntimeError` where one got lost."""
        due: queue.SimpleQueue[tuple[str, str, bytes, int] | None] = queue.SimpleQueue()
        workers = [threading.Thread(target=self._work, args=(due,)) for _ in range(_AT_ONCE)]
        for worker in workers:
            worker.start()
        begun = time.monotonic_ns() + 100_000_000
        for number in range(int(seconds * per_sec)):
            at = begun + int(number * 1e9 / per_sec)
            route = "/score" if number % SCORES_IN[1] < SCORES_IN[0] else "/reward"
            user, event = self._event(route)
            time.sleep(max(0, at - time.monotonic_ns()) / 1e9)
            due.put((route, user, event, at))
        for _ in workers:
            due.put(None)
        for worker in workers:
            worker.join()
        if len(self.done) != int(seconds * per_sec):
            raise RuntimeError(f"of {int(seconds * per_sec)} requests {len(self.done)} were seen to their end")

    def _work(self, due: queue.SimpleQueue[tuple[str, str, bytes, int] | None]) -> None:
        while (request := due.get()) is not None:
            route, user, event, at = request
            number = self._free.get()
            try:
                one = self._carry_out(route, user, event, number, at)
            finally:
                self._free.put(number)
            self.done.append(one)

    def _event(self, route: str) -> tuple[str, bytes]:
        """Return who it is of, and the event. Raises `RuntimeError` where no decision waits for its reward."""
        if route == "/score":
            user = _person(self._rng.randrange(PEOPLE))
            return user, self._scores[user]
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up:
            with self._lock:
                if self._decided and self._decided[0][0] + _SETTLED_SEC * 1e9 < time.monotonic_ns():
                    _, user, decision_id = self._decided.popleft()
                    told = {"user_id": user, "decision_id": decision_id, "action": "done", "dwell_ms": 30_000}
                    return user, json.dumps(url_event("POST", "/reward", told)).encode()
            time.sleep(0.01)
        raise RuntimeError("there is no decision to reward")

    def _carry_out(self, route: str, user: str, event: bytes, number: int, due: int) -> Done:
        began = time.monotonic_ns()
        outcome = self._environments[number].invoke(event)
        ended = time.monotonic_ns()
        fault, body = _fault(route, outcome.is_error, outcome.payload)
        if route == "/score" and not fault:
            with self._lock:
                self._decided.append((ended, user, body["decision_id"]))
        return Done(route, number, due, began, ended, fault)


def _fault(route: str, is_error: bool, payload: bytes) -> tuple[str, dict[str, Any]]:
    """Return what is wrong with an answer, "" where it is the full one, and its body."""
    result = json.loads(payload)
    if is_error:
        return str(result.get("errorType")), {}
    body = json.loads(result["body"])
    if result["statusCode"] != 200:
        return f"HTTP {result['statusCode']}", body
    if route == "/reward":
        return "" if body["applied"] else f"not applied: {body['reason']}", body
    return "degraded" if body["degraded"] else "" if body["logged"] else "not logged", body


def _person(number: int) -> str:
    return f"user-{number:04d}"


def _score_event(user: str) -> bytes:
    return json.dumps(url_event("POST", "/score", {**score_request(), "user_id": user})).encode()


def _stored() -> list[Any]:
    """Return what the table holds at the start: the configuration, and of everybody learning and profile."""
    schemas = [POLICIES[name].schema for name in (POLICY, SHADOW)]
    taught = {one.hash: SchemaLearning(learned(one), one.name, one.names, 1) for one in schemas}
    pk, sk = keys.CONFIGURATION
    texts = {
        "pk": pk,
        "sk": sk,
        "change": "01M7YYVCV6EATNRANDWSNHRZSN",
        "document": Configuration(active_policy=POLICY, shadows=[SHADOW]).model_dump_json(),
    }
    configuration = {name: {"S": text} for name, text in texts.items()} | {
        "version": {"N": "1"},
        "origin": {"N": "1"},
    }
    profile = profile_item(_person(0))
    items: list[Any] = [configuration]
    for user in map(_person, range(PEOPLE)):
        items.append(learning_item(keys.learning(user), UserLearning(revision=REACTIONS, schemas=taught)))
        items.append({**profile, "pk": {"S": keys.profile(user)[0]}})
    return items


def load(*, seconds: float, per_sec: float = PER_SEC, warm_up: int = _WARM_UP, build: Path = BUILD) -> dict[str, Any]:
    """Return everything that is measured, ready for JSON."""
    definition = Template().functions()["ScoreFunction"]
    begun = time.perf_counter()
    with ExitStack() as stack:
        table, relay = stack.enter_context(relayed_table(ENVIRONMENTS))
        dynamodb = client(table)
        for item in _stored():
            dynamodb.put_item(TableName=TABLE, Item=item)
        environments, logs = [], []
        for endpoint in relay.endpoints:
            logs.append(stack.enter_context(tempfile.TemporaryFile()))
            variables = {
                **definition.environment,
                "TABLE_NAME": TABLE,
                "DYNAMODB_ENDPOINT": endpoint,
                "SCORE_READ_BUDGET_MS": BUDGET_MS,
                "SCORE_WRITE_BUDGET_MS": BUDGET_MS,
                "TABLE_DEADLINE_MS": BUDGET_MS,
            }
            environments.append(Emulated(definition, variables, build=build, path=(_TELLING,), log=logs[-1], limit=1))
            stack.callback(environments[-1].close)
        requests = Load(environments)
        requests.warm_up(warm_up)
        requests.run(seconds, per_sec)
        done = [one for number, log in enumerate(logs) for one in told(requests.done, number, log)]
    rows = [row_of(route, done, relay.waits) for route in ("/score", "/reward")]
    handler, whole = (max(row[part]["p99"] for row in rows) for part in ("handler", "whole"))
    return {
        "candidates": CANDIDATES,
        "environments": ENVIRONMENTS,
        "per_sec": per_sec,
        "load_sec": seconds,
        "people": PEOPLE,
        "errors": Counter(one.fault for one in done if one.fault),
        "rows": rows,
        "bar": {"handler_ms": BAR_HANDLER_MS, "met": handler < BAR_HANDLER_MS},
        "goal": {"whole_ms": GOAL_WHOLE_MS, "met": whole < GOAL_WHOLE_MS},
        "seconds": time.perf_counter() - begun,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--quick", action="store_true", help="five seconds")
    parser.add_argument("--per-sec", type=float, default=PER_SEC, help="requests per second")
    options = parser.parse_args(arguments)
    result = {"quick": options.quick, **load(seconds=5.0 if options.quick else 60.0, per_sec=options.per_sec)}
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")

    from bench.load_tables import markdown

    print(markdown(result))
    return 1 if result["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
