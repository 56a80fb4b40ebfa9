"""Nothing is shipped that no function imports, seen from everything that the built functions do."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from devstack.table import TableServer, client, create_table
from scripts.artifacts import ARTIFACTS, FUNCTIONS, LAYER, packages
from tests.built import built
from tests.built_scenarios import SCENARIOS
from tests.conftest import LocalTable
from tests.shipped import idle_distributions, idle_modules, idle_subpackages

pytestmark = pytest.mark.build

Imported = dict[str, frozenset[Path]]


@pytest.fixture(scope="module")
def imported(table_server: TableServer, tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """By artifact, the files of it that were imported by what carries it."""
    by_function: Imported = {}
    for function, scenario in SCENARIOS.items():
        name = f"tips-{uuid.uuid4().hex[:12]}"
        create_table(table_server.endpoint, name)
        table = LocalTable(table_server.endpoint, name, client(table_server.endpoint))
        by_function[function] = scenario(table, tmp_path_factory.mktemp(function))
    return by_function | {LAYER: frozenset().union(*by_function.values())}


def test_the_scenarios_are_those_of_all_functions() -> None:
    assert set(SCENARIOS) == set(FUNCTIONS)


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_every_package_is_imported(imported: Imported, artifact: str) -> None:
    folder = packages(built(), artifact)
    assert idle_distributions(folder, imported[artifact]) == []
    assert idle_modules(folder, imported[artifact]) == []


def test_every_module_of_ours_is_imported(imported: Imported) -> None:
    folder = packages(built(), LAYER)
    ours = set((folder / "tips").rglob("*.py"))
    assert len(ours) > 50
    assert sorted(str(path.relative_to(folder)) for path in ours - imported[LAYER]) == []


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_large_parts_that_are_not_imported_are_known(imported: Imported, artifact: str) -> None:
    """Each is here with why it stays; a new one is either trimmed by scripts/build_artifact.py or explained."""
    known = {
        "botocore/data",  # is read
        "numpy.libs",  # numpy's own libraries link to it
        "litellm/llms/huggingface/huggingface_llms_metadata",  # is read where a Hugging Face model is called directly
        # `litellm/__init__.py` and parts that are imported name these where a proxy runs; none is asked for here, but
        # they are too close to what is.
        "litellm/proxy/auth",
        "litellm/proxy/db",
        "litellm/proxy/hooks",
        "litellm/proxy/management_endpoints",
    }
    large = idle_subpackages(packages(built(), artifact), imported[artifact], at_least_mb=1.0)
    print({name: round(size, 1) for name, size in large.items()})
    assert set(large) <= known
