"""Tests of what runs offline. They need the lab's environment (`make env-lab`) and run by `make test-lab`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Elsewhere their modules could not even be imported.
collect_ignore_glob = ["test_*.py"] if find_spec("polars") is None else []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.lab)
