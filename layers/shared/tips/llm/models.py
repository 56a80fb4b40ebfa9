"""Which models are asked, in which order, where they are reached and what they cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tips.llm import local_template
from tips.settings import Settings

ALIAS = "tip-generator"
"""The model that the server at `LITELLM_URL` is asked for, unless `LITELLM_MODEL` names another."""
JUDGE_ALIAS = "judge"
"""The model there that judges tips in simulation and benchmark, unless another is named."""
PLACEHOLDER_KEY = "no-key"
"""Sent where no key is set: OpenAI's client refuses to send none."""


@dataclass(frozen=True, slots=True)
class Model:
    """Where completions come from. `name`: as LiteLLM knows it, or with `api_base` as that server knows it.

    `json_schema`: whether it takes a JSON schema for its answer; None: as LiteLLM knows it, and an alias does not.
    `price`: USD per million prompt and completion tokens; None: what the server or LiteLLM says.
    """

    name: str
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)
    json_schema: bool | None = None
    price: tuple[float, float] | None = None

    @property
    def is_template(self) -> bool:
        """True for `local/template`, which costs nothing, cannot be away and never learns anything new to say."""
        return self.name == local_template.NAME and self.api_base is None


def resolve_models(settings: Settings) -> tuple[Model, ...]:
    """Return the models in the order in which they are asked; empty: deployed without configuration.

    `LITELLM_URL` names an OpenAI-compatible server that knows all of them, `LITELLM_MODEL` alone a model that LiteLLM
    reaches directly; the alias there is `tip-generator`. Raises `ValueError` for a URL that is none.
    """
    first = settings.litellm_model or (ALIAS if settings.litellm_url else None)
    if first is None:
        return () if settings.deployed else (Model(local_template.NAME),)
    return tuple(_reached(name, settings) for name in dict.fromkeys((first, *settings.litellm_fallback_models)))


def resolve_judge(settings: Settings, named: str | None = None) -> Model:
    """Return the model that judges tips, never in a function: the one named, at `LITELLM_URL` by default `judge`.

    Without a URL the model that writes tips judges them too, and without either `local/template`, by rules of thumb.
    Raises `ValueError` for a URL that is none.
    """
    name = named or (JUDGE_ALIAS if settings.litellm_url else settings.litellm_model)
    return Model(local_template.NAME) if name in (None, local_template.NAME) else _reached(name, settings)


def _reached(name: str, settings: Settings) -> Model:
    base = base_url(settings.litellm_url) if settings.litellm_url else None
    key = settings.litellm_api_key or (PLACEHOLDER_KEY if base else None)
    return Model(name, base, key, settings.litellm_json_schema, settings.litellm_prices.get(name))


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
