"""The way to a language model: the only module that imports LiteLLM, and one call per call.

LiteLLM takes seconds to import, so that happens in `load`: at init on Lambda, at the first call elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from threading import Thread
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from tips.llm import local_template
from tips.prompts.prompt import Message, Parameters
from tips.settings import Settings

if TYPE_CHECKING:
    from openai import AsyncOpenAI

ALIAS = "tip-generator"
"""The model that the server at `LITELLM_URL` is asked for, unless `LITELLM_MODEL` names another."""
PLACEHOLDER_KEY = "no-key"
"""Sent where no key is set: OpenAI's client refuses to send none."""
_LONGEST_MODEL_NAME = 128

FailureKind = Literal["timeout", "unavailable", "rate_limited", "refused", "bad_answer"]


@dataclass(frozen=True, slots=True)
class Model:
    """Where completions come from. `name`: as LiteLLM knows it, or with `api_base` as that server knows it."""

    name: str
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer. `cost_usd` is None where LiteLLM knows no price."""

    text: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


class ModelFailure(Exception):
    """A call brought no answer. `kind` says why; the provider's words may quote the prompt and are left out."""

    def __init__(self, kind: FailureKind) -> None:
        super().__init__(kind)
        self.kind: FailureKind = kind

    @property
    def worth_retrying(self) -> bool:
        return self.kind in ("timeout", "unavailable", "bad_answer")


def resolve_model(settings: Settings) -> Model | None:
    """Return what the alias `tip-generator` stands for; None: nothing is configured and the function is deployed.

    `LITELLM_URL` names an OpenAI-compatible server, `LITELLM_MODEL` alone a model that LiteLLM reaches directly.
    Raises `ValueError` for a URL that is none.
    """
    if settings.litellm_url:
        name = settings.litellm_model or ALIAS
        return Model(name, base_url(settings.litellm_url), settings.litellm_api_key or PLACEHOLDER_KEY)
    if settings.litellm_model:
        return Model(settings.litellm_model, api_key=settings.litellm_api_key)
    return None if settings.deployed else Model(local_template.NAME)


def base_url(url: str) -> str:
    """Return the URL under which `/chat/completions` lies.

    A bare origin gets `/v1`, where a LiteLLM proxy and every OpenAI-compatible server answer; a URL with a path is
    taken as it is.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("LITELLM_URL must be an http or https URL without query, such as http://127.0.0.1:4000")
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


@cache
def load() -> ModuleType:
    """Import and configure LiteLLM: no network at import, no retries or logs of its own, `local/template` known."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_MODE"] = "PRODUCTION"  # else it reads any .env file it finds
    import litellm
    from litellm.llms.custom_llm import CustomLLM
    from litellm.types.utils import ModelResponse

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

    litellm.suppress_debug_info = True
    litellm.custom_provider_map = [{"provider": "local", "custom_handler": LocalTemplate()}]
    # Their log lines quote prompts and answers, whatever LITELLM_LOG or OPENAI_LOG ask for.
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "openai", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    _make_a_first_call(litellm)
    return litellm


def _make_a_first_call(litellm: ModuleType) -> None:
    """Make a call that a port nobody listens on refuses: the first of a process imports hundreds of modules more."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nowhere = Model(ALIAS, f"http://127.0.0.1:{unused.getsockname()[1]}/v1", PLACEHOLDER_KEY)

        def call() -> None:
            with suppress(Exception):
                asyncio.run(_call(litellm, nowhere, [{"role": "user", "content": "?"}], Parameters(), 5.0))

        # In a thread, because this one may be running an event loop.
        thread = Thread(target=call, name="first LiteLLM call")
        thread.start()
        thread.join()


@cache
def _tls_context() -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context()


async def complete(model: Model, messages: Sequence[Message], parameters: Parameters, timeout_sec: float) -> Completion:
    """Ask `model` once. Raises `ModelFailure`, within `timeout_sec` in any case."""
    litellm = load()
    try:
        async with asyncio.timeout(timeout_sec):
            return _completion(litellm, model, await _call(litellm, model, messages, parameters, timeout_sec))
    except ModelFailure:
        raise
    except Exception as error:
        raise ModelFailure(_kind_of(error)) from None


async def _call(
    litellm: ModuleType, model: Model, messages: Sequence[Message], parameters: Parameters, timeout_sec: float
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
    token = is_internal_call.set(True)
    try:
        if model.api_base is None:
            return await litellm.acompletion(model=model.name, api_key=model.api_key, **options)
        async with _client(model) as client:
            # The prefix chooses the provider and is cut off; any further slash belongs to the server's name of it.
            return await litellm.acompletion(model=f"openai/{model.name}", client=client, **options)
    finally:
        is_internal_call.reset(token)


def _client(model: Model) -> AsyncOpenAI:
    """Return a client for one call: no connection is left that would not survive a frozen Lambda, or another loop."""
    import httpx
    import openai

    connection = httpx.AsyncClient(verify=_tls_context())
    return openai.AsyncOpenAI(api_key=model.api_key, base_url=model.api_base, http_client=connection, max_retries=0)


def _completion(litellm: ModuleType, model: Model, response: Any) -> Completion:
    if not response.choices:
        raise ModelFailure("bad_answer")
    usage = getattr(response, "usage", None)
    prompt_tokens = getattr(usage, "prompt_tokens", None) or 0
    completion_tokens = getattr(usage, "completion_tokens", None) or 0
    return Completion(
        text=response.choices[0].message.content or "",
        model=_reported_name(response.model) or model.name,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost_usd=_cost(litellm, model, response) if completion_tokens else None,
    )


def _cost(litellm: ModuleType, model: Model, response: Any) -> float | None:
    if model.name == local_template.NAME:
        return 0.0
    try:
        return float(litellm.completion_cost(completion_response=response))
    except Exception:  # it raises plain exceptions for a model without a known price
        return None


def _reported_name(name: Any) -> str | None:
    usable = isinstance(name, str) and 0 < len(name) <= _LONGEST_MODEL_NAME and name.isprintable()
    return name if usable else None


def _kind_of(error: Exception) -> FailureKind:
    status = getattr(error, "status_code", None)
    if isinstance(error, TimeoutError) or status == 408:
        return "timeout"
    if status == 429:
        return "rate_limited"
    if not isinstance(status, int):
        return "bad_answer"
    return "unavailable" if status >= 500 else "refused"
