"""The tests' table behind a server that may stall, refuse, drop or carry out a function's request, as a test plans."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from werkzeug.wrappers import Request, Response

from devstack.http_server import Application, HttpServer

_TYPE = "application/x-amz-json-1.0"


@dataclass(frozen=True)
class Call:
    """One request to the table. place: how many of its operation came so far, itself included."""

    operation: str
    place: int
    body: dict[str, Any]
    pass_on: Callable[[], Response]

    @property
    def is_write(self) -> bool:
        return self.operation not in ("GetItem", "BatchGetItem", "Query")


Plan = Callable[[Call], Response]


def pass_on(call: Call) -> Response:
    return call.pass_on()


def refusal(code: str, status: int = 400) -> Response:
    """Return DynamoDB's answer to what it does not carry out."""
    kind = "com.amazon.coral.availability" if code.startswith("Throttling") else "com.amazonaws.dynamodb.v20120810"
    return answer({"__type": f"{kind}#{code}", "message": "no"}, status)


def answer(body: Any, status: int = 200) -> Response:
    return Response(json.dumps(body), status, {"x-amzn-requestid": "made-up"}, content_type=_TYPE)


class MeddledTable(HttpServer):
    """`plan` answers each call, by default as the table does. `calls`: how many of each operation came since then.

    `behind`: where the table itself is.
    """

    def __init__(self, table: HttpServer) -> None:
        self._table, self.behind = table.application, table.url
        self._lock = threading.Lock()
        self.follow(pass_on)
        super().__init__("meddled table", self._respond)

    def follow(self, plan: Plan) -> None:
        """Do as `plan` says from now on, and count anew."""
        with self._lock:
            self.plan, self.calls = plan, Counter[str]()

    def _respond(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        data = request.get_data(cache=True)
        operation = request.headers["x-amz-target"].rpartition(".")[2]
        with self._lock:
            plan, counts = self.plan, self.calls
            counts[operation] += 1
            place = counts[operation]
        call = Call(operation, place, json.loads(data), lambda: _carried_out(self._table, environ, data))
        return plan(call)(environ, start_response)


def _carried_out(table: Application, environ: dict[str, Any], data: bytes) -> Response:
    # A request may be carried out more than once, or later, and its body can be read only once.
    return Response.from_app(table, {**environ, "wsgi.input": BytesIO(data)})
