"""Every kind of call that the gateway makes through LiteLLM, run inside a built `generate` by check_generate.py.

Leaves in `answer` what went wrong, by call. The variable SERVERS holds, as JSON, addresses by what they answer.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from tips.llm import gateway, tracing, transport
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


def at(server: str, *, json_schema: bool = False, price: tuple[float, float] | None = None) -> Model:
    return Model(ALIAS, f"{SERVERS[server]}/v1", "key", json_schema, price)


@contextmanager
def proxies(**addresses: str) -> Iterator[None]:
    before = dict(os.environ)
    del os.environ["NO_PROXY"]
    os.environ |= addresses
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


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
async def every_prompt() -> None:
    for prompt in registry.prompts().values():
        messages = prompt.render({"hour_of_day": 9, "timezone": "Europe/Berlin"}, 3)
        model = at("schema", json_schema=True)
        assert (await gateway.complete(model, messages, prompt.parameters, 30.0, prompt.output_schema)).text


@call
async def in_another_event_loop() -> None:
    assert (await asyncio.to_thread(lambda: asyncio.run(ask(at("good"))))).text


@call
async def through_a_proxy() -> None:
    with proxies(HTTP_PROXY=SERVERS["good"]):
        assert (await ask(Model(ALIAS, "http://model.invalid/v1", "key"))).text


@call
async def through_a_proxy_that_is_away() -> None:
    with proxies(HTTPS_PROXY=SERVERS["nobody"]):
        await fails_with("unavailable", ask(Model(ALIAS, "https://model.invalid/v1", "key")))


@call
async def tls() -> None:
    # A server without TLS: what leads up to the handshake needs the certificates of certifi.
    assert transport.tls_context().get_ca_certs()
    address = SERVERS["good"].replace("http://", "https://")
    await fails_with("unavailable", ask(Model(ALIAS, f"{address}/v1", "key")))


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
async def out_of_budget() -> None:
    await fails_with("refused", ask(at("spent")))


@call
async def other_refusals() -> None:
    await fails_with("rejected", ask(at("rejecting")))


@call
async def answers_that_are_none() -> None:
    for server in ("empty", "huge", "cut_off", "no_json"):
        await fails_with("bad_answer", ask(at(server)))


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
async def a_price_of_ours() -> None:
    assert (await ask(at("good", price=(1.0, 2.0)))).cost_usd == 140e-6


@call
async def a_price_that_the_server_tells() -> None:
    assert (await ask(at("charging"))).cost_usd == 0.25


@call
async def estimates() -> None:
    messages = registry.prompts()[registry.STANDARD_VERSION].render({}, 3)
    assert gateway.estimate(at("good"), messages, 100).usd == 0
    for model in (NOVA, CLAUDE, at("good", price=(1.0, 2.0))):
        usage = gateway.estimate(model, messages, 100)
        assert usage.tokens > 100
        assert usage.usd > 0


@call
async def a_trace_that_cannot_be_sent() -> None:
    # MLflow is not part of the artifact; where its address is set, the answer still goes out.
    os.environ["MLFLOW_TRACKING_URI"] = SERVERS["nobody"]
    tracing.trace({"model": ALIAS, "latency_ms": 1.0}, [])


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
