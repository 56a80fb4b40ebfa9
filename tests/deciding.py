"""A choice without a table: what `/score` does between its read and its write."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ulid import ULID

from tips.bandit.decision import Decision, Evaluation, draw
from tips.bandit.policy import Distribution, Policy
from tips.bandit.posterior import Posterior, form_posterior
from tips.bandit.prior import Prior
from tips.bandit.registry import POLICIES
from tips.bandit.statistics import Statistics
from tips.features.vectors import Candidate, Situation
from tips.state import decisions
from tips.state.table import Table


def replayed(policy: Policy, mean: Sequence[float], width: Sequence[float], observations: float = 1.0) -> Distribution:
    parameters = policy.parameters(len(mean), observations)
    return policy.replay(np.array(mean), np.array(width), parameters)


def learned(policy: Policy, rows: Sequence[tuple[NDArray[np.float64], float]]) -> Statistics:
    statistics = Statistics.empty(policy.schema.dimension)
    for x, reward in rows:
        statistics = statistics.learn(x, 0, None, reward)
    return statistics


def choose(
    policy: Policy,
    statistics: Statistics,
    situation: Situation,
    features: Sequence[dict[str, Any]],
    decision_id: str,
    prior: Prior | None = None,
) -> tuple[int, Evaluation, Posterior, NDArray[np.float64]]:
    """Return the index drawn, the evaluation, the posterior and X. features: of each candidate."""
    X = policy.schema.encode(situation, [Candidate(one) for one in features])
    posterior = form_posterior(statistics, prior)
    distribution, parameters = policy.distribution(X, posterior)
    chosen = draw(distribution.propensity, decision_id)
    evaluation = Evaluation(
        policy.name,
        policy.version,
        policy.schema.hash,
        policy.schema.names,
        parameters,
        distribution,
        X[chosen],
    )
    return chosen, evaluation, posterior, X


def remember(
    table: Table,
    user_id: str,
    at_us: int,
    candidates: Sequence[dict[str, Any]],
    *,
    policies: Sequence[str] = ("igw-ucb",),
    context: dict[str, Any] | None = None,
    deferred: bool = False,
    reward_wait_us: int = 86_400_000_000,
) -> Decision:
    """Store a decision as if `/score` had taken it at `at_us` (microseconds), before anything was learned."""
    decision_id = str(ULID.from_bytes((at_us // 1000).to_bytes(6, "big") + os.urandom(10)))
    situation = Situation(**(context or {}))
    evaluations, chosen = {}, -1
    for name in policies:
        policy = POLICIES[name]
        X = policy.schema.encode(situation, [Candidate.from_log({"features": {}, **one}) for one in candidates])
        posterior = form_posterior(Statistics.empty(policy.schema.dimension))
        distribution, parameters = policy.distribution(X, posterior)
        chosen = draw(distribution.propensity, decision_id) if chosen < 0 else chosen
        evaluations[name] = Evaluation(
            name, policy.version, policy.schema.hash, policy.schema.names, parameters, distribution, X[chosen]
        )
    decision = Decision(
        user_id=user_id,
        decision_id=decision_id,
        candidates=[{"features": {}, **one} for one in candidates],
        situation=situation,
        chosen=chosen,
        policy=policies[0],
        evaluations=evaluations,
        epoch=0,
        degraded=False,
        reward_wait_us=reward_wait_us,
        deferred=deferred,
    )
    decisions.remember(table, decision)
    return decision
