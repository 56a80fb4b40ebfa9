"""The alarms of template.yaml: on metrics that exist, against the budgets, told to whom the parameter says."""

from __future__ import annotations

import re
from typing import Any

import pytest

from devstack.template import ROOT
from tests.sam_template import DOCUMENT, deployed, of_type
from tips import telemetry
from tips.settings import Settings

TOPIC = "arn:aws:sns:eu-west-1:123456789012:on-call"
FUNCTIONS = ("Score", "Generate", "Consume")
# What AWS emits of those resources that the stack has, by namespace: metric -> dimension.
OF_AWS = {
    "AWS/Lambda": dict.fromkeys(("Errors", "Throttles", "Duration", "IteratorAge", "Url5xxCount"), "FunctionName"),
    "AWS/SQS": {"ApproximateNumberOfMessagesVisible": "QueueName"},
}


def alarms(**parameters: str) -> dict[str, dict[str, Any]]:
    return of_type(deployed(EventsFromSqs="true", **parameters), "AWS::CloudWatch::Alarm")


def metrics(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """Namespace, name and dimensions of everything that an alarm looks at."""
    if "Metrics" not in alarm:
        return [alarm]
    return [each["MetricStat"]["Metric"] for each in alarm["Metrics"] if "MetricStat" in each]


def dimensions(metric: dict[str, Any]) -> dict[str, str]:
    return {one["Name"]: one["Value"] for one in metric["Dimensions"]}


def counted() -> set[str]:
    """Metrics that the code counts under the dimension `service` alone."""
    sources = [*(ROOT / "layers/shared/tips").rglob("*.py"), *(ROOT / "functions").glob("*/*.py")]
    return {name for source in sources for name in re.findall(r'\bcount\(\s*"(\w+)"', source.read_text())}


def test_every_metric_is_one_that_aws_or_the_code_emits_under_these_dimensions() -> None:
    resources = deployed(EventsFromSqs="true")
    services = {
        f"tips-{name.lower()}": resources[f"{name}Function"]["Properties"]["Environment"]["Variables"]
        for name in FUNCTIONS
    }
    for name, alarm in alarms().items():
        for metric in metrics(alarm):
            ((dimension, value),) = dimensions(metric).items()
            if metric["Namespace"] in OF_AWS:
                assert OF_AWS[metric["Namespace"]][metric["MetricName"]] == dimension, name
                kind = {"FunctionName": "AWS::Lambda::Function", "QueueName": "AWS::SQS::Queue"}[dimension]
                assert resources[value.removesuffix(".QueueName")]["Type"] == kind, name
            else:
                assert metric["MetricName"] in counted(), name
                assert dimension == "service"
                # The function says itself so; and its namespace is the alarm's.
                assert services[value]["POWERTOOLS_SERVICE_NAME"] == value
                assert services[value]["POWERTOOLS_METRICS_NAMESPACE"] == metric["Namespace"], name


def test_a_count_is_printed_as_alarms_look_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.flush()
    capsys.readouterr()
    telemetry.count("EventDeadLettered")
    telemetry.flush()
    assert '"Dimensions":[["service"]]' in capsys.readouterr().out


@pytest.mark.parametrize("function", FUNCTIONS)
def test_errors_throttles_and_faults_of_every_function_are_looked_at(function: str) -> None:
    looked_at = {
        (metric["MetricName"], value)
        for alarm in alarms().values()
        for metric in metrics(alarm)
        for value in dimensions(metric).values()
    }
    assert {
        ("Errors", f"{function}Function"),
        ("Throttles", f"{function}Function"),
        ("UnforeseenError", f"tips-{function.lower()}"),
    } <= looked_at
    if function != "Consume":
        assert {("Duration", f"{function}Function"), ("Url5xxCount", f"{function}Function")} <= looked_at


def test_whatever_is_given_up_raises_an_alarm() -> None:
    resources = deployed(EventsFromSqs="true")
    dead_letter_queues = {
        *(
            one["DestinationConfig"]["OnFailure"]["Destination"].removesuffix(".Arn")
            for one in of_type(resources, "AWS::Lambda::EventSourceMapping").values()
            if "DestinationConfig" in one
        ),
        *(
            one["RedrivePolicy"]["deadLetterTargetArn"].removesuffix(".Arn")
            for one in of_type(resources, "AWS::SQS::Queue").values()
            if "RedrivePolicy" in one
        ),
    }
    assert dead_letter_queues == {"RewardWaitsGivenUp", "EventsGivenUp"}
    depth = {
        value.removesuffix(".QueueName"): alarm["Threshold"]
        for alarm in alarms().values()
        for metric in metrics(alarm)
        for value in dimensions(metric).values()
        if metric["Namespace"] == "AWS/SQS"
    }
    assert depth == dict.fromkeys(dead_letter_queues, 1)
    # Without the queue, an alarm on it would look at nothing.
    assert "EventsWereGivenUp" not in of_type(deployed(), "AWS::CloudWatch::Alarm")


def environment(name: str) -> Settings:
    function = deployed()[f"{name}Function"]["Properties"]
    return Settings.from_env({key: str(value) for key, value in function["Environment"]["Variables"].items()})


def test_durations_are_held_against_the_budgets() -> None:
    score, generate = alarms()["ScoreSlow"], alarms()["GenerateSlow"]
    assert {score["ExtendedStatistic"], generate["ExtendedStatistic"]} == {"p99"}
    budgets = environment("Score")
    # Above both calls that a decision may make and what an erasure waits; below what a reward may retry.
    decision_ms = budgets.score_read_budget_ms + budgets.score_write_budget_ms
    assert 2 * (decision_ms + 250) > score["Threshold"] > decision_ms + 250
    assert score["Threshold"] < budgets.table_deadline_ms
    assert generate["Threshold"] == environment("Generate").litellm_total_timeout * 1000


def test_a_late_stream_is_told_of_long_before_its_records_are_given_up() -> None:
    resources = deployed()
    assert alarms()["RewardWaitsLate"]["MetricName"] == "IteratorAge"
    given_up_sec = resources["RewardWaitEnds"]["Properties"]["MaximumRecordAgeInSeconds"]
    assert alarms()["RewardWaitsLate"]["Threshold"] / 1000 <= given_up_sec / 4


def test_a_share_is_of_metrics_that_it_names() -> None:
    shares = {name: alarm for name, alarm in alarms().items() if "Metrics" in alarm}
    assert len(shares) == 3
    for alarm in shares.values():
        (expression,) = [one["Expression"] for one in alarm["Metrics"] if "Expression" in one]
        ids = {one["Id"] for one in alarm["Metrics"] if "MetricStat" in one}
        assert set(re.findall(r"FILL\((\w+), 0\)", expression)) == ids
        assert [one["Id"] for one in alarm["Metrics"] if one.get("ReturnData", True)] == ["share"]


@pytest.mark.parametrize(
    ("name", "counts", "share"),
    [
        # A decision is logged or not; a degraded one is that besides.
        ("DecisionsNotLogged", {"DecisionLogged": 95, "DecisionNotLogged": 5}, 5),
        ("DecisionsDegraded", {"DecisionLogged": 90, "DecisionNotLogged": 10, "ScoreDegraded": 5}, 5),
        ("DecisionsDegraded", {"DecisionLogged": 40, "DecisionNotLogged": 0, "ScoreDegraded": 40}, 100),
        ("GenerationsFellBack", {"Generations": 8, "GenerationFallbacks": 4}, 50),
    ],
)
def test_a_share_is_of_all_that_there_were(name: str, counts: dict[str, int], share: float) -> None:
    alarm = alarms()[name]["Metrics"]
    (expression,) = [one["Expression"] for one in alarm if "Expression" in one]
    for one in alarm:
        if "MetricStat" in one:
            count = counts[one["MetricStat"]["Metric"]["MetricName"]]
            expression = expression.replace(f"FILL({one['Id']}, 0)", str(count))
    assert eval(expression) == pytest.approx(share)  # noqa: S307 (numbers and their signs, of our template)


def test_silence_is_no_alarm_and_both_ends_of_one_are_told_to_the_topic_if_there_is_one() -> None:
    told = alarms(AlarmTopicArn=TOPIC)
    for name, alarm in alarms().items():
        assert alarm["TreatMissingData"] == "notBreaching", name
        assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold", name
        assert alarm["Threshold"] > 0, name
        if alarm.get("Statistic") == "Sum":
            assert alarm["Threshold"] <= 5, f"{name}: a few are enough to be told"
        assert not {"AlarmActions", "OKActions"} & set(alarm), name
        assert (told[name]["AlarmActions"], told[name]["OKActions"]) == ([TOPIC], [TOPIC]), name


def test_the_topic_is_an_arn_or_nothing() -> None:
    pattern = DOCUMENT["Parameters"]["AlarmTopicArn"]["AllowedPattern"]
    assert re.fullmatch(pattern, TOPIC)
    assert re.fullmatch(pattern, "")
    assert not re.fullmatch(pattern, "on-call")
    assert DOCUMENT["Parameters"]["AlarmTopicArn"]["Default"] == ""


def test_operating_explains_every_alarm() -> None:
    page = (ROOT / "docs" / "operating.md").read_text()
    explained = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", page, re.MULTILINE)
    names = [name for cell in explained for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(names) == sorted(alarms())
