"""Settings: every environment variable the functions read, its default and its meaning."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self, TypeVar


def _number(
    env: Mapping[str, str], name: str, default: float, *, minimum: float, maximum: float = sys.float_info.max
) -> float:
    raw = env.get(name, "").strip()
    if not raw:
        return default
    try:
        value = float(raw)
    except ValueError:
        raise ValueError(f"{name} must be a number, not {raw!r}") from None
    if not minimum <= value <= maximum:
        wanted = f"at least {minimum:g}" if maximum == sys.float_info.max else f"from {minimum:g} to {maximum:g}"
        raise ValueError(f"{name} must be {wanted}, not {raw!r}")
    return value


_UNITS_SEC = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def _duration_sec(env: Mapping[str, str], name: str, default: float, *, minimum: float) -> float:
    """Read seconds, or a number with a unit: 90s, 30m, 24h, 7d."""
    raw = env.get(name, "").strip()
    if not raw:
        return default
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", raw)
    value = float(found[1]) * _UNITS_SEC[found[2]] if found else -1.0
    if not minimum <= value < math.inf:
        raise ValueError(f"{name} must be seconds, or a number with s, m, h or d, at least {minimum:g} s, not {raw!r}")
    return value


T = TypeVar("T", bound=bool | None)


def _switch(env: Mapping[str, str], name: str, default: T) -> bool | T:
    raw = env.get(name, "").strip().lower()
    if raw in ("", "auto"):
        return default
    if raw not in ("true", "false", "on", "off", "1", "0"):
        raise ValueError(f"{name} must be true or false, not {raw!r}")
    return raw in ("true", "on", "1")


def _names(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in env.get(name, "").split(",") if part.strip()))


def _positive(env: Mapping[str, str], name: str) -> float | None:
    """Read a number; nothing or 0 is None."""
    return _number(env, name, 0, minimum=0) or None


def _whole(env: Mapping[str, str], name: str, default: int, *, minimum: int) -> int:
    value = _number(env, name, default, minimum=minimum)
    if value % 1:
        raise ValueError(f"{name} must be a whole number, not {env[name]!r}")
    return int(value)


def _prices(env: Mapping[str, str], name: str) -> dict[str, tuple[float, float]]:
    """Read {"model": [USD per million prompt tokens, per million completion tokens]}."""
    raw = env.get(name, "").strip() or "{}"
    try:
        prices = {model: (float(prompt), float(completion)) for model, (prompt, completion) in json.loads(raw).items()}
    except (ValueError, TypeError, AttributeError):
        prices = {"": (-1.0, -1.0)}
    if not all(0 <= price < math.inf for pair in prices.values() for price in pair):
        raise ValueError(f'{name} must be JSON such as {{"tip-generator": [0.15, 0.60]}}: USD per million tokens')
    return prices


@dataclass(frozen=True, slots=True)
class Settings:
    """One function's configuration. Times are seconds unless the name says otherwise."""

    table_name: str = "tips"
    dynamodb_endpoint: str | None = None
    """None: DynamoDB in the function's region."""
    region: str = "eu-west-1"
    deployed: bool = False
    """True in AWS; False under `sam local`, the devstack and tests."""
    active_policy: str = "igw-ucb"
    """Used as long as the table holds no configuration that names another."""
    configuration_cache_sec: float = 30.0
    min_explore: float = 0.02
    """Share of probability that `igw-ucb` spreads over all candidates alike."""
    prior_strength_max: float = 20.0
    """How many of a person's own reactions the population prior may weigh as much as."""
    half_life_days: float = math.inf
    """Age of a decision at which what it taught counts half; infinite: nothing is forgotten."""
    default_reward: float = 0.0
    """What a decision teaches that had no reaction when the reward wait ended."""
    reward_wait_sec: float = 86_400.0
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
    litellm_fallback_models: tuple[str, ...] = ()
    """Asked in this order when the first model fails; each is named as `litellm_model` is."""
    litellm_json_schema: bool | None = None
    """Whether the models take a JSON schema for their answer; None: as LiteLLM knows them, and an alias does not."""
    litellm_prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """USD per million prompt and completion tokens, by model; of others, what LiteLLM or its proxy says."""
    litellm_try_timeout: float = 8.0
    litellm_total_timeout: float = 18.0
    generate_fallback: bool = True
    """Whether the person's own tasks, turned into tips by `local/template`, stand in for a model that fails."""
    generate_table_budget_ms: float = 200.0
    """Of each call that `generate` makes to the table."""
    cap_user_tokens: int | None = None
    """Tokens of one person in one day (UTC); None: no cap."""
    cap_user_usd: float | None = None
    cap_total_tokens: int | None = None
    cap_total_usd: float | None = None
    cap_fallback: bool = False
    """Whether a cap that is reached is answered by `local/template` and not by 429."""

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
            configuration_cache_sec=_number(env, "CONFIG_CACHE_SEC", default.configuration_cache_sec, minimum=0),
            min_explore=_number(env, "MIN_EXPLORE", default.min_explore, minimum=0, maximum=1),
            prior_strength_max=_number(env, "PRIOR_STRENGTH_MAX", default.prior_strength_max, minimum=0),
            half_life_days=_number(env, "HALF_LIFE_DAYS", 0, minimum=0) or math.inf,
            default_reward=_number(env, "DEFAULT_REWARD", default.default_reward, minimum=-1, maximum=1),
            reward_wait_sec=_duration_sec(env, "REWARD_WAIT", default.reward_wait_sec, minimum=0),
            score_read_budget_ms=_number(env, "SCORE_READ_BUDGET_MS", default.score_read_budget_ms, minimum=1),
            score_write_budget_ms=_number(env, "SCORE_WRITE_BUDGET_MS", default.score_write_budget_ms, minimum=1),
            table_deadline_ms=_number(env, "TABLE_DEADLINE_MS", default.table_deadline_ms, minimum=1),
            nats_max_deliver=_whole(env, "NATS_MAX_DELIVER", default.nats_max_deliver, minimum=1),
            default_prompt_version=text("DEFAULT_PROMPT_VERSION"),
            litellm_url=text("LITELLM_URL"),
            litellm_api_key=text("LITELLM_API_KEY"),
            litellm_model=text("LITELLM_MODEL"),
            litellm_fallback_models=_names(env, "LITELLM_FALLBACK_MODELS"),
            litellm_json_schema=_switch(env, "LITELLM_JSON_SCHEMA", default.litellm_json_schema),
            litellm_prices=_prices(env, "LITELLM_PRICES"),
            litellm_try_timeout=_number(env, "LITELLM_TRY_TIMEOUT_SEC", default.litellm_try_timeout, minimum=0.1),
            litellm_total_timeout=_number(env, "LITELLM_TOTAL_TIMEOUT_SEC", default.litellm_total_timeout, minimum=0.1),
            generate_fallback=_switch(env, "GENERATE_FALLBACK", default.generate_fallback),
            generate_table_budget_ms=_number(
                env, "GENERATE_TABLE_BUDGET_MS", default.generate_table_budget_ms, minimum=1
            ),
            cap_user_tokens=_whole(env, "CAP_USER_TOKENS_PER_DAY", 0, minimum=0) or None,
            cap_user_usd=_positive(env, "CAP_USER_USD_PER_DAY"),
            cap_total_tokens=_whole(env, "CAP_TOTAL_TOKENS_PER_DAY", 0, minimum=0) or None,
            cap_total_usd=_positive(env, "CAP_TOTAL_USD_PER_DAY"),
            cap_fallback=_switch(env, "CAP_FALLBACK", default.cap_fallback),
        )
