"""One call to a model over HTTP: what is sent, what comes back, and what a failure is called."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, TypeVar

import pytest

from devstack.template import ROOT
from tests.model_server import (
    CUT_OFF,
    EMPTY_CHOICES,
    GOOD,
    HUGE,
    OUT_OF_BUDGET,
    SLOW,
    ModelServer,
    Reply,
    rate_limited,
)
from tips.llm import gateway, local_template
from tips.llm.failures import ModelFailure, error_codes, retry_after_sec
from tips.llm.gateway import Completion, estimate
from tips.llm.models import Model, base_url, resolve_models
from tips.prompts.registry import prompts
from tips.settings import Settings

T = TypeVar("T")

# LiteLLM would make a completion without content of it.
OUT_OF_TOKENS = Reply(
    status=400,
    body=b'{"error": {"message": "Could not finish the message because max_tokens or model output limit was reached"}}',
)
CONTEXT = {"tasks": [{"title": "Renew the passport", "overdue": True}, {"title": "Call grandma"}]}
PROMPT = prompts()["v1"]
MESSAGES = PROMPT.render(CONTEXT, 3)


def run(work: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


def complete(model: Model, timeout_sec: float = 5.0) -> Completion:
    return run(gateway.complete(model, MESSAGES, PROMPT.parameters, timeout_sec, PROMPT.output_schema))


def failure(model: Model, timeout_sec: float = 5.0) -> ModelFailure:
    with pytest.raises(ModelFailure) as caught:
        complete(model, timeout_sec)
    return caught.value


def model_at(url: str, **environment: str) -> Model:
    return resolve_models(Settings.from_env({"LITELLM_URL": url, **environment}))[0]


@pytest.fixture(scope="module", autouse=True)
def _litellm_is_imported() -> None:
    gateway.load()


# Which models


@pytest.mark.parametrize(
    ("environment", "models"),
    [
        ({}, [Model("local/template")]),
        ({"LITELLM_MODEL": "bedrock/amazon.nova-lite-v1:0"}, [Model("bedrock/amazon.nova-lite-v1:0")]),
        ({"LITELLM_MODEL": "gpt-4o", "LITELLM_API_KEY": "k"}, [Model("gpt-4o", None, "k")]),
        ({"LITELLM_URL": "http://h:4000"}, [Model("tip-generator", "http://h:4000/v1", "no-key")]),
        (
            {
                "LITELLM_URL": "https://h/v1/",
                "LITELLM_MODEL": "openai/gpt-oss-20b",
                "LITELLM_API_KEY": "k",
                "LITELLM_FALLBACK_MODELS": "small, openai/gpt-oss-20b, small",
                "LITELLM_JSON_SCHEMA": "true",
                "LITELLM_PRICES": '{"small": [0.1, 0.2]}',
            },
            [
                Model("openai/gpt-oss-20b", "https://h/v1", "k", True),
                Model("small", "https://h/v1", "k", True, (0.1, 0.2)),
            ],
        ),
        (
            {"LITELLM_MODEL": "gpt-4o", "LITELLM_FALLBACK_MODELS": "bedrock/x"},
            [Model("gpt-4o"), Model("bedrock/x")],
        ),
    ],
)
def test_models_are_resolved_from_settings(environment: dict[str, str], models: list[Model]) -> None:
    assert resolve_models(Settings.from_env(environment)) == tuple(models)


def test_a_deployment_does_not_pass_templates_off_as_a_model() -> None:
    assert resolve_models(Settings(deployed=True)) == ()
    assert resolve_models(Settings(deployed=True, litellm_fallback_models=("gpt-4o",))) == ()
    assert resolve_models(Settings(deployed=True, litellm_model="gpt-4o")) == (Model("gpt-4o"),)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://h:4000", "http://h:4000/v1"),
        ("http://h:4000/", "http://h:4000/v1"),
        ("http://h:4000/v1", "http://h:4000/v1"),
        ("http://h:4000/v1/", "http://h:4000/v1"),
        ("https://h/api/v1", "https://h/api/v1"),
        ("https://h/proxy/", "https://h/proxy"),
        ("http://[::1]:4000", "http://[::1]:4000/v1"),
    ],
)
def test_base_url(url: str, base: str) -> None:
    assert base_url(url) == base


@pytest.mark.parametrize("url", ["h:4000", "localhost", "ftp://h", "http://", "http://h/v1?x=1", "http://h/#v1"])
def test_a_url_that_is_none_is_named(url: str) -> None:
    with pytest.raises(ValueError, match="LITELLM_URL"):
        base_url(url)


def test_a_key_is_not_shown() -> None:
    assert "secret" not in repr(Model("m", "http://h/v1", "secret"))


# What is sent


def test_what_is_sent() -> None:
    with ModelServer() as server:
        complete(model_at(server.url))
        complete(model_at(f"{server.url}/v1/", LITELLM_MODEL="openai/gpt-oss-20b", LITELLM_API_KEY="sk-real"))
    first, second = server.received
    assert (first.path, first.authorization) == ("/v1/chat/completions", "Bearer no-key")
    assert (second.path, second.authorization) == ("/v1/chat/completions", "Bearer sk-real")
    assert second.body["model"] == "openai/gpt-oss-20b"
    assert first.body == {
        "model": "tip-generator",
        "messages": MESSAGES,
        "temperature": PROMPT.parameters.temperature,
        "max_tokens": PROMPT.parameters.max_tokens,
    }


@pytest.mark.parametrize(
    ("name", "direct", "setting", "sent"),
    [
        ("tip-generator", False, "", False),
        ("tip-generator", False, "true", True),
        ("gpt-4o-mini", False, "", False),
        ("openai/gpt-4o-mini", True, "", True),
        ("openai/gpt-4o-mini", True, "false", False),
        ("openai/gpt-3.5-turbo", True, "", False),
    ],
)
def test_a_schema_is_sent_where_the_model_takes_one(
    monkeypatch: pytest.MonkeyPatch, name: str, direct: bool, setting: str, sent: bool
) -> None:
    with ModelServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        environment = {"LITELLM_MODEL": name, "LITELLM_JSON_SCHEMA": setting, "LITELLM_API_KEY": "sk"}
        if not direct:
            environment["LITELLM_URL"] = server.url
        complete(resolve_models(Settings.from_env(environment))[0])
    wanted = {"name": "tips", "strict": True, "schema": dict(PROMPT.output_schema)}
    assert server.received[0].body.get("response_format") == (
        {"type": "json_schema", "json_schema": wanted} if sent else None
    )


# What comes back


def test_the_model_that_wrote_is_named_and_priced() -> None:
    with ModelServer(Reply(model="gpt-4o-mini", usage=(1_000_000, 1_000_000))) as server:
        completion = complete(model_at(server.url))
    assert (completion.text, completion.model) == (GOOD, "gpt-4o-mini")
    assert completion.cost_usd == pytest.approx(0.15 + 0.60)


@pytest.mark.parametrize(
    ("prices", "header", "cost"),
    [
        ("", "0.0042", 0.0042),
        ("", "0", 0.0),
        ("", "None", None),
        ("", "nan", None),
        ("", "-1", None),
        ('{"tip-generator": [10, 100]}', "0.0042", (100 * 10 + 20 * 100) / 1e6),
    ],
)
def test_a_price_is_ours_or_the_proxys(prices: str, header: str, cost: float | None) -> None:
    with ModelServer(Reply(headers={"x-litellm-response-cost": header})) as server:
        assert complete(model_at(server.url, LITELLM_PRICES=prices)).cost_usd == pytest.approx(cost)


@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb"])
def test_an_odd_name_is_not_taken_over(name: str) -> None:
    body = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": GOOD}}], "model": name})
    with ModelServer(Reply(body=body.encode())) as server:
        completion = complete(model_at(server.url))
    assert completion.model == "tip-generator"


def test_without_usage_nothing_is_made_up() -> None:
    with ModelServer(Reply(model="gpt-4o-mini", usage=None)) as server:
        completion = complete(model_at(server.url))
    assert (completion.prompt_tokens, completion.completion_tokens, completion.cost_usd) == (0, 0, None)


def test_local_template_goes_through_litellm_and_costs_nothing() -> None:
    completion = complete(Model("local/template"))
    assert completion.text == local_template.answer(MESSAGES).text
    assert completion.cost_usd == 0.0
    assert completion.prompt_tokens > 400
    assert completion.completion_tokens > 50


@pytest.mark.parametrize(
    ("model", "usd"),
    [
        (Model("tip-generator", "http://h/v1"), 0.0),
        (Model("tip-generator", "http://h/v1", price=(1.0, 10.0)), (1000 * 1 + 500 * 10) / 1e6),
        (Model("openai/gpt-4o-mini"), (1000 * 0.15 + 500 * 0.60) / 1e6),
    ],
)
def test_what_a_call_may_use_is_estimated(model: Model, usd: float) -> None:
    used = estimate(model, [{"role": "user", "content": "x" * 3999}], 500)
    assert used.tokens == 1500
    assert used.usd == pytest.approx(usd)


# Failures


@pytest.mark.parametrize(
    ("reply", "code", "answered", "billed"),
    [
        (Reply(status=500), "unavailable", False, False),
        (Reply(status=503), "unavailable", False, False),
        (Reply(status=504), "unavailable", False, False),
        (Reply(status=408), "timeout", False, True),
        (Reply(status=429), "rate_limited", False, False),
        (Reply(status=429, code="insufficient_quota"), "refused", False, False),
        (OUT_OF_BUDGET, "refused", False, False),
        (Reply(status=422, code="budget_exceeded"), "refused", False, False),
        (Reply(status=401), "refused", False, False),
        # LiteLLM takes this one for a bad request.
        (Reply(status=401, code="invalid_request_error"), "refused", False, False),
        (Reply(status=402), "refused", False, False),
        (Reply(status=403), "refused", False, False),
        (Reply(status=400), "rejected", False, False),
        (Reply(status=404), "rejected", False, False),
        (Reply(status=422), "rejected", False, False),
        (Reply(status=400, body=b"\xff" * 100_000), "rejected", False, False),
        (OUT_OF_TOKENS, "rejected", False, False),
        (Reply(status=500, cut_off=True), "unavailable", False, False),
        (CUT_OFF, "bad_answer", False, True),
        (EMPTY_CHOICES, "bad_answer", True, True),
        (HUGE, "bad_answer", True, True),
        (Reply(body=b"{}"), "bad_answer", True, True),
        (Reply(body=b"not json"), "bad_answer", True, True),
        (Reply(body=b""), "bad_answer", True, True),
        (Reply(body=b"[1, 2]"), "bad_answer", True, True),
    ],
    ids=lambda value: f"{value.status} {value.code or ''}" if isinstance(value, Reply) else None,
)
def test_a_failure_is_called_by_what_the_server_said(reply: Reply, code: str, answered: bool, billed: bool) -> None:
    with ModelServer(reply) as server:
        failed = failure(model_at(server.url))
    assert (failed.code, failed.answered, failed.billed) == (code, answered, billed)
    assert len(server.received) == 1


def test_a_refused_port_is_not_billed_and_a_dropped_connection_may_be() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        failed = failure(model_at(f"http://127.0.0.1:{unused.getsockname()[1]}"))
    assert (failed.code, failed.billed) == ("unavailable", False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        hanging_up = threading.Thread(target=lambda: server.accept()[0].close())
        hanging_up.start()
        failed = failure(model_at(f"http://127.0.0.1:{server.getsockname()[1]}"))
        hanging_up.join()
    assert (failed.code, failed.billed) == ("bad_answer", True)


def test_an_answer_without_end_is_left_at_once() -> None:
    def talk() -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                connection.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        talking = threading.Thread(target=talk)
        talking.start()
        started = time.monotonic()
        failed = failure(model_at(f"http://127.0.0.1:{server.getsockname()[1]}"), 30)
        took = time.monotonic() - started
        talking.join()
    assert (failed.code, failed.answered) == ("bad_answer", True)
    assert took < 10


@pytest.mark.parametrize("direct", [False, True])
def test_a_slow_answer_is_cut_short(monkeypatch: pytest.MonkeyPatch, direct: bool) -> None:
    with ModelServer(SLOW) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        model = Model("openai/direct", api_key="sk") if direct else model_at(server.url)
        started = time.monotonic()
        failed = failure(model, 0.2)
        took = time.monotonic() - started
    assert (failed.code, failed.billed) == ("timeout", True)
    assert 0.15 < took < 4


DIRECT = ["openai/direct", "anthropic/direct", "bedrock/amazon.nova-lite-v1:0"]
"""Called through OpenAI's library, LiteLLM's own client, and that with a signature."""


def reach_directly(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
    monkeypatch.setenv("ANTHROPIC_API_BASE", url)
    monkeypatch.setenv("AWS_BEDROCK_RUNTIME_ENDPOINT", url)
    monkeypatch.setenv("AWS_REGION_NAME", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def direct_model(name: str) -> Model:
    return Model(name, api_key=None if name.startswith("bedrock/") else "sk-direct")


@pytest.mark.parametrize("name", DIRECT)
@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(status=500), "unavailable"),
        (Reply(status=422), "rejected"),
        (Reply(status=401), "refused"),
        (rate_limited("7"), "rate_limited"),
        (CUT_OFF, "bad_answer"),
        (HUGE, "bad_answer"),
    ],
    ids=["500", "422", "401", "429", "cut-off", "huge"],
)
def test_a_direct_model_is_called_once_too(monkeypatch: pytest.MonkeyPatch, name: str, reply: Reply, code: str) -> None:
    with ModelServer(reply) as server:
        reach_directly(monkeypatch, server.url)
        failed = failure(direct_model(name))
    assert (failed.code, failed.retry_after_sec) == (code, 7 if reply.status == 429 else None)
    assert len(server.received) == 1


@pytest.mark.parametrize("name", DIRECT)
def test_a_direct_model_whose_connection_drops_is_called_once(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    accepted: list[None] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    accepted.append(None)
                    connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        reach_directly(monkeypatch, f"http://127.0.0.1:{server.getsockname()[1]}")
        assert failure(direct_model(name)).code == "bad_answer"
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
    assert len(accepted) == 1


def test_a_direct_model_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with ModelServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        assert complete(Model("openai/direct", api_key="sk-direct")).text == GOOD
    assert [(got.body["model"], got.authorization) for got in server.received] == [("direct", "Bearer sk-direct")]


def test_a_model_that_litellm_does_not_know_is_rejected() -> None:
    failed = failure(Model("nobody-makes-this"))
    assert (failed.code, failed.billed) == ("rejected", False)


def test_retry_after_is_read_of_any_failure() -> None:
    for status in (429, 503):
        with ModelServer(Reply(status=status, headers={"Retry-After": "7"})) as server:
            assert failure(model_at(server.url)).retry_after_sec == 7
    with ModelServer(rate_limited()) as server:
        assert failure(model_at(server.url)).retry_after_sec is None


def test_retry_after_is_seconds_or_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 80 < (retry_after_sec(soon) or 0) <= 90
    assert retry_after_sec("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after_sec("2.5") == 2.5
    for odd in (None, "", "soon", "-1", "nan", "inf", "Wed, 99 Oct 2015"):
        assert retry_after_sec(odd) is None


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        (b'{"error": {"message": "m", "type": "budget_exceeded", "code": "400"}}', {"budget_exceeded", "400"}),
        ({"type": "insufficient_quota", "code": 3}, {"insufficient_quota"}),
        (b"\xff\xfe", set()),
        ("[" * 100_000, set()),
        ('{"error": "budget_exceeded"}', set()),
        (None, set()),
    ],
)
def test_error_codes_are_read_where_they_stand(body: Any, codes: set[str]) -> None:
    assert error_codes(body) == codes


# What LiteLLM must not do


def test_nothing_the_person_wrote_is_logged_or_printed(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        caplog.at_level(logging.INFO),
        ModelServer(Reply("I'd rather not"), Reply(status=500), EMPTY_CHOICES) as server,
    ):
        complete(model_at(server.url))
        failed = [failure(model_at(server.url)) for _ in range(2)]
    said = caplog.text + "".join(capfd.readouterr()) + repr(failed)
    assert "passport" not in said
    assert "rather not" not in said
    assert "iteLLM" not in said


def test_many_threads_with_loops_of_their_own(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """As the devstack serves requests; a connection or a worker that belongs to one loop would break here."""
    answers: list[str] = []
    with ModelServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        models = [model_at(server.url), Model("openai/direct", api_key="sk"), Model("local/template")] * 3
        threads = [
            threading.Thread(target=lambda model=model: answers.extend(complete(model).model for _ in range(3)))
            for model in models
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answers) == ["direct"] * 9 + ["local/template"] * 9 + ["tip-generator"] * 9
    gc.collect()
    assert not recwarn.list
    assert not [thread.name for thread in threading.enumerate() if "litellm" in thread.name.lower()]


@pytest.mark.parametrize(
    "model", [Model("tip-generator", "http://model.test:4000/v1", "k"), Model("openai/direct", None, "k")]
)
def test_a_forward_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    with ModelServer(Reply(), Reply(status=422)) as proxy:
        monkeypatch.setenv("OPENAI_BASE_URL", "http://model.test:4000/v1")
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert complete(model).text == GOOD
        assert failure(model).code == "rejected"
    assert len(proxy.received) == 2


@pytest.mark.thorough
def test_no_env_file_is_read_and_an_odd_answer_is_quoted_nowhere() -> None:
    """LiteLLM would take keys from any `.env` above its folder; pydantic would warn of the answer, with its text."""
    body = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": [{"text": "secret"}]}}]})
    code = """
import asyncio, sys
import dotenv
dotenv.load_dotenv = lambda *_, **__: print("read")
from tips.llm.gateway import complete
from tips.llm.models import Model
from tips.prompts.registry import prompts
prompt = prompts()["v1"]
try:
    asyncio.new_event_loop().run_until_complete(
        complete(Model("m", sys.argv[1] + "/v1", "k"), prompt.render({}, 1), prompt.parameters, 20)
    )
except Exception as error:
    print(type(error).__name__)
"""
    with ModelServer(Reply(body=body.encode())) as server:
        environment = {"PYTHONPATH": str(ROOT / "layers/shared"), "NO_PROXY": "127.0.0.1"}
        command = [sys.executable, "-c", code, server.url]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert len(server.received) == 1
    assert "secret" not in done.stdout + done.stderr
    assert "read" not in done.stdout
    assert done.stderr == ""
