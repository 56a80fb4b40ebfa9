"""A DynamoDB server that remembers what each request needs to be allowed: actions, resource, partitions."""

from __future__ import annotations

import io
import json
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from moto.moto_server.werkzeug_app import create_backend_app

from devstack.http_server import HttpServer
from devstack.table import one_at_a_time

_OF_A_TRANSACTION = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}


@dataclass(frozen=True)
class Need:
    """What one statement has to allow. `resource`: the table or an index of it; `keys`: partition keys."""

    action: str
    resource: str
    keys: frozenset[str]


def needs(operation: str, request: Any) -> Iterator[Need]:
    """Yield what a request needs; a transaction needs its single-item actions, each for all of its keys."""
    keys: dict[str, set[str]] = defaultdict(set)
    match operation:
        case "BatchGetItem":
            keys[operation] = {key["pk"]["S"] for one in request["RequestItems"].values() for key in one["Keys"]}
        case "BatchWriteItem":
            for one in request["RequestItems"].values():
                keys[operation] |= {_written(part["PutRequest"]) for part in one}
        case "TransactWriteItems":
            for one in request["TransactItems"]:
                ((kind, part),) = one.items()
                keys[_OF_A_TRANSACTION[kind]].add(_written(part))
        case "Query":
            assert request["KeyConditionExpression"].startswith("pk = :pk")
            keys[operation].add(request["ExpressionAttributeValues"][":pk"]["S"])
        case "GetItem" | "PutItem" | "UpdateItem" | "DeleteItem":
            keys[operation].add(_written(request))
        case _:
            raise AssertionError(f"{operation} is of no known form")
    index = f"/index/{request['IndexName']}" if "IndexName" in request else ""
    for action, partitions in keys.items():
        yield Need(f"dynamodb:{action}", f"TipsTable.Arn{index}", frozenset(partitions))


def _written(part: Any) -> str:
    return str((part.get("Key") or part["Item"])["pk"]["S"])


class RecordedTable(HttpServer):
    """Shares its tables with the test's other servers. `refused`: operations that are answered by a fault."""

    def __init__(self, name: str) -> None:
        self.needs: set[Need] = set()
        self.refused: set[str] = set()
        self._lock = threading.Lock()
        self._table = one_at_a_time(create_backend_app("dynamodb"))
        super().__init__(name, self._answer)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        operation = environ["HTTP_X_AMZ_TARGET"].rpartition(".")[2]
        with self._lock:
            self.needs |= set(needs(operation, json.loads(body)))
        if operation in self.refused:
            start_response("500 Internal Server Error", [("Content-Type", "application/x-amz-json-1.0")])
            return [b'{"__type": "InternalServerError"}']
        return self._table(environ, start_response)
