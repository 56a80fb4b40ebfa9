"""`generate`: writes candidate tips with a language model, under a versioned prompt."""

from __future__ import annotations

from tips import start

# isort: split
import os
from collections.abc import Sequence
from functools import cache
from typing import Any

from fastapi import FastAPI, Request

from tips import __version__, snapstart
from tips.bandit.intervals import mean_interval
from tips.contracts.generation import (
    GenerateHealth,
    GenerateRequest,
    GenerateResponse,
    PromptInfo,
    PromptsResponse,
    PromptStats,
    PromptStatsResponse,
)
from tips.errors import InvalidField
from tips.generating import Generator
from tips.http import create_app, create_handler
from tips.llm import loading
from tips.prompts import registry
from tips.settings import Settings
from tips.state import prompt_counts
from tips.state.table import Table

_ANSWERING_SEC = 1.5
"""What is kept of Lambda's remaining time for what follows the last call of a model: the table, and the answer."""
_ERROR = 0.05
"""How often an interval of `/prompts/stats` may miss."""
REHEARSED: Sequence[snapstart.Request] = (
    ("GET", "/prompts", None),
    (
        "POST",
        "/generate",
        {"user_id": "rehearsal", "context": {"tasks": [{"id": "1", "content": "Rehearse"}], "hour_of_day": 9}},
    ),
)


def build(settings: Settings) -> FastAPI:
    """Return the application under `settings`. Raises `ValueError` when they name no usable model address."""
    app = create_app("oO tips: generate", __version__)
    app.state.service = generator = Generator(settings)

    @cache
    def counting() -> Table:
        """Over everybody: nobody waits for it to show a tip, and no start for its client."""
        return Table(settings, settings.table_deadline_ms)

    @app.post("/generate")
    async def generate(body: GenerateRequest, request: Request) -> GenerateResponse:
        """Write up to `n` candidate tips from the person's context."""
        return await generator.generate(body, _remaining_sec(request.scope.get("aws.context")))

    @app.get("/prompts")
    async def prompts() -> PromptsResponse:
        """List the prompt versions."""
        aliases = generator.memory.aliases()
        default = registry.select(None, None, settings.default_prompt_version, aliases)
        return PromptsResponse(
            default=registry.AUTO if default.auto else ",".join(one.version for one in default.prompts),
            aliases={
                alias: registry.select(alias, None, None, aliases).prompts[0].version for alias in registry.ALIASES
            },
            versions=[
                PromptInfo(
                    version=one.version,
                    description=one.description,
                    content_hash=one.content_hash,
                    released=one.version in registry.RELEASED,
                )
                for one in registry.prompts().values()
            ],
        )

    @app.get("/prompts/stats")
    async def stats() -> PromptStatsResponse:
        """Tell what reactions say of each version, over all people."""
        counts = prompt_counts.read(counting(), tuple(registry.prompts()))
        return PromptStatsResponse(
            confidence=1 - _ERROR,
            versions=[
                PromptStats(
                    version=version,
                    shown=one.shown,
                    settled=one.settled,
                    reactions=one.reactions,
                    mean_reward=one.total / one.settled if one.settled else None,
                    interval=mean_interval(one.settled, one.total, one.squares, _ERROR) if one.settled else None,
                )
                for version, one in counts.items()
            ],
        )

    @app.get("/health")
    async def health() -> GenerateHealth:
        """Tell whether tips can be written, and by which model."""
        model = generator.models[0].name if generator.models else None
        try:
            registry.select(None, None, settings.default_prompt_version, {})
        except InvalidField:
            return GenerateHealth(ok=False, version=__version__, model=model)
        return GenerateHealth(ok=model is not None, version=__version__, model=model)

    return app


def _remaining_sec(context: Any) -> float:
    remaining_ms = getattr(context, "get_remaining_time_in_millis", None)
    return remaining_ms() / 1000 - _ANSWERING_SEC if remaining_ms else float("inf")


app = build(Settings.from_env())
handler = create_handler(app)
snapstart.register(app.state.service, handler, REHEARSED)
match os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE"):
    case None:
        pass  # nobody waits for it longer at the first request that needs it
    case "on-demand":
        loading.begin(start.finished)  # somebody waits, and perhaps not for a model: it slows down all that follows
    case _:
        loading.load()  # before anybody waits
        start.finished()
