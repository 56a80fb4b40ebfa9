"""An OpenAI-compatible server on loopback that answers what a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from devstack.http_server import HttpServer

GOOD_TIPS = [
    {"content": "Renew the passport: book the appointment now.", "kind": "task", "rationale": "Overdue."},
    {"content": "Stretch for a minute before the next meeting.", "kind": "advice"},
    {"content": "Three of your tasks are about one trip.", "kind": "insight"},
]
GOOD = json.dumps(GOOD_TIPS)


@dataclass(frozen=True)
class Reply:
    """One answer. `content`: the assistant's text; `body` replaces the whole completion; `delay` in seconds."""

    content: str | None = GOOD
    status: int = 200
    body: bytes | None = None
    delay: float = 0.0
    model: str | None = None
    usage: tuple[int, int] | None = (100, 20)


@dataclass(frozen=True)
class Received:
    path: str
    authorization: str | None
    body: dict[str, Any]


class ModelServer:
    """Answers `replies` in turn, the last one for ever, and keeps what it was asked."""

    def __init__(self, *replies: Reply) -> None:
        self._replies = list(replies) or [Reply()]
        self._stopped = threading.Event()
        self.received: list[Received] = []
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
            body = json.dumps({"error": {"message": "told to fail", "type": "error", "code": None}}).encode()
        else:
            body = json.dumps(_completion(reply, asked["model"])).encode()
        start_response(
            f"{reply.status} Status", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        )
        return [body]


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
