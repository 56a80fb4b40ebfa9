"""What the roles, policies and queues of template.yaml let through, as CloudFormation makes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.sam_template import (
    BOTH_WAYS,
    CONSUME,
    EVERYTHING,
    FUNCTIONS,
    GENERATE,
    SCORE,
    deployed,
    functions,
    listed,
    of_type,
)

# (action, resource) that a policy may hold although it is, or names, more than one thing; each with its reason.
EXCEPTIONS = {
    ("xray:PutTraceSegments", "*"): "X-Ray has no resource that these could be limited to",
    ("xray:PutTelemetryRecords", "*"): "X-Ray has no resource that these could be limited to",
    ("sqs:*", "EventQueue.Arn"): "denied, of any action without TLS",
    ("sqs:*", "EventsGivenUp.Arn"): "denied, of any action without TLS",
}


def policy_documents(resources: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every policy that is anywhere in the template: of roles, managed ones, those of queues, trust included."""

    def found_in(value: Any) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            if "Statement" in value:
                yield value
            else:
                for inner in value.values():
                    yield from found_in(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from found_in(inner)

    for name, resource in resources.items():
        for document in found_in(resource.get("Properties", {})):
            yield name, document


@BOTH_WAYS
def test_no_policy_has_a_wildcard_that_is_not_explained(parameters: dict[str, str]) -> None:
    resources = deployed(**parameters)
    wild = set()
    for _, document in policy_documents(resources):
        for statement in document["Statement"]:
            assert not {"NotAction", "NotResource", "NotPrincipal"} & set(statement)
            for action in listed(statement["Action"]):
                for resource in listed(statement.get("Resource", "the role itself")):
                    if "*" in action or "*" in resource:
                        wild.add((action, resource))
                        assert (statement["Effect"] == "Deny") == action.startswith("sqs:")
            if statement["Effect"] == "Allow":
                assert "*" not in str(statement.get("Principal", ""))
    used = {key for key in EXCEPTIONS if parameters or not key[0].startswith("sqs")}
    assert wild == used  # an exception that nothing needs must go, too


@BOTH_WAYS
def test_roles_are_lambdas_alone_one_for_each_function_and_hold_no_ready_made_policy(
    parameters: dict[str, str],
) -> None:
    resources = deployed(**parameters)
    roles = of_type(resources, "AWS::IAM::Role")
    assert {name: one["Role"] for name, one in functions(**parameters).items()} == {
        SCORE: "ScoreRole.Arn",
        GENERATE: "GenerateRole.Arn",
        CONSUME: "ConsumeRole.Arn",
    }
    assert set(roles) == {"ScoreRole", "GenerateRole", "ConsumeRole"}
    for each in roles.values():
        assert set(each) - {"Tags"} == {"AssumeRolePolicyDocument", "Policies"}
        assert each["AssumeRolePolicyDocument"]["Statement"] == [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_writes_to_its_own_log_only(name: str) -> None:
    short = name.removesuffix("Function")
    assert [
        (set(statement["Action"]), statement["Resource"])
        for policy in deployed()[f"{short}Role"]["Properties"]["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
        if any(action.startswith("logs:") for action in listed(statement["Action"]))
    ] == [({"logs:CreateLogStream", "logs:PutLogEvents"}, f"{short}LogGroup.Arn")]


def test_generate_may_invoke_the_named_bedrock_models_and_none_by_default() -> None:
    def models(**parameters: str) -> list[tuple[str, Any]]:
        return [
            (name, statement["Resource"])
            for name, document in policy_documents(deployed(**parameters))
            for statement in document["Statement"]
            if "bedrock:InvokeModel" in listed(statement["Action"])
        ]

    assert models() == []
    assert models(**EVERYTHING) == [("GenerateRole", EVERYTHING["BedrockModelArns"].split(","))]
