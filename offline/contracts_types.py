"""TypeScript types of the contracts, from their JSON Schemas."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic.alias_generators import to_camel

from offline.contracts_models import http_models
from offline.contracts_schemas import REACTION_NEEDED, Schema, answer_schema, plain_schema
from tips.contracts.common import Answer
from tips.contracts.events import PAYLOADS, Envelope, RewardFailed

CAMEL = "CamelCase"
_HEAD = """\
// Bodies and events of the tips service. Written by `tips contracts export`: a change here is lost.
// Bounds and formats are in the JSON Schemas beside this file.
"""
_EVENTS = """\
/** Payloads by subject. Names are snake_case or camelCase; the service takes both. */
export interface Payloads {{
{payloads}
}}

export type Subject = keyof Payloads;

/** An event as it is published under its subject. */
export type EventOf<S extends Subject> = Envelope<Payloads[S]> | Envelope{camel}<Payloads[S]>;
"""


def typescript() -> str:
    """Return a declaration file of all contracts; raises `ValueError` on two different types of one name."""
    declared: dict[str, str] = {}
    for name, model in http_models().items():
        schema = answer_schema(model) if issubclass(model, Answer) else plain_schema(model)
        for inner, part in {**schema.get("$defs", {}), name: schema}.items():
            _add(declared, inner, declaration(inner, part))
    for payload in dict.fromkeys(PAYLOADS.values()):
        schema = plain_schema(payload)
        if payload is RewardFailed:
            schema = {**schema, "allOf": [REACTION_NEEDED]}
        _add(declared, payload.__name__, declaration(payload.__name__, schema))
        _add(declared, payload.__name__ + CAMEL, declaration(payload.__name__ + CAMEL, camel_case(schema)))
    envelope = plain_schema(Envelope)
    for name, schema in (("Envelope", envelope), (f"Envelope{CAMEL}", camel_case(envelope))):
        schema["properties"]["payload"] = {"$ref": "#/$defs/Payload"}
        _add(declared, name, declaration(f"{name}<Payload>", schema))
    payloads = "\n".join(
        f'  "{subject}": {model.__name__} | {model.__name__}{CAMEL};' for subject, model in PAYLOADS.items()
    )
    return "\n".join([_HEAD, *declared.values(), _EVENTS.format(payloads=payloads, camel=CAMEL)])


def camel_case(schema: Schema) -> Schema:
    """Return an object's schema with its own names in camelCase."""
    return {
        **schema,
        "properties": {to_camel(name): one for name, one in schema["properties"].items()},
        "required": [to_camel(name) for name in schema.get("required", [])],
    }


def declaration(name: str, schema: Schema) -> str:
    """Return the exported declaration of one schema."""
    comment = _comment(schema, "")
    if schema.get("type") != "object" or "properties" not in schema:
        return f"{comment}export type {name} = {type_of(schema)};\n"
    members = _members(schema, "")
    choices = [_choice(schema, one["anyOf"]) for one in schema.get("allOf", [])]
    if not choices:
        return f"{comment}export interface {name} {members}\n"
    return f"{comment}export type {name} = {' & '.join([members, *choices])};\n"


def type_of(schema: Schema, indent: str = "") -> str:
    """Return the TypeScript type of a JSON Schema; raises `ValueError` on a form that no contract has had so far."""
    match schema:
        case {"$ref": str(target)}:
            return target.rsplit("/", 1)[-1]
        case {"const": value}:
            return json.dumps(value)
        case {"enum": list(values)}:
            return " | ".join(map(json.dumps, values))
        case {"anyOf": list(options)}:
            return " | ".join(dict.fromkeys(type_of(one, indent) for one in options))
        case {"type": "string" | "boolean" | "null" as kind}:
            return str(kind)
        case {"type": "number" | "integer"}:
            return "number"
        case {"type": "array", "prefixItems": list(items)}:
            return f"[{', '.join(type_of(one, indent) for one in items)}]"
        case {"type": "array"}:
            inner = type_of(schema.get("items", {}), indent)
            return f"({inner})[]" if "|" in inner else f"{inner}[]"
        case {"type": "object", "properties": dict()}:
            return _members(schema, indent)
        case {"type": "object"}:
            (values,) = schema.get("patternProperties", {"": schema.get("additionalProperties", {})}).values()
            return f"{{ [name: string]: {type_of(values, indent) if isinstance(values, dict) else 'unknown'} }}"
    if set(schema) <= {"default", "title", "description"}:
        return "unknown"
    raise ValueError(f"no TypeScript type for {schema}")


def _add(declared: dict[str, str], name: str, text: str) -> None:
    if declared.setdefault(name, text) != text:
        raise ValueError(f"two different contracts are called {name}")


def _members(schema: Schema, indent: str) -> str:
    inner = indent + "  "
    required = schema.get("required", [])
    lines = [
        f"{_comment(one, inner)}{inner}{_key(name)}{'' if name in required else '?'}: {type_of(one, inner)};\n"
        for name, one in schema["properties"].items()
    ]
    if schema.get("additionalProperties") is True:
        lines.append(f"{inner}[name: string]: unknown;\n")
    return f"{{\n{''.join(lines)}{indent}}}"


def _choice(schema: Schema, options: list[Schema]) -> str:
    """Return the type of an object that has at least one of several properties, with a value."""
    parts = []
    for option in options:
        (name,) = option["required"]
        kinds = [one for one in _options(schema["properties"][name]) if one != {"type": "null"}]
        parts.append(f"{{ {_key(name)}: {' | '.join(map(type_of, kinds))} }}")
    return f"({' | '.join(parts)})"


def _options(schema: Schema) -> list[Any]:
    return list(schema.get("anyOf", [schema]))


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_$][\w$]*", name) else json.dumps(name)


def _comment(schema: Schema, indent: str) -> str:
    said = schema.get("description", "").replace("*/", "*\\/")
    if schema.get("type") == "integer":
        said = f"{said}; integer" if said else "integer"
    return f"{indent}/** {said} */\n" if said else ""
