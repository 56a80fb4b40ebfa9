"""A function's HTTPS URL, as plain HTTP on loopback: requests become events of payload format 2.0, results answers.

IAM signatures are not checked: any request gets in, where the cloud answers 403 to an unsigned one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, urlsplit

from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request, Response

from devstack.events import Answer, url_event
from devstack.http_server import Application
from devstack.instances import MAX_PAYLOAD_BYTES, Busy, Instances

_TEXT_TYPES = ("application/json", "application/xml", "application/javascript", "application/graphql")
_UNRESERVED = "/%?&=-._~!$'()*+,;:@[]{}|^`\"<>\\"


def function_url(instances: Instances) -> Application:
    """Return the WSGI application that stands for the URL of a function."""

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            response = _respond(instances, Request(environ))
        except HTTPException as error:
            response = _refusal(error.code or 400, error.description or "Bad Request")
        return response(environ, start_response)

    return application


def _respond(instances: Instances, request: Request) -> Response:
    request.max_content_length = MAX_PAYLOAD_BYTES
    payload = json.dumps(event_of(request)).encode()
    if len(payload) > MAX_PAYLOAD_BYTES:
        return _refusal(413, f"Request must be smaller than {MAX_PAYLOAD_BYTES} bytes")
    try:
        outcome = instances.invoke(payload)
    except Busy:
        return _refusal(429, "Rate Exceeded.")
    if outcome.is_error:
        response = _refusal(502, "Internal Server Error")
    else:
        try:
            response = _response(Answer.from_result(json.loads(outcome.payload)))
        except (ValueError, TypeError):
            response = _refusal(502, "Internal Server Error")
    response.headers["x-amzn-requestid"] = outcome.request_id
    return response


def event_of(request: Request) -> dict[str, Any]:
    """Return the event for a request. A body of a text type in UTF-8 stays text; any other is base64."""
    target = request.environ["REQUEST_URI"]
    if not target.startswith("/"):
        parts = urlsplit(target)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
    # The server reads the request line as Latin-1; nothing that the client encoded is decoded here.
    path, _, query = quote(target.encode("latin-1"), safe=_UNRESERVED).partition("?")
    raw = request.get_data()
    body: str | bytes | None = raw or None
    if raw and _is_text(request.mimetype):
        try:
            body = raw.decode()
        except UnicodeDecodeError:
            body = raw
    headers = list(request.headers.items())
    return url_event(
        request.method, path, body, headers, query, source_ip=request.remote_addr or "127.0.0.1", add_content_type=False
    )


def _is_text(mimetype: str) -> bool:
    return mimetype.startswith("text/") or mimetype in _TEXT_TYPES or mimetype.endswith(("+json", "+xml"))


def _response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    response.headers.pop("content-type", None)
    for name, value in answer.headers.items():
        if name != "content-length":
            response.headers.add(name, value)
    for cookie in answer.cookies:
        response.headers.add("set-cookie", cookie)
    return response


def _refusal(status: int, message: str) -> Response:
    return Response(json.dumps({"Message": message}), status, content_type="application/json")
