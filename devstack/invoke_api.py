"""Lambda's Invoke API on loopback, for boto3's Lambda client and the bridge.

Signatures and aliases are not checked; asynchronous invocations are not repeated when they fail; logs are not returned.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.wrappers import Request, Response

from devstack.events import ACCOUNT, REGION
from devstack.http_server import Application
from devstack.instances import MAX_PAYLOAD_BYTES, Busy, Instances

_PATH = re.compile(r"/2015-03-31/functions/(?P<name>[^/]+)/invocations/?")
# A name, a partial or a whole ARN, each with or without a version or alias.
_NAME = re.compile(r"(?:(?:arn:[^:]+:lambda:[^:]+:)?\d{12}:function:|function:)?(?P<name>[A-Za-z0-9_-]+)(?::[^:]+)?")


def invoke_api(functions: Mapping[str, Instances]) -> Application:
    """Return the WSGI application of the API for these functions, by name."""

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            response = _respond(functions, Request(environ))
        except RequestEntityTooLarge:
            response = _too_large()
        except HTTPException as error:
            response = _fault(error.code or 400, "InvalidRequestContentException", error.name)
        return response(environ, start_response)

    return application


def _respond(functions: Mapping[str, Instances], request: Request) -> Response:
    path = _PATH.fullmatch(request.environ["REQUEST_URI"].partition("?")[0])
    if path is None or request.method != "POST":
        return _fault(404, "UnknownOperationException", "only Invoke is served here")
    name = _NAME.fullmatch(unquote(path["name"]))
    instances = functions.get(name["name"]) if name else None
    if instances is None:
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{unquote(path['name'])}"
        known = ", ".join(sorted(functions))
        return _fault(404, "ResourceNotFoundException", f"Function not found: {arn} (there are {known})")
    request.max_content_length = MAX_PAYLOAD_BYTES
    payload = request.get_data() or b"{}"
    if len(payload) > MAX_PAYLOAD_BYTES:
        return _too_large()
    try:
        json.loads(payload)
    except (ValueError, RecursionError) as error:
        reason = f"Could not parse request body into json: {error}"
        return _fault(400, "InvalidRequestContentException", reason)
    return _invoked(instances, payload, request.headers.get("x-amz-invocation-type", "RequestResponse"))


def _invoked(instances: Instances, payload: bytes, invocation_type: str) -> Response:
    match invocation_type:
        case "DryRun":
            return Response(status=204)
        case "Event":
            threading.Thread(target=_invoke_unobserved, args=(instances, payload), daemon=True).start()
            return Response(status=202)
        case "RequestResponse":
            try:
                outcome = instances.invoke(payload)
            except Busy:
                return _fault(429, "TooManyRequestsException", "Rate Exceeded.")
            response = Response(outcome.payload, content_type="application/json")
            response.headers["X-Amzn-RequestId"] = outcome.request_id
            response.headers["X-Amz-Executed-Version"] = "$LATEST"
            if outcome.is_error:
                response.headers["X-Amz-Function-Error"] = "Unhandled"
            return response
    return _fault(400, "InvalidParameterValueException", f"Unknown invocation type {invocation_type}")


def _invoke_unobserved(instances: Instances, payload: bytes) -> None:
    try:
        instances.invoke(payload)
    except Busy:
        print(f"{instances.definition.name}: an asynchronous invocation was dropped, all instances were busy")


def _too_large() -> Response:
    message = f"Request must be smaller than {MAX_PAYLOAD_BYTES} bytes for the InvokeFunction operation"
    return _fault(413, "RequestTooLargeException", message)


def _fault(status: int, kind: str, message: str) -> Response:
    body = json.dumps({"Type": "User", "Message": message})
    return Response(body, status, {"x-amzn-ErrorType": kind}, content_type="application/json")
