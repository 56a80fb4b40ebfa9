"""The body of every error."""

from __future__ import annotations

from tips.contracts.common import Answer


class ErrorDetail(Answer):
    code: str
    message: str
    field: str | None = None


class ErrorAnswer(Answer):
    """What every error looks like."""

    error: ErrorDetail
    request_id: str
