"""Build one deployable folder: the shared layer or a function, from its pinned requirements and its source.

    python build_artifact.py layers/shared .aws-sam/build/SharedLayer

`sam build` runs it through the Makefile beside each function. PY (3.13) and ARCH (this machine's) name the
target, which need not be the interpreter or the machine that builds. The result depends on the pins and the
source only: two builds are equal byte for byte.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
LAYER = SCRIPTS.parent / "layers" / "shared"
# Not source: how the folder is built, what it needs, what tests it.
NOT_SHIPPED = shutil.ignore_patterns("Makefile", "requirements.*", "tests", "__pycache__", "*.pyc", ".*")

# What packages bring and nothing here uses, as globs under the installed packages.
UNUSED = (
    "bin",
    ".lock",  # left by uv
    # numpy, 53 -> 44 MB: tests, a Fortran front end, and what only compilers and type checkers read.
    "numpy/**/tests",
    "numpy/conftest.py",
    "numpy/f2py",
    "numpy/_pyinstaller",
    "numpy/_core/include",
    "numpy/_core/lib",
    "numpy/random/lib",
    "numpy/**/*.pyi",
    "numpy/**/*.pxd",
    # LiteLLM, 155 -> 95 MB: the proxy's web interface and server, and an opt-in native path with a fallback.
    # The rest of proxy/ stays because `import litellm` reaches into it, and the tokenizers stay because
    # tiktoken would download them at run time.
    "litellm/proxy/_experimental/out",
    "litellm/proxy/swagger",
    "litellm/proxy/_lazy_openapi_snapshot.json",
    "litellm/proxy/proxy_server.py",
    "litellm/rust_bridge/_native*.so",
)
# botocore describes 440 services, of which we call one: 27 -> 4 MB, and creating a client takes 40 ms less.
BOTOCORE_DATA = "botocore/data"
BOTOCORE_DATA_USED = {
    "dynamodb",
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


def host_architecture() -> str:
    machine = platform.machine().lower()
    return {"aarch64": "arm64", "amd64": "x86_64"}.get(machine, machine)


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


def megabytes(folder: Path) -> str:
    return f"{sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / 1e6:.1f} MB"


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 (a plain `sam build` takes the python3 that it finds)
        sys.exit(f"Building needs a python3 of 3.11 or newer on PATH; this one is {platform.python_version()}.")
    source, artifact = (Path(argument).resolve() for argument in sys.argv[1:3])
    minor, arch = os.environ.get("PY") or "3.13", os.environ.get("ARCH") or host_architecture()
    packages, mounted_at = (artifact / "python", "/opt/python") if source == LAYER else (artifact, "/var/task")

    install(source / "requirements.txt", packages, minor, arch)
    trim(packages)
    shutil.copytree(source, packages, ignore=NOT_SHIPPED, dirs_exist_ok=True)
    plain = megabytes(artifact)
    compile_bytecode(packages, minor, mounted_at)
    say(f"{artifact.name}: Python {minor}, {arch}: {megabytes(artifact)} ({plain} without bytecode)")


if __name__ == "__main__":
    main()
