"""The model calls of one request: each is booked before, settled after, told to the breaker and written down."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tips import telemetry
from tips.errors import CapReached, TableUnavailable
from tips.llm import gateway
from tips.llm.answers import Fault
from tips.llm.checks import TipCheck
from tips.llm.failures import FailureCode, ModelFailure
from tips.llm.gateway import Completion, Usage
from tips.llm.models import Model
from tips.llm.ports import Breaker, Budget
from tips.prompts.prompt import Message, Prompt

SHORTEST_TRY_SEC = 0.05

Outcome = Literal["ok", "cancelled"] | FailureCode
Failure = FailureCode | Fault | Literal["no_good_tip", "cap_reached", "cap_unknown"]


@dataclass(frozen=True, slots=True)
class Call:
    """One model call. `cost_usd` None: it may have cost something, nobody knows what."""

    model: str
    outcome: Outcome
    latency_ms: float
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


@dataclass(slots=True)
class Calls:
    """Makes the calls of one request until `deadline`, a time of `time.monotonic`."""

    prompt: Prompt
    breaker: Breaker
    budget: Budget
    try_sec: float
    deadline: float
    made: list[Call] = field(default_factory=list)
    failures: list[tuple[str, Failure]] = field(default_factory=list)
    """Model name and code, in order."""
    checks: Counter[tuple[str, TipCheck]] = field(default_factory=Counter)

    @property
    def left_sec(self) -> float:
        return self.deadline - time.monotonic()

    async def ask(self, model: Model, messages: Sequence[Message]) -> Completion:
        """Ask `model` once, in the time that is left; `local/template` costs nothing and is neither booked nor broken.

        Raises `ModelFailure`, also where the breaker does not admit a call, and what booking raises.
        """
        if model.is_template:
            return await self._timed(model, messages)
        if not self.breaker.admits(model.name):
            self.failures.append((model.name, "breaker_open"))
            raise ModelFailure("breaker_open", retry_after_sec=self.breaker.retry_after_sec(model.name))
        expected = gateway.estimate(model, messages, self.prompt.parameters.max_tokens)
        try:
            booking = self.budget.book(expected.tokens, expected.usd)
        except (CapReached, TableUnavailable) as error:
            self.breaker.released(model.name)
            self.failures.append((model.name, "cap_reached" if isinstance(error, CapReached) else "cap_unknown"))
            raise
        used = expected  # a call that was cut short may be billed
        try:
            answer = await self._timed(model, messages)
            used = _usage(model, messages, answer)
        except ModelFailure as failure:
            self._tell(model, failure)
            if not failure.billed:
                used = Usage(0, 0.0)
            raise
        finally:
            self.budget.settle(booking, used.tokens, used.usd)
        self.breaker.succeeded(model.name)
        return answer

    async def _timed(self, model: Model, messages: Sequence[Message]) -> Completion:
        started = time.monotonic()
        answer: Completion | None = None
        outcome: Outcome = "cancelled"
        cost_usd: float | None = None
        try:
            # Booking may have used up the time.
            timeout_sec = max(SHORTEST_TRY_SEC, min(self.try_sec, self.left_sec))
            answer = await gateway.complete(
                model, messages, self.prompt.parameters, timeout_sec, self.prompt.output_schema
            )
            outcome, cost_usd = "ok", answer.cost_usd
            return answer
        except ModelFailure as failure:
            outcome, cost_usd = failure.code, None if failure.billed else 0.0
            self.failures.append((model.name, failure.code))
            raise
        finally:
            latency_ms = round((time.monotonic() - started) * 1000, 1)
            tokens = (answer.prompt_tokens, answer.completion_tokens) if answer else (0, 0)
            self.made.append(Call(model.name, outcome, latency_ms, *tokens, cost_usd))

    def _tell(self, model: Model, failure: ModelFailure) -> None:
        if failure.code in ("timeout", "unavailable"):
            self.breaker.failed(model.name)
            if (wait_sec := self.breaker.retry_after_sec(model.name)) > 1:  # that was the last that it took
                failure.retry_after_sec = failure.retry_after_sec or wait_sec
        elif failure.code == "refused":
            self.breaker.refused(model.name)
            failure.retry_after_sec = failure.retry_after_sec or self.breaker.retry_after_sec(model.name)
        elif failure.answered:
            self.breaker.succeeded(model.name)
        else:
            self.breaker.released(model.name)

    def report(self) -> None:
        """Emit the metrics of the request, per model and prompt version; names and counts alone."""
        version = self.prompt.version
        for call in self.made:
            numbers = {
                "ModelCalls": 1,
                "ModelTokens": call.prompt_tokens + call.completion_tokens,
                "ModelCostMicroUsd": round((call.cost_usd or 0.0) * 1e6),
                "ModelLatencyMs": call.latency_ms,
            }
            for metric, number in numbers.items():
                telemetry.count_for(metric, number, model=call.model, prompt_version=version)
        for name, code in self.failures:
            telemetry.count_for(f"ModelFailure_{code}", model=name, prompt_version=version)
        for (name, check), count in self.checks.items():
            telemetry.count_for(f"TipCheckFailed_{check}", count, model=name, prompt_version=version)


def _usage(model: Model, messages: Sequence[Message], answer: Completion) -> Usage:
    """Return what the caps are charged: what the server says, else an estimate by what was sent and received."""
    tokens = answer.prompt_tokens + answer.completion_tokens
    if tokens and answer.cost_usd is not None:
        return Usage(tokens, answer.cost_usd)
    guess = gateway.estimate(model, messages, gateway.estimated_tokens(answer.text))
    return Usage(tokens or guess.tokens, guess.usd if answer.cost_usd is None else answer.cost_usd)
