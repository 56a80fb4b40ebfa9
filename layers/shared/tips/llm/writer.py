"""From a prompt and a context to tips: the one retry loop there is, and what stands in when no model delivers."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import Any

from tips.errors import CapReached, ModelUnavailable, ModelUnusable, ServiceError, TableUnavailable
from tips.features.similarity import Signature
from tips.llm import gateway, local_template
from tips.llm.answers import read_items
from tips.llm.calls import SHORTEST_TRY_SEC, Call, Calls, Failure
from tips.llm.checks import Checked, TipCheck, WrittenTip, check_template_tips, check_tips
from tips.llm.failures import ModelFailure
from tips.llm.gateway import Completion
from tips.llm.models import Model
from tips.llm.ports import Breaker, Budget
from tips.llm.turns import corrected, replaced
from tips.prompts.prompt import Message, Prompt

MAX_CORRECTIONS = 2
"""Correction turns of one request, over all models."""
MAX_PAUSE_SEC = 0.25
"""Of the pause before a repeat, whose length is drawn from 0 up to this (full jitter)."""
MAX_WAIT_SEC = 5.0
"""The longest Retry-After that is waited for."""
_ANSWERING_SEC = 1.0
"""What must be left after such a wait for the answer itself."""
_RETRY_AFTER_SEC = 5.0
"""Said of a model that told nothing itself."""
_LONGEST_RETRY_AFTER_SEC = 3600

# A process restored from a snapshot would repeat the draws of its siblings.
_random = SystemRandom()


@dataclass(frozen=True, slots=True)
class Written:
    """Tips and how they came about. Tokens and cost are those of all model calls; `cost_usd` None: not known.

    `failures`: codes in order; `checks`: how many tips failed each check.
    """

    tips: Sequence[WrittenTip]
    model: str
    attempts: int
    fallback: bool
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    failures: Sequence[Failure]
    checks: Mapping[TipCheck, int]
    calls: Sequence[Call]


class NoTips(Exception):
    """The cause of an error of `write_tips`; `written` tells the calls that were made, and holds no tip."""

    def __init__(self, written: Written) -> None:
        super().__init__("no tips")
        self.written = written


async def write_tips(
    prompt: Prompt,
    context: Mapping[str, Any],
    n: int,
    models: Sequence[Model],
    *,
    breaker: Breaker,
    budget: Budget,
    recent: Sequence[Signature] = (),
    try_sec: float,
    total_sec: float,
    fallback: bool,
    cap_fallback: bool,
) -> Written:
    """Write up to `n` tips that are not near one of the `recent` ones; ends within `total_sec`.

    The models are asked in order. When none delivers, `local/template` answers the same prompt, which turns the
    person's own tasks into tips: with `fallback` for models that fail and caps that cannot be read, with
    `cap_fallback` for a cap that is reached. Else raises `ModelUnusable` (a model answered, but never usably),
    `ModelUnavailable` (none did), `CapReached` or `TableUnavailable`, each caused by a `NoTips`.
    """
    if models:
        gateway.load()  # its import is not the model's time
    calls = Calls(prompt, breaker, budget, try_sec, time.monotonic() + total_sec)
    writing = _Writing(calls, prompt.render(context, n), n, recent)
    try:
        return await writing.write(models, fallback, cap_fallback)
    finally:
        calls.report()


class _Writing:
    """The tips of one request in the making."""

    def __init__(self, calls: Calls, asked: list[Message], n: int, recent: Sequence[Signature]) -> None:
        self._calls = calls
        self._asked = asked
        self._n = n
        self._recent = recent
        self._corrections = MAX_CORRECTIONS
        self._may_repeat = True
        self._answered = False
        self._waits_sec: list[float] = []

    async def write(self, models: Sequence[Model], fallback: bool, cap_fallback: bool) -> Written:
        error: ServiceError
        try:
            for model in models:
                if written := await self._write_by(model, is_last=model is models[-1]):
                    return written
            stand_in, error = fallback, self._error()
        except CapReached as reached:
            stand_in, error = cap_fallback, reached
        except TableUnavailable as unavailable:
            stand_in, error = fallback, unavailable
        if stand_in:
            checked = self._check(local_template.NAME, local_template.answer(self._asked).text, [])
            if checked.good:
                return self._written(checked.good, local_template.NAME, fallback=True)
        raise error from NoTips(self._written([], ""))

    async def _write_by(self, model: Model, is_last: bool) -> Written | None:
        """Have `model` write; None where it brings no good tip.

        When too few are good because some failed a check, it is asked for those once more; should that fail in any
        way, the good ones stay.
        """
        self._may_repeat = True
        good: list[WrittenTip] = []
        author = ""
        messages = self._asked
        replacing = False
        while (answer := await self._ask(model, messages, is_last, good)) is not None:
            checked = self._check(model.name, answer.text, good)
            if checked.fault is not None:
                self._calls.failures.append((model.name, checked.fault))
                if replacing or not self._corrections:
                    break
                self._corrections -= 1
                messages = corrected(self._asked, answer.text, checked.fault)
                continue
            good += checked.good
            author = author or answer.model
            missing = self._n - len(good)
            if replacing or missing <= 0 or not checked.failed or model.is_template:
                break
            replacing = True
            self._may_repeat = self._may_repeat and not good
            messages = replaced(self._asked, answer.text, checked.failed, missing)
        if good:
            return self._written(good, author)
        if author:
            self._calls.failures.append((model.name, "no_good_tip"))
        return None

    async def _ask(
        self, model: Model, messages: Sequence[Message], is_last: bool, good: Sequence[WrittenTip]
    ) -> Completion | None:
        """Ask `model`, and once more where `_pause` says so; None: no answer.

        Raises what booking raises, unless there are `good` tips to fall back on.
        """
        while self._calls.left_sec >= SHORTEST_TRY_SEC:
            try:
                answer = await self._calls.ask(model, messages)
            except ModelFailure as failure:
                self._answered = self._answered or failure.answered
                told = failure.retry_after_sec
                self._waits_sec.append(_RETRY_AFTER_SEC if told is None else told)
                pause = _pause(failure, is_last, self._calls.left_sec) if self._may_repeat else None
                if pause is None:
                    return None
                self._may_repeat = False
                await asyncio.sleep(pause)
            except (CapReached, TableUnavailable):
                if good:
                    return None
                raise
            else:
                self._answered = True
                return answer
        return None

    def _check(self, name: str, text: str, good: Sequence[WrittenTip]) -> Checked:
        items = read_items(text)
        if name == local_template.NAME:
            checked = check_template_tips(items)
        else:
            checked = check_tips(items, kept=good, recent=self._recent)
        for check, count in checked.failed.items():
            self._calls.checks[name, check] += count
        return checked

    def _error(self) -> ServiceError:
        if self._answered:
            return ModelUnusable("the model answered, but with no tip that can be shown")
        return ModelUnavailable("no model could be reached in time", retry_after_sec=self._retry_after_sec())

    def _retry_after_sec(self) -> int:
        """Return when the first of the models may be worth another request."""
        shortest = min(self._waits_sec, default=_RETRY_AFTER_SEC)
        return max(1, math.ceil(min(shortest, _LONGEST_RETRY_AFTER_SEC)))

    def _written(self, good: Sequence[WrittenTip], author: str, *, fallback: bool = False) -> Written:
        made = self._calls.made
        costs = [call.cost_usd for call in made if call.cost_usd is not None]
        checks: Counter[TipCheck] = Counter()
        for (_, check), count in self._calls.checks.items():
            checks[check] += count
        return Written(
            tips=good[: self._n],
            model=author,
            attempts=len(made),
            fallback=fallback,
            prompt_tokens=sum(call.prompt_tokens for call in made),
            completion_tokens=sum(call.completion_tokens for call in made),
            cost_usd=sum(costs) if len(costs) == len(made) else None,
            failures=[code for _, code in self._calls.failures],
            checks=dict(checks),
            calls=tuple(made),
        )


def _pause(failure: ModelFailure, is_last: bool, left_sec: float) -> float | None:
    """Return how long to wait before the same model is asked once more; None: go on to the next one.

    A server that is away and a broken answer get a short random pause. With Retry-After that is the pause instead, if
    it is at most `MAX_WAIT_SEC` and leaves a second for the answer. A refusal is final, and so is a 429 without
    Retry-After. As long as another model is left to ask, nothing is waited for that takes long: neither Retry-After
    nor a second time-out.
    """
    if failure.code in ("refused", "rejected", "breaker_open"):
        return None
    if failure.retry_after_sec is not None:
        wait_sec = failure.retry_after_sec
        fits = wait_sec <= min(MAX_WAIT_SEC, left_sec - _ANSWERING_SEC)
        return wait_sec if is_last and fits else None
    if failure.code == "rate_limited" or (failure.code == "timeout" and not is_last):
        return None
    return _random.uniform(0, min(MAX_PAUSE_SEC, max(0.0, left_sec) / 4))
