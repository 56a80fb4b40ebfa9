"""Make a virtual environment from a hash-pinned requirements file; do nothing when it is already there.

    python environment.py .venv requirements/dev.txt
    python environment.py .venv-sam requirements/sam.txt --tools .venv

Run it with the interpreter that the environment is to have. uv does the installing: it comes out of the
environment itself (bootstrapped by pip from requirements/uv.txt) or, with --tools, out of another one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

UV_REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements" / "uv.txt"


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def succeeds(*command: str | Path) -> bool:
    # What uv prints on stdout belongs to the log of the installation, not to the output of the make target.
    env = os.environ | {"UV_PYTHON_DOWNLOADS": "never"}
    return subprocess.run(command, env=env, stdout=sys.stderr, check=False).returncode == 0


def interpreter_of(python: Path) -> str:
    """Describe the interpreter behind an environment's python; empty when it does not run (any more)."""
    probe = "import sys; print(sys._base_executable, sys.version.split()[0])"
    try:
        done = subprocess.run([python, "-c", probe], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def install(environment: Path, requirements: Path, tools: Path) -> bool:
    python, tool = environment / "bin" / "python", tools / "bin" / "python"

    def pip(*arguments: str | Path) -> bool:
        return succeeds(tool, "-m", "pip", "--python", python, "install", "--quiet", "--require-hashes", *arguments)

    if tools == environment and not pip("-r", UV_REQUIREMENTS):
        return False
    # Compiled now, all at once: LiteLLM compiled at its first import takes longer than a function has time for.
    options = ["--compile-bytecode", "--require-hashes"]
    if succeeds(tool, "-m", "uv", "pip", "sync", "--python", python, *options, requirements):
        return True
    say("uv could not install. It does not read pip's configuration (say, a company index), so pip tries now.")
    return pip("--no-deps", "-r", requirements)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("environment", type=Path)
    parser.add_argument("requirements", type=Path)
    parser.add_argument("--tools", type=Path, help="environment whose uv and pip are used (default: its own)")
    options = parser.parse_args()
    environment: Path = options.environment.absolute()
    if environment.is_symlink():
        say(f"{options.environment} is a link: what another checkout uses would be cleared. Remove the link.")
        return 1
    requirements: Path = options.requirements
    tools: Path = (options.tools or options.environment).absolute()

    wanted = {
        "path": str(environment),  # an environment that was moved or copied still points to its old place
        "interpreter": interpreter_of(Path(sys.executable)),
        "requirements": hashlib.sha256(requirements.read_bytes()).hexdigest(),
    }
    stamp = environment / "installed.json"
    found = json.loads(stamp.read_text()) if stamp.exists() else {"path": str(environment)}
    if found == wanted:
        return 0

    if found["path"] != wanted["path"] or interpreter_of(environment / "bin" / "python") != wanted["interpreter"]:
        say(f"Making {options.environment} with {wanted['interpreter']}")
        venv.create(environment, clear=True, symlinks=True, with_pip=tools == environment)
    say(f"Installing {requirements} into {options.environment}; the next time only if it has changed")
    stamp.unlink(missing_ok=True)
    if not install(environment, requirements, tools):
        say(f"Could not install {requirements}: see the messages above.")
        return 1
    stamp.write_text(json.dumps(wanted) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
