"""Schemathesis through a real Lambda handler: requests become function-URL events, no socket is involved."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from requests.adapters import BaseAdapter
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from urllib3 import HTTPResponse

from devstack.events import Answer, url_event
from tests.conftest import LoadedFunction


class HandlerAdapter(BaseAdapter):
    """Carries requests to a Lambda handler instead of a socket."""

    def __init__(self, function: LoadedFunction) -> None:
        super().__init__()
        self._function = function

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        body = request.body.encode() if isinstance(request.body, str) else request.body
        headers = {name: str(value) for name, value in request.headers.items()}
        event = url_event(str(request.method), request.path_url, body, headers=headers)
        answer = Answer.from_result(self._function.invoke(event))
        response = requests.Response()
        response.status_code = answer.status
        response.headers.update(answer.headers)
        response.raw = HTTPResponse(io.BytesIO(answer.body), answer.headers, answer.status, preload_content=False)
        response.request, response.url = request, str(request.url)
        return response

    def close(self) -> None:
        """Nothing is open."""


@contextmanager
def session_to(function: LoadedFunction) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.mount("http://function", HandlerAdapter(function))
        yield session


def routes(document: dict[str, Any]) -> list[str]:
    """Return every "METHOD /path" of an OpenAPI document."""
    return [f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods]


def fuzz(function: LoadedFunction, route: str, mode: GenerationMode, accepted: set[int], examples: int) -> None:
    """Call one route with generated requests: answers keep the document, and good requests get an accepted status."""
    method, path = route.split()
    operation = schemathesis.openapi.from_dict(function.openapi())[path][method]
    with session_to(function) as session:

        @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case: schemathesis.Case[Any]) -> None:
            answer = case.call(base_url="http://function", session=session)
            # What a schema cannot say, such as the range of a known feature, is refused as 422.
            case.validate_response(answer, excluded_checks=[positive_data_acceptance])
            assert answer.status_code < 500
            if mode is GenerationMode.POSITIVE:
                assert answer.status_code in accepted

        check()
