"""Reads template.yaml as CloudFormation would, as far as local work needs it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from devstack.events import ACCOUNT, REGION

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "template.yaml"

_PSEUDO_PARAMETERS = {
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::StackName": "local",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::NoValue": None,
}


class _Loader(yaml.SafeLoader):
    """SafeLoader that understands CloudFormation's short tags (`!Ref x` is `{"Ref": "x"}`)."""


def _short_tag(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> Any:
    value: Any
    match node:
        case yaml.SequenceNode():
            value = loader.construct_sequence(node, deep=True)
        case yaml.MappingNode():
            value = loader.construct_mapping(node, deep=True)
        case _:
            text = str(node.value)
            value = text.split(".", 1) if tag == "GetAtt" else text
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


_Loader.add_multi_constructor("!", _short_tag)


def read_document(path: Path) -> dict[str, Any]:
    """Return what a template says, its intrinsic functions by their long names."""
    with path.open(encoding="utf-8") as file:
        document: dict[str, Any] = yaml.load(file, _Loader)  # noqa: S506 (a SafeLoader)
    return document


@dataclass(frozen=True, slots=True)
class FunctionDefinition:
    """One function of the template. `timeout`: seconds."""

    name: str
    folder: Path
    handler: str = "app.handler"
    timeout: float = 3.0
    memory_mb: int = 128
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StreamTrigger:
    """What hands the table's stream to a function. `patterns`: filters, of which a record must pass one."""

    function: str
    patterns: tuple[Mapping[str, Any], ...]
    batch_size: int
    max_record_age_sec: int


class Template:
    """A template with its parameters at their defaults, or at what `parameters` says.

    A reference to a resource resolves to the resource's logical id, as `sam local` does it. `document`: what the file
    says, for who has read it already.
    """

    def __init__(
        self,
        path: Path = TEMPLATE,
        parameters: Mapping[str, str] | None = None,
        *,
        document: Mapping[str, Any] | None = None,
    ) -> None:
        self._folder = path.parent
        self._document = read_document(path) if document is None else document
        defaults = {name: str(spec.get("Default", "")) for name, spec in self._section("Parameters").items()}
        self._parameters = {**defaults, **(parameters or {})}

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the properties of every resource of type `kind`, by logical id, unresolved."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self._section("Resources").items()
            if resource["Type"] == kind
        }

    def table(self) -> dict[str, Any]:
        """Return the properties of the only table, resolved. Raises `ValueError` unless there is exactly one."""
        tables = self.resources("AWS::DynamoDB::Table")
        if len(tables) != 1:
            raise ValueError(f"the template must have one table, not {len(tables)}")
        properties: dict[str, Any] = self.resolve(next(iter(tables.values())))
        return properties

    def stream_trigger(self) -> StreamTrigger:
        """Return the trigger on the table's stream. Raises `ValueError` unless there is exactly one."""
        mappings = [self.resolve(one) for one in self.resources("AWS::Lambda::EventSourceMapping").values()]
        triggers = [one for one in mappings if one["EventSourceArn"].endswith(".StreamArn")]
        if len(triggers) != 1:
            raise ValueError(f"the table's stream must have one trigger, not {len(triggers)}")
        (trigger,) = triggers
        return StreamTrigger(
            function=trigger["FunctionName"].removesuffix(".Alias"),
            patterns=tuple(json.loads(each["Pattern"]) for each in trigger["FilterCriteria"]["Filters"]),
            batch_size=trigger["BatchSize"],
            max_record_age_sec=trigger["MaximumRecordAgeInSeconds"],
        )

    def functions(self) -> dict[str, FunctionDefinition]:
        """Return every function by logical id, with `Globals` merged in."""
        shared = self._section("Globals").get("Function", {})
        return {
            name: self._function(name, shared, properties)
            for name, properties in self.resources("AWS::Serverless::Function").items()
        }

    def _function(self, name: str, shared: dict[str, Any], own: dict[str, Any]) -> FunctionDefinition:
        both = {**shared, **own}
        variables = {
            **shared.get("Environment", {}).get("Variables", {}),
            **own.get("Environment", {}).get("Variables", {}),
        }
        return FunctionDefinition(
            name=name,
            folder=self._folder / both["CodeUri"],
            handler=both["Handler"],
            timeout=float(both.get("Timeout", 3)),  # Lambda's own defaults
            memory_mb=int(both.get("MemorySize", 128)),
            environment={key: str(self.resolve(value)) for key, value in variables.items()},
        )

    def _section(self, name: str) -> dict[str, Any]:
        section: dict[str, Any] = self._document.get(name) or {}
        return section

    def resolve(self, value: Any) -> Any:
        """Return `value` with every intrinsic function in it evaluated. Raises `ValueError` on an unknown one."""
        if isinstance(value, list):
            return [self.resolve(item) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            name, argument = next(iter(value.items()))
            if name in ("Ref", "Condition") or str(name).startswith("Fn::"):
                return self._evaluate(str(name), argument)
        return {key: self.resolve(item) for key, item in value.items()}

    def _evaluate(self, name: str, argument: Any) -> Any:
        match name:
            case "Ref":
                return self._reference(argument)
            case "Condition":
                return self.resolve(self._section("Conditions")[argument])
            case "Fn::GetAtt":
                return ".".join(argument)
            case "Fn::Sub":
                text = re.sub(r"\$\{([^!}][^}]*)\}", lambda found: str(self._reference(found[1])), argument)
                return text.replace("${!", "${")
            case "Fn::If":
                condition, then, otherwise = argument
                return self.resolve(then if self._evaluate("Condition", condition) else otherwise)
            case "Fn::Join":
                separator, parts = argument
                return separator.join(self.resolve(parts))
            case "Fn::Equals":
                left, right = self.resolve(argument)
                return left == right
            case "Fn::Not":
                return not self.resolve(argument)[0]
            case "Fn::And":
                return all(self.resolve(argument))
            case "Fn::Or":
                return any(self.resolve(argument))
        raise ValueError(f"{name} is not supported locally")

    def _reference(self, name: str) -> Any:
        value = self._parameters.get(name, _PSEUDO_PARAMETERS.get(name, name))
        is_list = self._section("Parameters").get(name, {}).get("Type") == "CommaDelimitedList"
        return str(value).split(",") if is_list else value
