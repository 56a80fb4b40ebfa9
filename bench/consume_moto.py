"""A table that carries out what it is asked to: moto behind HTTP, in a process of its own.

python -m bench.consume_moto: prints its port, then serves until its standard input ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
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
def moto_case(
    calls: int, events: int, transactions: Mapping[int, Sequence[str]]
) -> Iterator[dict[str, Callable[[], None]]]:
    """Yield the sides by name; each may be called so often, every time with `events` reactions of other people.

    transactions: by events per user, one for each of the people whose batches hold so many of each. Those for 1 are the
    floor's; the others, prebuilt as well, show how much of `consume` is the table's own.
    """
    with moto_table() as endpoint, environment(endpoint):
        handler = consume_handler()
        dynamodb = client(endpoint, Config(read_timeout=60))
        serials = count(1)

        def others(size: int) -> list[Person]:
            serial = next(serials)
            known = [one.another(serial) for one in people(size)[: events // size]]
            _put(dynamodb, known)
            return known

        def prebuilt(size: int) -> Callable[[], None]:
            known = others(size)
            written = [_of(one, person) for one, person in zip(transactions[size], known, strict=False)]
            return floor(dynamodb, written)

        sides = {f"consume{size}": _consuming(handler, [batch(others(size)) for _ in range(calls)]) for size in SIZES}
        sides["floor"] = _in_turn([prebuilt(1) for _ in range(calls)])
        sides |= {f"prebuilt{size}": _in_turn([prebuilt(size) for _ in range(calls)]) for size in SIZES[1:]}
        yield sides


def _of(transaction: str, person: Person) -> str:
    """Return a transaction of the first people as that of another, equally placed."""
    return renamed(transaction, int(person.user_id.split("_")[1]))


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
