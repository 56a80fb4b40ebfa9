"""JSON Schemas (2020-12) of the contracts, from the models that validate them."""

from __future__ import annotations

import copy
import re
from typing import Any

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from offline.contracts_models import http_models
from tips.contracts.common import Answer
from tips.contracts.events import PAYLOADS, Envelope, RewardFailed

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BOTH = (
    "Names may be written in snake_case or camelCase, each for itself; where both are given, snake_case counts. "
    "Unknown fields are kept."
)
REACTION_NEEDED: Schema = {
    "anyOf": [
        {"required": ["action"], "properties": {"action": {"not": {"type": "null"}}}},
        {"required": ["reward"], "properties": {"reward": {"not": {"type": "null"}}}},
    ]
}
"""`RewardFailed` asks for one of the two in code, which pydantic's schema does not tell."""


def schemas() -> dict[str, Schema]:
    """Return every schema by its path in the exported folder."""
    events = {f"events/{subject}.schema.json": event_schema(subject) for subject in PAYLOADS}
    bodies = {f"http/{name}.schema.json": http_schema(name) for name in http_models()}
    return {**events, **bodies}


def http_schema(name: str) -> Schema:
    """Return the schema of one request or answer body."""
    model = http_models()[name]
    return {"$schema": DIALECT, **(answer_schema(model) if issubclass(model, Answer) else plain_schema(model))}


def event_schema(subject: str) -> Schema:
    """Return the schema of an event as it is published under a subject: envelope and payload."""
    model = PAYLOADS[subject]
    envelope, payload = both_spellings(plain_schema(Envelope), "Envelope"), payload_schema(subject)
    envelope["properties"]["payload"] = {"$ref": f"#/$defs/{model.__name__}"}
    return {
        "$schema": DIALECT,
        "title": subject,
        "description": f"{_description(model)} {_BOTH}",
        "allOf": [{"$ref": "#/$defs/Envelope"}],
        "$defs": {"Envelope": envelope, model.__name__: payload},
    }


def payload_schema(subject: str) -> Schema:
    """Return the schema of the payload of an event."""
    model = PAYLOADS[subject]
    schema = both_spellings(plain_schema(model), model.__name__)
    if model is RewardFailed:
        schema["allOf"] = [*schema.get("allOf", []), REACTION_NEEDED]
    return schema


def plain_schema(model: type[BaseModel]) -> Schema:
    """Return a model's schema for what is read, in snake_case, without pydantic's titles."""
    return _tidy(model.model_json_schema(), model.__name__)


def answer_schema(model: type[BaseModel]) -> Schema:
    """Return a model's schema for what is written: what has no value may be left out, all else is there."""
    schema = _tidy(model.model_json_schema(mode="serialization"), model.__name__)
    for one in (schema, *schema.get("$defs", {}).values()):
        if "required" in one:
            optional = {name for name, value in one["properties"].items() if value.get("default", 0) is None}
            one["required"] = [name for name in one["required"] if name not in optional]
    return schema


def both_spellings(schema: Schema, place: str) -> Schema:
    """Return an object's schema for either spelling of each name. place: its name among the document's `$defs`.

    As the service reads it: camelCase is looked at only where the snake_case name is missing.
    """
    changed = {**schema, "properties": dict(schema["properties"])}
    required = []
    choices = []
    for name in schema["properties"]:
        spelled = to_camel(name)
        must = name in schema.get("required", [])
        if spelled == name:
            required += [name] if must else []
            continue
        other: Schema = {"properties": {spelled: {"$ref": f"#/$defs/{place}/properties/{name}"}}}
        choices.append({"anyOf": [{"required": [name]}, {"required": [spelled], **other} if must else other]})
    changed["required"] = required
    if choices:
        changed["allOf"] = choices
    return changed


def _description(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _tidy(schema: Schema, name: str) -> Schema:
    """Return a schema with its own name as title and no others, and descriptions on one line."""
    return {"title": name, **_without_titles(copy.deepcopy(schema), within_properties=False)}


def _without_titles(value: Any, *, within_properties: bool) -> Any:
    if isinstance(value, list):
        return [_without_titles(one, within_properties=False) for one in value]
    if not isinstance(value, dict):
        return value
    kept: Schema = {}
    for key, one in value.items():
        if not within_properties and key == "title":
            continue
        if not within_properties and key == "description":
            kept[key] = re.sub(r"\s+", " ", one)
        elif not within_properties and key in ("default", "enum", "const"):
            kept[key] = one
        else:
            kept[key] = _without_titles(one, within_properties=key in ("properties", "$defs") and not within_properties)
    return kept
