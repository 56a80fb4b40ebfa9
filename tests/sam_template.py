"""template.yaml as tests look at it: unresolved, with CloudFormation's short tags as `{tag: value}`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from devstack.template import ROOT


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


def properties(name: str) -> dict[str, Any]:
    return dict(RESOURCES[name]["Properties"])


def statements(name: str) -> Iterator[dict[str, Any]]:
    """Every statement that the policies of a function can come to hold, under whatever condition."""

    def found_in(value: Any) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict) and "Effect" in value:
            yield value
        elif isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                yield from found_in(inner)

    yield from found_in(properties(name).get("Policies", []))


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


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
