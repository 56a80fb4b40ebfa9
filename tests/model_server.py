"""An OpenAI-compatible server on loopback that answers what a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from devstack.http_server import HttpServer

GOOD_TIPS = [
    {"content": "Renew the passport: book the appointment now.", "kind": "task", "rationale": "Overdue."},
    {"content": "Stretch for a minute before the next meeting.", "kind": "advice"},
    {"content": "Three of your tasks are about one trip.", "kind": "insight"},
]
GOOD = json.dumps(GOOD_TIPS)


@dataclass(frozen=True)
class Reply:
    """One answer. `content`: the assistant's text; `body` replaces the whole completion; `delay` in seconds.

    `code` is the type and code of an error body; `cut_off`: the connection ends in the middle of the body.
    """

    content: str | None = GOOD
    status: int = 200
    body: bytes | None = None
    delay: float = 0.0
    model: str | None = None
    usage: tuple[int, int] | None = (100, 20)
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str | None = None
    cut_off: bool = False


SLOW = Reply(delay=10)
CUT_OFF = Reply(cut_off=True)
INVALID_JSON = Reply("I would rather not.")
FENCED = Reply(f"Here you are:\n```json\n{GOOD}\n```\nEnjoy!")
WRONG_FIELDS = Reply('[{"text": "no content", "kind": "task"}]')
EMPTY_CHOICES = Reply(body=b'{"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": []}')
HUGE = Reply("no " * 2_000_000)
OUT_OF_BUDGET = Reply(status=400, code="budget_exceeded")


def rate_limited(retry_after: str | None = None) -> Reply:
    """Return a 429, with Retry-After as given."""
    return Reply(status=429, code="rate_limit_exceeded", headers={"Retry-After": retry_after} if retry_after else {})


def tips_reply(*contents: str, usage: tuple[int, int] | None = (100, 20)) -> Reply:
    """Return an answer of tips with these texts."""
    return Reply(json.dumps([{"content": content, "kind": "task"} for content in contents]), usage=usage)


@dataclass(frozen=True)
class Received:
    path: str
    authorization: str | None
    body: dict[str, Any]


class ModelServer:
    """Answers `replies` in turn, the last one for ever, and keeps what it was asked."""

    usual_port: ClassVar[int] = 0
    """Where the only server of a test is found; 0: anywhere. Functions that are kept between tests find it again."""

    def __init__(self, *replies: Reply) -> None:
        self._replies = list(replies) or [Reply()]
        self._stopped = threading.Event()
        self.received: list[Received] = []
        try:
            self._server = HttpServer("model server", self._serve, self.usual_port)
        except OSError:
            self._server = HttpServer("model server", self._serve)
        self.url = self._server.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.stop()

    def _serve(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        asked = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        reply = self._replies[min(len(self.received), len(self._replies) - 1)]
        self.received.append(Received(environ["PATH_INFO"], environ.get("HTTP_AUTHORIZATION"), asked))
        self._stopped.wait(reply.delay)
        if reply.body is not None:
            body = reply.body
        elif reply.status != 200:
            error = {"message": "told to fail", "type": reply.code or "error", "code": reply.code}
            body = json.dumps({"error": error}).encode()
        else:
            body = json.dumps(_completion(reply, asked.get("model", ""))).encode()
        promised = {"Content-Type": "application/json", "Content-Length": str(len(body)), **reply.headers}
        start_response(f"{reply.status} Status", list(promised.items()))
        return _half(body) if reply.cut_off else [body]


def _half(body: bytes) -> Iterator[bytes]:
    # The server closes the connection at the end, whatever length it has promised.
    yield body[: len(body) // 2]


def _completion(reply: Reply, model: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": reply.content}
    whole = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": reply.model or model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    if reply.usage is not None:
        prompt_tokens, completion_tokens = reply.usage
        whole["usage"] = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        }
    return whole
