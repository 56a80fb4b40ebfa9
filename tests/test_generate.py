"""`generate` through its real handler, as its function URL calls it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from schemathesis import GenerationMode

from devstack.events import Answer, LambdaContext, url_event
from devstack.template import ROOT
from tests.conftest import LoadedFunction, LocalTable
from tests.faulty_dynamodb import ANSWERS, faulty_dynamodb
from tests.handler_adapter import fuzz, routes
from tests.model_server import GOOD_TIPS, ModelServer, Reply
from tips import telemetry
from tips.bandit.assignment import assign
from tips.contracts.configuration import Experiment
from tips.contracts.generation import GenerateResponse
from tips.contracts.scoring import ScoreRequest
from tips.prompts import registry
from tips.prompts.prompt import read_context_block
from tips.prompts.registry import prompts
from tips.state.configuration import change
from tips.state.table import Table

VERSIONS = ["v1", "v2-mentor", "v3-few-shot", "v4-orchestrator"]
KNOWN = ", ".join(prompts())
LATEST = list(registry.RELEASED)[-1]
CONTEXT = {
    "tasks": [
        {"id": "t1", "content": "Outline the report", "priority": 3},
        {"id": "t2", "content": "Renew the passport", "is_overdue": True, "task_age_days": 12, "priority": 4},
    ],
    "hour_of_day": 9,
    "day_of_week": 1,
}
BODY = {"user_id": "u-1", "context": CONTEXT}

Load = Callable[..., LoadedFunction]


@pytest.fixture(autouse=True)
def _no_table_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNAMODB_ENDPOINT", "http://127.0.0.1:1")


@pytest.fixture
def generate(load_function: Load) -> LoadedFunction:
    return load_function("generate")


def events() -> list[str]:
    return sorted(path.name for path in (ROOT / "events").glob("generate*.json"))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_writes_tips_and_comes_back(generate: LoadedFunction, version: str) -> None:
    answer = generate.call("POST", "/generate", BODY | {"n": 4, "prompt_version": version})
    assert answer.status == 200
    body = GenerateResponse.model_validate_json(answer.body)
    assert (body.prompt_version, body.model, body.fallback, body.attempts) == (version, "local/template", False, 1)
    assert len(body.candidates) == 4
    assert "Renew the passport" in body.candidates[0].content
    for candidate in body.candidates:
        assert candidate.source == "llm"
        assert (candidate.prompt_version, candidate.generation_id) == (version, body.generation_id)


def test_the_voices_differ(generate: LoadedFunction) -> None:
    answers = [generate.call("POST", "/generate", BODY | {"prompt_version": version}).json for version in VERSIONS]
    assert len({answer["candidates"][0]["content"] for answer in answers}) == len(VERSIONS)


@pytest.mark.parametrize(
    ("environment", "requested", "used"),
    [
        ({}, None, "v1"),
        ({"DEFAULT_PROMPT_VERSION": "v2-mentor"}, None, "v2-mentor"),
        ({"DEFAULT_PROMPT_VERSION": "v2-mentor"}, "v3-few-shot", "v3-few-shot"),
    ],
)
def test_body_comes_before_environment_before_v1(
    load_function: Load, environment: dict[str, str], requested: str | None, used: str
) -> None:
    function = load_function("generate", **environment)
    answer = function.call("POST", "/generate", {"user_id": "u", "prompt_version": requested})
    assert answer.json["prompt_version"] == used


def experiment(**changes: Any) -> Experiment:
    running = {
        "name": "voices",
        "kind": "prompt_version",
        "arms": {"v2-mentor": 0.4, "v3-few-shot": 0.4},
        "salt": "s-1",
        "start": datetime.now(UTC) - timedelta(hours=1),
    }
    return Experiment(**{**running, **changes})


def run_experiment(table: Table, one: Experiment) -> None:
    change(
        table,
        lambda current: current.model_copy(update={"experiments": [one]}),
        command="config set",
        actor="ann",
        reason="",
        deadline_ms=5000,
    )


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function waits for the table as long as a busy machine needs."""
    monkeypatch.setattr("tips.state.table.Table", lambda settings, timeout_ms: Table(settings, 5000))


def versions_used(function: LoadedFunction, users: Iterable[str], **fields: Any) -> dict[str, str]:
    return {
        user: function.call("POST", "/generate", {"user_id": user, "n": 1, **fields}).json["prompt_version"]
        for user in users
    }


@pytest.mark.usefixtures("patient")
def test_an_experiment_comes_between_body_and_environment(client: Table, load_function: Load) -> None:
    one = experiment()
    run_experiment(client, one)
    users = [f"u-{number}" for number in range(30)]
    arms = {user: assign(one, user, datetime.now(UTC)) for user in users}
    assert set(arms.values()) == {"v2-mentor", "v3-few-shot", None}
    function = load_function("generate", DEFAULT_PROMPT_VERSION="v1")
    assert versions_used(function, users) == {user: arm or "v1" for user, arm in arms.items()}
    assert versions_used(function, users) == versions_used(load_function("generate"), users), "sticky"
    assert set(versions_used(function, users, prompt_version="v1").values()) == {"v1"}


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "policy"},
        {"start": datetime.now(UTC) + timedelta(hours=1)},
        {"end": datetime.now(UTC) - timedelta(minutes=1)},
    ],
)
def test_other_experiments_change_no_prompt(client: Table, load_function: Load, changes: dict[str, Any]) -> None:
    run_experiment(client, experiment(arms={"v2-mentor": 1.0}, **changes))
    assert versions_used(load_function("generate"), ["u"]) == {"u": "v1"}


@pytest.mark.usefixtures("patient")
def test_an_arm_that_is_no_prompt_version_is_counted_and_ignored(
    client: Table, load_function: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    run_experiment(client, experiment(arms={"v99": 1.0}))
    assert versions_used(load_function("generate"), ["u"]) == {"u": "v1"}
    assert '"UnknownPromptArm":[1.0]' in capsys.readouterr().out


@pytest.mark.usefixtures("patient")
def test_a_damaged_configuration_leaves_the_defaults(
    client: Table, table: LocalTable, load_function: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    run_experiment(client, experiment())
    (item,) = [item for item in table.items() if item["pk"]["S"] == "C#CONFIG"]
    table.client.put_item(TableName=table.name, Item={**item, "document": {"S": "{"}})
    assert versions_used(load_function("generate"), ["u-1", "u-2"]) == {"u-1": "v1", "u-2": "v1"}
    assert '"SharedKnowledgeDamaged":[' in capsys.readouterr().out


@pytest.mark.parametrize("fault", [*ANSWERS, "silent", "refused"])
def test_a_table_that_is_away_neither_fails_nor_delays(load_function: Load, fault: str) -> None:
    with faulty_dynamodb(fault) if fault != "refused" else nullcontext("http://127.0.0.1:1") as endpoint:
        function = load_function("generate", DYNAMODB_ENDPOINT=endpoint, GENERATE_TABLE_BUDGET_MS="100")
        seconds(function, BODY)  # the first imports LiteLLM, and finds out about the table
        assert min(seconds(function, BODY) for _ in range(4)) < 0.1


def seconds(function: LoadedFunction, body: Any) -> float:
    started = time.monotonic()
    answer = function.call("POST", "/generate", body)
    assert (answer.status, answer.json["prompt_version"]) == (200, "v1")
    return time.monotonic() - started


def test_ids_never_repeat_and_are_good_candidates_for_score(generate: LoadedFunction) -> None:
    answers = [generate.call("POST", "/generate", BODY | {"n": 10}).json for _ in range(3)]
    candidates = [candidate for answer in answers for candidate in answer["candidates"]]
    assert len({candidate["id"] for candidate in candidates}) == 30
    assert len({answer["generation_id"] for answer in answers}) == 3
    ScoreRequest.model_validate({"user_id": "u", "candidates": candidates})


def test_an_unknown_version_lists_the_known(load_function: Load, generate: LoadedFunction) -> None:
    answer = generate.call("POST", "/generate", BODY | {"prompt_version": "v99"})
    assert answer.status == 422
    assert answer.json["error"] == {
        "code": "invalid_field",
        "message": f"unknown prompt version; known: {KNOWN}; aliases: production, latest; or auto alone",
        "field": "prompt_version",
    }
    misconfigured = load_function("generate", DEFAULT_PROMPT_VERSION="v98")
    for answer in (misconfigured.call("POST", "/generate", BODY), misconfigured.call("GET", "/prompts")):
        assert answer.status == 422
        assert "DEFAULT_PROMPT_VERSION is 'v98'" in answer.json["error"]["message"]
        assert KNOWN in answer.json["error"]["message"]


def test_prompts_lists_versions_with_hashes(load_function: Load) -> None:
    answer = load_function("generate", DEFAULT_PROMPT_VERSION="v2-mentor").call("GET", "/prompts").json
    assert answer["default"] == "v2-mentor"
    assert [(shown["version"], shown["content_hash"]) for shown in answer["versions"]] == [
        (version, prompt.content_hash) for version, prompt in prompts().items()
    ]
    assert all(
        shown["description"] and shown["released"] for shown in answer["versions"] if shown["version"] in VERSIONS
    )
    assert answer["aliases"] == {"production": "v1", "latest": LATEST}


@pytest.mark.parametrize(("default", "told"), [("auto", "auto"), ("latest", LATEST), ("v1, v2-mentor", "v1,v2-mentor")])
def test_prompts_tells_what_a_request_gets_that_names_nothing(load_function: Load, default: str, told: str) -> None:
    assert load_function("generate", DEFAULT_PROMPT_VERSION=default).call("GET", "/prompts").json["default"] == told


def test_health_names_version_and_model(load_function: Load) -> None:
    assert load_function("generate").call("GET", "/health").json == {
        "ok": True,
        "version": "0.1.0",
        "model": "local/template",
    }
    remote = load_function("generate", LITELLM_URL="http://127.0.0.1:9")
    assert remote.call("GET", "/health").json["model"] == "tip-generator"


def test_a_deployment_without_a_model_refuses(load_function: Load) -> None:
    function = load_function("generate", AWS_EXECUTION_ENV="AWS_Lambda_python3.13")
    answer = function.call("POST", "/generate", BODY)
    assert answer.status == 503
    assert answer.json["error"]["code"] == "model_not_configured"
    assert "LITELLM_URL" in answer.json["error"]["message"]
    assert int(answer.headers["retry-after"]) > 0
    assert function.call("GET", "/health").json == {"ok": False, "version": "0.1.0", "model": None}
    assert function.call("GET", "/prompts").status == 200


def test_an_unusable_address_stops_the_function_at_init(load_function: Load) -> None:
    with pytest.raises(ValueError, match="LITELLM_URL"):
        load_function("generate", LITELLM_URL="proxy:4000")


def test_a_configured_model_writes(load_function: Load) -> None:
    with ModelServer(Reply(model="gpt-4o-mini")) as server:
        function = load_function("generate", LITELLM_URL=server.url, LITELLM_API_KEY="sk-1")
        answer = function.call("POST", "/generate", BODY).json
    assert [tip["content"] for tip in answer["candidates"]] == [tip["content"] for tip in GOOD_TIPS]
    assert (answer["model"], answer["fallback"], answer["attempts"]) == ("gpt-4o-mini", False, 1)
    assert (answer["prompt_tokens"], answer["completion_tokens"]) == (100, 20)
    assert answer["cost_usd"] > 0
    assert server.received[0].authorization == "Bearer sk-1"


def test_the_own_tasks_stand_in_for_a_broken_model(load_function: Load) -> None:
    with ModelServer(Reply(status=500)) as server:
        answer = load_function("generate", LITELLM_URL=server.url).call("POST", "/generate", BODY)
    assert answer.status == 200
    body = answer.json
    assert (body["fallback"], body["attempts"], body["model"]) == (True, 2, "local/template")
    assert {candidate["source"] for candidate in body["candidates"]} == {"fallback"}
    assert "Renew the passport" in body["candidates"][0]["content"]
    assert body["cost_usd"] == 0.0
    assert body["logged"] is False, "its words are no version's"


def test_no_length_of_what_apps_say_refuses_a_person_their_tips(load_function: Load) -> None:
    tasks: list[dict[str, Any]] = [{"id": f"{n}", "content": "y" * 300, "due": "z" * 300} for n in range(600)]
    tasks += [{"id": "long", "content": "Sort the attic " * 700, "is_overdue": True}, {"id": "empty", "content": ""}]
    with ModelServer() as server:
        function = load_function("generate", LITELLM_URL=server.url)
        body = {"user_id": "ann", "context": {"tasks": tasks, "snippets": ["x" * 10_000] * 20}}
        assert function.call("POST", "/generate", body).status == 200
        asked = read_context_block(server.received[0].body["messages"][-1]["content"]) or {}
    assert asked["tasks"][0]["title"].startswith("Sort the attic")
    assert len(json.dumps(asked)) < 6000
    assert (len(asked["tasks"]), len(asked["snippets"])) == (12, 8)


def test_calls_from_several_threads_are_all_answered(load_function: Load, table: LocalTable) -> None:
    generate, score = load_function("generate"), load_function("score")
    generate.call("POST", "/generate", BODY)  # the first imports LiteLLM

    def serve(number: int) -> tuple[int, int]:
        user = f"u-{number}"
        written = generate.call("POST", "/generate", BODY | {"user_id": user})
        tips = written.json["candidates"]
        return written.status, score.call("POST", "/score", {"user_id": user, "candidates": tips}).status

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(serve, range(16))) == {(200, 200)}


def test_the_time_lambda_leaves_is_kept(load_function: Load) -> None:
    with ModelServer(Reply(), Reply(delay=10)) as server:
        function = load_function("generate", LITELLM_URL=server.url)
        function.call("POST", "/generate", BODY)  # the first call of a process imports LiteLLM
        context = LambdaContext("GenerateFunction", timeout=0.8)
        answer = Answer.from_result(function.module.handler(url_event("POST", "/generate", BODY), context))
        left_ms = context.get_remaining_time_in_millis()
    assert answer.json["fallback"] is True
    assert left_ms > 200


def test_one_log_line_per_generation_without_the_person(
    generate: LoadedFunction, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = io.StringIO()
    logger: Any = telemetry.logger
    monkeypatch.setattr(logger.registered_handler, "stream", stream)
    answer = generate.call("POST", "/generate", {**BODY, "user_id": "user-secret"}).json
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    (line,) = [line for line in lines if line["message"] == "generated"]
    assert {name: line[name] for name in answer if name != "candidates"} == {
        name: value for name, value in answer.items() if name != "candidates"
    }
    assert (line["candidates"], line["failures"]) == (3, [])
    assert line["latency_ms"] >= 0
    said = stream.getvalue() + capsys.readouterr().out
    assert '"Generations":[1.0]' in said
    assert "user-secret" not in said
    assert "passport" not in said


# Bad input

ERRORS: list[tuple[Any, int, str]] = [
    ("{", 400, "body"),
    (None, 400, "body"),
    ("", 400, "body"),
    (b"\xff{}", 400, "body"),
    ("null", 422, "body"),
    ("[]", 422, "body"),
    ("[" * 10_000, 400, "body"),
    ({}, 422, "user_id"),
    ({"user_id": ""}, 422, "user_id"),
    ({"user_id": "x" * 129}, 422, "user_id"),
    ({"user_id": "a\x00b"}, 422, "user_id"),
    ({"user_id": "a\u202eb"}, 422, "user_id"),
    ('{"user_id": "\\ud800"}', 422, "user_id"),
    ({"user_id": 7}, 422, "user_id"),
    ({"user_id": "u", "n": 0}, 422, "n"),
    ({"user_id": "u", "n": 11}, 422, "n"),
    ({"user_id": "u", "n": 2.5}, 422, "n"),
    ({"user_id": "u", "n": True}, 422, "n"),
    ({"user_id": "u", "n": "3"}, 422, "n"),
    ('{"user_id": "u", "n": NaN}', 422, "n"),
    ('{"user_id": "u", "n": Infinity}', 422, "n"),
    ('{"user_id": "u", "n": 1e400}', 422, "n"),
    ({"user_id": "u", "context": None}, 422, "context"),
    ({"user_id": "u", "context": {"hour_of_day": 24}}, 422, "context.hour_of_day"),
    ({"user_id": "u", "context": {"day_of_week": 7}}, 422, "context.day_of_week"),
    ({"user_id": "u", "context": {"timezone": "Mars/Olympus"}}, 422, "context.timezone"),
    ({"user_id": "u", "context": {"tasks": [{"id": "t"}]}}, 422, "context.tasks.0.content"),
    ({"user_id": "u", "context": {"tasks": {}}}, 422, "context.tasks"),
    (
        '{"user_id": "u", "context": {"tasks": [{"id": "t", "content": "c", "task_age_days": NaN}]}}',
        422,
        "context.tasks.0.task_age_days",
    ),
    ({"user_id": "u", "context": {"snippets": [1]}}, 422, "context.snippets.0"),
    ({"user_id": "u", "profile_features": {"preferred_hour": 99}}, 422, "profile_features.preferred_hour"),
    ('{"user_id": "u", "profile_features": {"x": -Infinity}}', 422, "profile_features.x"),
    ({"user_id": "u", "prompt_version": 1}, 422, "prompt_version"),
    ({"user_id": "u", "prompt_version": "nope"}, 422, "prompt_version"),
    ({"user_id": "u", "pad": "x" * (1 << 20)}, 413, "body"),
]


@pytest.mark.parametrize(("body", "status", "field"), ERRORS, ids=range(len(ERRORS)))
def test_bad_bodies_name_what_is_wrong(generate: LoadedFunction, body: Any, status: int, field: str) -> None:
    answer = generate.call("POST", "/generate", body)
    assert answer.status == status, answer.text
    assert answer.json.keys() == {"error", "request_id"}
    assert answer.json["error"]["field"] == field
    assert answer.json["error"]["message"]


def test_base64_that_is_none(generate: LoadedFunction) -> None:
    answer = generate.call("POST", "/generate", "%%%", is_base64=True)
    assert (answer.status, answer.json["error"]["field"]) == (400, "body")


def test_a_base64_body_is_read(generate: LoadedFunction) -> None:
    assert generate.call("POST", "/generate", json.dumps(BODY).encode()).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/generate", 405, "method_not_allowed"),
        ("POST", "/prompts", 405, "method_not_allowed"),
        ("DELETE", "/health", 405, "method_not_allowed"),
        ("GET", "/", 404, "not_found"),
        ("POST", "/generate/", 404, "not_found"),
        ("GET", "/openapi.json", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
    ],
)
def test_wrong_method_or_path(generate: LoadedFunction, method: str, path: str, status: int, code: str) -> None:
    answer = generate.call(method, path, BODY if method == "POST" else None)
    assert (answer.status, answer.json["error"]["code"]) == (status, code)


# Import, events, the whole contract


@pytest.mark.thorough
@pytest.mark.parametrize("on_lambda", [False, True])
def test_litellm_is_imported_when_it_is_needed(on_lambda: bool) -> None:
    code = """
import sys
sys.path.insert(0, "functions/generate")
import app
from devstack.events import LambdaContext, url_event
print("litellm" in sys.modules)
for path in ("/health", "/prompts"):
    assert app.handler(url_event("GET", path), LambdaContext())["statusCode"] == 200
print("litellm" in sys.modules, "mlflow" in sys.modules)
"""
    environment = {"PYTHONPATH": f"{ROOT / 'layers/shared'}:{ROOT}", "PYTHONWARNINGS": "error"}
    if on_lambda:
        environment["AWS_LAMBDA_INITIALIZATION_TYPE"] = "provisioned-concurrency"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    said = [line for line in run.stdout.splitlines() if not line.startswith("{")]
    assert said == [str(on_lambda), f"{on_lambda} False"]


@pytest.mark.parametrize("name", events())
def test_every_ready_event_is_answered(generate: LoadedFunction, name: str) -> None:
    event = json.loads((ROOT / "events" / name).read_text())
    answer = Answer.from_result(generate.invoke(event))
    assert answer.status == 200
    assert answer.json["prompt_version"] == json.loads(event["body"]).get("prompt_version", "v1")
    assert answer.json["candidates"]


def test_there_are_ready_events() -> None:
    assert events() == ["generate.json", "generate_mentor.json", "generate_without_context.json"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("route", "mode"),
    [
        ("POST /generate", GenerationMode.POSITIVE),
        ("POST /generate", GenerationMode.NEGATIVE),
        ("GET /prompts", GenerationMode.POSITIVE),
        ("GET /health", GenerationMode.POSITIVE),
    ],
)
def test_every_answer_keeps_the_contract(generate: LoadedFunction, route: str, mode: GenerationMode) -> None:
    """What OpenAPI describes, and what it does not: the right status, the documented shape, never a 5xx."""
    # What a schema cannot say, such as which time zones exist, is refused as 422.
    fuzz(generate, route, mode, {200, 422}, examples=100)


def test_stats_keep_the_contract_with_a_table_and_without(table: LocalTable, load_function: Load) -> None:
    fuzz(load_function("generate"), "GET /prompts/stats", GenerationMode.POSITIVE, {200}, examples=3)
    away = load_function("generate", DYNAMODB_ENDPOINT="http://127.0.0.1:1").call("GET", "/prompts/stats")
    assert (away.status, away.json["error"]["code"]) == (503, "table_unavailable")
    assert int(away.headers["retry-after"]) > 0


def test_no_route_is_left_out_above(generate: LoadedFunction) -> None:
    assert set(routes(generate.module.app.openapi())) == {
        *("POST /generate", "GET /prompts", "GET /prompts/stats", "GET /health"),
    }
