"""One call to a language model to measure: through LiteLLM alone, through the gateway, and in all that writes tips.

Import this before anything imports LiteLLM: the direct call is measured as LiteLLM comes.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.instant_model import Heard, InstantModel
from tips import telemetry
from tips.contracts.generation import PromptContext
from tips.features.context import build_context
from tips.llm import gateway
from tips.llm.models import ALIAS, PLACEHOLDER_KEY, Model
from tips.llm.writer import write_tips
from tips.prompts.registry import prompts

TIMEOUT_SEC = 8.0
N = 3
PROMPT = prompts()["v1"]
TITLES = (
    "Renew the passport",
    "Call grandma",
    "Send the invoice of last month",
    "Book the dentist",
    "Water the plants",
)
TIPS = (
    {"content": "Renew the passport: book the appointment now.", "kind": "task", "rationale": "It is overdue."},
    {"content": "Stretch for a minute before the next meeting.", "kind": "advice", "rationale": "You sit a lot."},
    {"content": "Call grandma while you water the plants.", "kind": "insight", "rationale": "Both are quick."},
)

Side = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """The same call by each side, all on one event loop.

    direct: as LiteLLM comes, which keeps connections; closed: the same, to a server that keeps none; gateway: ours,
    a connection per call; written: prompt to checked tips, caps and breaker that keep nothing.
    """

    server: InstantModel
    direct: Side
    closed: Side
    gateway: Side
    written: Side
    rest: Side
    """To be called between two calls: lets what they left to the background end."""

    def sides(self) -> dict[str, Side]:
        return {"direct": self.direct, "closed": self.closed, "gateway": self.gateway, "written": self.written}


class _Open:
    """A breaker that admits every call, and caps without end."""

    def admits(self, model: str) -> bool:
        return True

    def succeeded(self, model: str) -> None:
        """Keep nothing."""

    released = succeeded

    def failed(self, model: str) -> None:
        raise RuntimeError(f"{model} failed")

    refused = failed

    def retry_after_sec(self, model: str) -> int:
        return 1

    def book(self, tokens: int, usd: float) -> object:
        return None

    def settle(self, booking: object, tokens: int, usd: float) -> None:
        """Keep nothing."""


def context() -> dict[str, Any]:
    tasks = [{"id": str(number), "content": title, "priority": 1} for number, title in enumerate(TITLES)]
    given = PromptContext.model_validate({"tasks": tasks, "hour_of_day": 9, "day_of_week": 2})
    return build_context(given, None, datetime(2026, 11, 20, 8, 30, tzinfo=UTC))


@contextmanager
def case() -> Iterator[Case]:
    """Yield all sides, warm. Raises `RuntimeError` when they do not send the same body or read the same answer."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_MODE"] = "PRODUCTION"
    import litellm

    close: Callable[[], Any] = vars(litellm)["close_litellm_async_clients"]
    asked, seen, parameters = PROMPT.render(context(), N), context(), PROMPT.parameters
    loop = asyncio.new_event_loop()

    def on_loop(call: Callable[[], Awaitable[Any]]) -> Callable[[], Any]:
        return lambda: loop.run_until_complete(call())

    with InstantModel(json.dumps(TIPS)) as server, _quiet():
        model = Model(ALIAS, f"{server.url}/v1", PLACEHOLDER_KEY)

        def directly(base: str) -> Callable[[], Awaitable[Any]]:
            return lambda: litellm.acompletion(
                model=f"openai/{ALIAS}",
                api_base=base,
                api_key=PLACEHOLDER_KEY,
                messages=asked,
                temperature=parameters.temperature,
                max_tokens=parameters.max_tokens,
                timeout=TIMEOUT_SEC,
                num_retries=0,
                max_retries=0,
                drop_params=True,
            )

        async def through_gateway() -> gateway.Completion:
            return await gateway.complete(model, asked, parameters, TIMEOUT_SEC, PROMPT.output_schema)

        async def written() -> Any:
            return await write_tips(
                PROMPT,
                seen,
                N,
                [model],
                breaker=_Open(),
                budget=_Open(),
                try_sec=TIMEOUT_SEC,
                total_sec=2 * TIMEOUT_SEC,
                fallback=False,
                cap_fallback=False,
            )

        def rest() -> None:
            loop.run_until_complete(asyncio.sleep(0.002))
            telemetry.flush()

        measured = Case(
            server,
            on_loop(directly(f"{server.url}/v1")),
            on_loop(directly(f"{server.url}/closing/v1")),
            on_loop(through_gateway),
            on_loop(written),
            rest,
        )
        try:
            _check(measured)
            yield measured
        finally:
            loop.run_until_complete(close())
            loop.close()


def connections(measured: Case, calls: int = 5) -> dict[str, float]:
    """Return how many connections each side opens per call, once it is warm."""
    opened = {}
    for name, side in measured.sides().items():
        measured.server.heard()
        for _ in range(calls):
            side()
        heard = measured.server.heard()
        opened[name] = heard.connections / heard.calls
    return opened


def _check(measured: Case) -> None:
    # LiteLLM's clients come first: it keeps them, and the gateway has it make others.
    heard: dict[str, Heard] = {}
    answers: dict[str, Any] = {}
    for _ in range(2):
        for name, side in measured.sides().items():
            answers[name] = side()
            measured.rest()
            heard[name] = measured.server.heard()
    if any(one.calls != 1 or one.body != heard["gateway"].body for one in heard.values()):
        raise RuntimeError(f"not the same call: {heard}")
    text = answers["gateway"].text
    if any(answers[name].choices[0].message.content != text for name in ("direct", "closed")):
        raise RuntimeError("not the same answer")
    if len(answers["written"].tips) != N:
        raise RuntimeError(f"not the tips to measure: {answers['written']}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep metrics off the terminal."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield
