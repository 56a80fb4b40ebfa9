"""What docs/export.md says is true: its columns are all there are, and its examples print what they show."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from offline.feature_store.schema import DECISIONS, SCHEMAS
from tests.lab.exports import HOUR_US, NOW, US, decision, exported
from tips.bandit.rewards import Reaction, ReactionLog
from tips.state.decision_codec import decision_item, reactions_value

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
NOW_US = round(NOW.timestamp() * US)
_EXAMPLE = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
_SIMPLE: list[tuple[Callable[[Any], bool], str]] = [
    (pa.types.is_string, "string"),
    (pa.types.is_float64, "double"),
    (pa.types.is_int32, "int"),
    (pa.types.is_int64, "bigint"),
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_timestamp, "timestamp"),
    (pa.types.is_binary, "binary"),
]


def in_hive(kind: Any) -> str:
    """The type as Athena and Spark write it."""
    if pa.types.is_map(kind):
        return f"map<{in_hive(kind.key_type)},{in_hive(kind.item_type)}>"
    if pa.types.is_list(kind):
        return f"array<{in_hive(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return f"struct<{','.join(f'{field.name}:{in_hive(field.type)}' for field in kind)}>"
    return next(name for matches, name in _SIMPLE if matches(kind))


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_column_is_on_the_page_and_no_other(name: str) -> None:
    section = re.split(r"\n##+ ", PAGE.split(f"\n### {name}\n")[1])[0]
    shown = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.MULTILINE)
    fields = [(field.name, re.sub("struct<.*>>", "struct<…>>", in_hive(field.type))) for field in SCHEMAS[name]]
    assert shown == fields


def test_athenas_table_has_every_column_of_decisions() -> None:
    (columns,) = re.findall(r"CREATE EXTERNAL TABLE tips_decisions \(\n(.*?)\n\)\n", PAGE, re.DOTALL)
    assert columns == ",\n".join(f"  {field.name} {in_hive(field.type)}" for field in DECISIONS)


def test_the_examples_print_what_the_page_shows(tmp_path: Path) -> None:
    decided = NOW_US - 3 * HOUR_US
    rewards = [
        ("igw-ucb", "done", 1.0, 20_000),
        ("igw-ucb", "dismiss", -1.0, None),
        ("igw-ucb", "done", 0.6, 80_000),
        ("egreedy-v2", "done", 0.6, None),
    ]
    items = []
    for number, (policy, action, reward, dwell_ms) in enumerate(rewards):
        made = decision(policy=policy, at_us=decided + number * US)
        reaction = Reaction(reward, decided + HOUR_US, f"e{number}", action, dwell_ms)  # type: ignore[arg-type]
        items.append(decision_item(made) | {"reactions": reactions_value(ReactionLog((reaction,)))})
    items.append(decision_item(decision(policy="egreedy-v2", at_us=NOW_US - 25 * HOUR_US)))
    items.append(decision_item(decision(at_us=NOW_US - HOUR_US)))
    exported(items, tmp_path / "export")
    examples = _EXAMPLE.findall(PAGE)
    assert len(examples) == 3
    for code, shown in examples:
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout == shown, code
