"""Feature vectors: a schema is an ordered list of named encoders, and its hash names exactly that list."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Features = Mapping[str, float | bool | None]


@dataclass(frozen=True, slots=True)
class Situation:
    """What all candidates of a decision share: the time and the person's profile. None: not known."""

    hour_of_day: float | None = None
    day_of_week: float | None = None
    profile: Features = field(default_factory=dict)


class CandidateLike(Protocol):
    """What a schema may read of a candidate, whether it comes from a request or from a log."""

    @property
    def features(self) -> Features: ...
    @property
    def kind(self) -> str | None: ...
    @property
    def source(self) -> str | None: ...
    @property
    def prompt_version(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate outside of a request."""

    features: Features = field(default_factory=dict)
    kind: str | None = None
    source: str | None = None
    prompt_version: str | None = None

    @classmethod
    def from_log(cls, logged: Mapping[str, Any]) -> Candidate:
        """Return the candidate as a decision remembers it."""
        return cls(logged["features"], logged.get("kind"), logged.get("source"), logged.get("prompt_version"))


@dataclass(frozen=True, slots=True)
class Encoder:
    """One component of a vector: a part of the situation, a part of the candidate, or the product of both.

    Only a product lets what all candidates share (hour, profile) change which candidate is best.
    `definition` is the formula in words; it is part of the schema's hash, so a changed formula needs a changed text.
    A part of the candidate that reads only its kind, source and prompt version is `of_category`.
    """

    name: str
    definition: str
    of_situation: Callable[[Situation], float] | None = None
    of_candidate: Callable[[CandidateLike], float] | None = None
    of_category: Callable[[CandidateLike], float] | None = None


class Columns:
    """The candidates of a decision as several schemas read them: what is a candidate's own is computed once for all.

    `categories`: a candidate of each combination of kind, source and prompt version; `category`: of each candidate
    the place of its own among them.
    """

    def __init__(self, candidates: Sequence[CandidateLike]) -> None:
        self._candidates = candidates
        self._values: dict[Callable[[CandidateLike], float], list[float]] = {}
        self.categories: list[CandidateLike] = []
        self.category: list[int] = []
        places: dict[tuple[str | None, ...], int] = {}
        for candidate in candidates:
            place = places.setdefault((candidate.kind, candidate.source, candidate.prompt_version), len(places))
            if place == len(self.categories):
                self.categories.append(candidate)
            self.category.append(place)

    def values(self, function: Callable[[CandidateLike], float]) -> list[float]:
        """Return what the function gives for each candidate."""
        values = self._values.get(function)
        if values is None:
            values = self._values[function] = [function(candidate) for candidate in self._candidates]
        return values


class _Parts:
    """The distinct functions of some encoders, each to be called once, and for each encoder the places of its own.

    Of the situation there is a constant 1 and then `of_situation`; of a candidate a constant 1, then `of_category`,
    which candidates of one kind, source and prompt version have in common, and then `of_candidate`.
    """

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        self.of_situation = list(dict.fromkeys(filter(None, (one.of_situation for one in encoders))))
        self.of_category = list(dict.fromkeys(filter(None, (one.of_category for one in encoders))))
        self.of_candidate = list(dict.fromkeys(filter(None, (one.of_candidate for one in encoders))))
        situation: list[Any] = [None, *self.of_situation]
        candidate: list[Any] = [None, *self.of_category, *self.of_candidate]
        self.situation_places = [situation.index(one.of_situation) for one in encoders]
        self.candidate_places = np.array([candidate.index(one.of_category or one.of_candidate) for one in encoders])


@dataclass(frozen=True, eq=False)
class Schema:
    """An ordered list of encoders under a name. There is one object per schema; it may be a dictionary's key."""

    name: str
    encoders: tuple[Encoder, ...]

    @property
    def dimension(self) -> int:
        return len(self.encoders)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(encoder.name for encoder in self.encoders)

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits of SHA-256 over names and definitions, in order."""
        text = json.dumps([[encoder.name, encoder.definition] for encoder in self.encoders])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def _parts(self) -> _Parts:
        return _Parts(self.encoders)

    def encode(self, situation: Situation, candidates: Sequence[CandidateLike] | Columns) -> NDArray[np.float64]:
        """Return X: (k, d) float64, one row per candidate, one column per encoder."""
        columns = candidates if isinstance(candidates, Columns) else Columns(candidates)
        parts = self._parts
        shared = [1.0, *(function(situation) for function in parts.of_situation)]
        by_category = [[1.0, *(function(one) for function in parts.of_category)] for one in columns.categories]
        rows = np.array(by_category).take(columns.category, axis=0)
        if parts.of_candidate:
            own = np.array([columns.values(function) for function in parts.of_candidate])
            rows = np.concatenate((rows, own.T), axis=1)
        X = rows.take(parts.candidate_places, axis=1)
        X *= np.array([shared[place] for place in parts.situation_places])
        X += 0.0  # no negative zeros
        return X


def clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def cyclic(function: Callable[[float], float], name: str, period: int) -> Callable[[Situation], float]:
    def encode(situation: Situation) -> float:
        value: float | None = getattr(situation, name)
        # An unknown time points nowhere on the circle: its centre.
        return 0.0 if value is None else function(2 * math.pi * value / period)

    return encode


def value_of(features: Features, name: str, default: float) -> float:
    value = features.get(name)
    return default if value is None else float(value)


def preferred_hour_match(situation: Situation) -> float:
    preferred = situation.profile.get("preferred_hour")
    if preferred is None or situation.hour_of_day is None:
        return 0.5
    return (math.cos(2 * math.pi * (preferred - situation.hour_of_day) / 24) + 1) / 2


def tip_volume(situation: Situation) -> float:
    volume = value_of(situation.profile, "tip_volume_30d", 0.0)
    return clip(math.log1p(max(volume, 0.0)) / math.log1p(100), 0.0, 1.0)


def is_overdue(candidate: CandidateLike) -> float:
    return value_of(candidate.features, "is_overdue", 0.0)


def task_age(candidate: CandidateLike) -> float:
    return min(max(value_of(candidate.features, "task_age_days", 0.0), 0.0), 30.0) / 30.0


def priority(candidate: CandidateLike) -> float:
    return (value_of(candidate.features, "priority", 1.0) - 1.0) / 3.0


_HOUR = (
    Encoder("hour_sin", "sin(2 pi hour / 24); unknown 0", of_situation=cyclic(math.sin, "hour_of_day", 24)),
    Encoder("hour_cos", "cos(2 pi hour / 24); unknown 0", of_situation=cyclic(math.cos, "hour_of_day", 24)),
)
TASK = (
    Encoder("is_overdue", "1 if overdue; unknown 0", of_candidate=is_overdue),
    Encoder(
        "task_age",
        "task_age_days clipped to 0..30, / 30; unknown 0",
        of_candidate=task_age,
    ),
    Encoder(
        "priority",
        "(priority - 1) / 3; unknown 0",
        of_candidate=priority,
    ),
)
_DAY = (
    Encoder("day_sin", "sin(2 pi day / 7); unknown 0", of_situation=cyclic(math.sin, "day_of_week", 7)),
    Encoder("day_cos", "cos(2 pi day / 7); unknown 0", of_situation=cyclic(math.cos, "day_of_week", 7)),
)
_PROFILE = (
    Encoder(
        "completion_rate",
        "completion_rate_30d; unknown 0",
        of_situation=lambda s: value_of(s.profile, "completion_rate_30d", 0.0),
    ),
    Encoder(
        "dismiss_rate",
        "dismiss_rate_30d; unknown 0",
        of_situation=lambda s: value_of(s.profile, "dismiss_rate_30d", 0.0),
    ),
    Encoder(
        "mean_dwell",
        "mean_dwell_ms_30d / 600000 clipped to 0..1; unknown 0",
        of_situation=lambda s: clip(value_of(s.profile, "mean_dwell_ms_30d", 0.0) / 600_000, 0.0, 1.0),
    ),
    Encoder(
        "preferred_hour_match",
        "(cos(2 pi (preferred_hour - hour) / 24) + 1) / 2; unknown 0.5",
        of_situation=preferred_hour_match,
    ),
    Encoder(
        "tip_volume",
        "log1p(tip_volume_30d) / log1p(100) clipped to 0..1; unknown 0",
        of_situation=tip_volume,
    ),
)

LINUCB = Schema("linucb", (*_HOUR, *TASK))
EGREEDY_V1 = Schema("egreedy-v1", (*LINUCB.encoders, *_DAY))
EGREEDY_V2 = Schema("egreedy-v2", (*EGREEDY_V1.encoders, *_PROFILE))
