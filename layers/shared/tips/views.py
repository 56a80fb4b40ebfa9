"""What is stored, as the HTTP answers that show it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tips.contracts.reward import StatsResponse
from tips.contracts.shown import (
    DecisionResponse,
    EvaluationView,
    HistoryEntry,
    ProfileFeatureView,
    ProfileResponse,
    ReactionView,
)
from tips.features.profile_schema import PROFILE_FEATURES, ProfileFeature
from tips.state import keys

if TYPE_CHECKING:
    from tips.bandit.decision import Evaluation
    from tips.bandit.learning import UserLearning
    from tips.bandit.policy import Policy
    from tips.bandit.rewards import Reaction
    from tips.features.profile_counters import ProfileCounters, StoredFeature
    from tips.state.decision_codec import RememberedDecision


def iso(at_us: int) -> str:
    """Return microseconds since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def history_entry(remembered: RememberedDecision) -> HistoryEntry:
    decision = remembered.decision
    active = decision.active
    counted = remembered.reactions.counted(remembered.wait_ends_at)
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
    counted = log.counted(remembered.wait_ends_at)
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
        profile_sources=dict(decision.profile_sources),
        context=dict(decision.context),
        evaluations={name: _evaluation_view(one) for name, one in decision.evaluations.items()},
        explored=decision.explored,
        degraded=decision.degraded,
        deferred=decision.deferred,
        epoch=decision.epoch,
        experiments=dict(decision.experiments),
        shown_at=_iso(remembered.shown_at),
        reward_wait_began_at=_iso(remembered.wait_began_at),
        reward_wait_ends_at=_iso(remembered.wait_ends_at),
        reaction=_reaction_view(counted, learned=log.learned is not None),
        late_reaction=_reaction_view(log.late(remembered.wait_ends_at), learned=False),
        learned_reward=log.learned,
    )


def _iso(at_us: int | None) -> str | None:
    return None if at_us is None else iso(at_us)


def _reaction_view(reaction: Reaction | None, *, learned: bool) -> ReactionView | None:
    if reaction is None:
        return None
    return ReactionView(
        reward=reaction.reward,
        occurred_at=iso(reaction.occurred_at),
        event_id=reaction.event_id,
        action=reaction.action,
        dwell_ms=reaction.dwell_ms,
        learned=learned,
    )


def profile_view(user_id: str, counters: ProfileCounters, now_us: int) -> ProfileResponse:
    stored = counters.features()
    return ProfileResponse(
        user_id=user_id,
        features={
            feature.name: _profile_feature_view(feature, stored.get(feature.name), now_us)
            for feature in PROFILE_FEATURES
        },
    )


def _profile_feature_view(feature: ProfileFeature, kept: StoredFeature | None, now_us: int) -> ProfileFeatureView:
    return ProfileFeatureView(
        value=feature.fallback if kept is None else kept.value,
        updated_at=None if kept is None else iso(kept.updated_at),
        age_sec=None if kept is None else round(kept.age_sec(now_us), 3),
        fresh=kept is not None and kept.is_fresh(feature.ttl_sec, now_us),
        ttl_sec=feature.ttl_sec,
    )


def stats_view(user_id: str, policy: Policy, learning: UserLearning) -> StatsResponse:
    learned = learning.counted(policy.schema)
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
        prior=evaluation.prior,
        parameters=dict(evaluation.parameters),
        features=_features(evaluation),
        mean=distribution.mean.tolist(),
        width=distribution.width.tolist(),
        score=distribution.score.tolist(),
        propensity=distribution.propensity.tolist(),
    )


def _features(evaluation: Evaluation) -> dict[str, float]:
    return dict(zip(evaluation.names, evaluation.vector.tolist(), strict=True))
