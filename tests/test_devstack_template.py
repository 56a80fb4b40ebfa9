"""What the devstack reads from template.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devstack.template import Template

YAML = """
Parameters:
  Url: {Type: String, Default: ""}
  Models: {Type: CommaDelimitedList, Default: "a,b"}
Conditions:
  HasUrl: !Not [!Equals [!Ref Url, ""]]
  Never: !And [!Condition HasUrl, !Equals [a, b]]
  Either: !Or [!Condition Never, !Equals [a, a]]
Globals:
  Function:
    Handler: app.handler
    Environment: {Variables: {LEVEL: INFO, SHARED: globals}}
Resources:
  Things:
    Type: AWS::DynamoDB::Table
    Properties:
      KeySchema: [{AttributeName: pk, KeyType: HASH}]
  OneFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/one
      Timeout: 7
      Environment:
        Variables:
          SHARED: own
          TABLE: !Ref Things
          URL: !If [HasUrl, !Ref Url, none]
          EITHER: !If [Either, "1", "0"]
          NAME: !Sub "${AWS::Region}-${Things}-${!Literal}"
          ARN: !GetAtt Things.Arn
          MODELS: !Join ["+", !Ref Models]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "template.yaml"
    path.write_text(YAML, encoding="utf-8")
    return path


def test_functions_have_globals_merged_in_and_references_resolved(path: Path) -> None:
    function = Template(path).functions()["OneFunction"]
    assert function.folder == path.parent / "functions" / "one"
    assert (function.handler, function.timeout) == ("app.handler", 7.0)
    assert function.environment == {
        "LEVEL": "INFO",
        "SHARED": "own",
        "TABLE": "Things",
        "URL": "none",
        "EITHER": "1",
        "NAME": "eu-west-1-Things-${Literal}",
        "ARN": "Things.Arn",
        "MODELS": "a+b",
    }


def test_parameters_replace_their_defaults(path: Path) -> None:
    function = Template(path, {"Url": "http://x"}).functions()["OneFunction"]
    assert function.environment["URL"] == "http://x"


@pytest.mark.parametrize("value", [{"Fn::Cidr": []}, [{"a": {"Fn::ImportValue": "x"}}]])
def test_an_unknown_intrinsic_function_is_an_error(path: Path, value: Any) -> None:
    with pytest.raises(ValueError, match="not supported locally"):
        Template(path).resolve(value)


def test_the_project_has_its_three_functions_and_one_table() -> None:
    functions = Template().functions()
    assert set(functions) == {"ScoreFunction", "GenerateFunction", "ConsumeFunction"}
    for function in functions.values():
        assert (function.folder / "app.py").is_file()
        assert function.timeout > 0
    assert Template().table()["TimeToLiveSpecification"]["AttributeName"] == "ttl"


TRIGGER = """
  Ends:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      EventSourceArn: !GetAtt Things.StreamArn
      FunctionName: !Ref OneFunction.Alias
      FilterCriteria:
        Filters:
          - Pattern: >-
              {"eventName": ["REMOVE"],
              "dynamodb": {"Keys": {"sk": {"S": [{"prefix": "W#"}]}}}}
          - Pattern: '{"eventName": ["INSERT"]}'
      BatchSize: 7
      MaximumRecordAgeInSeconds: 3600
"""


def test_the_trigger_of_the_stream_is_read(path: Path) -> None:
    path.write_text(YAML + TRIGGER)
    trigger = Template(path).stream_trigger()
    assert (trigger.function, trigger.batch_size, trigger.max_record_age_sec) == ("OneFunction", 7, 3600)
    assert trigger.patterns == (
        {"eventName": ["REMOVE"], "dynamodb": {"Keys": {"sk": {"S": [{"prefix": "W#"}]}}}},
        {"eventName": ["INSERT"]},
    )


@pytest.mark.parametrize("triggers", ["", TRIGGER + TRIGGER.replace("Ends:", "Others:")])
def test_a_stream_must_have_one_trigger(path: Path, triggers: str) -> None:
    path.write_text(YAML + triggers)
    with pytest.raises(ValueError, match="one trigger"):
        Template(path).stream_trigger()
