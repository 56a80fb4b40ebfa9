"""The exported contracts: current, deterministic, and true of what the service takes and answers."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tree_sitter_typescript
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic import ValidationError
from pydantic.alias_generators import to_camel
from tree_sitter import Language, Parser

from offline.cli import main
from offline.contracts_files import exported
from offline.contracts_models import http_models
from offline.contracts_schemas import schemas
from offline.contracts_types import declaration, type_of
from tests.conftest import LoadedFunction
from tests.requests import score_request
from tips.contracts.events import PAYLOADS, Envelope

ROOT = Path(__file__).resolve().parents[1]
SCHEMAS = schemas()


def fits(name: str, document: Any) -> bool:
    return bool(Draft202012Validator(SCHEMAS[name]).is_valid(document))


def http(name: str, document: Any) -> None:
    """Assert that a body fits its schema."""
    Draft202012Validator(SCHEMAS[f"http/{name}.schema.json"]).validate(document)


def camel(document: dict[str, Any]) -> dict[str, Any]:
    return {to_camel(key): camel(value) if isinstance(value, dict) else value for key, value in document.items()}


def envelope(**payload: Any) -> dict[str, Any]:
    return {
        "event_id": "e-1",
        "occurred_at": "2026-11-20T08:30:00Z",
        "schema_version": 1,
        "producer": "recommender",
        "payload": payload,
    }


EXAMPLES: dict[str, dict[str, Any]] = {
    "signals.task.synced": {"user_id": "u", "task_count": 3, "synced_at": "2026-11-20T08:30:00Z", "source": "todoist"},
    "signals.tip.served": {"user_id": "u", "tip_id": "t", "shown_at": "2026-11-20T08:30:00Z", "prompt_version": "v1"},
    "signals.tip.feedback": {"user_id": "u", "tip_id": "t", "action": "done", "dwell_ms": 4.5, "decision_id": None},
    "feedback.tip": {"user_id": "u", "tip_id": "t", "action": "snooze"},
    "signals.tip.reward_failed": {"user_id": "u", "tip_id": "t", "reward": 0.5, "action": None, "error": {"x": 1}},
    "signals.integration.token_expired": {"user_id": "u", "source": "todoist"},
}


def test_the_files_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contracts", "export", "--check"]) == 0, capsys.readouterr().out


def test_a_stale_folder_is_told_and_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = ["--to", str(tmp_path)]
    assert main(["contracts", "export", "--check", *to]) == 1
    assert "tips.d.ts is missing" in capsys.readouterr().out
    assert main(["contracts", "export", *to]) == 0
    assert main(["contracts", "export", "--check", *to]) == 0
    types = tmp_path / "tips.d.ts"
    types.write_text(types.read_text().replace("tip_id: string;", "tip_id: number;", 1))
    (tmp_path / "events" / "signals.tip.gone.schema.json").write_text("{}")
    (tmp_path / "http" / "ErrorAnswer.schema.json").unlink()
    capsys.readouterr()
    assert main(["contracts", "export", "--check", *to]) == 1
    out = capsys.readouterr().out
    assert "tips.d.ts is stale:" in out
    assert "-  tip_id: number;" in out
    assert "+  tip_id: string;" in out
    assert "events/signals.tip.gone.schema.json is no longer exported" in out
    assert "http/ErrorAnswer.schema.json is missing" in out
    assert not (tmp_path / "http" / "ErrorAnswer.schema.json").exists()
    assert main(["contracts", "export", *to]) == 0
    assert "3 changed" in capsys.readouterr().out
    assert main(["contracts", "export", "--check", *to]) == 0


def test_ci_fails_when_a_file_is_stale() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^lint: .*\bcheck-contracts\b", makefile, re.MULTILINE)
    assert re.search(r"^check-contracts: .*\n(\t.*\n)*\t.*tips contracts export --check$", makefile, re.MULTILINE)
    assert "step make lint" in (ROOT / ".ci" / "run").read_text()


def test_the_same_models_give_the_same_files() -> None:
    assert exported() == exported()


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_a_schema(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$schema"] == Draft202012Validator.META_SCHEMA["$schema"]


# Events


def test_every_event_has_a_schema() -> None:
    assert set(EXAMPLES) == set(PAYLOADS)
    assert {f"events/{subject}.schema.json" for subject in PAYLOADS} <= set(SCHEMAS)


@pytest.mark.parametrize("subject", EXAMPLES)
def test_an_event_fits_in_either_spelling(subject: str) -> None:
    name = f"events/{subject}.schema.json"
    event = envelope(**EXAMPLES[subject])
    mixed = {**event, "payload": camel(event["payload"])}
    for document in (event, camel(event), mixed, {**event, "newer": 1}):
        assert fits(name, document)
        Envelope.model_validate(document)


def spoiled(subject: str) -> list[dict[str, Any]]:
    """Return an event with each of its fields missing, wrong or given in both spellings, one at a time."""
    good = envelope(**EXAMPLES[subject])
    found = []
    for spelled in (good, camel(good)):
        for key in spelled:
            found += [{k: v for k, v in spelled.items() if k != key}, {**spelled, key: [1]}, {**spelled, key: None}]
        payload = spelled["payload"]
        for key in payload:
            for changed in (
                {k: v for k, v in payload.items() if k != key},
                {**payload, key: [1]},
                # A JSON Schema's format is a remark: what is a text may still be no time.
                {**payload, key: "" if not key.lower().endswith("at") else 5},
                {**payload, to_camel(key): [1]},
                {**payload, to_camel(key): "x", key: payload[key]},
            ):
                found.append({**spelled, "payload": changed})
    return found


@pytest.mark.parametrize("subject", EXAMPLES)
def test_a_schema_refuses_what_the_service_refuses_and_nothing_else(subject: str) -> None:
    judged = set()
    for document in spoiled(subject):
        try:
            read = Envelope.model_validate_json(json.dumps(document))
            PAYLOADS[subject].model_validate_json(json.dumps(read.payload))
            accepted = True
        except ValidationError:
            accepted = False
        assert fits(f"events/{subject}.schema.json", document) == accepted, document
        judged.add(accepted)
    assert judged == {True, False}


def test_the_examples_in_events_fit() -> None:
    checked = 0
    for file in sorted((ROOT / "events").glob("*.json")):
        document = json.loads(file.read_text())
        if "body" in document:
            path = document["rawPath"].strip("/").split("/")[0]
            http({"score": "ScoreRequest", "reward": "RewardRequest", "generate": "GenerateRequest"}[path],
                 json.loads(document["body"]))  # fmt: skip
            checked += 1
        for record in document.get("records", []):
            if record["subject"] in PAYLOADS:
                event = json.loads(base64.b64decode(record["data"]))
                good = event["payload"].get("action") != "applaud"
                assert fits(f"events/{record['subject']}.schema.json", event) == good
                checked += 1
    assert checked >= 14


# HTTP


def test_bodies_of_the_functions_have_schemas(load_function: Callable[..., LoadedFunction]) -> None:
    for name in ("score", "generate"):
        document = load_function(name, TABLE_NAME="none").module.app.openapi()
        bodies = re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(document["paths"]))
        assert len(bodies) > 4
        assert {body.removesuffix("-Input").removesuffix("-Output") for body in bodies} <= set(http_models())


def test_real_requests_and_answers_fit(score: LoadedFunction, load_function: Callable[..., LoadedFunction]) -> None:
    def called(method: str, path: str, answer: str, body: Any = None, request: str = "", **options: Any) -> Any:
        if request:
            http(request, body)
        said = score.call(method, path, body, **options)
        assert said.status == 200, said.body
        http(answer, said.json)
        return said.json

    asked = score_request(explain=True, defer=True)
    decided = called("POST", "/score", "ScoreResponse", asked, "ScoreRequest")
    plain = called("POST", "/score", "ScoreResponse", score_request(), "ScoreRequest")
    assert "explanation" in decided
    assert "explanation" not in plain
    of_it = {"user_id": "anna", "decision_id": decided["decision_id"]}
    called("POST", "/activate", "ActivateResponse", of_it, "ActivateRequest")
    called("POST", "/activate", "ActivateResponse", of_it, "ActivateRequest")
    called("GET", f"/decisions/{decided['decision_id']}", "DecisionResponse", query={"user_id": "anna"})
    called("POST", "/reward", "RewardResponse", {**of_it, "action": "done"}, "RewardRequest")
    called("GET", f"/decisions/{decided['decision_id']}", "DecisionResponse", query={"user_id": "anna"})
    for path, answer in (("/stats/anna", "StatsResponse"), ("/features/anna", "FeatureHistory"),
                         ("/health", "HealthResponse")):  # fmt: skip
        called("GET", path, answer)
    called("POST", "/reset/anna", "ResetResponse")
    called("DELETE", "/users/anna", "EraseResponse")
    for refused in ({"user_id": 5}, {"user_id": "anna", "candidates": []}, None):
        http("ErrorAnswer", score.call("POST", "/score", refused).json)

    generate = load_function("generate")
    wanted = {"user_id": "anna", "context": {"tasks": [{"id": "a", "content": "Call the bank"}]}, "n": 2}
    http("GenerateRequest", wanted)
    http("GenerateResponse", generate.call("POST", "/generate", wanted).json)
    http("PromptsResponse", generate.call("GET", "/prompts").json)
    http("PromptStatsResponse", generate.call("GET", "/prompts/stats").json)
    http("GenerateHealth", generate.call("GET", "/health").json)
    http("ErrorAnswer", generate.call("POST", "/generate", {**wanted, "prompt_version": "no such"}).json)


def test_what_the_service_asks_for_in_code_is_in_the_schemas() -> None:
    assert not fits("http/RewardRequest.schema.json", {"user_id": "u", "tip_id": "t"})
    assert not fits("http/RewardRequest.schema.json", {"user_id": "u", "action": "done"})
    assert fits("http/RewardRequest.schema.json", {"user_id": "u", "tip_id": "t", "reward": 0})


# TypeScript


def test_the_types_are_typescript() -> None:
    code = exported()["tips.d.ts"].encode()
    root = Parser(Language(tree_sitter_typescript.language_typescript())).parse(code).root_node
    assert not root.has_error
    declared = [
        name.text.decode()
        for one in root.named_children
        if one.type == "export_statement"
        and (inner := one.child_by_field_name("declaration")) is not None
        and (name := inner.child_by_field_name("name")) is not None
        and name.text is not None
    ]
    assert len(declared) == len(set(declared))
    assert set(http_models()) <= set(declared)
    assert {model.__name__ for model in PAYLOADS.values()} <= set(declared)
    assert {"Envelope", "EnvelopeCamelCase", "TipFeedbackCamelCase", "Payloads", "EventOf"} <= set(declared)
    known = {*declared, "Payload", "S"}
    assert set(re.findall(r": ([A-Z]\w+)", re.sub(r"/\*.*?\*/", "", code.decode()))) <= known


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ({"type": "integer", "minimum": 0}, "number"),
        ({"enum": ["a", "b"]}, '"a" | "b"'),
        ({"const": "x"}, '"x"'),
        ({"$ref": "#/$defs/Name"}, "Name"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string | null"),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}]}, "number"),
        ({"type": "array", "items": {"type": "string"}}, "string[]"),
        ({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, "(string | null)[]"),
        ({"type": "array", "prefixItems": [{"type": "number"}, {"type": "string"}]}, "[number, string]"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "{ [name: string]: number }"),
        ({"type": "object", "additionalProperties": True}, "{ [name: string]: unknown }"),
        ({"default": None}, "unknown"),
    ],
)
def test_each_form_of_a_schema_has_its_type(schema: dict[str, Any], written: str) -> None:
    assert type_of(schema) == written


def test_a_form_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="no TypeScript type"):
        type_of({"type": "object", "properties": {"x": {"not": {}}}})


def test_names_and_comments_are_written_so_that_they_parse() -> None:
    schema = {
        "type": "object",
        "description": "ends */ early",
        "properties": {"a-b": {"type": "string"}, "c": {"type": "null"}},
        "required": ["c"],
    }
    assert declaration("X", schema) == (
        '/** ends *\\/ early */\nexport interface X {\n  "a-b"?: string;\n  c: null;\n}\n'
    )
