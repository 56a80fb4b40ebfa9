"""Every kind of call that the gateway makes through LiteLLM, run inside a built `generate` by check_generate.py.

Leaves in `answer` what went wrong, by call. The variable SERVERS holds, as JSON, addresses by what they answer.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable

from tips.llm import gateway
from tips.llm.failures import ModelFailure
from tips.llm.gateway import Completion
from tips.llm.models import ALIAS, Model
from tips.prompts import registry

SERVERS: dict[str, str] = json.loads(os.environ["SERVERS"])
NOVA = Model("bedrock/eu.amazon.nova-lite-v1:0")
CLAUDE = Model("bedrock/eu.anthropic.claude-sonnet-4-20250514-v1:0")
CALLS: list[Callable[[], Awaitable[None]]] = []


def call(made: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    CALLS.append(made)
    return made


def at(server: str, *, json_schema: bool = False) -> Model:
    return Model(ALIAS, f"{SERVERS[server]}/v1", "key", json_schema)


async def ask(model: Model, timeout_sec: float = 30.0) -> Completion:
    prompt = registry.prompts()[registry.STANDARD_VERSION]
    return await gateway.complete(model, prompt.render({}, 3), prompt.parameters, timeout_sec, prompt.output_schema)


async def fails_with(code: str, asked: Awaitable[Completion]) -> None:
    found: str | None = None
    try:
        await asked
    except ModelFailure as failure:
        found = failure.code
    assert found == code, found


@call
async def plain() -> None:
    answer = await ask(at("good"))
    assert "passport" in answer.text
    assert (answer.prompt_tokens, answer.completion_tokens) == (100, 20)


@call
async def with_a_json_schema() -> None:
    assert (await ask(at("schema", json_schema=True))).text


@call
async def without_usage() -> None:
    # LiteLLM may count the tokens itself then, with tables that it would else download.
    assert (await ask(at("uncounted"))).text
    assert gateway.load().token_counter(model="gpt-4o", text="hello") > 0


@call
async def refused_connection() -> None:
    await fails_with("unavailable", ask(at("nobody")))


@call
async def refused_key() -> None:
    await fails_with("refused", ask(at("refusing")))


@call
async def rate_limit() -> None:
    await fails_with("rate_limited", ask(at("limiting")))


@call
async def server_error() -> None:
    await fails_with("unavailable", ask(at("broken")))


@call
async def time_out() -> None:
    await fails_with("timeout", ask(at("slow"), 0.2))


@call
async def a_known_price() -> None:
    answer = await ask(at("priced"))  # it calls itself gpt-4o-mini
    assert answer.cost_usd is not None
    assert 0 < answer.cost_usd < 0.01


@call
async def local_template() -> None:
    answer = await ask(Model("local/template"))
    assert answer.text
    assert answer.model == "local/template"


@call
async def bedrock() -> None:
    os.environ["AWS_BEDROCK_RUNTIME_ENDPOINT"] = SERVERS["bedrock"]
    for model in (NOVA, CLAUDE):  # the second is known to take a JSON schema
        answer = await ask(model)
        assert answer.text == "[]"
        assert answer.prompt_tokens == 30
        assert answer.cost_usd is not None
        assert answer.cost_usd > 0


@call
async def bedrock_that_refuses() -> None:
    os.environ["AWS_BEDROCK_RUNTIME_ENDPOINT"] = SERVERS["refusing"]
    await fails_with("refused", ask(NOVA))


async def run() -> dict[str, str | None]:
    outcome: dict[str, str | None] = {}
    for made in CALLS:
        try:
            await made()
            outcome[made.__name__] = None
        except Exception as error:
            outcome[made.__name__] = f"{type(error).__name__}: {error}"
    return outcome


answer = asyncio.run(run())
