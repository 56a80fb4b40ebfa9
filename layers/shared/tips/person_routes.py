"""The routes of `score` that teach, show, reset and erase what is kept of a person, and its health.

They come into a process with the first request for one of them: what they import, the first decision does not wait for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Path, Query

import tips
from tips import telemetry
from tips.bandit.registry import policy_named
from tips.contracts.common import Id, microseconds
from tips.contracts.reward import (
    ActivateRequest,
    ActivateResponse,
    EraseResponse,
    ResetResponse,
    RewardRequest,
    RewardResponse,
    StatsResponse,
)
from tips.contracts.shown import DecisionResponse, FeatureHistory, HealthResponse, ProfileResponse
from tips.errors import NotFound, TableUnavailable
from tips.state import bridge_health, decisions, erasure, learning, profiles, reactions, waits
from tips.state.changes import carry_out_one
from tips.state.table import Table
from tips.state.teaching import LearningRules
from tips.views import decision_view, history_entry, profile_view, stats_view

if TYPE_CHECKING:
    from tips.scoring import Scorer
    from tips.settings import Settings

HISTORY_LENGTH = 100

REMAINS = [
    "Their share in population priors that are already trained cannot be taken out: these hold sums over many people. "
    "The next training leaves them out.",
    "The counts per prompt version hold sums over everybody; what their reactions added stays in them, and for "
    "some days a mark of each tip shown that had no reaction yet, which does not say to whom.",
    "For 35 days a hash of their id stays, so that reactions and events of theirs that still arrive are dropped; what "
    "is spent on tips for them meanwhile is counted under it, by day, and goes two days later.",
    "Events that could not be read are kept as dead letters, with what they said, for 30 days.",
    "Backups of the table hold what it held until they expire, 35 days at most.",
]

UserId = Annotated[Id, Path(description="who, percent-encoded")]


def add_routes(app: FastAPI, settings: Settings, scorer: Scorer, paths: Mapping[str, str | None]) -> None:
    """Add them to `app`. paths: suffix of a path -> policy that it names; None: the active one."""
    rules = LearningRules.from_settings(settings)
    deadline_ms = settings.table_deadline_ms
    settled_sec = 0.25
    if settings.deployed:  # elsewhere the budgets are far above what anything takes
        settled_sec += (settings.score_read_budget_ms + settings.score_write_budget_ms) / 1000
    table = Table(settings, timeout_ms=deadline_ms / 2)

    def policy_of(named: str | None) -> str:
        if named is None:
            scorer.refresh()
        return named or scorer.active_policy()

    def reward_under(named: str | None) -> Callable[..., Any]:
        async def reward(request: RewardRequest) -> RewardResponse:
            report = _report(request, policy_of(named))
            outcome = reactions.apply(table, report, rules, deadline_ms)
            telemetry.count(outcome.metric)
            return RewardResponse(applied=outcome.applied, reason=outcome.reason, reward=report.value)

        return reward

    def stats_under(named: str | None) -> Callable[..., Any]:
        async def stats(user_id: UserId) -> StatsResponse:
            return stats_view(user_id, policy_named(policy_of(named)), learning.read(table, user_id))

        return stats

    # In the order of how much they are asked for: a request is held against one route after the other.
    for suffix, named in reversed([*paths.items()]):
        app.post(f"/reward{suffix}", response_model_exclude_none=True)(reward_under(named))
    for suffix, named in paths.items():
        app.get(f"/stats{suffix}/{{user_id:text}}")(stats_under(named))

    @app.post("/activate", response_model_exclude_none=True)
    async def activate(request: ActivateRequest) -> ActivateResponse:
        outcome = carry_out_one(table, waits.Activated(request.user_id, request.decision_id), rules, deadline_ms)
        if outcome.reason in ("unknown_decision", "erased"):
            raise NotFound("no such decision of this user", field="decision_id")
        return ActivateResponse(applied=outcome.applied, reason=None if outcome.applied else "already_active")

    @app.get("/features/{user_id:text}")
    async def features(user_id: UserId) -> FeatureHistory:
        return FeatureHistory(history=[history_entry(one) for one in decisions.newest(table, user_id, HISTORY_LENGTH)])

    @app.get("/profile/{user_id:text}")
    async def profile(user_id: UserId) -> ProfileResponse:
        return profile_view(user_id, profiles.read(table, user_id), time.time_ns() // 1000)

    @app.get("/decisions/{decision_id:text}")
    async def decision(decision_id: Annotated[Id, Path()], user_id: Annotated[Id, Query()]) -> DecisionResponse:
        remembered = decisions.find(table, user_id, decision_id)
        if remembered is None:
            raise NotFound("no such decision of this user", field="decision_id")
        return decision_view(remembered)

    @app.post("/reset/{user_id:text}")
    async def reset(user_id: UserId) -> ResetResponse:
        return ResetResponse(user_id=user_id, epoch=learning.reset(table, user_id, deadline_ms))

    @app.delete("/users/{user_id:text}")
    async def erase(user_id: UserId) -> EraseResponse:
        erased = erasure.erase(table, user_id, deadline_ms, settled_sec)
        telemetry.count("UserErased")
        return EraseResponse(user_id=user_id, erased=erased, erased_total=sum(erased.values()), remains=REMAINS)

    @app.get("/health")
    async def health() -> HealthResponse:
        try:
            nats, ok = bridge_health.read(table), True
        except TableUnavailable:
            nats, ok = bridge_health.UNKNOWN, False
        return HealthResponse(ok=ok, version=tips.__version__, nats=nats)


def _report(request: RewardRequest, policy: str) -> reactions.Report:
    values: dict[str, Any] = request.model_dump(exclude={"occurred_at"})
    occurred_at = request.occurred_at
    at_us = None if occurred_at is None else microseconds(occurred_at)
    return reactions.Report(**values, occurred_at=at_us, policy=policy)
