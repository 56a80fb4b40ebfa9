"""What the chaos test says of people, in the plain form that both the wire and the oracle are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision that `/score` took and stored. at_us: microseconds since 1970, as its id says."""

    user_id: str
    decision_id: str
    tip_id: str
    at_us: int
    deferred: bool
    generation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """One event, however often and by whatever ways it is told. at_us: when it occurred, or when the tip was shown."""

    kind: Literal["reaction", "served", "other"]
    subject: str
    event_id: str
    user_id: str
    at_us: int
    tip_id: str = ""
    decision_id: str | None = None
    action: str | None = None
    dwell_ms: int | None = None
    reward: float | None = None


@dataclass(frozen=True, slots=True)
class Generated:
    """Tips written for a person, and the vector that was logged then. vector: by component name."""

    user_id: str
    generation_id: str
    version: str
    vector: dict[str, float]
