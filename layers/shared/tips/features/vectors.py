"""Feature vectors: a schema is an ordered list of named encoders, and its hash names exactly that list."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

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


@dataclass(frozen=True, slots=True)
class Encoder:
    """One component of a vector.

    `definition` is the formula in words; it is part of the schema's hash, so a changed formula needs a changed text.
    Exactly one of `of_situation` and `of_candidate` computes the component.
    """

    name: str
    definition: str
    of_situation: Callable[[Situation], float] | None = None
    of_candidate: Callable[[Features], float] | None = None


@dataclass(frozen=True)
class Schema:
    """An ordered list of encoders under a name."""

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

    def encode(self, situation: Situation, candidates: Sequence[Features]) -> NDArray[np.float64]:
        """Return X: (k, d) float64, one row per candidate's features, one column per encoder."""
        X = np.empty((len(candidates), self.dimension))
        for column, encoder in enumerate(self.encoders):
            if encoder.of_situation is not None:
                X[:, column] = encoder.of_situation(situation)
            elif encoder.of_candidate is not None:
                X[:, column] = [encoder.of_candidate(features) for features in candidates]
        return X


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _cyclic(function: Callable[[float], float], name: str, period: int) -> Callable[[Situation], float]:
    def encode(situation: Situation) -> float:
        value: float | None = getattr(situation, name)
        # An unknown time points nowhere on the circle: its centre.
        return 0.0 if value is None else function(2 * math.pi * value / period)

    return encode


def _value(features: Features, name: str, default: float) -> float:
    value = features.get(name)
    return default if value is None else float(value)


def _preferred_hour_match(situation: Situation) -> float:
    preferred = situation.profile.get("preferred_hour")
    if preferred is None or situation.hour_of_day is None:
        return 0.5
    return (math.cos(2 * math.pi * (preferred - situation.hour_of_day) / 24) + 1) / 2


def _tip_volume(situation: Situation) -> float:
    volume = _value(situation.profile, "tip_volume_30d", 0.0)
    return _clip(math.log1p(max(volume, 0.0)) / math.log1p(100), 0.0, 1.0)


_HOUR = (
    Encoder("hour_sin", "sin(2 pi hour / 24); unknown 0", of_situation=_cyclic(math.sin, "hour_of_day", 24)),
    Encoder("hour_cos", "cos(2 pi hour / 24); unknown 0", of_situation=_cyclic(math.cos, "hour_of_day", 24)),
)
_TASK = (
    Encoder("is_overdue", "1 if overdue; unknown 0", of_candidate=lambda f: _value(f, "is_overdue", 0.0)),
    Encoder(
        "task_age",
        "task_age_days clipped to 0..30, / 30; unknown 0",
        of_candidate=lambda f: _clip(_value(f, "task_age_days", 0.0), 0.0, 30.0) / 30.0,
    ),
    Encoder(
        "priority",
        "(priority - 1) / 3; unknown 0",
        of_candidate=lambda f: (_value(f, "priority", 1.0) - 1.0) / 3.0,
    ),
)
_DAY = (
    Encoder("day_sin", "sin(2 pi day / 7); unknown 0", of_situation=_cyclic(math.sin, "day_of_week", 7)),
    Encoder("day_cos", "cos(2 pi day / 7); unknown 0", of_situation=_cyclic(math.cos, "day_of_week", 7)),
)
_PROFILE = (
    Encoder(
        "completion_rate",
        "completion_rate_30d; unknown 0",
        of_situation=lambda s: _value(s.profile, "completion_rate_30d", 0.0),
    ),
    Encoder(
        "dismiss_rate",
        "dismiss_rate_30d; unknown 0",
        of_situation=lambda s: _value(s.profile, "dismiss_rate_30d", 0.0),
    ),
    Encoder(
        "mean_dwell",
        "mean_dwell_ms_30d / 600000 clipped to 0..1; unknown 0",
        of_situation=lambda s: _clip(_value(s.profile, "mean_dwell_ms_30d", 0.0) / 600_000, 0.0, 1.0),
    ),
    Encoder(
        "preferred_hour_match",
        "(cos(2 pi (preferred_hour - hour) / 24) + 1) / 2; unknown 0.5",
        of_situation=_preferred_hour_match,
    ),
    Encoder(
        "tip_volume",
        "log1p(tip_volume_30d) / log1p(100) clipped to 0..1; unknown 0",
        of_situation=_tip_volume,
    ),
)

LINUCB = Schema("linucb", (*_HOUR, *_TASK))
EGREEDY_V1 = Schema("egreedy-v1", (*LINUCB.encoders, *_DAY))
EGREEDY_V2 = Schema("egreedy-v2", (*EGREEDY_V1.encoders, *_PROFILE))
