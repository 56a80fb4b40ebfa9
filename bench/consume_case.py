"""Batches to measure `consume` with: the real handler, the table's answers, and the floors below it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench.consume_people import EVENTS, SIZES, Person, batch, people
from bench.instant_dynamodb import ITEMS, Exchange, InstantDynamoDB, Rule
from bench.score_case import TABLE, arguments, client, environment, load_function, our_client
from devstack.events import LambdaContext

Handler = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Cost:
    """What one batch asks of the table. units: write units of its transactions, as on-demand capacity counts them."""

    requests: Mapping[str, int]
    units: int


@dataclass(frozen=True)
class Case:
    """consume: a batch through the handler, by events per user; floor, bare, marks: as many events without it.

    transactions: by events per user, DynamoDB's JSON, in the order of `people(size)`; those for 1 are the floor's.
    costs: by the name of the side.
    """

    table: InstantDynamoDB
    consume: Mapping[int, Callable[[], None]]
    floor: Callable[[], None]
    bare: Callable[[], None]
    marks: Callable[[], None]
    transactions: Mapping[int, Sequence[str]]
    costs: Mapping[str, Cost]


def table_answers(sizes: Sequence[int] = SIZES) -> list[Rule]:
    """Return how the table answers: every write at once, every read with what there is under its keys."""
    known = [item for size in sizes for person in people(size) for item in json.loads(person.items)]
    items = {" ".join(_place(item)): json.dumps(item, separators=(",", ":")) for item in known}
    answer = f'{{"Responses":{{"{TABLE}":[{ITEMS}]}},"UnprocessedKeys":{{}}}}'
    return [Rule("TransactWriteItems", "{}"), Rule("BatchGetItem", answer, items=items)]


@contextmanager
def case() -> Iterator[Case]:
    """Yield the sides, warm. Raises `RuntimeError` when a batch is not carried out as it is meant to be."""
    with InstantDynamoDB(table_answers()) as table, environment(table.endpoint):
        handler = consume_handler()
        costs: dict[str, Cost] = {}
        transactions: dict[int, list[str]] = {}
        for size in SIZES:
            table.exchanges()
            handler(batch(people(size)))
            exchanges = table.exchanges()
            costs[name_of(size)] = cost(exchanges, people(size))
            _check(costs[name_of(size)], exchanges, size)
            written = [one.body for one in exchanges if one.operation == "TransactWriteItems"]
            transactions[size] = sorted(written, key=_person)
        marks = [_mark_alone(one) for one in transactions[1]]
        sides = {}
        for name, written, dynamodb in (
            ("floor", transactions[1], client(table.endpoint)),
            ("bare", transactions[1], our_client(table.endpoint)),
            ("marks", marks, our_client(table.endpoint)),
        ):
            sides[name] = floor(dynamodb, written)
            sides[name]()
            costs[name] = cost(table.exchanges(), people(1))
        batches = {size: batch(people(size)) for size in SIZES}
        consume = {size: _calling(handler, one) for size, one in batches.items()}
        yield Case(table, consume, sides["floor"], sides["bare"], sides["marks"], transactions, costs)


def name_of(size: int) -> str:
    return f"consume{size}"


def consume_handler() -> Handler:
    """Return what hands a batch to the function's handler; that raises `RuntimeError` when a record has failed."""
    handler = load_function("consume").handler

    def handle(event: dict[str, Any]) -> None:
        answer = handler(event, LambdaContext("ConsumeFunction", timeout=600))
        if answer != {"batchItemFailures": []}:
            raise RuntimeError(f"not the answer to measure: {str(answer)[:300]}")

    return handle


def _calling(handler: Handler, event: dict[str, Any]) -> Callable[[], None]:
    return lambda: handler(event)


def floor(dynamodb: Any, transactions: Sequence[str]) -> Callable[[], None]:
    """Return what makes each transaction in one call by this client; all arguments are prebuilt."""
    prebuilt = [arguments(json.loads(one)) for one in transactions]

    def write() -> None:
        for one in prebuilt:
            dynamodb.transact_write_items(**one)

    return write


def _mark_alone(transaction: str) -> str:
    parts = json.loads(transaction)["TransactItems"]
    (mark,) = (one for one in parts if _key(one)["sk"]["S"].startswith("E#"))
    return json.dumps({"TransactItems": [mark]})


def _person(transaction: str) -> str:
    key = _key(json.loads(transaction)["TransactItems"][0])
    return str(key["pk"]["S"])


def _key(part: Mapping[str, Any]) -> Any:
    (operation,) = part.values()
    return operation.get("Item") or operation["Key"]


def _check(found: Cost, exchanges: Sequence[Exchange], size: int) -> None:
    """Raises `RuntimeError` unless each person took one transaction that holds all their events, and no read alone."""
    expected = requests(size)
    if found.requests != expected:
        raise RuntimeError(f"not the requests to measure: {found.requests}, not {expected}")
    for one in exchanges:
        if one.operation == "TransactWriteItems":
            kinds = Counter(_key(part)["sk"]["S"][:2] for part in json.loads(one.body)["TransactItems"])
            if kinds != {"E#": size, "D#": size, "L": 1, "P": 1}:
                raise RuntimeError(f"not the transaction to measure: {dict(kinds)}")


def requests(size: int) -> dict[str, int]:
    """Return what a batch takes: reads of 100 keys, of each person four and their decisions; a transaction for each."""
    persons = EVENTS // size
    return {"BatchGetItem": math.ceil(persons * (4 + size) / 100), "TransactWriteItems": persons}


def cost(exchanges: Sequence[Exchange], known: Sequence[Person]) -> Cost:
    """Return what these calls cost. known: the people whose items the table holds."""
    items = {_place(item): item for one in known for item in json.loads(one.items)}
    units = 0
    for one in exchanges:
        if one.operation == "TransactWriteItems":
            units += sum(_units(part, items) for part in json.loads(one.body)["TransactItems"])
    return Cost(dict(Counter(one.operation for one in exchanges)), units)


def _place(item: Mapping[str, Any]) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]


def _units(part: Mapping[str, Any], items: Mapping[tuple[str, str], Any]) -> int:
    """Return 2 units for each KB begun of the item that a part of a transaction leaves."""
    ((kind, operation),) = part.items()
    if kind == "Put":
        item = operation["Item"]
    else:
        item = {**operation["Key"], **items.get(_place(operation["Key"]), {})}
        if kind == "Update":
            values = operation["ExpressionAttributeValues"]
            item |= {name[1:]: value for name, value in values.items() if f"{name[1:]} = {name}" in _set(operation)}
    return 2 * math.ceil(item_bytes(item) / 1024)


def _set(operation: Mapping[str, Any]) -> list[str]:
    expression = operation["UpdateExpression"].partition(" REMOVE ")[0].removeprefix("SET ")
    return [one.strip() for one in expression.split(",")]


def item_bytes(item: Mapping[str, Any]) -> int:
    """Return the size of an item by DynamoDB's rules; binary values are base64 text."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Mapping[str, Any]) -> int:
    ((kind, held),) = value.items()
    if kind == "S":
        return len(held.encode())
    if kind == "B":
        return len(held) // 4 * 3 - str(held).count("=")
    if kind == "N":
        return len(held.strip("-").strip("0").replace(".", "")) // 2 + 2
    if kind == "M":
        return 3 + sum(len(name.encode()) + 1 + _value_bytes(one) for name, one in held.items())
    if kind in ("BOOL", "NULL"):
        return 1
    raise ValueError(f"no size is known for a value of type {kind}")
