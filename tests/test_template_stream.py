"""What template.yaml promises about the table's stream and the trigger that ends reward waits."""

from __future__ import annotations

from typing import Any

from devstack.template import Template
from tests.sam_template import RESOURCES, STREAM, deployed, listed, properties, statements
from tips.state import keys


def test_the_stream_tells_of_keys_only() -> None:
    assert properties("TipsTable")["StreamSpecification"] == {"StreamViewType": "KEYS_ONLY"}


def mapping() -> dict[str, Any]:
    mappings = [name for name, each in RESOURCES.items() if each["Type"] == "AWS::Lambda::EventSourceMapping"]
    assert mappings == ["RewardWaitEnds", "EventsFromQueue"]
    return properties("RewardWaitEnds")


def test_the_stream_reaches_the_live_alias_of_consume_from_its_beginning() -> None:
    trigger = mapping()
    assert trigger["EventSourceArn"] == STREAM
    assert trigger["FunctionName"] == {"Ref": "ConsumeFunction.Alias"}
    assert trigger["StartingPosition"] == "TRIM_HORIZON"


def test_only_markers_that_ttl_removed_reach_consume() -> None:
    (pattern,) = Template().stream_trigger().patterns
    assert pattern == {
        "eventName": ["REMOVE"],
        "userIdentity": {"type": ["Service"], "principalId": ["dynamodb.amazonaws.com"]},
        "dynamodb": {"Keys": {"sk": {"S": [{"prefix": keys.WAIT_PREFIX}]}}},
    }


def test_a_failure_on_the_stream_is_retried_from_there_and_never_lost_silently() -> None:
    trigger = mapping()
    assert trigger["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert trigger["BisectBatchOnFunctionError"] is True
    assert trigger["ParallelizationFactor"] == 1
    # A table that is away is waited for: only the age of a record ends that.
    assert trigger["MaximumRetryAttempts"] == -1
    # A stream keeps records for a day: what is given up must leave its message before they are gone.
    assert 0 < trigger["MaximumRecordAgeInSeconds"] < 86_400 - 3600
    queue = {"GetAtt": "RewardWaitsGivenUp.Arn"}
    assert trigger["DestinationConfig"] == {"OnFailure": {"Destination": queue}}
    assert properties("RewardWaitsGivenUp") == {"MessageRetentionPeriod": 14 * 86_400, "SqsManagedSseEnabled": True}
    sends = [one for one in statements("ConsumeFunction") if "sqs:SendMessage" in listed(one["Action"])]
    assert [(one["Action"], one["Resource"]) for one in sends] == [("sqs:SendMessage", queue)]


def test_a_whole_batch_fits_into_an_invocation() -> None:
    # Ordinary records take some 20 ms; records that wait for the table are reported before the time is up.
    assert mapping()["BatchSize"] * 0.1 <= properties("ConsumeFunction")["Timeout"]


def test_consume_reads_this_stream_and_no_other() -> None:
    reads = [one for one in statements("ConsumeFunction") if one["Resource"] == STREAM]
    assert [set(one["Action"]) for one in reads] == [
        {"dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"}
    ]


def test_as_expanded_by_sam_the_stream_invokes_the_alias() -> None:
    resources = deployed()
    assert resources["RewardWaitEnds"]["Properties"]["FunctionName"] == "ConsumeFunctionAliaslive"
    assert resources["ConsumeFunctionAliaslive"]["Type"] == "AWS::Lambda::Alias"
