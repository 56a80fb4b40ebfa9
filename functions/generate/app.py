"""`generate`: writes candidate tips with a language model, under a versioned prompt."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request
from ulid import ULID

from tips import __version__, telemetry
from tips.bandit.assignment import assign
from tips.contracts.configuration import Configuration
from tips.contracts.generation import (
    GenerateHealth,
    GenerateRequest,
    GenerateResponse,
    PromptInfo,
    PromptsResponse,
    TipCandidate,
)
from tips.errors import ServiceError
from tips.features.context import build_context
from tips.http import create_app, create_handler
from tips.llm import gateway
from tips.llm.writer import Written, write_tips
from tips.prompts import registry
from tips.settings import Settings
from tips.state.configuration_cache import ConfigurationCache
from tips.state.table import Table

_CONFIGURATION_TIMEOUT_MS = 100.0
"""Of connecting and of reading each. A table that is away delays one request per life of the cache by that."""
_ANSWERING_SEC = 0.5
"""What is kept of Lambda's remaining time for the answer itself."""


class ModelNotConfigured(ServiceError):
    """A deployment without a model: it never passes templates off as one."""

    status = 503
    code = "model_not_configured"
    retry_after_sec = 60


def build(settings: Settings) -> FastAPI:
    """Return the application under `settings`. Raises `ValueError` when they name no usable model address."""
    app = create_app("oO tips: generate", __version__)
    model = gateway.resolve_model(settings)
    configuration = ConfigurationCache(Table(settings, _CONFIGURATION_TIMEOUT_MS), settings.configuration_cache_sec)

    @app.post("/generate")
    async def generate(body: GenerateRequest, request: Request) -> GenerateResponse:
        """Write up to `n` candidate tips from the person's context."""
        started = time.monotonic()
        version = body.prompt_version or _arm(configuration.current(), body.user_id)
        prompt = registry.resolve(version, settings.default_prompt_version)
        context = build_context(body.context, body.profile_features, datetime.now(UTC))
        if model is None:
            raise ModelNotConfigured("no model is configured: set LITELLM_URL or LITELLM_MODEL")
        written = await write_tips(
            prompt,
            context,
            body.n,
            model,
            try_sec=settings.litellm_try_timeout,
            total_sec=min(settings.litellm_total_timeout, _remaining_sec(request.scope.get("aws.context"))),
        )
        answer = _answer(written, prompt.version)
        _report(written, answer, started)
        return answer

    @app.get("/prompts")
    async def prompts() -> PromptsResponse:
        """List the prompt versions."""
        return PromptsResponse(
            default=registry.resolve(None, settings.default_prompt_version).version,
            versions=[
                PromptInfo(version=p.version, description=p.description, content_hash=p.content_hash)
                for p in registry.prompts().values()
            ],
        )

    @app.get("/health")
    async def health() -> GenerateHealth:
        """Tell whether tips can be written, and by which model."""
        return GenerateHealth(ok=model is not None, version=__version__, model=model.name if model else None)

    return app


def _arm(configuration: Configuration, user_id: str) -> str | None:
    """Return the prompt version that an experiment has this person served, if one runs."""
    now = datetime.now(UTC)
    for experiment in configuration.experiments:
        if experiment.kind == "prompt_version" and (arm := assign(experiment, user_id, now)) is not None:
            if arm in registry.prompts():
                return arm
            telemetry.count("UnknownPromptArm")
            telemetry.logger.warning("an arm is no prompt version", extra={"experiment": experiment.name, "arm": arm})
    return None


def _remaining_sec(context: Any) -> float:
    remaining_ms = getattr(context, "get_remaining_time_in_millis", None)
    return remaining_ms() / 1000 - _ANSWERING_SEC if remaining_ms else float("inf")


def _answer(written: Written, prompt_version: str) -> GenerateResponse:
    generation_id = str(ULID())
    return GenerateResponse(
        candidates=[
            TipCandidate(
                # A model's own ids repeat from one answer to the next, and reactions find their decision by tip id.
                id=f"{generation_id}-{number}",
                content=tip.content,
                kind=tip.kind,
                source="fallback" if written.fallback else "llm",
                rationale=tip.rationale,
                prompt_version=prompt_version,
                model=written.model,
                generation_id=generation_id,
            )
            for number, tip in enumerate(written.tips, start=1)
        ],
        model=written.model,
        prompt_version=prompt_version,
        generation_id=generation_id,
        prompt_tokens=written.prompt_tokens,
        completion_tokens=written.completion_tokens,
        attempts=written.attempts,
        fallback=written.fallback,
        cost_usd=written.cost_usd,
    )


def _report(written: Written, answer: GenerateResponse, started: float) -> None:
    telemetry.count("Generations")
    telemetry.count("ModelCalls", written.attempts)
    telemetry.count("ModelTokens", written.prompt_tokens + written.completion_tokens)
    if written.fallback:
        telemetry.count("GenerationFallbacks")
    for failure in written.failures:
        telemetry.count(f"ModelFailure_{failure}")
    numbers = answer.model_dump(exclude={"candidates"})
    numbers |= {
        "candidates": len(answer.candidates),
        "failures": list(written.failures),
        "latency_ms": round((time.monotonic() - started) * 1000),
    }
    telemetry.logger.info("generated", extra=numbers)


settings = Settings.from_env()
if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:
    # In the handler the import would run on the function's share of a CPU: several times slower.
    gateway.load()
app = build(settings)
handler = create_handler(app)
