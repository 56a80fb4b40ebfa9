"""Build one deployable folder: the shared layer or a function, from its pinned requirements and its source.

    python build_artifact.py layers/shared .aws-sam/build/SharedLayer

`sam build` runs it through the Makefile beside each function. PY (3.13) and ARCH (arm64, as in template.yaml) name
the target, which need not be the interpreter or the machine that builds. The result depends on the pins and the
source only: two builds are equal byte for byte, and in all times of files.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parent
LAYER = SCRIPTS.parent / "layers" / "shared"
ARCHITECTURE = "arm64"  # the default of template.yaml's parameter, so that a plain `sam build` fits its template
FIXED_TIME = 315_619_200  # 1980-01-02 UTC: in every time zone a time that a zip can hold
# Not source: how the folder is built, what it needs, what tests it.
NOT_SHIPPED = shutil.ignore_patterns("Makefile", "requirements.*", "tests", "__pycache__", "*.pyc", ".*")

# What packages bring and no function uses, as globs under the installed packages. tests/test_build_shipped.py runs
# everything that the functions do without it.
UNUSED = (
    "bin",
    ".lock",  # left by uv
    # What is for those who train priors, for the bridge and for the OpenAPI document, none of which is here.
    "tips/bandit/mixed_model.py",
    "tips/bandit/population.py",
    "tips/ingest/handover.py",
    "tips/contracts/refusals.py",
    # numpy, 53 -> 37 MB: tests, a Fortran front end, what only compilers and type checkers read, and sub-packages that
    # are imported when they are first named.
    "numpy/**/tests",
    "numpy/conftest.py",
    "numpy/f2py",
    "numpy/_pyinstaller",
    "numpy/_core/include",
    "numpy/_core/lib",
    "numpy/_core/*_tests*.so",
    "numpy/_core/_simd*.so",  # what numpy's own tests call
    "numpy/random",
    "numpy/fft",
    "numpy/polynomial",
    "numpy/testing",
    "numpy/**/*.pyi",
    "numpy/**/*.pxd",
    # Powertools, 5.6 -> 1 MB: all but logger and metrics.
    "aws_lambda_powertools/event_handler",
    "aws_lambda_powertools/middleware_factory",
    *(
        f"aws_lambda_powertools/utilities/{name}"
        for name in (
            *("auth_alpha", "batch", "circuit_breaker", "data_classes", "data_masking", "feature_flags", "idempotency"),
            *("kafka", "metadata", "parameters", "parser", "streaming", "validation"),
        )
    ),
    # Command lines, and plug-ins of type checkers and test runners.
    "fastapi/__main__.py",
    "fastapi/cli.py",
    "starlette/testclient.py",
    "anyio/pytest_plugin.py",
    "pydantic/mypy.py",
    "pydantic/v1/mypy.py",
    "pydantic/v1/_hypothesis_plugin.py",
    # Other names of `attr` and `yaml`, by which nobody here calls them.
    "attrs",
    "_yaml",
    # LiteLLM, 155 -> 82 MB: the proxy's web interface and server, its guardrails and command line, and an opt-in native
    # path with a fallback. The rest of proxy/ stays because `import litellm` reaches into it, and the tokenizers stay
    # because tiktoken would download them at run time, but for one of models that are gone.
    "litellm/proxy/_experimental/out",
    "litellm/proxy/swagger",
    "litellm/proxy/_lazy_openapi_snapshot.json",
    "litellm/proxy/proxy_server.py",
    "litellm/proxy/client",
    "litellm/proxy/lens",
    "litellm/proxy/guardrails/content_filter_data",
    "litellm/proxy/guardrails/guardrail_hooks",
    "litellm/proxy/common_utils/codex_bundled_models_*.json",
    "litellm/rust_bridge/_native*.so",
    "litellm/litellm_core_utils/tokenizers/ec7223a39ce59f226a68acc30dc1af2788490e15",  # p50k_base
)
# botocore describes 440 services, of which we call one: 27 -> 3 MB, and creating a client takes 60 ms less.
BOTOCORE_DATA = "botocore/data"
SERVICE = "dynamodb"
BOTOCORE_DATA_USED = {
    SERVICE,
    "endpoints.json",
    "partitions.json",
    "sdk-default-configuration.json",
    "_retry.json",
}


def say(message: str) -> None:
    # Not on standard error: of a build that succeeds, sam shows only the standard output.
    print(message, flush=True)


def succeeds(*command: str, **env: str) -> bool:
    return subprocess.run(command, env=os.environ | env, check=False).returncode == 0


def find_python(minor: str) -> str | None:
    """An interpreter of exactly that minor version, for what has to be done by one."""
    command = [str(SCRIPTS / "find_python.sh"), minor]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None


def install(requirements: Path, target: Path, minor: str, arch: str) -> None:
    machine = {"arm64": "aarch64"}.get(arch, arch)
    what = [
        "--target",
        str(target),
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
        "-r",
        str(requirements),
    ]
    if uv := shutil.which("uv"):
        # Amazon Linux 2023 has glibc 2.34; 2.28 is the newest level that wheels are built for.
        platform_options = ["--python-version", minor, "--python-platform", f"{machine}-manylinux_2_28"]
        command = [uv, "pip", "install", "--quiet", "--python", sys.executable, *platform_options, *what]
        # Copies, because a change to a linked file would reach uv's cache.
        if succeeds(*command, UV_LINK_MODE="copy", UV_PYTHON_DOWNLOADS="never"):
            return

    # pip judges environment markers by the interpreter that runs it: that has to be one of the target's version.
    interpreter = find_python(minor)
    if interpreter is None:
        sys.exit(f"uv is missing or could not install, and pip would need a Python {minor} here.")
    say("uv is missing or could not install (it does not read pip's configuration); trying pip.")
    shutil.rmtree(target, ignore_errors=True)
    platforms = [f"--platform=manylinux_2_{glibc}_{machine}" for glibc in range(28, 16, -1)]
    platform_options = ["--python-version", minor, "--implementation", "cp", *platforms]
    command = [sys.executable, "-m", "pip", "--python", interpreter, "install", "--quiet", "--no-compile"]
    if not succeeds(*command, *platform_options, *what):
        sys.exit(f"Could not install {requirements}: see the messages above.")


def unused(packages: Path) -> Iterator[Path]:
    for pattern in UNUSED:
        yield from packages.glob(pattern)
    data = packages / BOTOCORE_DATA
    if data.is_dir():
        yield from (entry for entry in data.iterdir() if entry.name not in BOTOCORE_DATA_USED)


def trim(packages: Path) -> None:
    for path in list(unused(packages)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    endpoints = packages / BOTOCORE_DATA / "endpoints.json"
    if endpoints.exists():
        endpoints.write_text(json.dumps(of_one_service(json.loads(endpoints.read_text())), separators=(",", ":")))


def of_one_service(endpoints: dict[str, Any]) -> dict[str, Any]:
    """Leave of botocore's list of endpoints, which is read whole for the first client, the regions and one service."""
    for partition in endpoints["partitions"]:
        services = partition["services"]
        partition["services"] = {name: services[name] for name in services if name == SERVICE}
    return endpoints


def compile_bytecode(packages: Path, minor: str, mounted_at: str) -> None:
    """Ship bytecode that Python uses as it is.

    Lambda's folders are read-only: without bytecode, every cold start compiles everything again. Bytecode
    that is checked against modification times does not survive packaging, which resets them; an unchecked
    hash does.
    """
    interpreter = find_python(minor)
    if interpreter is None:
        say(f"WARNING: no Python {minor} here, so {packages} gets no bytecode.")
        say("WARNING: cold starts will take 2 to 3 times as long.")
        return
    command = [interpreter, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    # Paths as they are in the cloud: tracebacks name them, and where it was built leaves no trace.
    command += ["-s", str(packages), "-p", mounted_at]
    # In one process and without hash randomisation, so that the bytecode is the same every time.
    if not succeeds(*command, str(packages), PYTHONHASHSEED="0"):
        sys.exit(f"Could not compile everything in {packages}: see the messages above.")
    # Only what came now, so that a source that changed after it was compiled shows by its time.
    for cache in packages.rglob("__pycache__"):
        settle((cache.parent, cache, *cache.iterdir()))


def settle(paths: Iterable[Path]) -> None:
    """Give files and folders the same time and permissions, whoever builds them and whenever."""
    for path in paths:
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (FIXED_TIME, FIXED_TIME))


def megabytes(folder: Path) -> str:
    return f"{sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / 1e6:.1f} MB"


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 (a plain `sam build` takes the python3 that it finds)
        sys.exit(f"Building needs a python3 of 3.11 or newer on PATH; this one is {platform.python_version()}.")
    source, artifact = (Path(argument).resolve() for argument in sys.argv[1:3])
    minor, arch = os.environ.get("PY") or "3.13", os.environ.get("ARCH") or ARCHITECTURE
    packages, mounted_at = (artifact / "python", "/opt/python") if source == LAYER else (artifact, "/var/task")

    install(source / "requirements.txt", packages, minor, arch)
    shutil.copytree(source, packages, ignore=NOT_SHIPPED, dirs_exist_ok=True)
    trim(packages)
    plain = megabytes(artifact)
    settle((artifact, *artifact.rglob("*")))
    compile_bytecode(packages, minor, mounted_at)  # the last step: nothing may change afterwards
    say(f"{artifact.name}: Python {minor}, {arch}: {megabytes(artifact)} ({plain} without bytecode)")


if __name__ == "__main__":
    main()
