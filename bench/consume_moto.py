"""A table that carries out what it is asked to: moto behind HTTP, in a process of its own.

python -m bench.consume_moto: prints its port, then serves until its standard input ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from botocore.config import Config

from bench.consume_case import Handler, consume_handler, floor
from bench.consume_people import SIZES, Person, batch, people, renamed
from bench.score_case import TABLE, arguments, client, environment

_PUT_AT_ONCE = 25


@contextmanager
def moto_table() -> Iterator[str]:
    """Yield the endpoint of a table in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.consume_moto"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[1],
        text=True,
    )
    try:
        assert process.stdout is not None  # noqa: S101
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.communicate()


@contextmanager
def moto_case(calls: int, events: int, transactions: Sequence[str]) -> Iterator[dict[str, Callable[[], None]]]:
    """Yield the sides by name; each may be called so often, every time with `events` reactions of other people.

    transactions: those of the floor, one for each of the people whose batches hold one event of each.
    """
    with moto_table() as endpoint, environment(endpoint):
        handler = consume_handler()
        dynamodb = client(endpoint, Config(read_timeout=60))
        sides = {}
        for place, size in enumerate(SIZES):
            serials = range(1 + place * calls, 1 + (place + 1) * calls)
            of_call = [[one.another(serial) for one in people(size)[: events // size]] for serial in serials]
            for known in of_call:
                _put(dynamodb, known)
            sides[f"consume{size}"] = _consuming(handler, [batch(known) for known in of_call])
        serials = range(1 + len(SIZES) * calls, 1 + (len(SIZES) + 1) * calls)
        for serial in serials:
            _put(dynamodb, [one.another(serial) for one in people(1)[:events]])
        writes = [
            floor(endpoint, [renamed(one, serial) for one in transactions[:events]], Config(read_timeout=60))
            for serial in serials
        ]
        sides["floor"] = _in_turn(writes)
        yield sides


def _put(dynamodb: Any, known: Sequence[Person]) -> None:
    items = [item for one in known for item in arguments(json.loads(one.items))]
    for start in range(0, len(items), _PUT_AT_ONCE):
        requests = [{"PutRequest": {"Item": item}} for item in items[start : start + _PUT_AT_ONCE]]
        dynamodb.batch_write_item(RequestItems={TABLE: requests})


def _consuming(handler: Handler, batches: Sequence[dict[str, Any]]) -> Callable[[], None]:
    left = iter(batches)
    return lambda: handler(next(left))


def _in_turn(calls: Sequence[Callable[[], None]]) -> Callable[[], None]:
    left = iter(calls)
    return lambda: next(left)()


def _serve() -> None:
    from devstack.table import TableServer, create_table

    with TableServer() as server:
        create_table(server.endpoint, TABLE)
        print(server.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _serve()
