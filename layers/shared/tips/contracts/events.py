"""Events: what arrives from JetStream, by subject. snake_case and camelCase names are both accepted."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AliasGenerator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from pydantic.aliases import AliasChoices
from pydantic_core import PydanticCustomError

from tips.contracts.common import Action, DwellMs, Id, Name, Timestamp, TipKind, Whole


class EventModel(BaseModel):
    """Base of event models: strict types, either naming style, unknown fields kept.

    A model's validator is built at its first use: a cold start has events of one kind or two.
    """

    model_config = ConfigDict(
        strict=True,
        extra="allow",
        frozen=True,
        defer_build=True,
        alias_generator=AliasGenerator(validation_alias=lambda name: AliasChoices(name, to_camel(name))),
    )


class TaskSynced(EventModel):
    """`signals.task.synced`: the tasks of a source were read."""

    user_id: Id
    task_count: Annotated[int, Field(ge=0, le=10**9), Whole]
    synced_at: Timestamp
    source: Name | None = None


class TipServed(EventModel):
    """`signals.tip.served`: a tip was shown."""

    user_id: Id
    tip_id: Id
    decision_id: Id | None = None
    policy: Name | None = None
    prompt_version: Name | None = None
    kind: TipKind | None = None
    shown_at: Timestamp


class TipFeedback(EventModel):
    """`signals.tip.feedback` and `feedback.tip`: a person reacted to a tip."""

    user_id: Id
    tip_id: Id
    decision_id: Id | None = None
    action: Action
    dwell_ms: DwellMs | None = None


class RewardFailed(EventModel):
    """`signals.tip.reward_failed`: a reward that HTTP lost."""

    user_id: Id
    tip_id: Id
    decision_id: Id | None = None
    reward: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)] | None = None
    action: Action | None = None
    dwell_ms: DwellMs | None = None
    error: object = None

    @model_validator(mode="after")
    def _says_what_the_reaction_was(self) -> Self:
        if self.action is None and self.reward is None:
            raise PydanticCustomError("reaction_needed", "action or reward is needed", {"field": "action"})
        return self


class TokenExpired(EventModel):
    """`signals.integration.token_expired`: a source can no longer be read."""

    user_id: Id
    source: Name


Payload = TaskSynced | TipServed | TipFeedback | RewardFailed | TokenExpired

PAYLOADS: dict[str, type[Payload]] = {
    "signals.task.synced": TaskSynced,
    "signals.tip.served": TipServed,
    "signals.tip.feedback": TipFeedback,
    "feedback.tip": TipFeedback,
    "signals.tip.reward_failed": RewardFailed,
    "signals.integration.token_expired": TokenExpired,
}
"""Subject -> model of the envelope's payload."""

SUBJECT_PREFIXES = ("signals.", "feedback.")
"""An unknown subject under these is no error: a producer may be newer than its consumer."""


class Envelope(EventModel):
    """What every event has around its payload."""

    event_id: Id
    occurred_at: Timestamp
    schema_version: Annotated[int, Whole] | str
    producer: Name
    payload: dict[str, object]
