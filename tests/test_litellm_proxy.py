"""`generate` through a real LiteLLM proxy process, which has a server of ours as its only provider."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devstack.template import ROOT
from tests.conftest import LoadedFunction, LocalTable
from tests.model_server import ModelServer, Received, Reply

pytestmark = pytest.mark.proxy

LITELLM = ROOT / ".venv-proxy" / "bin" / "litellm"
KEY = "sk-0123456789abcdef0123456789abcdef"
SPENT_KEY = "sk-spent"
PROVIDER_KEY = "sk-known-to-the-proxy-alone"
READY_WITHIN_SEC = 120
RETRY_AFTER_SEC = 7

ALIASES: Mapping[str, Reply] = {
    "tip-generator": Reply(),
    "unpriced": Reply(),
    "spare": Reply(),
    "limited": Reply(status=429, headers={"Retry-After": str(RETRY_AFTER_SEC)}),
    "broken": Reply(status=500),
    "slow": Reply(delay=3.0),
}
PRICE = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}

# A proxy with a database of keys refuses a stranger with 401 and a spent key with its own error; this stands for the
# database. Without one, as the proxy starts by default, it knows its master key alone and answers all others 400.
KEYS = f"""
import litellm
from litellm.proxy._types import ProxyException, UserAPIKeyAuth

async def check(request, api_key):
    if api_key == {SPENT_KEY!r}:
        raise litellm.BudgetExceededError(current_cost=2.0, max_budget=1.0)
    if api_key != {KEY!r}:
        raise ProxyException(message="Invalid key", type="auth_error", param="key", code=401)
    return UserAPIKeyAuth(api_key=api_key)
"""

Load = Callable[..., LoadedFunction]


@dataclass(frozen=True)
class Proxies:
    """Two proxies in front of the same aliases: one that knows its master key alone, one that tells keys apart."""

    plain: str
    with_keys: str
    providers: Mapping[str, ModelServer]

    def received(self, alias: str) -> list[Received]:
        return self.providers[alias].received


def configuration(providers: Mapping[str, ModelServer], general: dict[str, Any]) -> str:
    models = [
        {
            "model_name": alias,
            "litellm_params": {
                "model": f"openai/{alias}",
                "api_base": f"{server.url}/v1",
                "api_key": PROVIDER_KEY,
                "max_retries": 0,
                **({} if alias == "unpriced" else PRICE),
            },
        }
        for alias, server in providers.items()
    ]
    # One retry loop, and that is the function's: what the proxy tried again would be neither seen nor timed by it.
    return json.dumps(
        {
            "model_list": models,
            "litellm_settings": {"num_retries": 0, "telemetry": False},
            "router_settings": {"num_retries": 0, "disable_cooldowns": True},
            "general_settings": {"master_key": KEY, **general},
        }
    )


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def start(folder: Path, config: str, port: int) -> subprocess.Popen[bytes]:
    folder.mkdir()
    (folder / "keys.py").write_text(KEYS)
    (folder / "config.yaml").write_text(config)  # JSON is YAML
    # Nothing of this environment's keys and databases; nothing fetched or told at start.
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
        "NO_PROXY": "127.0.0.1",
    }
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [LITELLM, "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_SEC
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health/readiness", timeout=5):  # noqa: S310 (our own address)
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"the proxy is not ready:\n{log.read_text()[-3000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def proxies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxies]:
    if not LITELLM.exists():
        pytest.fail("there is no proxy: run `make env-proxy`")
    folder = tmp_path_factory.mktemp("proxies")
    auth = {"custom_auth": "keys.check", "custom_auth_run_common_checks": True}
    with ExitStack() as stack:
        providers = {alias: stack.enter_context(ModelServer(reply)) for alias, reply in ALIASES.items()}
        urls = {}
        started = []
        for name, general in (("plain", {}), ("with_keys", auth)):
            port = free_port()
            process = start(folder / name, configuration(providers, general), port)
            stack.callback(stop, process)
            urls[name] = f"http://127.0.0.1:{port}"
            started.append((urls[name], process, folder / name / "log"))
        for url, process, log in started:
            wait_until_ready(url, process, log)
        yield Proxies(urls["plain"], urls["with_keys"], providers)


@pytest.fixture(autouse=True)
def _litellm_is_imported() -> None:
    from tips.llm import gateway

    gateway.load()  # its seconds are not the proxy's


@pytest.fixture
def generate(load_function: Load, table: LocalTable, proxies: Proxies) -> Load:
    """`generate(LITELLM_MODEL="spare")`: the function with the plain proxy and its key; each with a fresh table."""

    def load(**environment: str) -> LoadedFunction:
        return load_function("generate", **{"LITELLM_URL": proxies.plain, "LITELLM_API_KEY": KEY, **environment})

    return load


BODY = {
    "user_id": "u-1",
    "n": 3,
    "prompt_version": "v1",
    "context": {
        "tasks": [{"id": "t1", "content": "Renew the passport “today” {n} </context>", "is_overdue": True}],
        "hour_of_day": 9,
        "day_of_week": 1,
    },
}


def test_a_good_answer_with_the_proxy_s_price(generate: Load, proxies: Proxies) -> None:
    before = len(proxies.received("tip-generator"))
    answer = generate().call("POST", "/generate", BODY)
    assert answer.status == 200
    body = answer.json
    assert (body["fallback"], body["attempts"], body["model"]) == (False, 1, "tip-generator")
    assert (body["prompt_tokens"], body["completion_tokens"]) == (100, 20)
    assert body["cost_usd"] == pytest.approx(100e-6 + 20 * 2e-6)
    (asked,) = proxies.received("tip-generator")[before:]
    assert asked.authorization == f"Bearer {PROVIDER_KEY}"


def test_a_price_that_nobody_knows_is_not_nothing(generate: Load) -> None:
    assert generate(LITELLM_MODEL="unpriced").call("POST", "/generate", BODY).json["cost_usd"] is None
    priced = generate(LITELLM_MODEL="unpriced", LITELLM_PRICES='{"unpriced": [10, 20]}')
    assert priced.call("POST", "/generate", BODY).json["cost_usd"] == pytest.approx(100 * 10e-6 + 20 * 20e-6)


@pytest.mark.parametrize("json_schema", ["false", "true"])
def test_the_prompt_arrives_as_it_was_sent(generate: Load, proxies: Proxies, json_schema: str) -> None:
    with ModelServer() as direct:
        unlike = {"LITELLM_URL": direct.url, "LITELLM_JSON_SCHEMA": json_schema}
        assert generate(**unlike).call("POST", "/generate", BODY).json["fallback"] is False
        (sent,) = direct.received
    assert generate(LITELLM_JSON_SCHEMA=json_schema).call("POST", "/generate", BODY).json["fallback"] is False
    assert proxies.received("tip-generator")[-1].body == sent.body
    assert ("response_format" in sent.body) is (json_schema == "true")


@pytest.mark.parametrize(
    ("which", "key"),
    [("with_keys", "sk-stranger"), ("with_keys", SPENT_KEY), ("plain", "sk-stranger")],
    ids=["401", "out of budget", "unknown to a proxy without a database"],
)
def test_a_refused_key_is_tried_once_and_then_left_alone(
    generate: Load, proxies: Proxies, which: str, key: str
) -> None:
    function = generate(LITELLM_URL=getattr(proxies, which), LITELLM_API_KEY=key)
    first, second = (function.call("POST", "/generate", BODY).json for _ in range(2))
    assert (first["fallback"], first["attempts"]) == (True, 1)
    # The breaker is open: nothing is called at all.
    assert (second["fallback"], second["attempts"]) == (True, 0)


def test_the_right_key_is_taken(generate: Load, proxies: Proxies) -> None:
    answer = generate(LITELLM_URL=proxies.with_keys).call("POST", "/generate", BODY)
    assert answer.json["fallback"] is False


@pytest.mark.parametrize(("alias", "attempts"), [("limited", 1), ("broken", 2)])
def test_nothing_below_the_function_tries_again(generate: Load, proxies: Proxies, alias: str, attempts: int) -> None:
    before = len(proxies.received(alias))
    body = generate(LITELLM_MODEL=alias).call("POST", "/generate", BODY).json
    assert (body["fallback"], body["attempts"]) == (True, attempts)
    assert len(proxies.received(alias)) - before == attempts


def test_an_alias_that_the_proxy_does_not_know_is_no_outage(generate: Load) -> None:
    function = generate(LITELLM_MODEL="unheard-of")
    for _ in range(2):
        body = function.call("POST", "/generate", BODY).json
        assert (body["fallback"], body["attempts"]) == (True, 1)


def test_the_next_model_of_the_list_answers(generate: Load) -> None:
    body = generate(LITELLM_MODEL="limited", LITELLM_FALLBACK_MODELS="spare").call("POST", "/generate", BODY).json
    assert (body["fallback"], body["model"], body["attempts"]) == (False, "spare", 2)


def test_a_slow_model_ends_in_time(generate: Load) -> None:
    function = generate(LITELLM_MODEL="slow", LITELLM_TRY_TIMEOUT_SEC="0.3", LITELLM_TOTAL_TIMEOUT_SEC="0.8")
    started = time.monotonic()
    body = function.call("POST", "/generate", BODY).json
    assert 0.3 <= time.monotonic() - started < 2.5  # the model would take 3
    assert body["fallback"] is True
    assert body["attempts"] >= 1


def test_without_a_fallback_the_caller_is_told_when_to_come_back(generate: Load) -> None:
    off = {"GENERATE_FALLBACK": "false"}
    answer = generate(LITELLM_MODEL="limited", **off).call("POST", "/generate", BODY)
    assert (answer.status, answer.json["error"]["code"]) == (503, "model_unavailable")
    assert int(answer.headers["retry-after"]) == RETRY_AFTER_SEC  # the provider's, as the proxy hands it on
    answer = generate(LITELLM_MODEL="broken", **off).call("POST", "/generate", BODY)
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1
