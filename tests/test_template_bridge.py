"""What template.yaml promises about the bridge and about the queue that can take its place."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.settings import ROUTES, Settings
from devstack.template import Template
from tests.sam_template import DOCUMENT, RESOURCES, listed, properties, role, statements
from tips.state import keys

IN_PLACE_OF_THE_BRIDGE = {
    *("EventQueue", "EventsGivenUp", "EventQueuesTakeTlsOnly", "EventsFromQueue", "EventsWereGivenUp"),
}


def test_the_bridge_may_invoke_the_live_consume_and_write_its_heartbeat_and_nothing_else() -> None:
    assert keys.BRIDGE_HEALTH[0] == "C#HEALTH"
    assert [
        (one["Effect"], one["Action"], one["Resource"], one.get("Condition"))
        for one in properties("BridgeInvoke")["PolicyDocument"]["Statement"]
    ] == [
        ("Allow", "lambda:InvokeFunction", {"Ref": "ConsumeFunction.Alias"}, None),
        (
            "Allow",
            "dynamodb:PutItem",
            {"GetAtt": "TipsTable.Arn"},
            {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["C#HEALTH"]}},
        ),
    ]
    assert DOCUMENT["Outputs"]["ConsumeFunctionArn"]["Value"] == {"Ref": "ConsumeFunction.Alias"}
    assert DOCUMENT["Outputs"]["BridgeInvokeArn"]["Value"] == {"Ref": "BridgeInvoke"}


def test_the_queue_and_all_that_belongs_to_it_are_there_only_when_asked_for() -> None:
    condition = "TakesEventsFromSqs"
    assert {name for name, each in RESOURCES.items() if each.get("Condition") == condition} == IN_PLACE_OF_THE_BRIDGE
    assert DOCUMENT["Conditions"][condition] == {"Equals": [{"Ref": "EventsFromSqs"}, "true"]}
    assert DOCUMENT["Parameters"]["EventsFromSqs"]["Default"] == "false"
    assert DOCUMENT["Outputs"]["EventQueueUrl"]["Condition"] == condition


def test_consume_may_take_from_that_queue_under_the_same_condition_only() -> None:
    policies = role("ConsumeFunction")["Policies"]
    (conditional,) = [policy["If"] for policy in policies if "If" in policy]
    assert conditional[0] == "TakesEventsFromSqs"
    assert conditional[2] == {"Ref": "AWS::NoValue"}
    takes = [one for one in statements("ConsumeFunction") if "sqs:ReceiveMessage" in listed(one["Action"])]
    assert takes == conditional[1]["PolicyDocument"]["Statement"]
    assert takes[0]["Resource"] == {"GetAtt": "EventQueue.Arn"}
    assert set(takes[0]["Action"]) == {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}


def test_a_failed_record_of_the_queue_comes_again_for_days_and_is_then_kept() -> None:
    mapping, queue = properties("EventsFromQueue"), properties("EventQueue")
    assert mapping["FunctionName"] == {"Ref": "ConsumeFunction.Alias"}
    assert mapping["EventSourceArn"] == {"GetAtt": "EventQueue.Arn"}
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": len(ROUTES) * Settings().max_in_flight}
    assert queue["VisibilityTimeout"] >= 6 * properties("ConsumeFunction")["Timeout"]
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == {"GetAtt": "EventsGivenUp.Arn"}
    # An outage shorter than this gives nothing up; bad records leave after NATS_MAX_DELIVER.
    waited_sec = queue["RedrivePolicy"]["maxReceiveCount"] * queue["VisibilityTimeout"]
    assert 4 * 86_400 < waited_sec < queue["MessageRetentionPeriod"]


@pytest.mark.parametrize("name", ["EventQueue", "EventsGivenUp"])
def test_the_queues_encrypt_keep_for_14_days_and_refuse_plain_http(name: str) -> None:
    assert properties(name)["SqsManagedSseEnabled"] is True
    assert properties(name)["MessageRetentionPeriod"] == 14 * 86_400
    policy: dict[str, Any] = properties("EventQueuesTakeTlsOnly")
    assert {"Ref": name} in policy["Queues"]
    (refusal,) = policy["PolicyDocument"]["Statement"]
    assert (refusal["Effect"], refusal["Principal"], refusal["Action"]) == ("Deny", "*", "sqs:*")
    assert {"GetAtt": f"{name}.Arn"} in refusal["Resource"]
    assert refusal["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_locally_the_tables_stream_is_still_the_one_trigger() -> None:
    assert Template().stream_trigger().function == "ConsumeFunction"
