"""One request to `/score`: at most one read, one choice, one write; an answer whatever the table does."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ulid import ULID

from tips import telemetry
from tips.bandit.assignment import assignments
from tips.bandit.decision import Decision, Evaluation, draw
from tips.bandit.explanation import explain
from tips.bandit.igw_ucb import InverseGapUCB
from tips.bandit.learning import UserLearning
from tips.bandit.posterior import Posterior, form_posterior
from tips.bandit.registry import POLICIES, SCHEMAS, policy_named
from tips.contracts.scoring import RankedCandidate, ScoreRequest, ScoreResponse
from tips.errors import LearningUnreadable, TableUnavailable, WriteConflict
from tips.features.clock import local_time
from tips.features.profile import profile_of
from tips.features.vectors import Columns, Schema, Situation
from tips.state import decisions, keys
from tips.state.learning import read_learning
from tips.state.profiles import read_profile
from tips.state.shared_knowledge import SharedKnowledge
from tips.state.table import Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tips.bandit.policy import Distribution, Parameters, Policy
    from tips.bandit.statistics import Statistics
    from tips.features.profile_counters import ProfileCounters
    from tips.settings import Settings


_HABIT_REACTIONS = 4


@dataclass(frozen=True, slots=True)
class _Known:
    """What the table said of a person. learning: None when it did not tell in time, or nothing that can be used."""

    learning: UserLearning | None
    erased: bool = False
    profile: ProfileCounters | None = None


@dataclass(eq=False)
class _View:
    """What policies see of one request: vectors and beliefs, each formed once for all policies on one schema."""

    situation: Situation
    candidates: Columns
    learning: UserLearning
    shared: SharedKnowledge
    now_us: int
    _seen: dict[Schema, tuple[NDArray[np.float64], Statistics, Posterior]] = field(default_factory=dict)

    def under(self, schema: Schema) -> tuple[NDArray[np.float64], Statistics, Posterior]:
        """Return X: (k, d), the person's statistics as of now, and the posterior."""
        if schema not in self._seen:
            statistics = self.learning.statistics(schema).as_of(self.now_us)
            posterior = form_posterior(statistics, self.shared.prior(schema))
            self._seen[schema] = schema.encode(self.situation, self.candidates), statistics, posterior
        return self._seen[schema]

    def evaluate(self, policy: Policy) -> tuple[Distribution, Parameters]:
        X, _, posterior = self.under(policy.schema)
        distribution, parameters = policy.distribution(X, posterior)
        if not all(map(math.isfinite, chain(distribution.score.tolist(), distribution.propensity.tolist()))):
            raise ArithmeticError(f"{policy.name} gives no probabilities")
        return distribution, parameters

    def evaluation(self, policy: Policy, seen: tuple[Distribution, Parameters], chosen: int) -> Evaluation:
        prior = self.shared.prior(policy.schema)
        distribution, parameters = seen
        return Evaluation(
            policy.name,
            policy.version,
            policy.schema.hash,
            policy.schema.names,
            parameters,
            distribution,
            self.under(policy.schema)[0][chosen],
            None if prior is None else prior.version,
        )


class Scorer:
    """Chooses by what is learned of a person, within the settings' budgets for the table."""

    def __init__(self, settings: Settings) -> None:
        self._reads = Table(settings, settings.score_read_budget_ms)
        budgets = settings.score_read_budget_ms, settings.score_write_budget_ms
        # One connection to open, and one client to make, where one budget does for both.
        self._writes = self._reads if budgets[0] == budgets[1] else Table(settings, budgets[1])
        self._default_policy = settings.active_policy
        self._reward_wait_us = round(settings.reward_wait_sec * 1_000_000)
        policies = {
            name: replace(policy, min_explore=settings.min_explore) if isinstance(policy, InverseGapUCB) else policy
            for name, policy in POLICIES.items()
        }
        self._shared = SharedKnowledge(settings.configuration_cache_sec, settings.prior_strength_max, SCHEMAS, policies)

    def prime(self) -> None:
        """Open the connections and read what all requests share, so that the first request's budget is its own."""
        self.refresh()
        if self._writes is self._reads:
            return
        try:
            self._writes.get_all([keys.CONFIGURATION])
        except TableUnavailable:
            telemetry.count("RefreshFailed")

    @contextmanager
    def rehearsing(self) -> Iterator[None]:
        """Within it, requests are scored on what the table says, and no decision is stored."""
        writes = self._writes
        self._writes = writes.until(-math.inf)
        try:
            yield
        finally:
            self._writes = writes

    def renew(self) -> None:
        """Trust nothing that was read before, and open every connection again."""
        self._shared.expire()
        self.prime()

    def active_policy(self) -> str:
        """Return the policy in use for requests that name none and take part in no experiment, as last heard."""
        configured = self._shared.configuration.active_policy
        if configured is None:
            return self._default_policy
        if configured in POLICIES:
            return configured
        telemetry.count("UnknownPolicyConfigured")
        return self._default_policy

    def refresh(self) -> None:
        """Read the configuration if it is due; a table that does not answer changes nothing."""
        if due := self._shared.keys_due():
            try:
                self._shared.update(self._reads.get_all(due))
            except (TableUnavailable, WriteConflict):
                self._shared.postpone()
                telemetry.count("RefreshFailed")

    def score(self, request: ScoreRequest, named: str | None) -> ScoreResponse:
        """Return the answer; named: the policy that the request or its path names.

        Raises `InvalidField` for an unknown policy or time zone.
        """
        started_ns = time.perf_counter_ns()
        if named is not None:
            policy_named(named)
        now = datetime.now(UTC)
        context = request.context
        hour, day = local_time(context.hour_of_day, context.day_of_week, context.timezone, now)
        decision_id = str(ULID())
        known = self._read(request.user_id)
        profile = profile_of(request.profile_features, known.profile, context.timezone, now)
        experiments = assignments(self._shared.configuration, request.user_id, now)
        policy = self._shared.policies[named or self._assigned_policy(experiments) or self.active_policy()]
        view = _View(
            Situation(hour, day, profile.features),
            Columns(request.candidates),
            known.learning or UserLearning(),
            self._shared,
            time.time_ns() // 1000,
        )
        try:
            active = view.evaluate(policy)
        except (ArithmeticError, ValueError):
            # What is stored of this person can be read, but no belief can be formed from it.
            telemetry.count("ScoreDegraded")
            telemetry.log_unforeseen("learning cannot be used")
            known = replace(known, learning=None)
            view = replace(view, learning=UserLearning(), _seen={})
            active = view.evaluate(policy)
        distribution = active[0]
        chosen = draw(distribution.propensity, decision_id)
        decision = Decision(
            user_id=request.user_id,
            decision_id=decision_id,
            candidates=[one.without_content() for one in request.candidates],
            situation=view.situation,
            chosen=chosen,
            policy=policy.name,
            evaluations={
                policy.name: view.evaluation(policy, active, chosen),
                **self._shadow_evaluations(view, policy, chosen),
            },
            epoch=None if known.learning is None else known.learning.epoch,
            degraded=known.learning is None,
            reward_wait_us=self._reward_wait_us,
            deferred=request.defer,
            experiments=self._took_part(experiments, policy.name),
            context=_logged_context(request),
            profile_sources=profile.sources,
            took_us=(time.perf_counter_ns() - started_ns) // 1000,
        )
        explanation = None
        if request.explain:
            X, statistics, posterior = view.under(policy.schema)
            # A habit is spoken of when the person has shown it, and not the population.
            enough = 0.0 if decision.active.prior is None else _HABIT_REACTIONS
            explanation = explain(decision.active, posterior, X, chosen, known=statistics.weight > enough)
        return ScoreResponse(
            tip_id=decision.tip_id,
            score=float(distribution.score[chosen]),
            policy=policy.name,
            decision_id=decision_id,
            propensity=float(distribution.propensity[chosen]),
            ranking=_ranking(request, distribution),
            explored=decision.explored,
            policy_version=policy.version,
            schema_hash=policy.schema.hash,
            degraded=decision.degraded,
            # Of a person who was erased nothing is kept, whoever still asks for them.
            logged=not known.erased and self._remember(decision, request.candidates[chosen].content),
            explanation=explanation,
        )

    def _read(self, user_id: str) -> _Known:
        """Read, in one round trip, the person's learning, and with it what all requests share if that is due."""
        due = self._shared.keys_due()
        wanted = [keys.learning(user_id), keys.tombstone(user_id), keys.profile(user_id), *due]
        profile = None
        try:
            item, tombstone, counters, *shared = self._reads.get_all(wanted)
            self._shared.update(shared)
            if tombstone is not None:
                return _Known(UserLearning(), erased=True)
            profile = read_profile(counters)
            return _Known(read_learning(item), profile=profile)
        except (TableUnavailable, WriteConflict):
            self._shared.postpone()
            telemetry.count("ScoreDegraded")
        except LearningUnreadable:
            telemetry.count("ScoreDegraded")
            telemetry.log_unforeseen("learning cannot be used")
        return _Known(None, profile=profile)

    def _assigned_policy(self, experiments: Mapping[str, str]) -> str | None:
        """Return the arm of the experiment on policies that the person is in; an unknown arm is counted and left."""
        for experiment in self._shared.configuration.experiments:
            if experiment.kind == "policy" and (arm := experiments.get(experiment.name)) is not None:
                if arm in POLICIES:
                    return arm
                telemetry.count("UnknownPolicyConfigured")
        return None

    def _took_part(self, experiments: Mapping[str, str], policy: str) -> dict[str, str]:
        """Return the arms that the person was really served: a request may have named another policy."""
        kinds = {one.name: one.kind for one in self._shared.configuration.experiments}
        return {name: arm for name, arm in experiments.items() if kinds[name] != "policy" or arm == policy}

    def _shadow_evaluations(self, view: _View, active: Policy, chosen: int) -> dict[str, Evaluation]:
        """Evaluate the configured shadows; one that fails is logged and never felt."""
        evaluations: dict[str, Evaluation] = {}
        for name in self._shared.configuration.shadows:
            if name == active.name:
                continue
            try:
                policy = self._shared.policies[name]
                evaluations[name] = view.evaluation(policy, view.evaluate(policy), chosen)
            except Exception:
                telemetry.count("ShadowFailed")
                telemetry.log_unforeseen("a shadow policy failed", policy=name if name in POLICIES else "unknown")
        return evaluations

    def _remember(self, decision: Decision, content: str | None) -> bool:
        try:
            decisions.remember(self._writes, decision, content)
        except (TableUnavailable, WriteConflict):
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


def _ranking(request: ScoreRequest, distribution: Distribution) -> list[RankedCandidate]:
    """Return the candidates by score, highest first; ties keep the request's order."""
    rows = zip(request.candidates, distribution.score.tolist(), distribution.propensity.tolist(), strict=True)
    ranking: list[RankedCandidate] = [
        {"id": candidate.id, "score": score, "propensity": propensity} for candidate, score, propensity in rows
    ]
    ranking.sort(key=itemgetter("score"), reverse=True)
    return ranking
