"""Score: pick one tip and remember the decision; take rewards; show what was decided and learned."""

from __future__ import annotations

from tips import start

# isort: split
from collections.abc import Mapping, Sequence

from fastapi import Response
from pydantic_core import to_json

import tips
from tips import snapstart
from tips.bandit.registry import policy_named
from tips.contracts.scoring import ScoreRequest, ScoreResponse
from tips.errors import InvalidField
from tips.http import App, DirectRoute, create_app, create_handler
from tips.scoring import Scorer
from tips.settings import Settings

POLICY_PATHS: Mapping[str, str | None] = {"/egreedy/v2": "egreedy-v2", "/egreedy": "egreedy-v1", "": None}
"""Path suffix -> policy that it names; None: the active one. Longest first, because user ids may hold a slash."""

REHEARSED: Sequence[snapstart.Request] = (
    (
        "POST",
        "/score",
        {
            "user_id": "rehearsal",
            "candidates": [
                {"id": str(number), "kind": "task", "features": {"priority": number, "is_overdue": number == 1}}
                for number in (1, 2)
            ],
            "context": {"hour_of_day": 9, "day_of_week": 0, "timezone": "UTC"},
            "explain": True,
        },
    ),
    ("GET", "/health", None),  # with it come all routes that decide nothing
)


def build(settings: Settings) -> App:
    """Return the application; raises `InvalidField` when the settings' active policy is unknown."""
    policy_named(settings.active_policy, field="ACTIVE_POLICY")
    scorer = Scorer(settings)
    if settings.deployed:
        scorer.prime()
    app = create_app("Score", tips.__version__)
    app.state.service = scorer

    def add_deciding_route(suffix: str, named: str | None) -> None:
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

    def add_the_others() -> None:
        from tips.person_routes import add_routes

        add_routes(app, settings, scorer, POLICY_PATHS)

    # In the order of how much they are asked for: a request is held against one route after the other.
    for suffix, named in reversed([*POLICY_PATHS.items()]):
        add_deciding_route(suffix, named)
    app.add_later(add_the_others)
    return app


app = build(Settings.from_env())
handler = create_handler(app)
snapstart.register(app.state.service, handler, REHEARSED)
start.finished()
