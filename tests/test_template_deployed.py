"""What CloudFormation makes of template.yaml: expanded by SAM, conditions decided, references resolved."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bridge.settings import Settings as BridgeSettings
from devstack.template import ROOT
from tests.conftest import LoadedFunction
from tests.sam_template import (
    BOTH_WAYS,
    CONSUME,
    DOCUMENT,
    EVERYTHING,
    FUNCTIONS,
    GENERATE,
    SCORE,
    deployed,
    functions,
    of_type,
)
from tips.settings import Settings

# What sam validate --lint lets through, held to its allowed values here.
ALLOWED = {
    "AuthType": {"AWS_IAM"},
    "InvokeMode": {"BUFFERED"},
    "ApplyOn": {"PublishedVersions"},
    "Mode": {"Active"},
    "SSEType": {"KMS"},
    "StreamViewType": {"KEYS_ONLY"},
}


def test_the_defaults_are_arm64_without_snapstart_and_the_alternative_is_x86() -> None:
    assert {tuple(one["Architectures"]) for one in functions().values()} == {("arm64",)}
    assert {tuple(one["Architectures"]) for one in functions(Architecture="x86_64").values()} == {("x86_64",)}
    (layer,) = of_type(deployed(Architecture="x86_64"), "AWS::Lambda::LayerVersion").values()
    assert layer["CompatibleArchitectures"] == ["x86_64"]
    assert set(DOCUMENT["Parameters"]["Architecture"]["AllowedValues"]) == {"arm64", "x86_64"}


@BOTH_WAYS
def test_function_urls_of_the_live_aliases_admit_signed_requests_and_nobody_is_let_in_by_permission(
    parameters: dict[str, str],
) -> None:
    resources = deployed(**parameters)
    urls = of_type(resources, "AWS::Lambda::Url")
    assert {url["TargetFunctionArn"] for url in urls.values()} == {f"{SCORE}Aliaslive", f"{GENERATE}Aliaslive"}
    assert {(url["AuthType"], url["InvokeMode"]) for url in urls.values()} == {("AWS_IAM", "BUFFERED")}
    # What SAM adds for AuthType NONE: a permission for everybody.
    assert of_type(resources, "AWS::Lambda::Permission") == {}


@BOTH_WAYS
def test_every_word_that_sam_would_not_check_is_an_allowed_one(parameters: dict[str, str]) -> None:
    def words(value: Any) -> Iterator[tuple[str, str]]:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in ALLOWED and isinstance(inner, str):
                    yield key, inner
                else:
                    yield from words(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from words(inner)

    found = list(words(deployed(**parameters)))
    assert {("AuthType", "AWS_IAM"), ("StreamViewType", "KEYS_ONLY"), ("Mode", "Active")} <= set(found)
    assert [(key, word) for key, word in found if word not in ALLOWED[key]] == []
    # A deployment preference needs CodeDeploy's own roles; `live` moves at once.
    assert not [name for name, one in deployed(**parameters).items() if one["Type"].startswith("AWS::CodeDeploy")]


def test_every_type_of_resource_is_one_that_these_tests_know() -> None:
    assert {one["Type"] for one in deployed(**EVERYTHING).values()} == {
        *("AWS::Lambda::Function", "AWS::Lambda::Version", "AWS::Lambda::Alias", "AWS::Lambda::Url"),
        *("AWS::Lambda::LayerVersion", "AWS::Lambda::EventSourceMapping"),
        *("AWS::IAM::Role", "AWS::IAM::ManagedPolicy", "AWS::SQS::Queue", "AWS::SQS::QueuePolicy"),
        *("AWS::DynamoDB::Table", "AWS::Logs::LogGroup", "AWS::CloudWatch::Alarm"),
    }


@pytest.mark.parametrize(("switch", "snapped"), [("true", {SCORE, GENERATE}), ("false", set())])
def test_snapstart_is_for_score_and_generate_when_asked_for(switch: str, snapped: set[str]) -> None:
    made = functions(SnapStart=switch)
    assert {name: one["SnapStart"] for name, one in made.items() if "SnapStart" in one} == {
        name: {"ApplyOn": "PublishedVersions"} for name in snapped
    }
    # A snapshot is of a zip with at most 512 MB of temporary files.
    assert all(one["Runtime"] == "python3.13" and "EphemeralStorage" not in one for one in made.values())


@BOTH_WAYS
def test_each_deployment_publishes_a_version_that_stays_and_live_points_to_it(parameters: dict[str, str]) -> None:
    resources = deployed(**parameters)
    aliases = {alias["FunctionName"]: alias for alias in of_type(resources, "AWS::Lambda::Alias").values()}
    assert set(aliases) == set(FUNCTIONS)
    for function, alias in aliases.items():
        assert alias["Name"] == "live"
        version = resources[alias["FunctionVersion"].removesuffix(".Version")]
        assert version["Type"] == "AWS::Lambda::Version"
        assert version["Properties"]["FunctionName"] == function
        assert version["DeletionPolicy"] == "Retain"  # which is why `tips versions prune` is needed


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_changed_environment_makes_a_new_version(name: str) -> None:
    assert DOCUMENT["Resources"][name]["Properties"]["AutoPublishAliasAllProperties"] is True


@BOTH_WAYS
def test_the_table_is_encrypted_recoverable_and_outlives_the_stack(parameters: dict[str, str]) -> None:
    table = deployed(**parameters)["TipsTable"]
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain"
    assert table["Properties"]["SSESpecification"] == {"SSEEnabled": True}
    assert table["Properties"]["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


@BOTH_WAYS
def test_queues_are_encrypted_and_keep_what_was_given_up_for_the_longest_time(parameters: dict[str, str]) -> None:
    queues = of_type(deployed(**parameters), "AWS::SQS::Queue")
    assert set(queues) == (
        {"RewardWaitsGivenUp", "EventQueue", "EventsGivenUp"} if parameters else {"RewardWaitsGivenUp"}
    )
    for queue in queues.values():
        assert queue["SqsManagedSseEnabled"] is True
        assert queue["MessageRetentionPeriod"] == 14 * 86_400


@BOTH_WAYS
def test_both_sources_of_events_feed_the_live_consume_and_report_failures_one_by_one(
    parameters: dict[str, str],
) -> None:
    mappings = of_type(deployed(**parameters), "AWS::Lambda::EventSourceMapping")
    assert {one["EventSourceArn"] for one in mappings.values()} == {
        "TipsTable.StreamArn",
        *(["EventQueue.Arn"] if parameters else []),
    }
    for mapping in mappings.values():
        assert mapping["FunctionName"] == "ConsumeFunctionAliaslive"
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


@BOTH_WAYS
def test_each_function_logs_to_a_group_of_its_own_with_retention_and_is_traced(parameters: dict[str, str]) -> None:
    resources = deployed(**parameters, LogRetentionDays="14")
    groups = of_type(resources, "AWS::Logs::LogGroup")
    used = {name: one["LoggingConfig"]["LogGroup"] for name, one in functions(**parameters).items()}
    assert sorted(used.values()) == sorted(groups)
    assert {group["RetentionInDays"] for group in groups.values()} == {"14"}
    assert len({str(group["LogGroupName"]) for group in groups.values()}) == len(groups)
    assert all(one["TracingConfig"] == {"Mode": "Active"} for one in functions(**parameters).values())


@pytest.mark.parametrize(
    ("name", "parameter"), [(name, name.removesuffix("Function") + "ReservedConcurrency") for name in FUNCTIONS]
)
def test_concurrency_is_reserved_by_parameter_for_one_function_alone(name: str, parameter: str) -> None:
    def reserved(value: str) -> dict[str, Any]:
        made = functions(**{parameter: value})
        return {
            each: one["ReservedConcurrentExecutions"]
            for each, one in made.items()
            if "ReservedConcurrentExecutions" in one
        }

    assert reserved("25") == {name: "25"}
    assert reserved("0") == {name: "0"}
    assert reserved("") == {}
    pattern = DOCUMENT["Parameters"][parameter]["AllowedPattern"]
    assert DOCUMENT["Parameters"][parameter]["Default"] == ""
    assert [value for value in ("", "0", "25", "10000") if not re.fullmatch(pattern, value)] == []
    assert [value for value in ("-1", "1.5", "many", " ", "1e3") if re.fullmatch(pattern, value)] == []


# Time and memory, against the budgets in the code and in the environment that it gets


def budget_ms(name: str) -> tuple[dict[str, Any], Settings]:
    function = functions()[name]
    variables = {key: str(value) for key, value in function["Environment"]["Variables"].items()}
    return function, Settings.from_env(variables)


def test_score_has_time_for_every_retry_and_the_last_call() -> None:
    function, settings = budget_ms(SCORE)
    assert settings.table_deadline_ms * 1.5 + 1000 <= function["Timeout"] * 1000
    both = settings.score_read_budget_ms + settings.score_write_budget_ms
    assert 2 * both < function["Timeout"] * 1000
    assert function["MemorySize"] >= 1024


def constant(function: str, name: str) -> float:
    """What a function's module says, without a table."""
    folder = ROOT / "functions" / function
    source = (folder / "app.py").read_text()
    (value,) = re.findall(rf"^{name} = ([\d.]+)", source, re.MULTILINE)
    return float(value)


def test_generate_has_time_for_the_models_the_table_and_the_answer() -> None:
    function, settings = budget_ms(GENERATE)
    table_sec = settings.table_deadline_ms / 1000 + 2 * settings.generate_table_budget_ms / 1000
    assert settings.litellm_try_timeout < settings.litellm_total_timeout
    assert settings.litellm_total_timeout + table_sec + constant("generate", "_ANSWERING_SEC") <= function["Timeout"]
    assert function["MemorySize"] >= 1769  # one whole processor: LiteLLM goes on loading behind an init that is over


def test_consume_has_time_for_a_batch_beyond_what_it_keeps_for_the_last_transaction(
    load_function: Callable[..., LoadedFunction],
) -> None:
    function, settings = budget_ms(CONSUME)
    consume = load_function("consume", TABLE_DEADLINE_MS=str(settings.table_deadline_ms))
    # Two reserves are kept back; of a batch's time they must be the smaller part.
    assert function["Timeout"] * 1000 >= 4 * 2 * consume.module._RESERVE_MS


def test_whoever_calls_consume_waits_longer_than_it_may_take() -> None:
    timeout = functions()[CONSUME]["Timeout"]
    assert timeout < BridgeSettings().invoke_timeout_sec
    assert deployed(**EVERYTHING)["EventQueue"]["Properties"]["VisibilityTimeout"] >= 6 * timeout


def test_what_expires_says_so_in_the_attribute_that_the_table_looks_at(table: Any, score: LoadedFunction) -> None:
    attribute = deployed()["TipsTable"]["Properties"]["TimeToLiveSpecification"]
    assert attribute["Enabled"] is True
    body = {"user_id": "ann", "candidates": [{"id": "a"}, {"id": "b"}]}
    assert score.call("POST", "/score", body).json["logged"]
    assert score.call("DELETE", "/users/bob").status == 200
    items = table.items()
    assert {item["sk"]["S"][:2] for item in items} >= {"D#", "W#", "er"}
    for item in items:
        assert int(item[attribute["AttributeName"]]["N"]) > 1_700_000_000
