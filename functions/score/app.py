"""Score: pick one tip and remember the decision; take rewards; show what was decided and learned."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Response
from pydantic_core import to_json

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
from tips.contracts.scoring import (
    DecisionResponse,
    FeatureHistory,
    HealthResponse,
    ProfileResponse,
    ScoreRequest,
    ScoreResponse,
)
from tips.errors import InvalidField, NotFound, TableUnavailable
from tips.http import DirectRoute, create_app, create_handler
from tips.scoring import Scorer
from tips.settings import Settings
from tips.state import bridge_health, decisions, erasure, learning, profiles, reactions, waits
from tips.state.changes import carry_out_one
from tips.state.table import Table
from tips.state.teaching import LearningRules
from tips.views import decision_view, history_entry, profile_view, stats_view

HISTORY_LENGTH = 100

POLICY_PATHS: Mapping[str, str | None] = {"/egreedy/v2": "egreedy-v2", "/egreedy": "egreedy-v1", "": None}
"""Path suffix -> policy that it names; None: the active one. Longest first, because user ids may hold a slash."""

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


def build(settings: Settings) -> FastAPI:
    """Return the application; raises `InvalidField` when the settings' active policy is unknown."""
    policy_named(settings.active_policy, field="ACTIVE_POLICY")
    scorer = Scorer(settings)
    rules = LearningRules.from_settings(settings)
    if settings.deployed:
        scorer.prime()
    deadline_ms = settings.table_deadline_ms
    settled_sec = 0.25
    if settings.deployed:  # elsewhere the budgets are far above what anything takes
        settled_sec += (settings.score_read_budget_ms + settings.score_write_budget_ms) / 1000
    table = Table(settings, timeout_ms=deadline_ms / 2)
    app = create_app("Score", tips.__version__)

    def add_deciding_routes(suffix: str, named: str | None) -> None:
        async def score(request: ScoreRequest) -> Response:
            if named is not None and request.policy not in (None, named):
                raise InvalidField(f"the path names the policy {named}", field="policy")
            answer = scorer.score(request, request.policy or named)
            given = {name: value for name, value in vars(answer).items() if value is not None}
            return Response(to_json(given), media_type="application/json")

        app.router.add_api_route(
            f"/score{suffix}",
            score,
            methods=["POST"],
            response_model=ScoreResponse,
            route_class_override=DirectRoute,
        )

        @app.post(f"/reward{suffix}", response_model_exclude_none=True)
        async def reward(request: RewardRequest) -> RewardResponse:
            if named is None:
                scorer.refresh()
            report = _report(request, named or scorer.active_policy())
            outcome = reactions.apply(table, report, rules, deadline_ms)
            telemetry.count(outcome.metric)
            return RewardResponse(applied=outcome.applied, reason=outcome.reason, reward=report.value)

    def add_stats_route(suffix: str, named: str | None) -> None:
        @app.get(f"/stats{suffix}/{{user_id:text}}")
        async def stats(user_id: UserId) -> StatsResponse:
            if named is None:
                scorer.refresh()
            policy = policy_named(named or scorer.active_policy())
            return stats_view(user_id, policy, learning.read(table, user_id))

    # In the order of how much they are asked for: a request is held against one route after the other.
    for suffix, named in reversed([*POLICY_PATHS.items()]):
        add_deciding_routes(suffix, named)
    for suffix, named in POLICY_PATHS.items():
        add_stats_route(suffix, named)

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

    return app


def _report(request: RewardRequest, policy: str) -> reactions.Report:
    values: dict[str, Any] = request.model_dump(exclude={"occurred_at"})
    occurred_at = request.occurred_at
    at_us = None if occurred_at is None else microseconds(occurred_at)
    return reactions.Report(**values, occurred_at=at_us, policy=policy)


app = build(Settings.from_env())
handler = create_handler(app)
