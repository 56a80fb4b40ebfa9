"""Feature registries as TypeScript projects write them, and as they had better not: read whole, or refused by name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from offline.cli import main
from offline.contracts_check import differences, dtype_notes
from offline.contracts_registry import Registry, RegistryEntry
from offline.contracts_syntax import SourceUnreadable
from tests.registry_code import ENTRY, A, entry, read
from tips.features.profile_schema import PROFILE_FEATURES

EXAMPLE = Path(__file__).parent / "contracts" / "registry.ts"


def test_line_ends_byte_order_mark_and_tsx(tmp_path: Path) -> None:
    code = f"// a\nexport const F = [\n  {ENTRY},\n] as const;\n"
    assert read(tmp_path, code.replace("\n", "\r\n")) == A
    assert read(tmp_path, b"\xef\xbb\xbf" + code.encode()) == A
    page = code + "export const Page = () => <ul>{F.map((f) => <li key={f.name}>{`${f.ttlSec}`}</li>)}</ul>;\n"
    assert read(tmp_path, page, "registry.tsx") == A
    with pytest.raises(SourceUnreadable, match="syntax error"):
        read(tmp_path, page, "registry.ts")


def test_several_subjects_in_any_order(tmp_path: Path) -> None:
    code = f"const ON = ['x', 'y'];\nexport const F = [{entry(invalidatedBy='[`z`, ...ON, `x`]')}, {entry('b')}];"
    assert read(tmp_path, code) == {"a": (60.0, {"x", "y", "z"}), "b": (60.0, {"s"})}


def test_one_object_under_two_keys_is_two_entries(tmp_path: Path) -> None:
    code = f"const shared = {entry('', name='')};\nexport const F = {{ a: shared, b: shared }};"
    assert read(tmp_path, code) == {"a": (60.0, {"s"}), "b": (60.0, {"s"})}


def test_a_syntax_error_names_line_and_column_in_characters(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable) as refused:
        read(tmp_path, 'const a = 1;\nconst b = "äöü€"; const = 2;\n')
    assert (refused.value.problems[0].line, refused.value.problems[0].column) == (2, 19)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable) as refused:
        read(tmp_path, f"export const F = [{entry(ttlSec='x')},\n{entry('b', invalidatedBy='')},\n{entry('c')}];")
    assert [one.line for one in refused.value.problems] == [1, 2]


@pytest.mark.parametrize("content", [b"\xff\xfee\x00", None])
def test_a_file_that_is_no_text_or_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    file = tmp_path / "registry.ts"
    if content is not None:
        file.write_bytes(content)
    assert main(["contracts", "check", "--registry", str(file)]) == 2
    assert str(file) in capsys.readouterr().err


def test_what_is_exported_from_elsewhere_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "registry.ts"
    file.write_text(EXAMPLE.read_text() + "\nexport * from './more';\n")
    assert main(["contracts", "check", "--registry", str(file)]) == 0
    assert "'./more' exports is not looked at" in capsys.readouterr().out


# The comparison


def test_the_registry_agrees_with_ours(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contracts", "check"]) == 0
    assert f"{len(PROFILE_FEATURES)} features, the same as here" in capsys.readouterr().out


def test_the_environment_names_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.ts"
    code = EXAMPLE.read_text().replace("ttlSec: 7 * DAY", "ttlSec: 3 * DAY").replace('"tip_volume_30d"', '"tips_30d"')
    file.write_text(code.replace("invalidatedBy: [SUBJECTS.feedback]", "invalidatedBy: [SUBJECTS.served]", 1))
    monkeypatch.setenv("PROFILE_REGISTRY_TS", str(file))
    assert main(["contracts", "check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{file} differs from here:"
    told = [re.sub(r" +", " ", line.strip()) for line in lines[1:]]
    assert [re.sub(r"line \d+", "line N", line) for line in told] == [
        "mean_dwell_ms_30d invalidated by signals.tip.feedback here, signals.tip.served there (line N)",
        "preferred_hour ttl 604800 here, 259200 there (line N)",
        "tip_volume_30d missing there",
        "tips_30d missing here (line N)",
    ]


def test_each_kind_of_difference_is_found() -> None:
    ours = [replace(PROFILE_FEATURES[0], name="x", invalidated_by=("s", "t"), ttl_sec=60)]

    def found(ttl_sec: float, subjects: set[str], dtype: str | None = "number") -> Registry:
        return Registry({"x": RegistryEntry("x", ttl_sec, frozenset(subjects), dtype, 1)}, [])

    assert differences(found(60, {"t", "s"}), ours) == []
    assert [how for _, how in differences(found(61, {"s", "t"}), ours)] == ["ttl 60 here, 61 there (line 1)"]
    assert [how for _, how in differences(found(60.5, {"s", "t"}), ours)] == ["ttl 60 here, 60.5 there (line 1)"]
    assert len(differences(found(60, {"s"}), ours)) == 1
    assert dtype_notes(found(60, set()), ours) == dtype_notes(found(60, set(), None), ours) == []
    assert dtype_notes(found(60, set(), "boolean"), ours) == ["x is float here, boolean there (line 1)"]
