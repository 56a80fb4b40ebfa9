"""One request to `/score`: at most one read, one choice, one write; an answer whatever the table does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ulid import ULID

from tips import telemetry
from tips.bandit.decision import Decision, choose
from tips.bandit.explanation import explain
from tips.bandit.registry import policy_named
from tips.contracts.scoring import RankedCandidate, ScoreRequest, ScoreResponse
from tips.errors import LearningUnreadable, TableUnavailable
from tips.features.clock import local_time
from tips.features.vectors import Situation
from tips.state import decisions, keys, learning
from tips.state.learning import UserLearning
from tips.state.table import Table

if TYPE_CHECKING:
    from tips.bandit.decision import Evaluation
    from tips.bandit.policy import Policy
    from tips.settings import Settings


class Scorer:
    """Chooses by what is learned of a person, within the settings' budgets for the table."""

    def __init__(self, settings: Settings) -> None:
        self._reads = Table(settings, settings.score_read_budget_ms)
        self._writes = Table(settings, settings.score_write_budget_ms)

    def prime(self) -> None:
        """Open both connections, so that the first request's budget is not spent on handshakes."""
        for table in (self._reads, self._writes):
            try:
                table.get(*keys.BRIDGE_HEALTH)
            except TableUnavailable:
                telemetry.count("PrimeFailed")

    def score(self, request: ScoreRequest, policy_name: str) -> ScoreResponse:
        """Return the answer; raises `InvalidField` for an unknown policy or time zone."""
        policy = policy_named(policy_name)
        context = request.context
        hour, day = local_time(context.hour_of_day, context.day_of_week, context.timezone, datetime.now(UTC))
        decision_id = str(ULID())
        learned = self._learned(request.user_id, policy)
        known = learned or UserLearning()
        situation = Situation(hour, day, request.profile_features or {})
        statistics = known.statistics(policy.name, policy.schema.hash, policy.schema.dimension)
        features = [candidate.features for candidate in request.candidates]
        chosen, evaluation, posterior, X = choose(policy, statistics, situation, features, decision_id)
        decision = Decision(
            user_id=request.user_id,
            decision_id=decision_id,
            candidates=[one.model_dump(exclude={"content"}, exclude_none=True) for one in request.candidates],
            situation=situation,
            chosen=chosen,
            policy=policy.name,
            evaluations={policy.name: evaluation},
            epoch=None if learned is None else learned.epoch,
            degraded=learned is None,
            deferred=request.defer,
            context=_logged_context(request),
        )
        explanation = None
        if request.explain:
            explanation = explain(evaluation, posterior, X, chosen, statistics.pulls)
        return ScoreResponse(
            tip_id=decision.tip_id,
            score=float(evaluation.distribution.score[chosen]),
            policy=policy.name,
            decision_id=decision_id,
            propensity=float(evaluation.distribution.propensity[chosen]),
            ranking=_ranking(request, evaluation),
            explored=decision.explored,
            policy_version=policy.version,
            schema_hash=policy.schema.hash,
            degraded=decision.degraded,
            logged=self._remember(decision),
            explanation=explanation,
        )

    def _learned(self, user_id: str, policy: Policy) -> UserLearning | None:
        """Return what is learned of the person, None when the table does not tell in time or it cannot be used."""
        try:
            known = learning.read(self._reads, user_id)
            known.statistics(policy.name, policy.schema.hash, policy.schema.dimension)
            return known
        except TableUnavailable:
            telemetry.count("ScoreDegraded")
        except LearningUnreadable:
            telemetry.count("ScoreDegraded")
            telemetry.log_unforeseen("learning cannot be used")
        return None

    def _remember(self, decision: Decision) -> bool:
        try:
            decisions.remember(self._writes, decision)
        except TableUnavailable:
            telemetry.count("DecisionNotLogged")
            return False
        telemetry.count("DecisionLogged")
        return True


def _logged_context(request: ScoreRequest) -> dict[str, Any]:
    context = request.context
    logged: dict[str, Any] = {}
    if context.timezone is not None:
        logged["timezone"] = context.timezone
    if context.tasks is not None:
        logged["task_count"] = len(context.tasks)
    return logged


def _ranking(request: ScoreRequest, evaluation: Evaluation) -> list[RankedCandidate]:
    """Return the candidates by score, highest first; ties keep the request's order."""
    distribution = evaluation.distribution
    rows = zip(request.candidates, distribution.score.tolist(), distribution.propensity.tolist(), strict=True)
    return [
        RankedCandidate(id=candidate.id, score=score, propensity=propensity)
        for candidate, score, propensity in sorted(rows, key=lambda row: -row[1])
    ]
