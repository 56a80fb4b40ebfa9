"""Bodies of `POST /reward`, `POST /activate`, `GET /stats`, `POST /reset` and `DELETE /users`."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from tips.contracts.common import (
    Action,
    Answer,
    AnyFeatures,
    Body,
    DwellMs,
    Id,
    Timestamp,
)


def _one_of(**types: str) -> dict[str, Any]:
    return {"anyOf": [{"required": [name], "properties": {name: {"type": kind}}} for name, kind in types.items()]}


class RewardRequest(Body):
    """How a person reacted to a tip, by `decision_id`, by `tip_id`, or by `tip_id` with its `features`."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [_one_of(decision_id="string", tip_id="string"), _one_of(action="string", reward="number")]
        }
    )

    user_id: Id
    decision_id: Id | None = None
    tip_id: Id | None = None
    event_id: Id | None = None
    action: Action | None = None
    dwell_ms: DwellMs | None = None
    reward: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)] | None = None
    occurred_at: Timestamp | None = None
    features: AnyFeatures | None = None

    @model_validator(mode="after")
    def _names_a_tip_and_a_reaction(self) -> Self:
        if self.decision_id is None and self.tip_id is None:
            raise PydanticCustomError("tip_needed", "decision_id or tip_id is needed", {"field": "decision_id"})
        if self.action is None and self.reward is None:
            raise PydanticCustomError("reaction_needed", "action or reward is needed", {"field": "action"})
        return self


class RewardResponse(Answer):
    """`applied` says whether what is learned moved; `reason` why not."""

    ok: bool = True
    applied: bool
    reason: str | None = None
    reward: float


class ActivateRequest(Body):
    """A deferred decision was really shown, now."""

    user_id: Id
    decision_id: Id


class ActivateResponse(Answer):
    """`applied`: whether the reward wait began now; `reason` why not."""

    ok: bool = True
    applied: bool
    reason: str | None = None


class StatsResponse(Answer):
    """Counts of learned reactions of one person under one policy; never decayed."""

    user_id: str
    policy: str
    policy_version: str
    schema_hash: str
    pulls: int
    pulls_without_decision: int
    cumulative_reward: float
    estimated_mean: float
    last_updated: str | None


class ResetResponse(Answer):
    ok: bool = True
    user_id: str
    epoch: int


class EraseResponse(Answer):
    """Everything kept of the person is gone. `erased`: items by kind; `remains`: what cannot be taken back at once."""

    ok: bool = True
    user_id: str
    erased: dict[str, int]
    erased_total: int
    remains: list[str]
