"""Has models write tips for scenarios, through the service's own gateway and writer."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from offline.experiments.prompts.scenarios import Scenario
from tips.errors import ServiceError
from tips.llm.models import Model
from tips.llm.writer import NoTips, Written, write_tips
from tips.prompts.prompt import Prompt

AT_ONCE = 4
TRY_SEC, TOTAL_SEC = 60.0, 180.0
_NOT_AS_AGREED = ("not_json", "wrong_fields")
_OF_FORM = ("schema", "kind")


@dataclass(frozen=True)
class Sample:
    """What a model wrote for a scenario under a prompt version.

    format_ok: the first answer held all that was agreed, and no more; overlong: a tip was longer than can be shown.
    answered: whether the model answered at all; one that did, with no usable tip, has none.
    cost_usd: None where nobody knows a price. failures: codes, in order.
    """

    sample_id: str
    model: str
    version: str
    scenario: str
    repeat: int
    tips: tuple[str, ...]
    format_ok: bool
    overlong: bool
    answered: bool
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    latency_ms: float
    failures: tuple[str, ...]


class _AlwaysOpen:
    """A breaker that breaks nothing: every cell is to be tried."""

    def admits(self, model: str) -> bool:
        return True

    def succeeded(self, model: str) -> None: ...
    def failed(self, model: str) -> None: ...
    def refused(self, model: str) -> None: ...
    def released(self, model: str) -> None: ...

    def retry_after_sec(self, model: str) -> int:
        return 1


class _NoCaps:
    """The caps are those of people who are served, and of none here."""

    def book(self, tokens: int, usd: float) -> object:
        return None

    def settle(self, booking: object, tokens: int, usd: float) -> None: ...


async def write_samples(
    models: Sequence[Model],
    prompts: Sequence[Prompt],
    scenarios: Sequence[Scenario],
    repeats: int,
    progress: Callable[[], None] = lambda: None,
) -> list[Sample]:
    """Return a sample of every combination, in order; progress: called after each."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def write(model: Model, prompt: Prompt, scenario: Scenario, repeat: int) -> Sample:
        async with gate:
            sample = await _sample(model, prompt, scenario, repeat)
        progress()
        return sample

    wanted = [
        write(model, prompt, scenario, repeat)
        for model in models
        for prompt in prompts
        for scenario in scenarios
        for repeat in range(repeats)
    ]
    return list(await asyncio.gather(*wanted))


async def _sample(model: Model, prompt: Prompt, scenario: Scenario, repeat: int) -> Sample:
    try:
        written = await write_tips(
            prompt,
            scenario.seen(),
            scenario.n,
            (model,),
            breaker=_AlwaysOpen(),
            budget=_NoCaps(),
            try_sec=TRY_SEC,
            total_sec=TOTAL_SEC,
            fallback=False,
            cap_fallback=False,
        )
    except ServiceError as error:
        if not isinstance(error.__cause__, NoTips):
            raise
        written = error.__cause__.written
    return _of(written, model, prompt, scenario, repeat)


def _of(written: Written, model: Model, prompt: Prompt, scenario: Scenario, repeat: int) -> Sample:
    checks: dict[str, int] = {str(check): count for check, count in written.checks.items()}
    said = "\n".join([model.name, prompt.version, scenario.name, str(repeat), *(tip.content for tip in written.tips)])
    as_agreed = not set(written.failures) & set(_NOT_AS_AGREED) and not any(checks.get(one) for one in _OF_FORM)
    return Sample(
        sample_id=hashlib.sha256(said.encode()).hexdigest()[:12],
        model=model.name,
        version=prompt.version,
        scenario=scenario.name,
        repeat=repeat,
        tips=tuple(tip.content for tip in written.tips),
        format_ok=bool(written.tips) and as_agreed,
        overlong=checks.get("too_long", 0) > 0,
        answered=any(call.outcome == "ok" for call in written.calls),
        attempts=written.attempts,
        prompt_tokens=written.prompt_tokens,
        completion_tokens=written.completion_tokens,
        cost_usd=written.cost_usd,
        latency_ms=round(sum(call.latency_ms for call in written.calls), 1),
        failures=tuple(written.failures),
    )


def sample_of(document: dict[str, Any]) -> Sample:
    """Inverse of `dataclasses.asdict`; raises `TypeError` for what is none."""
    return Sample(**{**document, "tips": tuple(document["tips"]), "failures": tuple(document["failures"])})
