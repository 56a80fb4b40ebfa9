"""`tips versions prune`: which published versions go, which never do, and what is said when it cannot be done."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto import mock_aws

from offline import version_commands
from offline.cli import main
from offline.version_commands import Function

REGION = "eu-west-1"
STACK = "oo-tips"
TEMPLATE = """
Resources:
  Role:
    Type: AWS::IAM::Role
    Properties: {AssumeRolePolicyDocument: {Version: "2012-10-17", Statement: []}}
  ScoreFunction: &function
    Type: AWS::Lambda::Function
    Properties:
      Runtime: python3.13
      Handler: app.handler
      Role: !GetAtt Role.Arn
      Code: {ZipFile: "def handler(event, context): pass"}
  ConsumeFunction: *function
  Queue: {Type: AWS::SQS::Queue}
"""


def client(service: str) -> Any:
    return botocore.session.Session().create_client(service, region_name=REGION)


class Account:
    """An account in which the stack is deployed."""

    def __init__(self) -> None:
        self.lambda_ = client("lambda")
        self.cloudformation = client("cloudformation")
        self.cloudformation.create_stack(StackName=STACK, TemplateBody=TEMPLATE)
        found = self.cloudformation.describe_stack_resources(StackName=STACK)["StackResources"]
        self.names = {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in found}
        self.score, self.consume = self.names["ScoreFunction"], self.names["ConsumeFunction"]

    def publish(self, name: str, count: int) -> None:
        for number in range(count):
            code = io.BytesIO()
            with zipfile.ZipFile(code, "w") as archive:
                archive.writestr("app.py", f"VERSION = {number}")
            self.lambda_.update_function_code(FunctionName=name, ZipFile=code.getvalue(), Publish=True)

    def alias(self, name: str, alias: str, version: int, **weights: float) -> None:
        routing = {"RoutingConfig": {"AdditionalVersionWeights": {key[1:]: weight for key, weight in weights.items()}}}
        self.lambda_.create_alias(
            FunctionName=name, Name=alias, FunctionVersion=str(version), **(routing if weights else {})
        )

    def versions(self, name: str) -> list[int]:
        listed = self.lambda_.list_versions_by_function(FunctionName=name)["Versions"]
        return [int(one["Version"]) for one in listed if one["Version"] != "$LATEST"]


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.delenv("AWS_REGION")  # the region is the profile's, or as here of AWS_DEFAULT_REGION
    with mock_aws():
        yield Account()


def prune(capsys: pytest.CaptureFixture[str], *options: str, stack: str = STACK) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["versions", "prune", "--stack", stack, *options])
    return code, *capsys.readouterr()


def test_the_newest_stay_and_so_does_whatever_an_alias_uses(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    account.publish(account.score, 12)
    account.publish(account.consume, 2)
    account.alias(account.score, "live", 12)
    account.alias(account.score, "canary", 4, v2=0.1)
    code, out, err = prune(capsys, "--yes")
    assert (code, err) == (0, "")
    assert account.versions(account.score) == [2, 4, 10, 11, 12]
    assert account.versions(account.consume) == [1, 2]
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert re.search(r"12 \(live\), 11, 10, 4 \(canary\), 2 \(canary\) +9, 8, 7, 6, 5, 3, 1$", lines[account.score])
    assert re.search(r"2, 1 +none$", lines[account.consume])
    assert out.endswith("7 versions deleted\n")
    # The same again finds nothing to do.
    assert prune(capsys, "--yes")[0] == 0
    assert account.versions(account.score) == [2, 4, 10, 11, 12]


def test_how_many_stay_can_be_chosen_and_the_function_itself_is_never_deleted(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    account.publish(account.score, 3)
    assert prune(capsys, "--keep", "1", "--yes")[0] == 0
    assert account.versions(account.score) == [3]
    assert prune(capsys, "--keep", "0", "--yes")[0] == 2
    assert account.lambda_.get_function(FunctionName=account.score)
    assert account.lambda_.get_function(FunctionName=account.consume)


def test_without_a_terminal_it_says_what_it_would_delete_and_deletes_nothing(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    account.publish(account.score, 5)
    code, out, err = prune(capsys)
    assert (code, err) == (2, "tips: this deletes 2 versions for good: say --yes\n")
    assert re.search(rf"{account.score} +5, 4, 3 +2, 1\n", out)
    assert account.versions(account.score) == [1, 2, 3, 4, 5]


def test_a_stack_that_is_not_there_is_named_with_its_region(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = prune(capsys, "--yes", stack="other")
    assert (code, out) == (2, "")
    assert re.fullmatch(r"tips: .*other.*\(eu-west-1\)\n", err)
    code, _, err = prune(capsys, "--yes", "--region", "eu-north-1")
    assert code == 2
    assert "eu-north-1" in err


class Faulty:
    """Answers one operation of every client by a fault, and remembers what was called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, operation: str, code: str) -> None:
        self.calls: list[str] = []
        original = BaseClient._make_api_call  # type: ignore[attr-defined]

        def call(client: Any, name: str, arguments: dict[str, Any]) -> Any:
            self.calls.append(name)
            if name == operation:
                raise ClientError({"Error": {"Code": code, "Message": f"{code} it is"}}, name)
            return original(client, name, arguments)

        monkeypatch.setattr(BaseClient, "_make_api_call", call)


@pytest.mark.parametrize("operation", ["ListStackResources", "ListVersionsByFunction", "ListAliases", "DeleteFunction"])
def test_a_refused_call_ends_it_in_one_line_and_it_can_be_repeated(
    account: Account, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    account.publish(account.score, 5)
    with monkeypatch.context() as patch:
        Faulty(patch, operation, "AccessDeniedException")
        code, _, err = prune(capsys, "--yes")
    assert code == 1
    assert re.fullmatch(rf"tips: .*{operation}.*AccessDeniedException it is; the same command .*\n", err)
    assert prune(capsys, "--yes")[0] == 0
    assert account.versions(account.score) == [3, 4, 5]


@pytest.mark.parametrize(
    ("code", "said"), [("ResourceConflictException", "stays"), ("ResourceNotFoundException", "0 versions deleted")]
)
def test_a_version_that_others_took_into_use_or_deleted_meanwhile_is_no_failure(
    account: Account, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    account.publish(account.score, 5)
    faulty = Faulty(monkeypatch, "DeleteFunction", code)
    done, out, err = prune(capsys, "--yes")
    assert (done, err) == (0, "")
    assert said in out
    assert faulty.calls.count("DeleteFunction") == 2


class Paged:
    """Lambda and CloudFormation that tell one thing a page."""

    meta = type("Meta", (), {"region_name": REGION})

    def get_paginator(self, operation: str) -> Any:
        pages: dict[str, list[dict[str, Any]]] = {
            "list_stack_resources": [
                {"StackResourceSummaries": [{"ResourceType": kind, "PhysicalResourceId": name}]}
                for kind, name in (("AWS::SQS::Queue", "q"), ("AWS::Lambda::Function", "f"))
            ],
            "list_versions_by_function": [{"Versions": [{"Version": one}]} for one in ("$LATEST", "1", "2", "10")],
            "list_aliases": [
                {"Aliases": [{"Name": "beta", "FunctionVersion": "$LATEST"}]},
                {"Aliases": [{"Name": "live", "FunctionVersion": "10"}]},
                {"Aliases": [{"Name": "old", "FunctionVersion": "10", "RoutingConfig": None}]},
            ],
        }
        return type("Paginator", (), {"paginate": staticmethod(lambda **_: iter(pages[operation]))})


def test_all_pages_are_read_and_numbers_are_ordered_as_numbers() -> None:
    assert version_commands._function_names(Paged(), STACK) == ["f"]
    function = version_commands._function(Paged(), "f")
    assert function == Function("f", (10, 2, 1), {10: "live, old"})
    assert (function.kept(2), function.pruned(2)) == ((10, 2), (1,))


def test_calls_end_in_bounded_time() -> None:
    config = version_commands._CONFIG
    assert config.connect_timeout + config.read_timeout <= 15  # type: ignore[attr-defined]
    assert config.retries["total_max_attempts"] <= 5  # type: ignore[attr-defined]
