"""One request to `/generate`: what is known of the person, a prompt version, tips from a model, what is left of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ulid import ULID

from tips import telemetry
from tips.contracts.generation import GenerateRequest, GenerateResponse, TipCandidate
from tips.errors import ServiceError
from tips.features.context import build_context
from tips.features.profile import profile_of
from tips.llm import loading, local_template, tracing
from tips.llm.models import Model, resolve_models
from tips.llm.writer import NoTips, Written, write_tips
from tips.prompt_choice import SCHEMA, PromptChooser, select, situation_of
from tips.state.breakers import TableBreaker
from tips.state.caps import Caps
from tips.state.generation_memory import GenerationMemory
from tips.state.generations import Spent
from tips.state.shared_knowledge import SharedKnowledge
from tips.state.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tips.settings import Settings
    from tips.state.generations import Generation


_AFTER_SEC = 0.6


class ModelNotConfigured(ServiceError):
    """A deployment without a model: it never passes templates off as one."""

    status = 503
    code = "model_not_configured"
    retry_after_sec = 60


class Generator:
    """Writes tips under the settings. Raises `ValueError` when they name no usable model address."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.models = resolve_models(settings)
        self._table = Table(settings, settings.generate_table_budget_ms)
        shared = SharedKnowledge(settings.configuration_cache_sec, settings.prior_strength_max, (SCHEMA,))
        self.memory = GenerationMemory(self._table, shared)
        self._chooser = PromptChooser(shared, settings.min_explore)
        self._caps = Caps(self._table, settings)
        # For what is written to the table behind the last call, should each write take its whole budget or nearly so.
        total_sec, write_sec = settings.litellm_total_timeout, settings.generate_table_budget_ms / 1000
        self._after_sec = min(_AFTER_SEC, 3 * write_sec, total_sec / 20)
        self._report: Callable[..., None] = _report

    def prime(self) -> None:
        """Open the connection to the table and read what all requests share."""
        self.memory.aliases()

    @contextmanager
    def rehearsing(self) -> Iterator[None]:
        """Within it tips come from `local/template`; the table is not asked, and nothing is kept, logged or traced."""
        before = self.models, self.memory, self._report
        self.models = (Model(local_template.NAME),)
        self.memory = GenerationMemory(self._table.until(-math.inf), self.memory.shared)
        self._report = _report_nothing
        try:
            yield
        finally:
            self.models, self.memory, self._report = before

    def renew(self) -> None:
        """Trust nothing that was read before, and hold no lease and no grudge against the table."""
        self.memory.shared.expire()
        self.memory = GenerationMemory(self._table, self.memory.shared)
        self._caps = Caps(self._table, self._settings)
        self.prime()

    async def generate(self, request: GenerateRequest, remaining_sec: float) -> GenerateResponse:
        """Return up to `n` tips within `remaining_sec`. Raises a `ServiceError` where there can be none."""
        started = time.monotonic()
        deadline = started + min(self._settings.litellm_total_timeout, remaining_sec)
        if not self.models:
            raise ModelNotConfigured("no model is configured: set LITELLM_URL or LITELLM_MODEL")
        settings, now = self._settings, datetime.now(UTC)
        generation_id = str(ULID())
        names = [model.name for model in self.models if not model.is_template]
        known = self.memory.recall(request.user_id, names)
        selection = select(request, settings.default_prompt_version, self.memory.shared.configuration, now)
        profile = profile_of(request.profile_features, known.profile, request.context.timezone, now)
        prompt, choice = self._chooser.choose(
            request.user_id, generation_id, selection, situation_of(request, profile, now), known.learning
        )
        choice = replace(choice, context={**choice.context, "profile_sources": dict(profile.sources)})
        context = build_context(request.context, profile.features, now, known.preferences)
        loaded = loading.done_within(deadline - self._after_sec - time.monotonic())
        if not loaded:
            telemetry.count("ModelClientNotLoaded")
        try:
            written = await write_tips(
                prompt,
                context,
                request.n,
                self.models if loaded else (),
                breaker=TableBreaker(self._table, names, known.breakers),
                budget=self._caps.budget(request.user_id, now.timestamp()),
                recent=self.memory.recently_shown(request.user_id) if names and known.known else (),
                try_sec=settings.litellm_try_timeout,
                total_sec=deadline - time.monotonic() - self._after_sec,
                fallback=settings.generate_fallback,
                cap_fallback=settings.cap_fallback,
            )
        except ServiceError as error:
            made = error.__cause__.written if isinstance(error.__cause__, NoTips) else None
            numbers: dict[str, Any] = {
                "generation_id": generation_id,
                "prompt_version": prompt.version,
                "code": error.code,
            }
            if made is not None:
                numbers |= {name: getattr(made, name) for name in ("prompt_tokens", "completion_tokens", "cost_usd")}
                numbers["model"] = made.calls[-1].model if made.calls else self.models[0].name
            self._report("not generated", numbers, made, started, deadline)
            raise
        choice = replace(choice, model=written.model, spent=_spent(written, time.monotonic() - started))
        logged = not (written.fallback or known.erased) and self.memory.remember(choice)
        answer = _answer(written, choice, logged)
        numbers = answer.model_dump(exclude={"candidates"}) | {"candidates": len(answer.candidates)}
        self._report("generated", numbers, written, started, deadline)
        return answer


def _spent(written: Written, took_sec: float) -> Spent:
    return Spent(
        written.prompt_tokens,
        written.completion_tokens,
        written.cost_usd,
        written.attempts,
        round(took_sec * 1000, 1),
    )


def _answer(written: Written, choice: Generation, logged: bool) -> GenerateResponse:
    return GenerateResponse(
        candidates=[
            TipCandidate(
                # A model's own ids repeat from one answer to the next, and reactions find their decision by tip id.
                id=f"{choice.generation_id}-{number}",
                content=tip.content,
                kind=tip.kind,
                source="fallback" if written.fallback else "llm",
                rationale=tip.rationale,
                prompt_version=choice.version,
                model=written.model,
                generation_id=choice.generation_id,
            )
            for number, tip in enumerate(written.tips, start=1)
        ],
        model=written.model,
        prompt_version=choice.version,
        prompt_propensity=choice.propensity[choice.versions.index(choice.version)],
        generation_id=choice.generation_id,
        prompt_tokens=written.prompt_tokens,
        completion_tokens=written.completion_tokens,
        attempts=written.attempts,
        fallback=written.fallback,
        cost_usd=written.cost_usd,
        logged=logged,
    )


def _report(message: str, numbers: Mapping[str, Any], written: Written | None, started: float, deadline: float) -> None:
    """Log and trace a request: numbers, names and codes, and nothing that anybody wrote.

    Tracing may take what is left until the deadline, and half a second.
    """
    telemetry.count("Generations")
    said = {**numbers, "latency_ms": round((time.monotonic() - started) * 1000)}
    if written is not None:
        said |= {"failures": list(written.failures), "checks": dict(written.checks), "attempts": written.attempts}
        if written.fallback:
            telemetry.count("GenerationFallbacks")
    telemetry.logger.info(message, extra=said)
    tracing.trace(said, () if written is None else written.calls, max(0.0, deadline - time.monotonic()) + 0.5)


def _report_nothing(*_: object) -> None:
    """Of a rehearsal: nobody asked."""
