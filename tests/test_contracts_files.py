"""Feature registries that are written in several files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from offline.contracts_registry import read_registry
from offline.contracts_syntax import SourceUnreadable
from tests.registry_code import ENTRY, A, entry, read


def beside(tmp_path: Path, **files: str) -> dict[str, tuple[float, set[str]]]:
    """Read the registry among files that are given by their names without suffix."""
    for name, code in files.items():
        file = tmp_path / f"{name.replace('__', '/')}.ts"
        file.parent.mkdir(exist_ok=True)
        file.write_text(code)
    return read(tmp_path, files["registry"])


ELSEWHERE = {
    "constant": {
        "registry": f"import {{ DAY as D }} from './time';\nexport const F = [{entry(ttlSec='D / 1440')}];",
        "time": "export const DAY = 86_400;",
    },
    "all of a file": {
        "registry": f"import * as time from './time.js';\nexport const F = [{entry(ttlSec='time.MINUTE')}];",
        "time": "export const MINUTE = 60;",
    },
    "default": {
        "registry": f"import S from './subjects';\nexport const F = [{entry(invalidatedBy='[S.tip]')}];",
        "subjects": "const S = { tip: 's' } as const;\nexport default S;",
    },
    "enum": {
        "registry": f"import {{ S }} from './shared';\nexport const F = [{entry(invalidatedBy='[S.Tip]')}];",
        "shared__index": "export enum S { Tip = 's' }",
    },
    "through another": {
        "registry": f"import {{ T }} from './all';\nexport const F = [{entry(ttlSec='T')}];",
        "all": "export * from './none';\nexport { MIN as T } from './time';",
        "none": "export const NONE = 0;",
        "time": "export const MIN = 60;",
    },
    "entry": {"registry": "import { a } from './a';\nexport const F = [a];", "a": f"export const a = {ENTRY};"},
    "entries": {"registry": "import A from './a';\nexport default [...A];", "a": f"export default [{ENTRY}];"},
    "exported again": {"registry": "export * from './a';", "a": f"export const A = [{ENTRY}];"},
    "exported again by name": {"registry": "export { A as F } from './a';", "a": f"export const A = [{ENTRY}];"},
    "exported as one": {"registry": "export * as F from './a';", "a": f"export const A = [{ENTRY}];"},
    "all of several": {
        "registry": "import * as all from './all';\nexport const F = Object.values(all);",
        "all": "export * from './a';",
        "a": f"export * from './all';\nexport const a = {ENTRY};\nexport default 5;",
    },
    "imported, then exported": {
        "registry": "import { A } from './a';\nexport { A };",
        "a": f"export const A = [{ENTRY}];",
    },
    "helper": {
        "registry": "import { define } from './define';\nexport const F = [define({ name: 'a', compute })];",
        "define": "const BASE = { ttlSec: 60, invalidatedBy: ['s'] };\n"
        "export function define(f: Partial<E>) { return { ...BASE, ...f }; }",
    },
    "registered by a file": {
        "registry": "import './a';\nexport { registry } from './core';",
        "core": "export const registry = new Registry();",
        "a": f"import {{ registry }} from './core';\nconst a = registry.register({ENTRY});",
    },
    "each other": {
        "registry": f"import {{ T }} from './time';\nexport const N = 1;\nexport const F = [{entry(ttlSec='T')}];",
        "time": "import { N } from './registry';\nexport const T = N * 60;",
    },
    "what is not asked for": {
        "registry": f"import {{ broken }} from './broken';\nexport const F = [{entry(compute='() => broken()')}];",
        "broken": "export const = ;",
    },
}


@pytest.mark.parametrize("files", ELSEWHERE.values(), ids=ELSEWHERE)
def test_files_beside_it_are_read_when_they_are_needed(tmp_path: Path, files: dict[str, str]) -> None:
    assert beside(tmp_path, **files) == A


NOT_THERE = {
    "not exported": (
        {
            "registry": f"import {{ T }} from './time';\nexport const F = [{entry(ttlSec='T')}];",
            "time": "const T = 60;",
        },
        (2, "entry a: ttlSec cannot be evaluated: T is not exported by './time'"),
    ),
    "not constant": (
        {
            "registry": f"import {{ T }} from './time';\n\nexport const F = [{entry(ttlSec='T')}];",
            "time": "export let T;",
        },
        (3, "entry a: ttlSec cannot be evaluated"),
    ),
    "broken": (
        {
            "registry": f"\nimport {{ T }} from './time';\nexport const F = [{entry(ttlSec='T')}];",
            "time": "\nconst = 1;",
        },
        (2, r"syntax error .*\(in time.ts:2:1\)"),
    ),
    "entry": (
        {"registry": "\nexport * from './a';", "a": f"\n\nexport const A = [{entry(ttlSec='days(1)')}];"},
        (2, r"entry a: ttlSec cannot be evaluated: `days\(1\)` .*\(in a.ts:3:\d+\)"),
    ),
    "from a third": (
        {
            "registry": "\n\nexport * from './a';",
            "a": f"import {{ b }} from './b';\nexport const A = [{ENTRY}, b];",
            "b": f"export const b = {entry('b', ttlSec='')};",
        },
        (3, r"entry b: ttlSec is missing \(in b.ts:1:18\)"),
    ),
    "changed there": (
        {"registry": "export { A } from './a';", "a": f"export const A = [{ENTRY}];\nA.pop();"},
        (1, r"`A.pop\(\)` takes values away.*\(in a.ts:2:1\)"),
    ),
    "each other without end": (
        {
            "registry": f"import {{ T }} from './time';\nexport const N = T;\nexport const F = [{entry(ttlSec='N')}];",
            "time": "import { N } from './registry';\nexport const T = N * 60;",
        },
        (3, "entry a: ttlSec .* is defined by itself"),
    ),
}


@pytest.mark.parametrize(("files", "problem"), NOT_THERE.values(), ids=NOT_THERE)
def test_a_problem_in_another_file_stands_where_that_is_imported(
    tmp_path: Path, files: dict[str, str], problem: tuple[int, str]
) -> None:
    with pytest.raises(SourceUnreadable) as refused:
        beside(tmp_path, **files)
    assert refused.value.problems[0].line == problem[0]
    assert re.search(problem[1], refused.value.problems[0].text), refused.value.problems


def test_an_entry_stands_where_it_is_imported_or_where_a_helper_is_called(tmp_path: Path) -> None:
    (tmp_path / "a.ts").write_text(f"\n\n\n\nexport const A = [{ENTRY}];")
    code = (
        "const define = (f: E) => ({ ...f, ttlSec: 1 });\nexport * from './a';\n\nexport const F = [define({ENTRY})];"
    )
    (tmp_path / "registry.ts").write_text(code.replace("{ENTRY}", entry("b")))
    assert [(one.name, one.line) for one in read_registry(tmp_path / "registry.ts").entries.values()] == [
        ("a", 2),
        ("b", 4),
    ]


def test_what_a_function_makes_is_noted(tmp_path: Path) -> None:
    code = (
        f"export const F = [{ENTRY}];\nexport const more = (x: X) => {{ if (x) return null; return {entry('b')}; }};\n"
    )
    (tmp_path / "registry.ts").write_text(code)
    found = read_registry(tmp_path / "registry.ts")
    assert list(found.entries) == ["a"]
    assert [one.line for one in found.notes] == [2]
    assert "makes is not looked at" in found.notes[0].text
