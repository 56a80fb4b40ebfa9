"""What the bridge reads from its environment, and what it is packed into."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from bridge.settings import Settings, host_of
from devstack.template import ROOT
from tests.test_template import Recorder

DOCKERFILE = (ROOT / "bridge" / "Dockerfile").read_text()
PAGE = (ROOT / "docs" / "bridge.md").read_text()


def test_without_a_variable_everything_has_its_default_and_the_bridge_is_disabled() -> None:
    assert Settings.from_env({}) == Settings()
    assert not Settings.from_env({"NATS_URL": " , "}).enabled


def test_every_variable_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    environment = {
        "NATS_URL": "nats://a:4222, tls://user:p%40ss@b,c:4333",
        "NATS_DURABLE_PREFIX": "other",
        "NATS_NKEY_SEED": str(file),
        "NATS_TLS_CA": str(file),
        "NATS_TLS_CERT": str(file),
        "NATS_TLS_KEY": str(file),
        "CONSUME_FUNCTION": "arn:aws:lambda:eu-west-1:123456789012:function:tips-consume:live",
        "LAMBDA_ENDPOINT": "http://127.0.0.1:3001",
        "AWS_REGION": "eu-central-1",
        "TABLE_NAME": "tips-2",
        "DYNAMODB_ENDPOINT": "http://127.0.0.1:8000",
        "BRIDGE_BATCH_MESSAGES": "50",
        "BRIDGE_BATCH_AGE_MS": "500",
        "BRIDGE_MAX_IN_FLIGHT": "2",
        "BRIDGE_ACK_WAIT_SEC": "60",
        "BRIDGE_NAK_MIN_SEC": "2",
        "BRIDGE_NAK_MAX_SEC": "20",
        "BRIDGE_INVOKE_TIMEOUT_SEC": "90",
        "BRIDGE_DRAIN_SEC": "5",
        "BRIDGE_HEALTH_HOST": "0.0.0.0",
        "BRIDGE_HEALTH_PORT": "9000",
        "BRIDGE_HEARTBEAT_SEC": "30",
    }
    settings = Settings.from_env(environment, ensure_streams=True)
    assert settings.servers == ("nats://a:4222", "tls://user:p%40ss@b", "nats://c:4333")
    default = Settings()
    same = {field.name for field in fields(Settings) if getattr(settings, field.name) == getattr(default, field.name)}
    assert same == {"creds"}  # which excludes NATS_NKEY_SEED
    assert Settings.from_env({"NATS_CREDS": str(file)}).creds == str(file)
    assert (settings.batch_age_sec, settings.max_ack_pending) == (0.5, 2000)
    assert (settings.tips.region, settings.tips.table_name) == ("eu-central-1", "tips-2")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"NATS_URL": "http://u:s3cret@host"}, "NATS_URL: its server 1 must be like nats://host:4222"),
        ({"NATS_URL": "nats://a,nats://u:s3cret@:99999"}, "NATS_URL: its server 2"),
        ({"NATS_URL": "nats://u:12/s3cret@host"}, "user and password percent-encoded"),
        ({"NATS_URL": "nats://u:12#s3cret@host"}, "NATS_URL: its server 1"),
        ({"NATS_URL": "nats://u:12?s3cret@host"}, "NATS_URL: its server 1"),
        ({"NATS_DURABLE_PREFIX": "a.b"}, "NATS_DURABLE_PREFIX must be up to 64 letters, digits, - and _"),
        ({"NATS_CREDS": "/nowhere/creds"}, "NATS_CREDS must be a file that can be read"),
        ({"NATS_TLS_CERT": __file__}, "NATS_TLS_CERT and NATS_TLS_KEY must be set together"),
        ({"NATS_CREDS": __file__, "NATS_NKEY_SEED": __file__}, "only one of them can be set"),
        ({"LAMBDA_ENDPOINT": "127.0.0.1:3001"}, "LAMBDA_ENDPOINT must be an address such as http://"),
        ({"BRIDGE_BATCH_MESSAGES": "0"}, "BRIDGE_BATCH_MESSAGES must be a number from 1 to 10000, not '0'"),
        ({"BRIDGE_BATCH_MESSAGES": "1.5"}, "BRIDGE_BATCH_MESSAGES must be a whole number"),
        ({"BRIDGE_BATCH_AGE_MS": "-1"}, "BRIDGE_BATCH_AGE_MS must be a number at least 0"),
        ({"BRIDGE_MAX_IN_FLIGHT": "many"}, "BRIDGE_MAX_IN_FLIGHT"),
        ({"BRIDGE_ACK_WAIT_SEC": "nan"}, "BRIDGE_ACK_WAIT_SEC"),
        ({"BRIDGE_NAK_MIN_SEC": "10", "BRIDGE_NAK_MAX_SEC": "5"}, "BRIDGE_NAK_MAX_SEC must be a number at least 10"),
        ({"BRIDGE_HEALTH_PORT": "70000"}, "BRIDGE_HEALTH_PORT must be a number from 0 to 65535"),
        ({"BRIDGE_HEARTBEAT_SEC": "inf"}, "BRIDGE_HEARTBEAT_SEC"),
    ],
)
def test_what_cannot_be_used_is_named(environment: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        Settings.from_env(environment)
    assert "s3cret" not in str(refused.value)


def test_a_password_is_nowhere_to_be_seen() -> None:
    settings = Settings.from_env({"NATS_URL": "nats://user:s3cret@host:4222"})
    assert "s3cret" not in repr(settings)
    assert host_of(settings.servers[0]) == "host:4222"


def test_the_page_lists_every_variable_with_its_default() -> None:
    recorder = Recorder()
    Settings.from_env(recorder)
    first_columns = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    listed = set(re.findall(r"`([A-Z][A-Z_]+[A-Z])`", "".join(first_columns)))
    assert recorder.asked - {"AWS_DEFAULT_REGION"} == listed - {"LOG_LEVEL"}
    default = Settings()
    for variable, value in {
        "BRIDGE_BATCH_MESSAGES": default.batch_messages,
        "BRIDGE_BATCH_AGE_MS": f"{default.batch_age_sec * 1000:g}",
        "BRIDGE_MAX_IN_FLIGHT": default.max_in_flight,
        "BRIDGE_ACK_WAIT_SEC": f"{default.ack_wait_sec:g}",
        "BRIDGE_INVOKE_TIMEOUT_SEC": f"{default.invoke_timeout_sec:g}",
        "BRIDGE_DRAIN_SEC": f"{default.drain_sec:g}",
        "BRIDGE_HEARTBEAT_SEC": f"{default.heartbeat_sec:g}",
    }.items():
        assert f"| `{variable}` | `{value}` |" in PAGE


def test_what_the_image_copies_exists_and_its_commands_are_the_bridges() -> None:
    instructions = [line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if line[:1].isupper()]
    copied = [shlex.split(rest) for word, rest in instructions if word == "COPY"]
    assert copied
    for *sources, _ in copied:
        assert all((ROOT / source).exists() for source in sources)
    commands: list[Any] = [json.loads(found) for found in re.findall(r"(?:ENTRYPOINT|CMD) (\[.*\])", DOCKERFILE)]
    assert commands == [["python", "-m", "bridge.check"], ["python", "-m", "bridge"]]
    for command in commands:
        source = (ROOT / command[2].replace(".", "/")).with_suffix(".py")
        assert source.exists() or (ROOT / command[2] / "__main__.py").exists()
    assert ["USER", "10001"] in instructions
    assert "--require-hashes" in DOCKERFILE


IMPORTED = """
import sys
for name in ("aiohttp", "certifi"):  # brought by others; nats-py and botocore do without
    sys.modules[name] = None
import bridge.program
from importlib.metadata import packages_distributions
names = {name.partition(".")[0] for name, module in sys.modules.items() if module} - sys.stdlib_module_names
known = packages_distributions()
print(*{distribution for name in names for distribution in known.get(name, [])})
print(*names & {"devstack", "offline", "tests", "numpy"})
"""


def test_the_bridge_imports_only_what_its_image_has() -> None:
    path = f"{ROOT / 'layers' / 'shared'}:{ROOT}"
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED],
        cwd=ROOT,
        env={"PYTHONPATH": path, "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    distributions, ours = done.stdout.splitlines()
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "bridge" / "requirements.txt").read_text(), re.MULTILINE))
    assert {"nats-py", "botocore"} <= {name.replace("_", "-") for name in distributions.split()} <= pinned
    assert ours == ""
