"""What template.yaml promises about access, retention and configuration."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from devstack.template import ROOT, Template
from tests.sam_template import DOCUMENT, RESOURCES, granted, properties
from tips.settings import Settings
from tips.state import keys

FUNCTIONS = {"ScoreFunction", "GenerateFunction", "ConsumeFunction"}
# Partitions each function may reach, as patterns of dynamodb:LeadingKeys.
REACH = {
    "ScoreFunction": {"U#*", "G#*", "T#*", "C#CONFIG", "C#PRIOR", "C#HEALTH", "C#PROMPTS#*", "C#SHOWN#*"},
    "ConsumeFunction": {"U#*", "G#*", "T#*", "C#DLQ#*", "C#PROMPTS#*", "C#SHOWN#*"},
    "GenerateFunction": {
        *("G#*", "T#*", "C#CONFIG", "C#PRIOR", "C#BREAKER", "C#CAP#*", "C#PROMPTS#*", "C#SHOWN#*"),
    },
}
# Variables that libraries read rather than our code.
READ_BY_LIBRARIES = {"LOG_LEVEL", "OPENBLAS_NUM_THREADS", "LITELLM_LOCAL_MODEL_COST_MAP"}

# os.environ.get("NAME"), os.getenv("NAME"), os.environ["NAME"] unless that is being set.
READS_VARIABLE = re.compile(r'(?:environ\.get\(|getenv\(|environ\[(?=[^]]*](?! =)))\s*"([A-Z_]+)"')


@pytest.mark.build
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
def test_a_function_reaches_only_the_partitions_of_its_role(name: str) -> None:
    assert set(granted(name)) == REACH[name]
    # A request without a partition key would satisfy ForAllValues.
    assert not {"Scan", "PartiQLSelect", "ListTables"} & {action for each in granted(name).values() for action in each}


def test_generate_reaches_nothing_of_what_is_kept_of_people_for_others() -> None:
    assert not [pattern for pattern in granted("GenerateFunction") if pattern.startswith("U")]
    assert keys.user("ann").startswith("U#")
    assert keys.generation("ann").startswith("G#")


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


def test_score_and_consume_learn_by_the_same_rules() -> None:
    rules = {
        "HALF_LIFE_DAYS": {"Ref": "HalfLifeDays"},
        "DEFAULT_REWARD": {"Ref": "DefaultReward"},
        "REWARD_WAIT": {"Ref": "RewardWait"},
    }
    for name in ("ScoreFunction", "ConsumeFunction"):
        variables = properties(name)["Environment"]["Variables"]
        assert {rule: variables[rule] for rule in rules} == rules


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        ("HalfLifeDays", ["0", "30", "0.5"], ["", "-1", "x", "1e3", "30d", "inf"]),
        ("DefaultReward", ["0", "-0.5", "1", "-1", "1.0", "0.25"], ["", "2", "-1.5", "x", "1.1", "+1"]),
        ("CapUserUsdPerDay", ["0", "0.05", "2"], ["", "-1", "x", "1e3"]),
        ("CapTotalUsdPerDay", ["0", "12.5"], ["", "-1", "x"]),
        ("RewardWait", ["24h", "90s", "86400", "1.5h", "7d", "30m"], ["", "-1", "24 hours", "1w", "h"]),
    ],
)
def test_parameters_take_what_the_settings_take(parameter: str, good: list[str], bad: list[str]) -> None:
    variable = re.sub(r"(?<!^)(?=[A-Z])", "_", parameter).upper()
    spec = DOCUMENT["Parameters"][parameter]
    for value in [spec["Default"], *good]:
        assert re.fullmatch(spec["AllowedPattern"], value)
        Settings.from_env({variable: value})
    for value in bad:
        assert not re.fullmatch(spec["AllowedPattern"], value)


@pytest.mark.parametrize("variable", ["NATS_MAX_DELIVER", "CAP_USER_TOKENS_PER_DAY", "CAP_TOTAL_TOKENS_PER_DAY"])
def test_a_count_is_a_whole_number(variable: str) -> None:
    settings = Settings.from_env({variable: "7"})
    assert 7 in (settings.nats_max_deliver, settings.cap_user_tokens, settings.cap_total_tokens)
    for value in ("1.5", "0.5e1000", "many", "-1", "nan"):
        with pytest.raises(ValueError, match=f"{variable} must be "):
            Settings.from_env({variable: value})
    with pytest.raises(ValueError, match=f"{variable} must be a whole number, not '1.5'"):
        Settings.from_env({variable: "1.5"})


def test_every_variable_that_is_read_is_declared() -> None:
    # `sam local --env-vars` and a deployment can set only declared ones.
    assert variables_read() <= declared()


def test_every_declared_variable_is_read() -> None:
    assert declared() - READ_BY_LIBRARIES <= variables_read()


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_common_variables_are_declared_for_every_function(name: str) -> None:
    environment = Template().functions()[name].environment
    assert environment["POWERTOOLS_SERVICE_NAME"] == f"tips-{name.removesuffix('Function').lower()}"
    assert {"DYNAMODB_ENDPOINT", "LOG_LEVEL", "POWERTOOLS_METRICS_NAMESPACE"} <= set(environment)
    assert environment["OPENBLAS_NUM_THREADS"] == "1"


def test_earlier_versions_keep_their_layer() -> None:
    assert properties("SharedLayer")["RetentionPolicy"] == "Retain"


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
