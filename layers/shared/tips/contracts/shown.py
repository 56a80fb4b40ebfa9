"""Answers of the routes that show what is kept of a person, and of score's health."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tips.contracts.common import Answer


class HistoryEntry(Answer):
    """One decision in short. `features` is the vector that the policy saw of the tip shown."""

    ts: str
    decision_id: str
    tip_id: str
    policy: str
    policy_version: str
    schema_hash: str
    features: dict[str, float]
    score: float
    propensity: float
    explored: bool
    degraded: bool
    reward: float | None
    reward_at: str | None


class FeatureHistory(Answer):
    """The last decisions of one person, newest first."""

    history: list[HistoryEntry]


class EvaluationView(Answer):
    """What one policy made of the candidates; the arrays are in the candidates' order."""

    policy_version: str
    schema_hash: str
    prior: str | None
    parameters: dict[str, float]
    features: dict[str, float]
    mean: list[float]
    width: list[float]
    score: list[float]
    propensity: list[float]


class ReactionView(Answer):
    """One reaction. `learned`: whether its reward is in what was learned."""

    reward: float
    occurred_at: str
    event_id: str
    action: str | None
    dwell_ms: int | None
    learned: bool


class DecisionResponse(Answer):
    """One decision whole, as remembered: enough to replay its probabilities and its choice.

    `reaction` is the one that counts, `late_reaction` the last one after the reward wait. `learned_reward` is what the
    decision has taught: a reaction's reward, the default at the end of the wait, or nothing yet.
    `profile_sources` says of each profile feature whether it was the request's, a stored one, or a fallback.
    """

    decision_id: str
    user_id: str
    ts: str
    tip_id: str
    policy: str
    candidates: list[dict[str, Any]]
    hour_of_day: float | None
    day_of_week: float | None
    profile_features: dict[str, float | bool | None]
    profile_sources: dict[str, str]
    context: dict[str, Any]
    evaluations: dict[str, EvaluationView]
    explored: bool
    degraded: bool
    deferred: bool
    epoch: int | None
    experiments: dict[str, str]
    shown_at: str | None
    reward_wait_began_at: str | None
    reward_wait_ends_at: str | None
    reaction: ReactionView | None
    late_reaction: ReactionView | None
    learned_reward: float | None


class ProfileFeatureView(Answer):
    """One stored profile feature. `value`: its fallback when nothing is stored; then it was never updated.

    `fresh`: whether it is young enough (`age_sec` at most `ttl_sec`) for decisions to use it.
    """

    value: float | None
    updated_at: str | None
    age_sec: float | None
    fresh: bool
    ttl_sec: int


class ProfileResponse(Answer):
    """What is stored of a person's profile, by the feature's name; reading it changes nothing."""

    user_id: str
    features: dict[str, ProfileFeatureView]


class ConsumerHealth(Answer):
    last_msg_ts: str | None
    processed: int
    errors: int


def _is_none(value: object) -> bool:
    return value is None


class NatsHealth(Answer):
    """As the bridge's last heartbeat says; `stale` when the next ones are missing, absent when there never was one."""

    enabled: bool
    consumers: dict[str, ConsumerHealth]
    last_heartbeat: str | None = Field(default=None, exclude_if=_is_none)
    stale: bool | None = Field(default=None, exclude_if=_is_none)


class HealthResponse(Answer):
    """`ok` is false when the table does not answer."""

    ok: bool
    version: str
    nats: NatsHealth
