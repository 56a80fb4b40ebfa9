"""The built artifacts run on their own, start from bytecode, and fit Lambda's limits and platform."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import marshal
import os
import platform
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devstack.template import ROOT, Template
from tests.model_server import ModelServer

pytestmark = pytest.mark.build

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
# The runtime's own version is built where `sam deploy` looks for it; another one must not land there.
BUILD = ROOT / ".aws-sam" / ("build" if MINOR == "3.13" else f"build-{MINOR}")
# MB, unzipped, with bytecode and the layer. Lambda takes 262; what a cold start has to load is kept well below.
LIMITS = {"ScoreFunction": 80, "GenerateFunction": 220, "ConsumeFunction": 75}
FUNCTIONS = list(LIMITS)
ARTIFACTS = [*FUNCTIONS, "SharedLayer"]


def run_build(folder: Path, minor: str = MINOR, arch: str = "") -> Path:
    # The caller's PYTHONPATH is for the tree, not for the tools that build.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = ["make", "build", f"PY={minor}", f"BUILD_DIR={folder}", *([f"ARCH={arch}"] if arch else [])]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def build() -> Path:
    return run_build(BUILD)


def packages(build: Path, artifact: str) -> Path:
    """Where an artifact's modules lie."""
    return build / artifact / "python" if artifact == "SharedLayer" else build / artifact


def refused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def invoke(build: Path, function: str, folder: Path, event: str, **variables: str) -> Any:
    """Call a built function as Lambda would; nothing answers where its table should be."""
    request = {
        "folders": [str(build / function), str(packages(build, "SharedLayer"))],
        "event": json.loads((ROOT / "events" / event).read_text()),
    }
    (folder / "request.json").write_text(json.dumps(request))
    environment = dict(Template().functions()[function].environment) | {
        "DYNAMODB_ENDPOINT": f"http://127.0.0.1:{refused_port()}",
        "TABLE_DEADLINE_MS": "200",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": "eu-west-1",
        "PATH": os.environ["PATH"],
        **variables,
    }
    # -I and -S: nothing of this environment's packages, of the tree or of the user is on the path.
    command: list[str | Path] = [sys.executable, "-I", "-S", "-B", ROOT / "tests" / "built_function.py"]
    command += [folder / "request.json", folder / "result.json"]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    assert result["strangers"] == {}, "a module came from outside the artifact"
    assert result["compiled"] == [], "the shipped bytecode was not used"
    return result["answer"]


def test_score_answers_without_a_table(build: Path, tmp_path: Path) -> None:
    answer = invoke(build, "ScoreFunction", tmp_path, "score.json")
    assert answer["statusCode"] == 200, answer
    body = json.loads(answer["body"])
    assert body["degraded"] is True
    assert body["logged"] is False


def test_generate_writes_tips(build: Path, tmp_path: Path) -> None:
    answer = invoke(build, "GenerateFunction", tmp_path, "generate.json")
    assert answer["statusCode"] == 200, answer
    assert json.loads(answer["body"])["candidates"]


def test_consume_keeps_what_it_could_not_store(build: Path, tmp_path: Path) -> None:
    answer = invoke(build, "ConsumeFunction", tmp_path, "consume_task_synced.json")
    assert len(answer["batchItemFailures"]) == 1


def test_generate_reaches_a_model(build: Path, tmp_path: Path) -> None:
    with ModelServer() as model:
        answer = invoke(build, "GenerateFunction", tmp_path, "generate.json", LITELLM_URL=model.url)
    assert answer["statusCode"] == 200, answer
    assert json.loads(answer["body"])["fallback"] is False
    assert len(model.received) == 1


def test_every_call_of_the_gateway_works_after_trimming(build: Path) -> None:
    command: list[str | Path] = [sys.executable, ROOT / "scripts" / "check_generate.py", build]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bedrock: ok" in done.stdout


def sizes(build: Path, artifacts: list[str]) -> dict[str, float]:
    """MB of each package and module."""
    parts: dict[str, float] = {}
    for artifact in artifacts:
        folder = packages(build, artifact)
        for path in (build / artifact).rglob("*"):
            if path.is_file():
                part = f"{artifact}/{path.relative_to(folder).parts[0]}"
                parts[part] = parts.get(part, 0.0) + path.stat().st_size / 1e6
    return parts


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_and_its_layer_fit(build: Path, function: str) -> None:
    parts = sizes(build, [function, "SharedLayer"])
    largest = ", ".join(f"{part} {parts[part]:.1f}" for part in sorted(parts, key=parts.__getitem__)[:-6:-1])
    assert sum(parts.values()) <= LIMITS[function], f"{sum(parts.values()):.1f} MB, of which {largest}"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_carries_nothing_that_the_layer_has(build: Path, function: str) -> None:
    carried = {entry.name for entry in packages(build, function).iterdir()} - {"__pycache__"}
    assert not carried & {entry.name for entry in packages(build, "SharedLayer").iterdir()}


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_only_what_runs_is_shipped(build: Path, artifact: str) -> None:
    own = "tips" if artifact == "SharedLayer" else "app.py"
    shipped = {entry.name for entry in packages(build, artifact).iterdir()}
    assert own in shipped
    assert not shipped & {"Makefile", "requirements.in", "requirements.txt", "tests", "bin", ".lock"}


def test_packages_stay_where_they_are_used(build: Path) -> None:
    numpy = {name for name in ARTIFACTS if (packages(build, name) / "numpy").exists()}
    assert numpy == set(FUNCTIONS)
    assert [name for name in ARTIFACTS if (packages(build, name) / "litellm").exists()] == ["GenerateFunction"]
    # Beside what comes with Lambda's runtime, or is for development: each of these would be a mistake.
    for stranger in ("boto3", "mlflow", "mcp", "tokenizers", "huggingface_hub"):
        assert not [name for name in ARTIFACTS if (packages(build, name) / stranger).exists()]


def code_file(bytecode: bytes) -> str:
    code = marshal.loads(bytecode[16:])  # noqa: S302 (built by this test)
    return str(code.co_filename)


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_all_modules_come_with_unchecked_bytecode(build: Path, artifact: str) -> None:
    folder = packages(build, artifact)
    mounted_at = Path("/opt/python" if artifact == "SharedLayer" else "/var/task")
    for source in folder.rglob("*.py"):
        compiled = Path(importlib.util.cache_from_source(str(source))).read_bytes()
        assert compiled[:4] == importlib.util.MAGIC_NUMBER
        assert int.from_bytes(compiled[4:8], "little") == 0b01, f"{source} is checked against its source"
        # The real path in the cloud, never that of the machine that built it.
        assert code_file(compiled) == str(mounted_at / source.relative_to(folder))


def assert_wheels_fit(build: Path, minor: str, machine: str) -> None:
    glibc = 28  # as scripts/build_artifact.py asks for
    tag_files = [path for artifact in ARTIFACTS for path in packages(build, artifact).glob("*.dist-info/WHEEL")]
    assert tag_files
    native = 0
    for path in tag_files:
        tags = re.findall(r"^Tag: (\S+)$", path.read_text(), re.MULTILINE)
        if any(tag.endswith("-none-any") for tag in tags):
            continue
        native += 1
        python = rf"(cp{minor.replace('.', '')}-cp\d+|cp3\d+-abi3|py3-none)"
        fitting = re.compile(rf"{python}-.*manylinux(_2_(\d+)|2014|2010|1)_{machine}")
        matches = [match for tag in tags if (match := fitting.fullmatch(tag))]
        assert [match for match in matches if int(match[3] or 17) <= glibc], (path.parent.name, tags)
    assert native > 5
    wrong = "aarch64" if machine == "x86_64" else "x86_64"
    assert not [path for path in build.rglob("*.so") if wrong in path.name]


def test_wheels_are_those_of_the_target(build: Path) -> None:
    assert_wheels_fit(build, MINOR, {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine()))


def test_what_is_deployed_is_what_was_tested() -> None:
    # scripts/audit.py relies on it too.
    def pins(file: Path) -> set[str]:
        return set(re.findall(r"^[a-z0-9._-]+==\S+", file.read_text(), re.MULTILINE))

    tested = pins(ROOT / "requirements" / "dev.txt")
    for file in (*ROOT.glob("functions/*/requirements.txt"), ROOT / "layers/shared/requirements.txt"):
        assert pins(file)
        assert pins(file) <= tested, file


def digest(build: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(path for path in build.rglob("*") if path.is_file()):
        total.update(f"{path.relative_to(build)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


@pytest.mark.long
def test_a_second_build_is_equal_byte_for_byte(build: Path, tmp_path: Path) -> None:
    # The template differs: it holds relative paths from where it lies.
    again = run_build(tmp_path / "again")
    assert {name: digest(build / name) for name in ARTIFACTS} == {name: digest(again / name) for name in ARTIFACTS}


@pytest.mark.long
@pytest.mark.parametrize(("minor", "arch", "machine"), [("3.13", "arm64", "aarch64"), ("3.11", "x86_64", "x86_64")])
def test_another_target_can_be_built_here(tmp_path: Path, minor: str, arch: str, machine: str) -> None:
    assert_wheels_fit(run_build(tmp_path / "other", minor, arch), minor, machine)
