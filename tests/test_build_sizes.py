"""A function and its layer fit: Lambda's limits, and what a cold start may have to load."""

from __future__ import annotations

from functools import cache

import pytest

from scripts.artifacts import ARTIFACTS, FUNCTIONS, LAYER, packages
from scripts.sizes import LIMITS_MB, ZIP_LIMITS_MB, Size, measure
from tests.built import built

pytestmark = pytest.mark.build


@cache
def sizes() -> dict[str, Size]:
    return {size.function: size for size in measure(built())}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_and_its_layer_fit(function: str) -> None:
    size = sizes()[function]
    print(size)
    assert len(size.largest()) == 5
    assert 0 < size.unzipped <= LIMITS_MB[function], str(size)
    assert 0 < size.zipped < size.unzipped
    if function in ZIP_LIMITS_MB:
        assert size.zipped < ZIP_LIMITS_MB[function], str(size)


def test_the_limits_are_those_agreed() -> None:
    assert LIMITS_MB == {"ScoreFunction": 80, "GenerateFunction": 220, "ConsumeFunction": 75}
    assert ZIP_LIMITS_MB == {"ScoreFunction": 50, "ConsumeFunction": 50}


def test_every_file_counts_once() -> None:
    size = sizes()["ConsumeFunction"]
    files = [
        path for artifact in ("ConsumeFunction", LAYER) for path in (built() / artifact).rglob("*") if path.is_file()
    ]
    assert size.unzipped == pytest.approx(sum(path.stat().st_size for path in files) / 1e6)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_carries_nothing_that_the_layer_has(function: str) -> None:
    carried = {entry.name for entry in packages(built(), function).iterdir()} - {"__pycache__"}
    assert not carried & {entry.name for entry in packages(built(), LAYER).iterdir()}


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_only_what_runs_is_shipped(artifact: str) -> None:
    own = "tips" if artifact == LAYER else "app.py"
    shipped = {entry.name for entry in packages(built(), artifact).iterdir()}
    assert own in shipped
    assert not shipped & {"Makefile", "requirements.in", "requirements.txt", "tests", "bin", ".lock"}


def test_packages_stay_where_they_are_used() -> None:
    numpy = {name for name in ARTIFACTS if (packages(built(), name) / "numpy").exists()}
    assert numpy == set(FUNCTIONS)
    assert [name for name in ARTIFACTS if (packages(built(), name) / "litellm").exists()] == ["GenerateFunction"]
    # Beside what comes with Lambda's runtime, or is for development: each of these would be a mistake.
    for stranger in ("boto3", "mlflow", "mcp", "tokenizers", "huggingface_hub", "awslambdaric", "snapshot_restore_py"):
        assert not [name for name in ARTIFACTS if (packages(built(), name) / stranger).exists()]
