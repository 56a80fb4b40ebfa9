"""The way to a language model: the only module that imports LiteLLM, and one HTTP call per call.

LiteLLM takes seconds to import, so that happens in `load`: from init on Lambda (`tips.llm.loading`), at the first call
elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from threading import Lock, Thread
from types import ModuleType
from typing import Any

from tips.llm import local_template
from tips.llm.failures import Heard, ModelFailure, failure, heard_of_this_call
from tips.llm.models import ALIAS, PLACEHOLDER_KEY, Model
from tips.prompts.prompt import Message, Parameters

_LONGEST_MODEL_NAME = 128
_MOST_TOKENS = 10_000_000
_MOST_USD = 1000.0
"""Of one call; what a server says beyond is a mistake of its."""
_CHARACTERS_PER_TOKEN = 4
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer. `cost_usd` is None where nobody knows a price; the tokens are 0 where the server tells none."""

    text: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call uses of the caps; `usd` is 0 where nobody knows a price."""

    tokens: int
    usd: float


_loading = Lock()


def load() -> ModuleType:
    """Import and configure LiteLLM: no network at import, no retries or logs of its own, `local/template` known.

    Takes seconds the first time; whoever calls it meanwhile waits. What it raises is raised, and tried again next time.
    """
    with _loading:
        return _load()


@cache
def _load() -> ModuleType:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_MODE"] = "PRODUCTION"  # else it reads any .env file it finds
    import litellm
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler
    from litellm.llms.custom_llm import CustomLLM
    from litellm.types.utils import ModelResponse

    from tips.llm.transport import OneCallTransport

    class LocalTemplate(CustomLLM):
        """`local/template` as LiteLLM's provider `local`."""

        def completion(self, *args: Any, **kwargs: Any) -> ModelResponse:
            answer = local_template.answer(kwargs["messages"])
            message = {"role": "assistant", "content": answer.text}
            usage = {
                "prompt_tokens": answer.prompt_tokens,
                "completion_tokens": answer.completion_tokens,
                "total_tokens": answer.prompt_tokens + answer.completion_tokens,
            }
            return ModelResponse(
                model=local_template.NAME,
                choices=[{"index": 0, "message": message, "finish_reason": "stop"}],
                usage=usage,
            )

        async def acompletion(self, *args: Any, **kwargs: Any) -> ModelResponse:
            return self.completion(*args, **kwargs)

    def transport(ssl_context: Any = None, ssl_verify: bool | None = None, **_: Any) -> OneCallTransport:
        return OneCallTransport(False if ssl_verify is False else ssl_context or True)

    litellm.suppress_debug_info = True
    litellm.custom_provider_map = [{"provider": "local", "custom_handler": LocalTemplate()}]
    # Clients that LiteLLM makes itself, for direct models: it would keep connections and repeat calls on its own.
    setattr(AsyncHTTPHandler, "create_async_transport", staticmethod(transport))  # noqa: B010 - a method of theirs
    # Their log lines quote prompts and answers, whatever LITELLM_LOG or OPENAI_LOG ask for.
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "openai", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Pydantic's warning about an answer that is not as it should be quotes the answer.
    warnings.filterwarnings("ignore", message="Pydantic serializer warnings")
    _make_a_first_call(litellm)
    return litellm


def _make_a_first_call(litellm: ModuleType) -> None:
    """Make a call that a port nobody listens on refuses: the first of a process imports hundreds of modules more."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nowhere = Model(ALIAS, f"http://127.0.0.1:{unused.getsockname()[1]}/v1", PLACEHOLDER_KEY)

        def call() -> None:
            with suppress(Exception):
                asyncio.run(_call(litellm, nowhere, [{"role": "user", "content": "?"}], Parameters(), None, 5.0))

        # In a thread, because this one may be running an event loop.
        thread = Thread(target=call, name="first LiteLLM call")
        thread.start()
        thread.join()


async def complete(
    model: Model,
    messages: Sequence[Message],
    parameters: Parameters,
    timeout_sec: float,
    output_schema: Mapping[str, Any] | None = None,
) -> Completion:
    """Ask `model` once, held to `output_schema` where it takes one.

    Raises `ModelFailure`, within `timeout_sec` in any case.
    """
    litellm = load()
    heard = Heard()
    token = heard_of_this_call.set(heard)
    schema = output_schema if output_schema is not None and _takes_schema(litellm, model) else None
    try:
        async with asyncio.timeout(timeout_sec):
            response = await _call(litellm, model, messages, parameters, schema, timeout_sec)
        return _completion(litellm, model, response, heard)
    except ModelFailure:
        raise
    except Exception as error:
        raise failure(error, heard) from None
    finally:
        heard_of_this_call.reset(token)


async def _call(
    litellm: ModuleType,
    model: Model,
    messages: Sequence[Message],
    parameters: Parameters,
    schema: Mapping[str, Any] | None,
    timeout_sec: float,
) -> Any:
    # Its background logging belongs to one event loop per process; here there may be several, and nothing to log to.
    from litellm._internal_context import is_internal_call

    options: dict[str, Any] = {
        "messages": list(messages),
        "temperature": parameters.temperature,
        "max_tokens": parameters.max_tokens,
        "timeout": timeout_sec,
        "num_retries": 0,
        "max_retries": 0,
        "drop_params": True,  # a model may not know `temperature`
    }
    if schema is not None:
        form = {"name": "tips", "strict": True, "schema": dict(schema)}
        options["response_format"] = {"type": "json_schema", "json_schema": form}
    token = is_internal_call.set(True)
    try:
        if model.api_base is None:
            return await litellm.acompletion(model=model.name, api_key=model.api_key, **options)
        # The client has address and key; said twice, LiteLLM does not look for them in a dozen variables.
        options |= {"api_base": model.api_base, "api_key": model.api_key, "client": _client(model)}
        # The prefix chooses the provider and is cut off; any further slash belongs to the server's name of it.
        return await litellm.acompletion(model=f"openai/{model.name}", **options)
    finally:
        is_internal_call.reset(token)


@cache
def _client(model: Model) -> Any:
    """Return the client for a server of ours; it holds no connection, so any event loop may use it at any time."""
    import httpx
    import openai

    from tips.llm.transport import OneCallTransport

    connection = httpx.AsyncClient(transport=OneCallTransport())
    return openai.AsyncOpenAI(api_key=model.api_key, base_url=model.api_base, http_client=connection, max_retries=0)


def _takes_schema(litellm: ModuleType, model: Model) -> bool:
    if model.json_schema is not None:
        return model.json_schema and not model.is_template
    return model.api_base is None and _knows_schemas(litellm, model.name)


@cache
def _knows_schemas(litellm: ModuleType, name: str) -> bool:
    return bool(litellm.supports_response_schema(model=name))


def _completion(litellm: ModuleType, model: Model, response: Any, heard: Heard) -> Completion:
    if not getattr(response, "choices", None):
        raise ModelFailure("bad_answer", answered=True, billed=True)
    usage = getattr(response, "usage", None)
    prompt_tokens = _tokens(getattr(usage, "prompt_tokens", None))
    completion_tokens = _tokens(getattr(usage, "completion_tokens", None))
    text = response.choices[0].message.content
    return Completion(
        text=text if isinstance(text, str) else "",
        model=_reported_name(response.model) or model.name,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost_usd=_cost(litellm, model, response, heard, prompt_tokens, completion_tokens),
    )


def _cost(
    litellm: ModuleType, model: Model, response: Any, heard: Heard, prompt_tokens: int, completion_tokens: int
) -> float | None:
    if model.is_template:
        return 0.0
    if model.price is not None and prompt_tokens + completion_tokens:
        return _priced(model.price, prompt_tokens, completion_tokens)
    if model.api_base is not None:  # a LiteLLM proxy knows what it was charged
        with suppress(ValueError):
            said = float(heard.headers.get("x-litellm-response-cost", ""))
            if 0 <= said <= _MOST_USD:
                return said
    name = _reported_name(response.model)
    if not completion_tokens or name is None or _list_price(litellm, name) is None:
        return None
    cost = response._hidden_params.get("response_cost")  # reckoned already; to do so again takes a tenth of a ms
    return float(cost) if isinstance(cost, int | float) and 0 <= cost <= _MOST_USD else None


@lru_cache(256)
def _list_price(litellm: ModuleType, name: str) -> tuple[float, float] | None:
    """Return LiteLLM's price of a model in USD per million prompt and completion tokens, None for an unknown one."""
    try:
        known = litellm.get_model_info(model=name)
    except Exception:  # plain exceptions for an unknown name
        return None
    prompt, completion = known.get("input_cost_per_token"), known.get("output_cost_per_token")
    return None if prompt is None or completion is None else (prompt * _MILLION, completion * _MILLION)


def _priced(price: tuple[float, float], prompt_tokens: int, completion_tokens: int) -> float:
    return (prompt_tokens * price[0] + completion_tokens * price[1]) / _MILLION


def estimate(model: Model, messages: Sequence[Message], completion_tokens: int) -> Usage:
    """Return what a call may use: four characters to a token, at the price where one is known."""
    prompt_tokens = estimated_tokens("".join(message["content"] for message in messages))
    price = model.price or _list_price(load(), model.name)
    usd = _priced(price, prompt_tokens, completion_tokens) if price else 0.0
    return Usage(prompt_tokens + completion_tokens, usd)


def estimated_tokens(text: str) -> int:
    """Return the tokens of a text by its length."""
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


def _tokens(value: Any) -> int:
    return value if isinstance(value, int) and 0 < value <= _MOST_TOKENS else 0


def _reported_name(name: Any) -> str | None:
    usable = isinstance(name, str) and 0 < len(name) <= _LONGEST_MODEL_NAME and name.isprintable()
    return name if usable else None
