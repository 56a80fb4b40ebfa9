"""The events that Lambda hands to the functions, and the answers of function URLs, built here as AWS builds them."""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote, unquote_plus, urlencode

REGION = "eu-west-1"
ACCOUNT = "123456789012"

Pairs = Iterable[tuple[str, str]]
_URL_ID = "localfunctionurl"
_PATH_SAFE = "/%-._~!$&'()*+,;=:@"


def url_event(
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | Pairs | None = None,
    query: Mapping[str, str] | Pairs | str | None = None,
    cookies: Sequence[str] | None = None,
    *,
    is_base64: bool | None = None,
    add_content_type: bool = True,
    source_ip: str = "127.0.0.1",
) -> dict[str, Any]:
    """Return the event of a request to a function URL (payload format 2.0).

    `path` may hold its query string and is percent-encoded where it is not yet, as a client would send it.
    `body`: text as it is; bytes go base64; anything else becomes JSON. `is_base64=True` passes text off as base64.
    """
    path, _, query_in_path = path.partition("?")
    raw_path = quote(path, safe=_PATH_SAFE) or "/"
    raw_query = query if isinstance(query, str) else urlencode(list(_pairs(query)))
    raw_query = "&".join(part for part in (query_in_path, raw_query) if part)
    if isinstance(body, bytes):
        text: str | None = base64.b64encode(body).decode()
        is_base64 = True if is_base64 is None else is_base64
    else:
        text = body if body is None or isinstance(body, str) else json.dumps(body)
    sent = joined(_pairs(headers))
    if text is not None:
        if add_content_type:
            sent.setdefault("content-type", "application/json")
        sent.setdefault("content-length", str(len(body if isinstance(body, bytes) else text.encode())))
    domain = f"{_URL_ID}.lambda-url.{REGION}.on.aws"
    defaults = {
        "accept": "*/*",
        "host": domain,
        "user-agent": "devstack",
        "x-amzn-trace-id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]}",
        "x-forwarded-for": source_ip,
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    }
    sent = {**defaults, **sent}
    now = datetime.now(UTC)
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": raw_path,
        "rawQueryString": raw_query,
        "headers": sent,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": _URL_ID,
            "authorizer": {
                "iam": {
                    "accessKey": "LOCALACCESSKEY",
                    "accountId": ACCOUNT,
                    "callerId": "LOCALCALLER",
                    "cognitoIdentity": None,
                    "principalOrgId": None,
                    "userArn": f"arn:aws:iam::{ACCOUNT}:user/local",
                    "userId": "LOCALCALLER",
                }
            },
            "domainName": domain,
            "domainPrefix": _URL_ID,
            "http": {
                "method": method.upper(),
                "path": raw_path,
                "protocol": "HTTP/1.1",
                "sourceIp": source_ip,
                "userAgent": sent["user-agent"],
            },
            "requestId": str(uuid.uuid4()),
            "routeKey": "$default",
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now.timestamp() * 1000),
        },
        "isBase64Encoded": bool(is_base64),
    }
    sent_cookies = list(cookies or []) + [c.strip() for c in sent.pop("cookie", "").split(";") if c.strip()]
    if sent_cookies:
        event["cookies"] = sent_cookies
    if raw_query:
        event["queryStringParameters"] = joined(_query_pairs(raw_query), lower=False)
    if text is not None:
        event["body"] = text
    return event


def joined(pairs: Pairs, *, lower: bool = True) -> dict[str, str]:
    """Return one value per name; several values of a name are joined by commas, as function URLs do it."""
    values: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower() if lower else name
        separator = "; " if key == "cookie" else ","
        values[key] = f"{values[key]}{separator}{value}" if key in values else value
    return values


def _pairs(given: Mapping[str, str] | Pairs | None) -> Pairs:
    return given.items() if isinstance(given, Mapping) else given or ()


def _query_pairs(raw_query: str) -> Pairs:
    # Not parse_qsl, which refuses or drops what Lambda passes on.
    for part in raw_query.split("&"):
        if part:
            name, _, value = part.partition("=")
            yield unquote_plus(name), unquote_plus(value)


def envelope(payload: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Return an event as producers send it; `fields` replace the envelope's own, None removes one."""
    whole = {
        "event_id": str(uuid.uuid4()),
        "occurred_at": datetime.now(UTC).isoformat(),
        "schema_version": 1,
        "producer": "devstack",
        "payload": dict(payload),
        **fields,
    }
    return {name: value for name, value in whole.items() if value is not None}


Message = tuple[str, Any]
"""A subject, and an envelope (anything that JSON can hold) or the raw bytes."""


def jetstream_record(subject: str, data: Any, stream_seq: int = 1, num_delivered: int = 1) -> dict[str, Any]:
    """Return one record as the bridge hands it to `consume`."""
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return {
        "subject": subject,
        "stream_seq": stream_seq,
        "consumer_seq": stream_seq,
        "num_delivered": num_delivered,
        "timestamp": datetime.now(UTC).isoformat(),
        "headers": {},
        "data": base64.b64encode(raw).decode(),
    }


def jetstream_batch(
    records: Iterable[Message], *, stream: str | None = None, first_seq: int = 1, num_delivered: int = 1
) -> dict[str, Any]:
    """Return a batch of JetStream records; without `stream` it is the first part of the first subject."""
    messages = list(records)
    stream = stream or (messages[0][0].partition(".")[0] if messages else "signals")
    return {
        "source": "nats.jetstream",
        "stream": stream,
        "consumer": f"feature-pipeline-{stream}",
        "records": [
            jetstream_record(subject, data, first_seq + index, num_delivered)
            for index, (subject, data) in enumerate(messages)
        ],
    }


def sqs_batch(records: Iterable[Message], *, receive_count: int = 1) -> dict[str, Any]:
    """Return an SQS event whose bodies are single JetStream records."""
    sqs_records = []
    for index, (subject, data) in enumerate(records):
        body = json.dumps(jetstream_record(subject, data, index + 1, receive_count))
        sent_ms = str(int(time.time() * 1000))
        sqs_records.append(
            {
                "messageId": str(uuid.uuid4()),
                "receiptHandle": uuid.uuid4().hex,
                "body": body,
                "attributes": {
                    "ApproximateReceiveCount": str(receive_count),
                    "SentTimestamp": sent_ms,
                    "SenderId": "LOCALSENDER",
                    "ApproximateFirstReceiveTimestamp": sent_ms,
                },
                "messageAttributes": {},
                "md5OfBody": hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:tips-events",
                "awsRegion": REGION,
            }
        )
    return {"Records": sqs_records}


@dataclass
class LambdaContext:
    """What a handler gets as its second argument. `timeout`: seconds from now."""

    function_name: str = "LocalFunction"
    timeout: float = 60.0
    memory_limit_in_mb: int = 1024
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    function_version: str = "$LATEST"
    identity: None = None
    client_context: None = None

    def __post_init__(self) -> None:
        self._deadline = time.monotonic() + self.timeout
        self.invoked_function_arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.function_name}"
        self.log_group_name = f"/aws/lambda/{self.function_name}"
        self.log_stream_name = f"local/[{self.function_version}]{uuid.uuid4().hex}"

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._deadline - time.monotonic()) * 1000))


@dataclass(frozen=True)
class Answer:
    """What the caller of a function URL gets. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    cookies: Sequence[str] = ()

    @property
    def text(self) -> str:
        return self.body.decode()

    @cached_property
    def json(self) -> Any:
        """The body as JSON. Raises `ValueError` when it is none."""
        return json.loads(self.body)

    @classmethod
    def from_result(cls, result: Any) -> Answer:
        """Read what a handler returned; any value without a `statusCode` is itself the JSON body.

        Raises `ValueError` on a malformed one, for which a function URL answers 502.
        """
        if not isinstance(result, Mapping) or "statusCode" not in result:
            body = result if isinstance(result, str) else json.dumps(result)
            return cls(200, {"content-type": "application/json"}, body.encode())
        status = result["statusCode"]
        if isinstance(status, str) and status.isdigit():
            status = int(status)
        if not isinstance(status, int) or not 100 <= status <= 599:
            raise ValueError("statusCode is not an HTTP status")
        content = result.get("body")
        text = "" if content is None else content if isinstance(content, str) else json.dumps(content)
        body_bytes = base64.b64decode(text, validate=True) if result.get("isBase64Encoded") else text.encode()
        headers = {str(name).lower(): str(value) for name, value in (result.get("headers") or {}).items()}
        headers.setdefault("content-type", "application/json")
        return cls(status, headers, body_bytes, tuple(result.get("cookies") or ()))
