"""What is stored, as the HTTP answers that show it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tips.contracts.reward import StatsResponse
from tips.contracts.scoring import DecisionResponse, EvaluationView, HistoryEntry, ReactionView
from tips.state import keys

if TYPE_CHECKING:
    from tips.bandit.decision import Evaluation
    from tips.bandit.policy import Policy
    from tips.state.decision_codec import RememberedDecision
    from tips.state.learning import UserLearning


def iso(at_us: int) -> str:
    """Return microseconds since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def history_entry(remembered: RememberedDecision) -> HistoryEntry:
    decision = remembered.decision
    active = decision.active
    counted = remembered.reactions.counted
    return HistoryEntry(
        ts=iso(keys.decided_at_us(decision.decision_id)),
        decision_id=decision.decision_id,
        tip_id=decision.tip_id,
        policy=decision.policy,
        policy_version=active.policy_version,
        schema_hash=active.schema_hash,
        features=_features(active),
        score=float(active.distribution.score[decision.chosen]),
        propensity=float(active.distribution.propensity[decision.chosen]),
        explored=decision.explored,
        degraded=decision.degraded,
        reward=None if counted is None else counted.reward,
        reward_at=None if counted is None else iso(counted.occurred_at),
    )


def decision_view(remembered: RememberedDecision) -> DecisionResponse:
    decision = remembered.decision
    log = remembered.reactions
    return DecisionResponse(
        decision_id=decision.decision_id,
        user_id=decision.user_id,
        ts=iso(keys.decided_at_us(decision.decision_id)),
        tip_id=decision.tip_id,
        policy=decision.policy,
        candidates=[dict(candidate) for candidate in decision.candidates],
        hour_of_day=decision.situation.hour_of_day,
        day_of_week=decision.situation.day_of_week,
        profile_features=dict(decision.situation.profile),
        context=dict(decision.context),
        evaluations={name: _evaluation_view(one) for name, one in decision.evaluations.items()},
        explored=decision.explored,
        degraded=decision.degraded,
        deferred=decision.deferred,
        epoch=decision.epoch,
        shown_at=None if remembered.shown_at is None else iso(remembered.shown_at),
        reaction=None
        if log.counted is None
        else ReactionView(
            reward=log.counted.reward,
            occurred_at=iso(log.counted.occurred_at),
            event_id=log.counted.event_id,
            action=log.counted.action,
            dwell_ms=log.counted.dwell_ms,
            learned=log.learned_reward is not None,
        ),
    )


def stats_view(user_id: str, policy: Policy, learning: UserLearning) -> StatsResponse:
    learned = learning.policies.get(policy.name)
    pulls = 0 if learned is None else learned.statistics.pulls
    cumulative = 0.0 if learned is None else learned.statistics.cumulative_reward
    return StatsResponse(
        user_id=user_id,
        policy=policy.name,
        policy_version=policy.version,
        schema_hash=policy.schema.hash,
        pulls=pulls,
        pulls_without_decision=0 if learned is None else learned.statistics.pulls_without_decision,
        cumulative_reward=cumulative,
        estimated_mean=cumulative / pulls if pulls else 0.0,
        last_updated=None if learned is None else iso(learned.updated_at),
    )


def _evaluation_view(evaluation: Evaluation) -> EvaluationView:
    distribution = evaluation.distribution
    return EvaluationView(
        policy_version=evaluation.policy_version,
        schema_hash=evaluation.schema_hash,
        parameters=dict(evaluation.parameters),
        features=_features(evaluation),
        mean=distribution.mean.tolist(),
        width=distribution.width.tolist(),
        score=distribution.score.tolist(),
        propensity=distribution.propensity.tolist(),
    )


def _features(evaluation: Evaluation) -> dict[str, float]:
    return dict(zip(evaluation.names, evaluation.vector.tolist(), strict=True))
