"""Settings: every environment variable the functions read, its default and its meaning."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


def _number(env: Mapping[str, str], name: str, default: float, *, minimum: float) -> float:
    raw = env.get(name, "").strip()
    if not raw:
        return default
    try:
        value = float(raw)
    except ValueError:
        raise ValueError(f"{name} must be a number, not {raw!r}") from None
    if not minimum <= value < float("inf"):
        raise ValueError(f"{name} must be at least {minimum:g}, not {raw!r}")
    return value


@dataclass(frozen=True, slots=True)
class Settings:
    """One function's configuration. Times are seconds unless the name says otherwise."""

    table_name: str = "tips"
    dynamodb_endpoint: str | None = None
    """None: DynamoDB in the function's region."""
    region: str = "eu-west-1"
    deployed: bool = False
    """True in AWS; False under `sam local`, the devstack and tests."""
    active_policy: str = "egreedy-v2"
    score_read_budget_ms: float = 30.0
    score_write_budget_ms: float = 30.0
    table_deadline_ms: float = 2000.0
    """How long `/reward` and `consume` retry conflicts and throttling before they give up."""
    nats_max_deliver: int = 5
    default_prompt_version: str | None = None
    litellm_url: str | None = None
    """A LiteLLM proxy or any OpenAI-compatible server. A bare origin gets `/v1`; with a path it is taken as it is."""
    litellm_api_key: str | None = None
    litellm_model: str | None = None
    """A direct LiteLLM model name, or with `litellm_url` the alias to ask for."""
    litellm_try_timeout: float = 8.0
    litellm_total_timeout: float = 18.0

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Self:
        """Read the settings; raises `ValueError` that names the variable when one is unusable."""
        env = os.environ if env is None else env
        default = cls()

        def text(name: str) -> str | None:
            return env.get(name, "").strip() or None

        return cls(
            table_name=text("TABLE_NAME") or default.table_name,
            dynamodb_endpoint=text("DYNAMODB_ENDPOINT"),
            region=text("AWS_REGION") or text("AWS_DEFAULT_REGION") or default.region,
            deployed=env.get("AWS_EXECUTION_ENV", "").startswith("AWS_Lambda_") and env.get("AWS_SAM_LOCAL") != "true",
            active_policy=text("ACTIVE_POLICY") or default.active_policy,
            score_read_budget_ms=_number(env, "SCORE_READ_BUDGET_MS", default.score_read_budget_ms, minimum=1),
            score_write_budget_ms=_number(env, "SCORE_WRITE_BUDGET_MS", default.score_write_budget_ms, minimum=1),
            table_deadline_ms=_number(env, "TABLE_DEADLINE_MS", default.table_deadline_ms, minimum=1),
            nats_max_deliver=int(_number(env, "NATS_MAX_DELIVER", default.nats_max_deliver, minimum=1)),
            default_prompt_version=text("DEFAULT_PROMPT_VERSION"),
            litellm_url=text("LITELLM_URL"),
            litellm_api_key=text("LITELLM_API_KEY"),
            litellm_model=text("LITELLM_MODEL"),
            litellm_try_timeout=_number(env, "LITELLM_TRY_TIMEOUT_SEC", default.litellm_try_timeout, minimum=0.1),
            litellm_total_timeout=_number(env, "LITELLM_TOTAL_TIMEOUT_SEC", default.litellm_total_timeout, minimum=0.1),
        )
