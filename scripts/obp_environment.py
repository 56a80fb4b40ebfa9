"""Make .venv-obp, in which Open Bandit Pipeline runs: the referee of our off-policy estimators.

    python3.11 scripts/obp_environment.py

Run it with Python 3.11: older pandas and scikit-learn, which obp needs, have no later wheels. obp's source is pinned by
its hash and installed without what it asks for. It imports torch for neural networks that are never used here, so a
module of that name, with nothing behind it, stands in for 2 GB.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv-obp"
PYTHON = ENVIRONMENT / "bin" / "python"
SOURCE = ROOT / "requirements" / "obp-source.txt"

TORCH = {
    "__init__.py": "from torch import nn, optim, utils\n\n\nclass Tensor:\n    pass\n\n\ntensor = Tensor\n",
    "nn/__init__.py": "from torch.nn import functional\n\n\nclass Module:\n    pass\n",
    "nn/functional.py": "mse_loss = None\n",
    "optim.py": "",
    "utils/__init__.py": "from torch.utils import data\n",
    "utils/data.py": "class Dataset:\n    pass\n\n\nclass DataLoader:\n    pass\n",
}


def run(*command: str | Path) -> None:
    subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=True)


def install_obp() -> None:
    """Build obp with the pinned builder of the environment, and put the stand-in for torch beside it."""
    pip = (ROOT / ".venv" / "bin" / "python", "-m", "pip", "--python", PYTHON, "install", "--quiet")
    options = ("--no-deps", "--no-build-isolation", "--ignore-requires-python", "--force-reinstall", "--no-cache-dir")
    # Its version is pinned and its hash is checked; without a build isolated from them, so are the builder's.
    run(*pip, *options, "--no-binary", "obp", "--require-hashes", "-r", SOURCE)
    where = subprocess.run(
        [PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    for name, text in TORCH.items():
        file = Path(where.stdout.strip()) / "torch" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    run(PYTHON, "-W", "ignore", "-c", "import obp.dataset, obp.ope, obp.policy")


def main() -> int:
    if not platform.python_version().startswith("3.11."):
        print(f"Open Bandit Pipeline needs Python 3.11, and this is {platform.python_version()}", file=sys.stderr)
        return 1
    try:
        run(
            *(sys.executable, ROOT / "scripts" / "environment.py", ENVIRONMENT),
            *(ROOT / "requirements" / "obp.txt", "--tools", ROOT / ".venv"),
        )
        # What was installed last time lasts as long as neither the environment below it nor obp has changed.
        stamp = ENVIRONMENT / "obp.json"
        wanted = {
            "environment": json.loads((ENVIRONMENT / "installed.json").read_text()),
            "source": hashlib.sha256(SOURCE.read_bytes() + Path(__file__).read_bytes()).hexdigest(),
        }
        if stamp.exists() and json.loads(stamp.read_text()) == wanted:
            return 0
        stamp.unlink(missing_ok=True)
        install_obp()
        stamp.write_text(json.dumps(wanted) + "\n")
    except subprocess.CalledProcessError:
        print("Could not make .venv-obp: see the messages above.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
