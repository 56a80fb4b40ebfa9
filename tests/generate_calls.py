"""Every kind of call that the gateway makes through LiteLLM, run inside a built `generate` by check_generate.py.

Leaves in `answer` what went wrong, by call. The variable SERVERS holds, as JSON, addresses by what they answer.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

SERVERS: dict[str, str] = json.loads(os.environ["SERVERS"])

MESSAGES = [{"role": "user", "content": "Write tips."}]
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "tips",
        "strict": True,
        "schema": {"type": "object", "properties": {"tips": {"type": "array", "items": {"type": "object"}}}},
    },
}
CALLS: list[Callable[[Any], Awaitable[None]]] = []


def call(made: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    CALLS.append(made)
    return made


async def ask(litellm: Any, server: str, **options: Any) -> Any:
    import httpx
    import openai

    async with openai.AsyncOpenAI(
        api_key="key", base_url=f"{SERVERS[server]}/v1", http_client=httpx.AsyncClient(trust_env=False), max_retries=0
    ) as client:
        options = {"timeout": 30.0, "num_retries": 0, "max_retries": 0, "drop_params": True} | options
        return await litellm.acompletion(model="openai/tip-generator", client=client, messages=MESSAGES, **options)


async def fails_with(status: int, kind: str, asked: Awaitable[Any]) -> None:
    found: tuple[Any, str] | None = None
    try:
        await asked
    except Exception as error:
        found = (getattr(error, "status_code", None), type(error).__name__)
    assert found == (status, kind), found


@call
async def plain(litellm: Any) -> None:
    response = await ask(litellm, "good", temperature=0.7, max_tokens=100)
    assert "passport" in response.choices[0].message.content
    assert response.usage.completion_tokens == 20


@call
async def with_a_json_schema(litellm: Any) -> None:
    assert (await ask(litellm, "good", response_format=SCHEMA)).choices


@call
async def without_usage(litellm: Any) -> None:
    # LiteLLM counts the tokens itself then, with tables that it would else download.
    assert (await ask(litellm, "uncounted")).choices
    assert litellm.token_counter(model="gpt-4o", text="hello") > 0


@call
async def refused_connection(litellm: Any) -> None:
    await fails_with(500, "InternalServerError", ask(litellm, "nobody"))


@call
async def refused_key(litellm: Any) -> None:
    await fails_with(401, "AuthenticationError", ask(litellm, "refusing"))


@call
async def rate_limit(litellm: Any) -> None:
    await fails_with(429, "RateLimitError", ask(litellm, "limiting"))


@call
async def server_error(litellm: Any) -> None:
    await fails_with(500, "InternalServerError", ask(litellm, "broken"))


@call
async def time_out(litellm: Any) -> None:
    await fails_with(408, "Timeout", ask(litellm, "slow", timeout=0.2))


@call
async def support_of_a_json_schema(litellm: Any) -> None:
    assert litellm.supports_response_schema(model="openai/gpt-4o-mini")
    assert litellm.supports_response_schema(model="bedrock/anthropic.claude-sonnet-4-20250514-v1:0")
    assert not litellm.supports_response_schema(model="local/template")


@call
async def cost(litellm: Any) -> None:
    response = litellm.ModelResponse(model="gpt-4o-mini", usage={"prompt_tokens": 1000, "completion_tokens": 1000})
    assert 0 < litellm.completion_cost(completion_response=response, model="gpt-4o-mini") < 0.01


@call
async def local_template(litellm: Any) -> None:
    from tips.prompts import registry

    messages = registry.prompts()["v1"].render({}, 3)
    response = await litellm.acompletion(model="local/template", messages=messages)
    assert response.choices[0].message.content
    assert response.model == "local/template"


@call
async def bedrock(litellm: Any) -> None:
    os.environ["AWS_BEDROCK_RUNTIME_ENDPOINT"] = SERVERS["bedrock"]
    options = {"max_tokens": 100, "timeout": 30.0, "num_retries": 0, "max_retries": 0, "drop_params": True}
    model = "bedrock/eu.amazon.nova-lite-v1:0"
    response = await litellm.acompletion(model=model, api_key=None, messages=MESSAGES, temperature=0.7, **options)
    assert response.choices[0].message.content == "[]", response
    assert response.usage.prompt_tokens == 30
    assert litellm.completion_cost(completion_response=response) > 0


@call
async def bedrock_with_a_json_schema(litellm: Any) -> None:
    os.environ["AWS_BEDROCK_RUNTIME_ENDPOINT"] = SERVERS["bedrock"]
    model = "bedrock/eu.anthropic.claude-sonnet-4-20250514-v1:0"
    assert (await litellm.acompletion(model=model, messages=MESSAGES, response_format=SCHEMA, max_tokens=100)).choices


@call
async def bedrock_that_refuses(litellm: Any) -> None:
    os.environ["AWS_BEDROCK_RUNTIME_ENDPOINT"] = SERVERS["refusing"]
    options = {"num_retries": 0, "max_retries": 0}
    model = "bedrock/eu.amazon.nova-lite-v1:0"
    await fails_with(401, "AuthenticationError", litellm.acompletion(model=model, messages=MESSAGES, **options))


async def run() -> dict[str, str | None]:
    from tips.llm import gateway

    litellm = gateway.load()
    outcome: dict[str, str | None] = {}
    for made in CALLS:
        try:
            await made(litellm)
            outcome[made.__name__] = None
        except Exception as error:
            outcome[made.__name__] = f"{type(error).__name__}: {error}"
    return outcome


answer = asyncio.run(run())
