"""Why a call to a model brought no answer, told from what the server sent rather than from LiteLLM's reading of it.

LiteLLM maps errors by words in their text: a 401 may come out as 400 and a 504 as a time-out, without headers.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Literal

FailureCode = Literal["timeout", "unavailable", "bad_answer", "rate_limited", "refused", "rejected", "breaker_open"]

_KEY_REFUSED = {"budget_exceeded", "insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
_KEY_REFUSED |= {"no_db_connection"}
"""As error type or code of any 4xx: a LiteLLM proxy sends the first with 400, 422 or 429, by its version, and the last
with 400 for a key that it does not know and has no database to look up."""
_RETRY_AFTER = ("retry-after", "llm_provider-retry-after")
"""A LiteLLM proxy passes the provider's on under the second name."""


class ModelFailure(Exception):
    """A call brought no answer; the provider's words may quote the prompt and are left out.

    `timeout`; `unavailable`: no connection, or 5xx; `bad_answer`: no completion, or one far too long or cut off, be it
    before its first byte;
    `rate_limited`: 429; `refused`: the key is not accepted or out of budget;
    `rejected`: any other 4xx; `breaker_open`: it was not called.
    """

    def __init__(
        self,
        code: FailureCode,
        *,
        answered: bool = False,
        billed: bool = False,
        retry_after_sec: float | None = None,
    ) -> None:
        super().__init__(code)
        self.code: FailureCode = code
        self.answered = answered
        """The model did answer, with something that is no completion."""
        self.billed = billed
        """The provider may charge for the call all the same."""
        self.retry_after_sec = retry_after_sec


@dataclass(slots=True)
class Heard:
    """What the transport has heard of a call so far; `status` None: no answer has begun."""

    sent: bool = False
    connected: bool = False
    timed_out: bool = False
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    codes: frozenset[str] = frozenset()
    complete: bool = False


heard_of_this_call: ContextVar[Heard] = ContextVar("heard_of_this_call")


def failure(error: Exception, heard: Heard) -> ModelFailure:
    """Return what `error` means, by what was heard, or where that is nothing by what the exception carries."""
    if heard.status is not None and heard.status >= 400:
        return _of_status(heard.status, heard.codes, heard.headers)
    if isinstance(error, TimeoutError) or heard.timed_out:
        return ModelFailure("timeout", billed=True)
    if heard.status is not None:
        return ModelFailure("bad_answer", answered=heard.complete, billed=True)
    if heard.connected:
        return ModelFailure("bad_answer", billed=True)
    if heard.sent:
        return ModelFailure("unavailable")
    status = getattr(error, "status_code", None)
    if not isinstance(status, int) or status < 400:
        return ModelFailure("bad_answer", billed=True)
    headers = getattr(getattr(error, "response", None), "headers", None)
    body = getattr(error, "body", None)
    return _of_status(status, error_codes(body), headers if isinstance(headers, Mapping) else {})


def _of_status(status: int, codes: frozenset[str], headers: Mapping[str, str]) -> ModelFailure:
    told = (retry_after_sec(headers.get(name)) for name in _RETRY_AFTER)
    wait = next((seconds for seconds in told if seconds is not None), None)
    if status in (401, 402, 403) or codes & _KEY_REFUSED:
        return ModelFailure("refused", retry_after_sec=wait)
    if status == 408:
        return ModelFailure("timeout", billed=True, retry_after_sec=wait)
    if status == 429:
        return ModelFailure("rate_limited", retry_after_sec=wait)
    return ModelFailure("unavailable" if status >= 500 else "rejected", retry_after_sec=wait)


def error_codes(body: Any) -> frozenset[str]:
    """Return the types and codes in an error body, JSON text or parsed: `{"error": {...}}` or the inner object."""
    if isinstance(body, str | bytes):
        try:
            body = json.loads(body)
        except (ValueError, RecursionError):
            return frozenset()
    if not isinstance(body, dict):
        return frozenset()
    inner = body.get("error")
    places = [body, inner] if isinstance(inner, dict) else [body]
    found = (place.get(name) for place in places for name in ("code", "type"))
    return frozenset(code for code in found if isinstance(code, str))


def retry_after_sec(value: str | None) -> float | None:
    """Read a Retry-After header, seconds or an HTTP date; None where there is none to be read."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except (ValueError, OverflowError):
            return None
    return seconds if 0 <= seconds < math.inf else None
