"""The built artifacts run on their own, are for the processor that was asked for, and come out the same every time."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from devstack.emulator import MINOR
from devstack.template import ROOT, Template
from scripts import built_template
from scripts.artifacts import ARTIFACTS, LAYER, packages, processors
from scripts.build_artifact import ARCHITECTURE
from scripts.sizes import make_zip
from tests.built import built, event, run, run_build
from tests.model_server import ModelServer

pytestmark = pytest.mark.build

HERE = {"aarch64": "arm64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}


def test_score_answers_without_a_table(tmp_path: Path) -> None:
    (answer,) = run("ScoreFunction", tmp_path, [event("score.json")]).answer
    assert answer["statusCode"] == 200, answer
    body = json.loads(answer["body"])
    assert body["degraded"] is True
    assert body["logged"] is False


def test_generate_writes_tips(tmp_path: Path) -> None:
    (answer,) = run("GenerateFunction", tmp_path, [event("generate.json")]).answer
    assert answer["statusCode"] == 200, answer
    assert json.loads(answer["body"])["candidates"]


def test_consume_keeps_what_it_could_not_store(tmp_path: Path) -> None:
    (answer,) = run("ConsumeFunction", tmp_path, [event("consume_task_synced.json")]).answer
    assert len(answer["batchItemFailures"]) == 1


def test_generate_reaches_a_model(tmp_path: Path) -> None:
    with ModelServer() as model:
        (answer,) = run("GenerateFunction", tmp_path, [event("generate.json")], LITELLM_URL=model.url).answer
    assert answer["statusCode"] == 200, answer
    assert json.loads(answer["body"])["fallback"] is False
    assert len(model.received) == 1


def test_every_call_of_the_gateway_works_after_trimming() -> None:
    command: list[str | Path] = [sys.executable, ROOT / "scripts" / "check_generate.py", built()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bedrock: ok" in done.stdout


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
    assert native


def assert_is_for(build: Path, arch: str, minor: str = MINOR) -> None:
    assert_wheels_fit(build, minor, MACHINES[arch])
    assert processors(build) == {arch}
    parameter = yaml.safe_load((build / "template.yaml").read_text())["Parameters"]["Architecture"]
    # With neither a default nor a choice that is not there, no parameter can be wrong.
    assert (parameter["Default"], parameter["AllowedValues"]) == (arch, [arch])


def test_artifacts_and_their_template_are_for_this_machine() -> None:
    assert_is_for(built(), HERE)


def test_artifacts_for_another_processor_can_be_built_here(tmp_path: Path) -> None:
    other = "x86_64" if HERE == "arm64" else "arm64"
    assert_is_for(run_build(tmp_path / "other", MINOR, other), other)


@pytest.mark.long
def test_artifacts_for_another_python_can_be_built_here(tmp_path: Path) -> None:
    assert_is_for(run_build(tmp_path / "other", "3.11", "x86_64"), "x86_64", "3.11")


def test_a_plain_sam_build_fits_the_templates_default(tmp_path: Path) -> None:
    assert Template().resolve({"Ref": "Architecture"}) == ARCHITECTURE
    environment = {name: value for name, value in os.environ.items() if name not in ("ARCH", "PYTHONPATH")}
    command: list[str | Path] = [
        ROOT / "scripts" / "sam_offline.sh",
        "build",
        "ConsumeFunction",
        "--build-dir",
        tmp_path / "plain",
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert processors(tmp_path / "plain") == {ARCHITECTURE}
    assert f"ConsumeFunction: Python 3.13, {ARCHITECTURE}" in done.stdout + done.stderr


def test_wheels_are_the_targets_without_uv_too(tmp_path: Path) -> None:
    other = "x86_64" if HERE == "arm64" else "arm64"
    path = os.pathsep.join(folder for folder in os.environ["PATH"].split(os.pathsep) if ".venv" not in folder)
    command: list[str | Path] = [sys.executable, ROOT / "scripts" / "build_artifact.py"]
    command += [ROOT / "functions" / "consume", tmp_path / "ConsumeFunction"]
    environment = os.environ | {"PATH": path, "PY": MINOR, "ARCH": other}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trying pip" in done.stdout
    assert_wheels_fit(tmp_path, MINOR, MACHINES[other])
    assert processors(tmp_path) == {other}


def test_artifacts_for_two_processors_are_refused(tmp_path: Path) -> None:
    for name, machine in (("ScoreFunction", 62), ("ConsumeFunction", 183)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.so").write_bytes(b"\x7fELF".ljust(18, b"\0") + machine.to_bytes(2, "little"))
    with pytest.raises(ValueError, match="for arm64, x86_64"):
        built_template.settle(tmp_path)


def digest(artifact: Path) -> str:
    """Return what a file's name, bytes, permissions and time are worth, over all files and folders."""
    total = hashlib.sha256()
    for path in (artifact, *sorted(artifact.rglob("*"))):
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        total.update(f"{path.relative_to(artifact)}\0{status.st_mode}\0{status.st_mtime_ns}\0{content}\n".encode())
    return total.hexdigest()


def test_a_second_build_is_the_same_in_bytes_permissions_and_times(tmp_path: Path) -> None:
    # The template differs: it holds relative paths from where it lies.
    again = run_build(tmp_path / "again", umask=0o077)
    assert {name: digest(built() / name) for name in ARTIFACTS} == {name: digest(again / name) for name in ARTIFACTS}
    zips = []
    for build in (built(), again):
        make_zip(build / LAYER, tmp_path / "layer.zip")
        zips.append((tmp_path / "layer.zip").read_bytes())
    assert zips[0] == zips[1]


def test_what_is_deployed_is_what_was_tested() -> None:
    # scripts/audit.py relies on it too.
    def pins(file: Path) -> set[str]:
        return set(re.findall(r"^[a-z0-9._-]+==\S+", file.read_text(), re.MULTILINE))

    tested = pins(ROOT / "requirements" / "dev.txt")
    for file in (*ROOT.glob("functions/*/requirements.txt"), ROOT / "layers/shared/requirements.txt"):
        assert pins(file)
        assert pins(file) <= tested, file
