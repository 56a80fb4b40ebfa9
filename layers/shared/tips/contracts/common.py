"""Types and base models that several contracts share."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError, core_schema

# Control characters, line separators, bidirectional overrides, byte order mark and what stands for bytes that could
# not be decoded: legal in JSON, never in an identifier.
_FORBIDDEN_IN_IDS = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\uffff"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Printable:
    """Refuses texts that hold what identifiers must not.

    Within pydantic's core, as `_Feature`: a large request has hundreds of such values, and each call of a validator in
    Python costs as much as all the rest of a value's validation.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        printable = core_schema.custom_error_schema(
            core_schema.str_schema(pattern=f"^[^{_FORBIDDEN_IN_IDS}]*$"),
            "control_character",
            custom_error_message="must be printable text: no control characters, no undecodable bytes",
        )
        return core_schema.chain_schema([handler(source), printable])


class _Feature:
    """Accepts a boolean, else a number, which becomes a finite float."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        number = core_schema.float_schema(strict=True, allow_inf_nan=False)
        return core_schema.custom_error_schema(
            core_schema.union_schema([number, core_schema.bool_schema(strict=True)], mode="left_to_right"),
            "feature_value",
            custom_error_message="must be a finite number or a boolean",
        )


def _integral(value: Any) -> Any:
    # JSON has one number type: 9.0 is the integer 9.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _whole_ms(value: Any) -> Any:
    # Browsers' clocks give fractions of a millisecond.
    return math.floor(value) if isinstance(value, float) and math.isfinite(value) else value


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _in_range_of_time(value: datetime) -> datetime:
    try:
        return _utc(value)
    except OverflowError:
        raise PydanticCustomError("time_range", "must be a time between the years 1 and 9999") from None


def _written_out(value: Any) -> Any:
    # pydantic would also read numbers, as seconds or milliseconds by their size.
    if isinstance(value, datetime) or (isinstance(value, str) and not re.fullmatch(r"\s*[-+]?[\d.]*\s*", value)):
        return value
    raise PydanticCustomError("iso_8601", "must be an ISO 8601 time, such as 2026-11-20T08:30:00Z")


def microseconds(at: datetime) -> int:
    """Return microseconds since 1970, exactly; `at` has an offset."""
    return (at - _EPOCH) // timedelta(microseconds=1)


_PATTERN: dict[str, Any] = {"pattern": f"^[^{_FORBIDDEN_IN_IDS}]+$"}

Id = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128),
    _Printable(),
    Field(json_schema_extra=_PATTERN),
]
"""An opaque identifier: 1 to 128 characters, any script, no control characters."""

Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64),
    _Printable(),
    Field(json_schema_extra=_PATTERN),
]
"""A short name: a feature, a source, a policy."""

Whole = BeforeValidator(_integral)
"""Goes last in `Annotated[int, Field(...), Whole]`, or pydantic leaves the bounds out of the JSON schema."""

HourOfDay = Annotated[int, Field(ge=0, le=23), Whole]
DayOfWeek = Annotated[int, Field(ge=0, le=6, description="Monday = 0"), Whole]
DwellMs = Annotated[
    int,
    Field(ge=0, le=10**12),
    BeforeValidator(_whole_ms),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 10**12}),
]
Timestamp = Annotated[datetime, Field(strict=False), AfterValidator(_in_range_of_time), BeforeValidator(_written_out)]
"""ISO 8601; without an offset it is read as UTC."""

FeatureValue = Annotated[
    float | bool,
    _Feature(),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "boolean"}]}),
]
OptionalFeatureValue = Annotated[
    Annotated[float | bool, _Feature()] | None,
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "boolean"}, {"type": "null"}]}),
]

TipKind = Literal["task", "advice", "insight", "reminder"]
Action = Literal["done", "dismiss", "snooze", "helpful", "not_helpful"]

FEATURE_RANGES: Mapping[str, tuple[float, float]] = {
    "hour_of_day": (0, 23),
    "day_of_week": (0, 6),
    "is_overdue": (0, 1),
    "priority": (1, 4),
    "completion_rate_30d": (0, 1),
    "dismiss_rate_30d": (0, 1),
    "mean_dwell_ms_30d": (0, math.inf),
    "preferred_hour": (0, 24),
    "tip_volume_30d": (0, math.inf),
}
"""Inclusive bounds of the features whose meaning the service knows; other features are not bounded."""

KNOWN_CANDIDATE_FEATURES = frozenset({"is_overdue", "task_age_days", "priority"})
"""What the policies' schemas may use of a candidate; other features are accepted and logged."""


def within_known_ranges(features: dict[str, float | bool | None]) -> dict[str, float | bool | None]:
    """Refuse a known feature outside its range: one absurd value would distort what is learned for good."""
    for name, value in features.items():
        bounds = FEATURE_RANGES.get(name)
        if bounds is None or value is None:
            continue
        low, high = bounds
        if not low <= value <= high:
            wanted = f"from {low:g} to {high:g}" if math.isfinite(high) else f"at least {low:g}"
            raise PydanticCustomError("feature_range", "must be {wanted}", {"wanted": wanted, "field": name})
    return features


_NAMES: dict[str, Any] = {"propertyNames": {"minLength": 1, "maxLength": 64, **_PATTERN}}

CandidateFeatures = Annotated[
    dict[Name, FeatureValue], Field(max_length=32, json_schema_extra=_NAMES), AfterValidator(within_known_ranges)
]
ProfileFeatures = Annotated[
    dict[Name, OptionalFeatureValue],
    Field(max_length=32, json_schema_extra=_NAMES),
    AfterValidator(within_known_ranges),
]
AnyFeatures = Annotated[
    dict[Name, OptionalFeatureValue],
    Field(max_length=64, json_schema_extra=_NAMES),
    AfterValidator(within_known_ranges),
]
"""What the original form of a reward carries: features of candidate, context and profile in one."""


class Body(BaseModel):
    """Base of request bodies: strict types, unknown fields ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Answer(BaseModel):
    """Base of response bodies."""

    model_config = ConfigDict(frozen=True)
