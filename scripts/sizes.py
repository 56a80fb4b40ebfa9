"""Print what each function weighs with its layer, unzipped with bytecode and zipped, beside its limit.

python -m scripts.sizes .aws-sam/build
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from scripts.artifacts import FUNCTIONS, LAYER, packages

LIMITS_MB = {"ScoreFunction": 80.0, "GenerateFunction": 220.0, "ConsumeFunction": 75.0}
"""Unzipped. Lambda takes 262; what a cold start has to load is kept well below."""
ZIP_LIMITS_MB = {"ScoreFunction": 50.0, "ConsumeFunction": 50.0}
"""What Lambda takes without S3; SAM uploads generate's through S3."""


@dataclass(frozen=True)
class Size:
    """A function with its layer, in MB of a million bytes. `parts`: of each package and module, unzipped."""

    function: str
    parts: dict[str, float]
    function_zip: float
    layer_zip: float

    @property
    def unzipped(self) -> float:
        return sum(self.parts.values())

    @property
    def zipped(self) -> float:
        return self.function_zip + self.layer_zip

    def largest(self, count: int = 5) -> list[str]:
        """Return the names of the largest parts."""
        return sorted(self.parts, key=self.parts.__getitem__, reverse=True)[:count]

    def __str__(self) -> str:
        zip_limit = ZIP_LIMITS_MB.get(self.function)
        of = f" of {zip_limit:.0f}" if zip_limit else ""
        parts = ", ".join(f"{part} {self.parts[part]:.1f}" for part in self.largest())
        return (
            f"{self.function} and layer: {self.unzipped:.1f} of {LIMITS_MB[self.function]:.0f} MB, "
            f"zip {self.function_zip:.1f} + {self.layer_zip:.1f}{of} MB\n    {parts}"
        )


def make_zip(folder: Path, target: Path) -> None:
    """Zip what lies in `folder`, in the order of the names."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))


def measure(build: Path) -> list[Size]:
    """Return the size of every function."""
    zips = {artifact: _zipped(build / artifact) for artifact in (*FUNCTIONS, LAYER)}
    return [Size(function, _parts(build, (function, LAYER)), zips[function], zips[LAYER]) for function in FUNCTIONS]


def _zipped(folder: Path) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        make_zip(folder, target := Path(scratch, "artifact.zip"))
        return target.stat().st_size / 1e6


def _parts(build: Path, artifacts: Iterable[str]) -> dict[str, float]:
    parts: dict[str, float] = {}
    for artifact in artifacts:
        folder = packages(build, artifact)
        for path in (path for path in folder.rglob("*") if path.is_file()):
            part = path.relative_to(folder).parts[0]
            parts[part] = parts.get(part, 0.0) + path.stat().st_size / 1e6
    return parts


if __name__ == "__main__":
    print(*measure(Path(sys.argv[1])), sep="\n")
