"""`generate`: writes candidate tips with a language model, under a versioned prompt."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from typing import Any

from fastapi import FastAPI, Request

from tips import __version__
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
from tips.llm import gateway, tracing
from tips.prompts import registry
from tips.settings import Settings
from tips.state import prompt_counts
from tips.state.table import Table

_ANSWERING_SEC = 1.5
"""What is kept of Lambda's remaining time for what follows the last call of a model: the table, and the answer."""
_ERROR = 0.05
"""How often an interval of `/prompts/stats` may miss."""


def build(settings: Settings) -> FastAPI:
    """Return the application under `settings`. Raises `ValueError` when they name no usable model address."""
    app = create_app("oO tips: generate", __version__)
    generator = Generator(settings)

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


settings = Settings.from_env()
if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:
    # In the handler the imports would run on the function's share of a CPU: several times slower.
    gateway.load()
    if os.environ.get("MLFLOW_TRACKING_URI"):
        with suppress(ImportError):  # each trace that cannot be sent says so
            tracing.load()
app = build(settings)
handler = create_handler(app)
