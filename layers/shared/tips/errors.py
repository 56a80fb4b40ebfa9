"""Errors by situation, each knowing the HTTP answer it stands for."""

from __future__ import annotations


class ServiceError(Exception):
    """A fault that a caller is told about; `status` and `code` are part of the HTTP contract."""

    status = 500
    code = "internal_error"
    retry_after_sec: int | None = None

    def __init__(self, message: str, *, field: str | None = None, retry_after_sec: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        if retry_after_sec is not None:
            self.retry_after_sec = retry_after_sec


class MalformedRequest(ServiceError):
    """The request cannot be read at all: broken JSON, broken base64, no body."""

    status = 400
    code = "malformed_request"


class NotFound(ServiceError):
    status = 404
    code = "not_found"


class BodyTooLarge(ServiceError):
    status = 413
    code = "body_too_large"


class InvalidField(ServiceError):
    """The request can be read, but a field of it is not acceptable."""

    status = 422
    code = "invalid_field"


class CapReached(ServiceError):
    """A daily cap on tokens or money is used up, a person's or everybody's; `retry_after_sec`: until it resets."""

    status = 429
    code = "cap_reached"


class ModelUnusable(ServiceError):
    """A model answered, but never with a tip that can be shown."""

    status = 502
    code = "model_unusable"


class ModelUnavailable(ServiceError):
    """No model could be reached in the time there was, or none may be called now."""

    status = 503
    code = "model_unavailable"
    retry_after_sec = 5


class TableUnavailable(ServiceError):
    """DynamoDB did not answer, refused or throttled within the time there was.

    `ambiguous` says that a write may have been carried out all the same; `malformed`, that the request can never be.
    """

    status = 503
    code = "table_unavailable"
    retry_after_sec = 1

    def __init__(self, message: str, *, ambiguous: bool = False, malformed: bool = False) -> None:
        super().__init__(message)
        self.ambiguous = ambiguous
        self.malformed = malformed


class OutOfTime(TableUnavailable):
    """The table was not asked at all: what called has no time left."""

    def __init__(self) -> None:
        super().__init__("no time is left")


class LearningUnreadable(ServiceError):
    """What is stored of a person's learning cannot be used: damaged, or of a schema that this version does not know.

    Nothing is written over it, so a version that can read it finds everything.
    """

    status = 503
    code = "learning_unreadable"
    retry_after_sec = 60


class ConfigurationUnreadable(Exception):
    """The configuration in the table is damaged, or written by a version that knows more; the text says what is wrong.

    No caller is told: the functions go on with what they last read, or with their defaults.
    """


class NothingToRestore(Exception):
    """There is no earlier configuration, or not the one that was asked for; the text says which there are."""


class DecisionUnreadable(ServiceError):
    """What is stored of a decision is damaged, or of a format that this version does not know."""

    status = 503
    code = "decision_unreadable"
    retry_after_sec = 60


class WriteConflict(Exception):
    """Another writer was there at the same time: read again and retry."""


class ConditionNotMet(WriteConflict):
    """The condition of a write did not hold, and nothing was written."""


class BadRecord(Exception):
    """An event record that can never be processed as it is; `reason` names the field, never its content."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
