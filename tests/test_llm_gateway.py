"""The gateway against a real HTTP server that speaks OpenAI's protocol, and what happens when it does not."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from devstack.template import ROOT
from tests.model_server import GOOD, GOOD_TIPS, ModelServer, Reply
from tips.llm import gateway, local_template
from tips.llm.gateway import Model, base_url, resolve_model
from tips.llm.writer import CORRECTIONS, Written, write_tips
from tips.prompts.registry import resolve
from tips.settings import Settings

T = TypeVar("T")

CONTEXT = {"tasks": [{"title": "Renew the passport", "overdue": True}, {"title": "Call grandma"}]}
PROMPT = resolve("v1")
GARBAGE = Reply("I would rather not.")
WRONG = Reply('[{"text": "no content", "kind": "task"}]')


def run(work: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


def write(model: Model, n: int = 3, *, try_sec: float = 5.0, total_sec: float = 10.0) -> Written:
    return run(write_tips(PROMPT, CONTEXT, n, model, try_sec=try_sec, total_sec=total_sec))


def model_at(url: str, **environment: str) -> Model:
    model = resolve_model(Settings.from_env({"LITELLM_URL": url, **environment}))
    assert model is not None
    return model


@pytest.fixture(scope="module", autouse=True)
def _first_call_is_made() -> None:
    """The first call of a process imports much; the times below are those of later ones."""
    with ModelServer() as server:
        write(model_at(server.url), try_sec=30, total_sec=60)


# Which model


@pytest.mark.parametrize(
    ("environment", "name", "api_base", "api_key"),
    [
        ({}, "local/template", None, None),
        ({"LITELLM_MODEL": "bedrock/amazon.nova-lite-v1:0"}, "bedrock/amazon.nova-lite-v1:0", None, None),
        ({"LITELLM_MODEL": "gpt-4o", "LITELLM_API_KEY": "k"}, "gpt-4o", None, "k"),
        ({"LITELLM_URL": "http://h:4000"}, "tip-generator", "http://h:4000/v1", "no-key"),
        (
            {"LITELLM_URL": "https://h/v1/", "LITELLM_MODEL": "openai/gpt-oss-20b", "LITELLM_API_KEY": "k"},
            "openai/gpt-oss-20b",
            "https://h/v1",
            "k",
        ),
    ],
)
def test_alias_is_resolved_from_settings(
    environment: dict[str, str], name: str, api_base: str | None, api_key: str | None
) -> None:
    assert resolve_model(Settings.from_env(environment)) == Model(name, api_base, api_key)


def test_a_deployment_does_not_pass_templates_off_as_a_model() -> None:
    assert resolve_model(Settings(deployed=True)) is None
    assert resolve_model(Settings(deployed=True, litellm_model="gpt-4o")) == Model("gpt-4o")


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


# A model that answers


@pytest.mark.parametrize("content", [GOOD, f"```json\n{GOOD}\n```", json.dumps({"tips": GOOD_TIPS})])
def test_a_good_answer_is_used_at_once(content: str) -> None:
    with ModelServer(Reply(content)) as server:
        written = write(model_at(server.url))
    assert [tip.content for tip in written.tips] == [tip["content"] for tip in GOOD_TIPS]
    assert (written.attempts, written.fallback, written.failures) == (1, False, [])
    assert (written.model, written.prompt_tokens, written.completion_tokens) == ("tip-generator", 100, 20)
    assert written.cost_usd is None


def test_what_is_sent() -> None:
    with ModelServer() as server:
        write(model_at(server.url))
        write(model_at(f"{server.url}/v1/", LITELLM_MODEL="openai/gpt-oss-20b", LITELLM_API_KEY="sk-real"))
    first, second = server.received
    assert (first.path, first.authorization) == ("/v1/chat/completions", "Bearer no-key")
    assert (second.path, second.authorization) == ("/v1/chat/completions", "Bearer sk-real")
    assert second.body["model"] == "openai/gpt-oss-20b"
    assert first.body == {
        "model": "tip-generator",
        "messages": PROMPT.render(CONTEXT, 3),
        "temperature": PROMPT.parameters.temperature,
        "max_tokens": PROMPT.parameters.max_tokens,
    }


def test_the_model_that_wrote_is_named_and_priced() -> None:
    with ModelServer(Reply(model="gpt-4o-mini", usage=(1_000_000, 1_000_000))) as server:
        written = write(model_at(server.url))
    assert written.model == "gpt-4o-mini"
    assert written.cost_usd == pytest.approx(0.15 + 0.60)


@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb"])
def test_an_odd_name_is_not_taken_over(name: str) -> None:
    body = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": GOOD}}], "model": name})
    with ModelServer(Reply(body=body.encode())) as server:
        assert write(model_at(server.url)).model == "tip-generator"


def test_without_usage_nothing_is_made_up() -> None:
    with ModelServer(Reply(model="gpt-4o-mini", usage=None)) as server:
        written = write(model_at(server.url))
    assert (written.prompt_tokens, written.completion_tokens, written.cost_usd) == (0, 0, None)


def test_local_template_goes_through_litellm_and_costs_nothing() -> None:
    completion = run(gateway.complete(Model("local/template"), PROMPT.render(CONTEXT, 3), PROMPT.parameters, 5))
    assert completion.text == local_template.answer(PROMPT.render(CONTEXT, 3)).text
    written = write(Model("local/template"))
    assert (written.model, written.fallback, written.attempts, written.cost_usd) == ("local/template", False, 1, 0.0)
    assert written.prompt_tokens == completion.prompt_tokens > 400
    assert written.completion_tokens == completion.completion_tokens > 50


@pytest.mark.parametrize(("reply", "attempts"), [(Reply(), 1), (Reply(status=500), 2)])
def test_a_direct_model_is_called_by_litellm_alone(
    monkeypatch: pytest.MonkeyPatch, reply: Reply, attempts: int
) -> None:
    """Here LiteLLM makes the client: it must not retry either."""
    with ModelServer(reply) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        written = write(Model("openai/direct", api_key="sk-direct"))
    assert (written.attempts, written.fallback) == (attempts, reply.status == 500)
    assert [(got.body["model"], got.authorization) for got in server.received] == [
        ("direct", "Bearer sk-direct")
    ] * attempts


# A model that answers badly


@pytest.mark.parametrize(("bad", "fault"), [(GARBAGE, "not_json"), (WRONG, "wrong_fields"), (Reply(None), "not_json")])
def test_an_unusable_answer_is_corrected_once(bad: Reply, fault: Any) -> None:
    with ModelServer(bad, Reply()) as server:
        written = write(model_at(server.url))
    assert (written.attempts, written.fallback, written.failures) == (2, False, [fault])
    assert (written.prompt_tokens, written.completion_tokens) == (200, 40)
    first, second = (received.body["messages"] for received in server.received)
    assert second == [
        *first,
        {"role": "assistant", "content": bad.content or "(nothing)"},
        {"role": "user", "content": CORRECTIONS[fault]},
    ]


def assert_fallback(written: Written, attempts: int, failures: list[Any]) -> None:
    assert (written.attempts, written.failures) == (attempts, failures)
    assert (written.fallback, written.model) == (True, "local/template")
    assert "Renew the passport" in written.tips[0].content
    assert len(written.tips) == 3


def test_always_garbage_ends_in_the_own_tasks() -> None:
    with ModelServer(GARBAGE, WRONG) as server:
        written = write(model_at(server.url))
    assert_fallback(written, 2, ["not_json", "wrong_fields"])
    assert (written.prompt_tokens, written.completion_tokens) == (200, 40)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(status=500), "unavailable"),
        (Reply(status=503), "unavailable"),
        (Reply(status=408), "timeout"),
        (Reply(body=b'{"choices": []}'), None),
        (Reply(body=b"{}"), None),
        (Reply(body=b"not json"), None),
        (Reply(body=b"[1, 2]"), None),
    ],
)
def test_a_failing_server_is_tried_twice_and_no_more(reply: Reply, kind: str | None) -> None:
    with ModelServer(reply) as server:
        written = write(model_at(server.url))
    assert len(server.received) == 2
    assert_fallback(written, 2, [kind, kind] if kind else list(written.failures))
    assert written.cost_usd is None


@pytest.mark.parametrize(
    ("status", "kind"), [(400, "refused"), (401, "refused"), (403, "refused"), (404, "refused"), (429, "rate_limited")]
)
def test_a_refusal_is_not_repeated(status: int, kind: str) -> None:
    with ModelServer(Reply(status=status)) as server:
        written = write(model_at(server.url))
    assert len(server.received) == 1
    assert_fallback(written, 1, [kind])


def test_a_server_that_recovers_is_used() -> None:
    with ModelServer(Reply(status=502), Reply()) as server:
        written = write(model_at(server.url))
    assert (written.attempts, written.fallback, written.failures) == (2, False, ["unavailable"])


def test_a_refused_port_costs_little_time() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        started = time.monotonic()
        written = write(model_at(f"http://127.0.0.1:{unused.getsockname()[1]}"))
    assert time.monotonic() - started < 3
    assert_fallback(written, 2, ["unavailable"] * 2)


@pytest.mark.parametrize(
    ("try_sec", "total_sec", "attempts", "at_least"), [(0.2, 5.0, 2, 0.4), (5.0, 0.3, 1, 0.3), (0.3, 0.4, 2, 0.4)]
)
def test_a_slow_server_costs_no_more_than_the_budget(
    try_sec: float, total_sec: float, attempts: int, at_least: float
) -> None:
    with ModelServer(Reply(delay=10)) as server:
        started = time.monotonic()
        written = write(model_at(server.url), try_sec=try_sec, total_sec=total_sec)
        took = time.monotonic() - started
    assert at_least <= took < at_least + 4  # far from the server's 10 seconds, whatever else this machine does
    assert_fallback(written, attempts, ["timeout"] * attempts)


def test_no_time_at_all_is_no_call() -> None:
    with ModelServer() as server:
        assert_fallback(write(model_at(server.url), total_sec=-1), 0, [])
    assert server.received == []


# What LiteLLM must not do


def test_nothing_the_person_wrote_is_logged_or_printed(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO), ModelServer(GARBAGE, Reply(status=500)) as server:
        write(model_at(server.url))
    said = caplog.text + "".join(capfd.readouterr())
    assert "passport" not in said
    assert "rather not" not in said
    assert "iteLLM" not in said


def test_no_env_file_is_read() -> None:
    """LiteLLM would take keys from any `.env` above its own folder."""
    code = """
import dotenv
dotenv.load_dotenv = lambda *_, **__: print("read")
from tips.llm import gateway
gateway.load()
"""
    environment = {"PYTHONPATH": str(ROOT / "layers/shared"), "PYTHONWARNINGS": "error"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "")


def test_many_threads_with_loops_of_their_own(recwarn: pytest.WarningsRecorder) -> None:
    """As the devstack serves requests; LiteLLM's own logging worker would break here."""
    answers: list[Written] = []
    with ModelServer() as server:
        models = [model_at(server.url), Model("local/template")] * 4
        threads = [
            threading.Thread(target=lambda model=model: answers.extend(write(model) for _ in range(3)))
            for model in models
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [(answer.fallback, answer.attempts) for answer in answers] == [(False, 1)] * 24
    assert not recwarn.list


def test_one_loop_serves_call_after_call() -> None:
    async def several() -> list[int]:
        with ModelServer() as server:
            model = model_at(server.url)
            return [(await write_tips(PROMPT, CONTEXT, 3, model, try_sec=5, total_sec=9)).attempts for _ in range(3)]

    assert run(several()) == [1, 1, 1]
    assert not [thread.name for thread in threading.enumerate() if "litellm" in thread.name.lower()]
