"""Configuration that operators change while the service runs: active policy, shadows, experiments."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from datetime import datetime
from itertools import combinations
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from tips.contracts.common import Name, Timestamp

MAX_SHADOWS = 3
"""Each shadow scores every request and grows every decision."""
MAX_EXPERIMENTS = 16
MAX_ARMS = 10
SHARES_TOLERANCE = 1e-9
"""Shares such as 0.1 do not add up to 1 exactly."""

PromptAlias = Literal["production", "latest"]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class _Document(BaseModel):
    """Strict, and no unknown field: a misspelt one would silently change nothing."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


class Experiment(_Document):
    """Splits people among arms from `start` (inclusive) to `end` (exclusive; None: until it is taken out).

    `arms`: the share of people by the arm's name, which is that of a policy or of a prompt version. People in what
    the shares leave of 1 are in no arm. `salt` decides who is where; see `tips.bandit.assignment`.
    """

    name: Name
    kind: Literal["policy", "prompt_version"]
    arms: Annotated[dict[Name, Share], Field(min_length=1, max_length=MAX_ARMS)]
    salt: Name
    start: Timestamp
    end: Timestamp | None = None

    @field_validator("arms")
    @classmethod
    def _shares_of_one_whole(cls, arms: dict[str, float]) -> dict[str, float]:
        total = math.fsum(arms.values())
        if total > 1 + SHARES_TOLERANCE:
            raise PydanticCustomError(
                "shares", "the shares must add up to at most 1, not {total}", {"total": f"{total:g}"}
            )
        return arms

    @field_validator("end")
    @classmethod
    def _after_start(cls, end: datetime | None, info: ValidationInfo) -> datetime | None:
        start = info.data.get("start")
        if end is not None and start is not None and end <= start:
            raise PydanticCustomError(
                "ends_before_start", "must be later than start, {start}", {"start": start.isoformat()}
            )
        return end

    def runs_at(self, at: datetime) -> bool:
        return self.start <= at and (self.end is None or at < self.end)

    def overlaps(self, other: Experiment) -> bool:
        return (other.end is None or self.start < other.end) and (self.end is None or other.start < self.end)


class Configuration(_Document):
    """The one configuration in force. `active_policy` None: the functions' own default."""

    active_policy: Name | None = None
    shadows: Annotated[list[Name], Field(max_length=MAX_SHADOWS)] = []
    experiments: Annotated[list[Experiment], Field(max_length=MAX_EXPERIMENTS)] = []
    # Left out when empty, so that a version of this service that knows no aliases can read the rest.
    prompt_aliases: Annotated[dict[PromptAlias, Name], Field(exclude_if=operator.not_)] = {}
    """Prompt version by alias; one that is not here stands for what the prompt registry says."""

    @field_validator("shadows")
    @classmethod
    def _each_once(cls, shadows: list[str]) -> list[str]:
        if (name := _repeated(shadows)) is not None:
            raise PydanticCustomError("repeated", "each must be named once, {name} is named twice", {"name": name})
        return shadows

    @field_validator("experiments")
    @classmethod
    def _one_of_a_kind_at_a_time(cls, experiments: list[Experiment]) -> list[Experiment]:
        if (name := _repeated([one.name for one in experiments])) is not None:
            raise PydanticCustomError("repeated", "names must differ, {name} is there twice", {"name": name})
        for one, other in combinations(experiments, 2):
            # Else a person would be in an arm of each, and only one of the two can be served.
            if one.kind == other.kind and one.overlaps(other):
                raise PydanticCustomError(
                    "overlap",
                    "{one} and {other} are both of kind {kind} and must not run at the same time: "
                    "let one end before the other starts",
                    {"one": one.name, "other": other.name, "kind": one.kind},
                )
        return experiments


def _repeated(names: Sequence[str]) -> str | None:
    return next((name for position, name in enumerate(names) if name in names[:position]), None)
