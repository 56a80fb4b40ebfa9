"""A FastAPI application as a function URL's handler, with the service's error contract.

Only functions that bring FastAPI and Mangum import this module.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, cast, get_type_hints
from urllib.parse import unquote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from mangum import Mangum
from pydantic import BaseModel, ValidationError
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tips import telemetry
from tips.errors import BodyTooLarge, InvalidField, MalformedRequest, ServiceError

MAX_BODY_BYTES = 1024 * 1024

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]

# The schema by reference: given as a model, FastAPI would build a validator of it for every status of every route.
_ERROR_CONTENT = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}

ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"content": _ERROR_CONTENT, "description": description}
    for status, description in {
        400: "The request cannot be read",
        404: "No such thing",
        413: "Body over 1 MiB",
        422: "A field is not acceptable",
        429: "A cap is reached; it resets after `Retry-After` seconds",
        502: "A model answered, but with nothing that can be used",
        503: "A dependency is down; retry after `Retry-After` seconds",
    }.items()
}
"""For `FastAPI(responses=...)`: the documented errors."""


class _AnyText(Convertor[str]):
    """`{name:text}` in a path: whatever is there, so that a bad id is refused by name and not as an unknown path.

    Routes see the path as it was sent (`_readable`), so an encoded slash belongs to an id and separates nothing.
    """

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return unquote(value)

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("text", _AnyText())


class _Loop:
    """A loop that is closed when nothing refers to this any more, or at exit."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        weakref.finalize(self, self.loop.close)


class _OfThread(threading.local):
    """One loop for the life of the environment, so that connections outlive an invocation; Lambda has one thread."""

    def __init__(self) -> None:
        self.own = _Loop()


_of_thread = _OfThread()

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


def create_app(title: str, version: str) -> App:
    """Return an application whose every error has the contract's shape. Its documents are not served."""
    app = App(title=title, version=version, openapi_url=None, redirect_slashes=False, responses=ERROR_RESPONSES)
    app.add_middleware(_Unforeseen)
    app.add_exception_handler(ServiceError, _on_service_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    return app


class DeferredRoute(APIRoute):
    """A route whose validators are built when the first request for it comes: a cold start needs those of one route."""

    def __init__(self, path: str, endpoint: Callable[..., Any], *, methods: Sequence[str], **options: Any) -> None:
        self._options: dict[str, Any] | None = {**options, "methods": methods}
        self.path, self.endpoint, self.methods = path, endpoint, set(methods)
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)

    def complete(self) -> None:
        if self._options is not None:
            super().__init__(self.path, self.endpoint, **self._options)
            self._options = None

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.complete()
        await super().handle(scope, receive, send)


class DirectRoute(DeferredRoute):
    """A route whose endpoint takes its body alone and gives a `Response`, called with nothing in between.

    The body is read straight into its model, in one pass over the bytes. One that does not fit goes FastAPI's own way,
    which says what is wrong with it.
    """

    @cached_property
    def model(self) -> type[BaseModel]:
        return cast(type[BaseModel], get_type_hints(self.endpoint)["request"])

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        body: bytes | None = None
        if scope["method"] == "POST":
            body = await Request(scope, receive).body()
            try:
                request = self.model.model_validate_json(body)
            except ValidationError:
                receive = _replayed(body)
            else:
                response: Response = await self.endpoint(request)
                return await response(scope, receive, send)
        return await super().handle(scope, receive, send)


def _replayed(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


class App(FastAPI):
    """Has routes that are there from the beginning, and routes that the first request for one of them adds."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.router.route_class = DeferredRoute
        self._add_the_others: Callable[[], None] | None = None
        self._not_found = self.router.default
        self.router.default = self._among_the_others

    def add_later(self, add_routes: Callable[[], None]) -> None:
        self._add_the_others = add_routes

    def add_now(self) -> None:
        """Add what `add_later` has put off; what raises is tried again by the next request."""
        if self._add_the_others is not None:
            self._add_the_others()
            self._add_the_others = None

    async def _among_the_others(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._add_the_others is None:
            await self._not_found(scope, receive, send)
        else:
            self.add_now()
            await self.router.app(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, in which the schemas that `ERROR_RESPONSES` refers to stand too."""
        from tips.contracts.refusals import ErrorAnswer

        self.add_now()
        for route in self.routes:
            cast(DeferredRoute, route).complete()
        document = super().openapi()
        own = ErrorAnswer.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas |= {**own.pop("$defs", {}), "ErrorAnswer": own}
        return document


class _Unforeseen:
    """Answers a fault of ours in the contract's shape; outside of it Mangum would, in plain text and unlogged."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception:
            request = Request(scope)
            telemetry.log_unforeseen("request failed", request_id=_scope_request_id(request))
            answer = _json_answer(request, ServiceError("the request could not be processed"))
            await answer(scope, receive, send)


def create_handler(app: FastAPI) -> Handler:
    """Return the Lambda handler of `app` for function-URL events (payload format 2.0)."""
    asyncio.set_event_loop(_of_thread.own.loop)
    mangum = Mangum(app, lifespan="off")

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        request_id = _request_id(event, context)
        # Mangum takes the thread's current loop, and any `asyncio.run` in the process leaves none.
        asyncio.set_event_loop(_of_thread.own.loop)
        try:
            return mangum(_readable(event), context)
        except ServiceError as error:
            return _lambda_answer(error, request_id)
        except Exception:
            telemetry.log_unforeseen("request failed", request_id=request_id)
            return _lambda_answer(ServiceError("the request could not be processed"), request_id)
        finally:
            telemetry.flush()

    return handler


def _request_id(event: Any, context: Any) -> str:
    request_id = getattr(context, "aws_request_id", None)
    if request_id is None and isinstance(event, dict) and isinstance(event.get("requestContext"), dict):
        request_id = event["requestContext"].get("requestId")
    return str(request_id or "")


def _readable(event: Any) -> dict[str, Any]:
    """Return the event with its path still encoded and its body as text of at most 1 MiB.

    Raises `MalformedRequest` or `BodyTooLarge`.
    """
    try:
        http = event["requestContext"]["http"]
        # Mangum decodes the path once.
        path, source = event["rawPath"].replace("%", "%25"), str(http.get("sourceIp") or "")
        http = {**http, "sourceIp": source, "path": path, "method": str(http["method"])}
    except (TypeError, KeyError, AttributeError):
        raise MalformedRequest("the event is not a function URL's request (payload format 2.0)") from None
    body = event.get("body") or ""
    if not isinstance(body, str):
        raise MalformedRequest("the event's body is not text", field="body")
    try:
        if event.get("isBase64Encoded"):
            raw = base64.b64decode(body, validate=True)
            body = raw.decode()
        else:
            raw = body.encode()
    except UnicodeError:
        raise MalformedRequest("the body is not valid UTF-8", field="body") from None
    except ValueError:
        raise MalformedRequest("the body is not valid base64", field="body") from None
    if len(raw) > MAX_BODY_BYTES:
        raise BodyTooLarge(f"the body must be at most {MAX_BODY_BYTES} bytes", field="body")
    sent, query, cookies = event.get("headers") or {}, event.get("rawQueryString") or "", event.get("cookies") or []
    if not (isinstance(sent, dict) and _are_texts(*sent.values())):
        raise MalformedRequest("the event's headers are not text by name", field="headers")
    if not (isinstance(cookies, list) and _are_texts(*cookies)):
        raise MalformedRequest("the event's cookies are not a list of text", field="cookies")
    if not _are_texts(query):
        raise MalformedRequest("the event's query string is not text", field="rawQueryString")
    # Every body is JSON here, whatever a client (curl -d, for one) says that it is.
    headers = {name: value for name, value in sent.items() if name.lower() != "content-type"}
    if body:
        headers["content-type"] = "application/json"
    context = {**event["requestContext"], "http": http}
    return {
        **event,
        "version": "2.0",
        "requestContext": context,
        "headers": headers,
        "rawQueryString": query,
        "cookies": cookies,
        "body": body,
        "isBase64Encoded": False,
    }


def _are_texts(*values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _answer(error: ServiceError, request_id: str) -> tuple[int, dict[str, str], dict[str, Any]]:
    detail: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.field is not None:
        detail["field"] = error.field
    telemetry.count(f"HTTP{error.status}")
    headers = {} if error.retry_after_sec is None else {"retry-after": str(error.retry_after_sec)}
    return error.status, headers, {"error": detail, "request_id": request_id}


def _lambda_answer(error: ServiceError, request_id: str) -> dict[str, Any]:
    status, headers, content = _answer(error, request_id)
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json", **headers},
        "body": json.dumps(content),
        "isBase64Encoded": False,
    }


def _scope_request_id(request: Request) -> str:
    return _request_id(request.scope.get("aws.event", {}), request.scope.get("aws.context"))


def _json_answer(request: Request, error: ServiceError) -> JSONResponse:
    status, headers, content = _answer(error, _scope_request_id(request))
    return JSONResponse(content, status_code=status, headers=headers)


async def _on_service_error(request: Request, error: Exception) -> JSONResponse:
    return _json_answer(request, cast(ServiceError, error))


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    error = cast(HTTPException, error)
    fault = ServiceError(str(error.detail))
    if error.status_code == 400:
        fault = MalformedRequest("the body is not valid JSON", field="body")
    fault.status = error.status_code
    fault.code = _HTTP_CODES.get(error.status_code, fault.code)
    answer = _json_answer(request, fault)
    answer.headers.update(error.headers or {})
    return answer


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    return _json_answer(request, validation_fault(cast(RequestValidationError, error).errors()))


def validation_fault(errors: Sequence[Any]) -> ServiceError:
    """Turn pydantic's first error into the fault that a caller sees; the refused input is never quoted."""
    first = errors[0]
    place = [str(part) for part in first["loc"]]
    if first["type"] == "json_invalid":
        return MalformedRequest("the body is not valid JSON", field="body")
    if place == ["body"] and first["type"] == "missing":
        return MalformedRequest("a JSON body is needed", field="body")
    if place == ["body"] and first["type"] == "model_attributes_type":
        return InvalidField("the body must be a JSON object", field="body")
    inner = first.get("ctx", {}).get("field")
    if place[-1] == "[key]":  # of a mapping's key: the field is the mapping
        place = place[:-2]
    path = [*place[1:], *([inner] if inner else [])]
    return InvalidField(first["msg"], field=".".join(path) or place[0])
