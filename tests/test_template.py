"""What template.yaml promises about access, retention and configuration."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml

from devstack.template import ROOT, Template
from tips.settings import Settings

FUNCTIONS = {"ScoreFunction", "GenerateFunction", "ConsumeFunction"}
# Partitions each function may reach, as patterns of dynamodb:LeadingKeys.
REACH = {
    "ScoreFunction": {"U#*", "C#*"},
    "ConsumeFunction": {"U#*", "C#DLQ#*"},
    "GenerateFunction": set[str](),
}
# Variables that libraries read rather than our code.
READ_BY_LIBRARIES = {"LOG_LEVEL", "OPENBLAS_NUM_THREADS", "LITELLM_LOCAL_MODEL_COST_MAP"}

# os.environ.get("NAME"), os.getenv("NAME"), os.environ["NAME"] unless that is being set.
READS_VARIABLE = re.compile(r'(?:environ\.get\(|getenv\(|environ\[(?=[^]]*](?! =)))\s*"([A-Z_]+)"')


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


def test_sam_accepts_the_template() -> None:
    done = subprocess.run(["make", "validate"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_functions_are_the_three_of_the_design() -> None:
    assert {
        name for name, resource in RESOURCES.items() if resource["Type"] == "AWS::Serverless::Function"
    } == FUNCTIONS


@pytest.mark.parametrize("name", ["ScoreFunction", "GenerateFunction"])
def test_function_urls_admit_signed_requests_only(name: str) -> None:
    assert properties(name)["FunctionUrlConfig"] == {"AuthType": "AWS_IAM", "InvokeMode": "BUFFERED"}


def test_consume_has_no_url() -> None:
    assert "FunctionUrlConfig" not in properties("ConsumeFunction")
    assert "FunctionUrlConfig" not in DOCUMENT["Globals"]["Function"]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_change_is_published_to_the_live_alias(name: str) -> None:
    assert DOCUMENT["Globals"]["Function"]["AutoPublishAlias"] == "live"
    assert properties(name)["AutoPublishAliasAllProperties"] is True


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_is_traced_and_logs_to_a_group_with_retention(name: str) -> None:
    assert DOCUMENT["Globals"]["Function"]["Tracing"] == "Active"
    group = properties(name)["LoggingConfig"]["LogGroup"]["Ref"]
    assert properties(group)["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_the_table_expires_recovers_encrypts_and_outlives_the_stack() -> None:
    table = properties("TipsTable")
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"]["SSEEnabled"] is True
    assert RESOURCES["TipsTable"]["DeletionPolicy"] == RESOURCES["TipsTable"]["UpdateReplacePolicy"] == "Retain"


def test_the_index_by_tip_is_local() -> None:
    table = properties("TipsTable")
    assert [index["IndexName"] for index in table["LocalSecondaryIndexes"]] == ["by-tip"]
    assert "GlobalSecondaryIndexes" not in table  # eventually consistent: a reward would miss a fresh decision


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_policies_name_their_actions_and_resources(name: str) -> None:
    assert all(isinstance(policy, dict) for policy in properties(name)["Policies"]), "no ready-made policies"
    for statement in statements(name):
        assert statement["Effect"] == "Allow"
        assert not [action for action in listed(statement["Action"]) if "*" in action]
        assert not [resource for resource in listed(statement["Resource"]) if "*" in str(resource)]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_function_reaches_only_the_partitions_of_its_role(name: str) -> None:
    reached: set[str] = set()
    for statement in statements(name):
        actions = [action for action in listed(statement["Action"]) if action.startswith("dynamodb:")]
        # A request without a partition key would satisfy ForAllValues.
        assert not {"dynamodb:Scan", "dynamodb:PartiQLSelect", "dynamodb:ListTables"} & set(actions)
        if actions:
            reached |= set(statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"])
    assert reached == REACH[name]


def test_configuration_is_read_only_and_dead_letters_are_write_only() -> None:
    for name, pattern, action in (
        ("ScoreFunction", "C#*", "dynamodb:GetItem"),
        ("ConsumeFunction", "C#DLQ#*", "dynamodb:PutItem"),
    ):
        granted = [
            listed(statement["Action"])
            for statement in statements(name)
            if pattern in statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
        ]
        assert granted == [[action]]


def test_generate_knows_no_table() -> None:
    assert "TipsTable" not in str(RESOURCES["GenerateFunction"])
    assert "TABLE_NAME" not in DOCUMENT["Globals"]["Function"]["Environment"]["Variables"]


def test_the_recommender_may_call_both_live_aliases_through_their_urls_only() -> None:
    document = properties("RecommenderInvoke")["PolicyDocument"]
    by_action = {statement["Action"]: statement for statement in document["Statement"]}
    assert set(by_action) == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}
    for statement in by_action.values():
        assert statement["Effect"] == "Allow"
        assert statement["Resource"] == [{"Ref": "ScoreFunction.Alias"}, {"Ref": "GenerateFunction.Alias"}]
    assert by_action["lambda:InvokeFunctionUrl"]["Condition"] == {
        "StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}
    }
    assert by_action["lambda:InvokeFunction"]["Condition"] == {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}


class Recorder(Mapping[str, str]):
    """An empty environment that remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def variables_read() -> set[str]:
    """Names that the deployed code reads from its environment, less those that Lambda itself sets."""
    recorder = Recorder()
    Settings.from_env(recorder)
    read = recorder.asked
    for folder in ("layers/shared/tips", "functions"):
        for source in (ROOT / folder).rglob("*.py"):
            read |= set(re.findall(READS_VARIABLE, source.read_text()))
    return {name for name in read if not name.startswith("AWS_")}


def declared() -> set[str]:
    return {variable for function in Template().functions().values() for variable in function.environment}


def test_every_variable_that_is_read_is_declared() -> None:
    # `sam local --env-vars` and a deployment can set only declared ones.
    assert variables_read() <= declared()


def test_every_declared_variable_is_read() -> None:
    assert declared() - READ_BY_LIBRARIES <= variables_read()


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_common_variables_are_declared_for_every_function(name: str) -> None:
    environment = Template().functions()[name].environment
    assert environment["POWERTOOLS_SERVICE_NAME"] == f"tips-{name.removesuffix('Function').lower()}"
    assert {"DYNAMODB_ENDPOINT", "LOG_LEVEL", "POWERTOOLS_METRICS_NAMESPACE", "OPENBLAS_NUM_THREADS"} <= set(
        environment
    )


def test_defaults_agree_with_those_of_the_code() -> None:
    environment = {"TABLE_NAME": Settings().table_name}
    for function in Template().functions().values():
        environment |= {name: value for name, value in function.environment.items() if name != "TABLE_NAME"}
    assert Settings.from_env(environment) == replace(Settings(), default_prompt_version="v1")


def test_the_api_key_is_a_reference_to_a_secret() -> None:
    key = properties("GenerateFunction")["Environment"]["Variables"]["LITELLM_API_KEY"]["If"]
    assert key[0] == "HasApiKey"
    assert key[1]["Sub"].startswith("{{resolve:secretsmanager:")
    assert key[2] == ""


def test_a_deployment_without_a_model_is_refused() -> None:
    assert str(DOCUMENT["Rules"]["RealModel"]["Assertions"][0]["Assert"]).count("LiteLlm") == 2
