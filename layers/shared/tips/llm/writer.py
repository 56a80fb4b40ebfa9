"""From a prompt and a context to tips: the one retry loop there is, and what stands in when no model delivers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tips.llm import gateway, local_template
from tips.llm.answers import Fault, UnusableAnswer, WrittenTip, read_tips
from tips.llm.gateway import FailureKind, Model, ModelFailure
from tips.prompts.prompt import Message, Prompt

MAX_TRIES = 2
_SHORTEST_TRY_SEC = 0.05
_QUOTED_BACK = 4000
"""Characters of an unusable answer that the correction turn repeats."""

CORRECTIONS: Mapping[Fault, str] = {
    "not_json": "That was not JSON. Answer again with the JSON array alone: start with [ and end with ].",
    "wrong_fields": (
        'The JSON was not as agreed. Answer again with a JSON array of objects, each with "content" (a string) and '
        '"kind" (one of "task", "advice", "insight", "reminder"), and nothing else.'
    ),
}


@dataclass(frozen=True, slots=True)
class Written:
    """Tips and how they came about. Tokens and cost are those of all model calls; `cost_usd` None: not known."""

    tips: Sequence[WrittenTip]
    model: str
    attempts: int
    fallback: bool
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    failures: Sequence[FailureKind | Fault]


async def write_tips(
    prompt: Prompt, context: Mapping[str, Any], n: int, model: Model, *, try_sec: float, total_sec: float
) -> Written:
    """Write up to `n` tips. Never raises for the model's sake and ends within `total_sec`.

    A time-out, a server that is down and an unusable answer are tried once more, the last with a correction. Then
    `local/template` answers the same prompt, which turns the person's own tasks into tips.
    """
    gateway.load()  # its import is not the model's time
    deadline = time.monotonic() + total_sec
    asked = prompt.render(context, n)
    messages = asked
    failures: list[FailureKind | Fault] = []
    prompt_tokens = completion_tokens = attempts = 0
    cost: float | None = 0.0
    while attempts < MAX_TRIES and (left := deadline - time.monotonic()) >= _SHORTEST_TRY_SEC:
        attempts += 1
        try:
            answer = await gateway.complete(model, messages, prompt.parameters, min(try_sec, left))
        except ModelFailure as failure:
            failures.append(failure.kind)
            cost = None
            if failure.worth_retrying:
                continue
            break
        prompt_tokens += answer.prompt_tokens
        completion_tokens += answer.completion_tokens
        cost = None if cost is None or answer.cost_usd is None else cost + answer.cost_usd
        try:
            tips = read_tips(answer.text, n)
        except UnusableAnswer as unusable:
            failures.append(unusable.fault)
            messages = _corrected(asked, answer.text, unusable.fault)
            continue
        return Written(tips, answer.model, attempts, False, prompt_tokens, completion_tokens, cost, failures)
    tips = read_tips(local_template.answer(asked).text, n)
    return Written(tips, local_template.NAME, attempts, True, prompt_tokens, completion_tokens, cost, failures)


def _corrected(asked: Sequence[Message], answer: str, fault: Fault) -> list[Message]:
    return [
        *asked,
        {"role": "assistant", "content": answer[:_QUOTED_BACK] or "(nothing)"},
        {"role": "user", "content": CORRECTIONS[fault]},
    ]
