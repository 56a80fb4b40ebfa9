"""template.yaml as tests see it: as written, short tags as `{tag: value}`, and as CloudFormation deploys it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from devstack.template import ROOT, Template


class Loader(yaml.SafeLoader):
    """Keeps CloudFormation's short tags as `{tag: value}`."""


def _short_tag(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {tag: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {tag: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {tag: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", _short_tag)
DOCUMENT: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), Loader)  # noqa: S506 (a SafeLoader)
RESOURCES: dict[str, dict[str, Any]] = DOCUMENT["Resources"]

SCORE, GENERATE, CONSUME = FUNCTIONS = ("ScoreFunction", "GenerateFunction", "ConsumeFunction")
EVERYTHING = {
    "SnapStart": "true",
    "EventsFromSqs": "true",
    "LiteLlmModel": "bedrock/nova",
    "BedrockModelArns": "arn:aws:bedrock:eu-west-1::foundation-model/a,arn:aws:bedrock:eu-west-1::foundation-model/b",
    "AlarmTopicArn": "arn:aws:sns:eu-west-1:123456789012:on-call",
    "ScoreReservedConcurrency": "50",
    "GenerateReservedConcurrency": "10",
    "ConsumeReservedConcurrency": "0",
}
"""Every parameter that adds something, set."""
BOTH_WAYS = pytest.mark.parametrize("parameters", [{}, EVERYTHING], ids=["defaults", "everything"])


def properties(name: str) -> dict[str, Any]:
    return dict(RESOURCES[name]["Properties"])


def role(name: str) -> dict[str, Any]:
    """The properties of a function's role."""
    return properties(properties(name)["Role"]["GetAtt"].removesuffix(".Arn"))


def statements(name: str) -> Iterator[dict[str, Any]]:
    """Every statement that a function's role can come to hold, under whatever condition."""

    def found_in(value: Any) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict) and "Effect" in value:
            yield value
        elif isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                yield from found_in(inner)

    yield from found_in(role(name)["Policies"])


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


_EXPAND = """
import json, sys
from samtranslator.yaml_helper import yaml_parse
from samtranslator.translator.transform import transform

class NoManagedPolicies:
    def load(self):
        return {}

template = yaml_parse(open("template.yaml").read())
for resource in template["Resources"].values():
    for name in ("CodeUri", "ContentUri"):
        if name in resource.get("Properties", {}):
            resource["Properties"][name] = "s3://bucket/key"
print(json.dumps(transform(template, {}, NoManagedPolicies())))
"""


@cache
def _expanded() -> dict[str, Any]:
    """The template as SAM's transform leaves it to CloudFormation."""
    done = subprocess.run(
        [ROOT / ".venv-sam/bin/python", "-c", _EXPAND],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"AWS_DEFAULT_REGION": "eu-west-1", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def deployed(**parameters: str) -> dict[str, dict[str, Any]]:
    """The resources that CloudFormation makes, by logical id: conditions decided, references resolved.

    A reference to a resource is its logical id, one to an attribute `Id.Attribute`. What is returned is shared.
    """
    return _deployed(tuple(sorted(parameters.items())))


@cache
def _deployed(parameters: tuple[tuple[str, str], ...]) -> dict[str, dict[str, Any]]:
    document = _expanded()
    template = Template(parameters=dict(parameters), document=document)
    return {
        name: _without_no_value(template.resolve(resource))
        for name, resource in document["Resources"].items()
        if "Condition" not in resource or template.resolve({"Condition": resource["Condition"]})
    }


def _without_no_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_no_value(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_no_value(item) for item in value if item is not None]
    return value


def of_type(resources: dict[str, dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """The properties of every resource of a type, by logical id."""
    return {name: each.get("Properties", {}) for name, each in resources.items() if each["Type"] == kind}


def functions(**parameters: str) -> dict[str, dict[str, Any]]:
    return of_type(deployed(**parameters), "AWS::Lambda::Function")


STREAM = {"GetAtt": "TipsTable.StreamArn"}


def granted(name: str) -> dict[str, set[str]]:
    """Actions on the table that a function may take, by the pattern of partitions they may touch."""
    actions: dict[str, set[str]] = {}
    for statement in statements(name):
        on_table = {action for action in listed(statement["Action"]) if action.startswith("dynamodb:")}
        if not on_table or statement["Resource"] == STREAM:
            continue
        # Without the condition, or without a partition key in the request, the statement would reach everything.
        assert list(statement["Condition"]) == ["ForAllValues:StringLike"]
        for pattern in statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]:
            actions.setdefault(pattern, set()).update(action.removeprefix("dynamodb:") for action in on_table)
    return actions
