"""Routes that come with the first request for them: what fails meanwhile is tried again by the next."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi.routing import APIRoute

from devstack.events import Answer, LambdaContext, url_event
from tips.http import create_app, create_handler


@pytest.fixture
def get() -> Callable[[str], int]:
    """Sends a request to an application that has `/now`, and `/later` from the second attempt to add it on."""
    app = create_app("Deferred", "1")
    attempts: list[int] = []

    @app.get("/now")
    async def now() -> dict[str, str]:
        return {"status": "ok"}

    def add_routes() -> None:
        attempts.append(1)
        app.get("/early")(now)
        if len(attempts) == 1:
            raise OSError("too many open files")
        app.get("/later")(now)

    app.add_later(add_routes)
    handler = create_handler(app)
    return lambda path: Answer.from_result(handler(url_event("GET", path), LambdaContext("deferred", 60))).status


def test_what_could_not_be_added_is_added_by_the_next_request(get: Callable[[str], int]) -> None:
    assert get("/now") == 200
    assert get("/later") == 500
    assert get("/later") == get("/early") == get("/now") == 200
    assert get("/never") == 404


def test_a_route_that_could_not_be_built_is_built_by_the_next_request(
    get: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = APIRoute.__init__

    def fails_once(*arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(APIRoute, "__init__", built)
        raise MemoryError

    monkeypatch.setattr(APIRoute, "__init__", fails_once)
    assert [get("/now"), get("/now")] == [500, 200]


def test_a_request_is_no_start_and_end_of_the_application() -> None:
    ran: list[str] = []

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        ran.append("started")
        yield

    app = create_app("Alive", "1")
    app.router.lifespan_context = lifespan
    answer = create_handler(app)(url_event("GET", "/"), LambdaContext("alive", 60))
    assert Answer.from_result(answer).status == 404
    assert ran == []
