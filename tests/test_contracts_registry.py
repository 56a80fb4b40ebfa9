"""Feature registries as TypeScript projects write them, and as they had better not: read whole, or refused by name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from offline.cli import main
from offline.contracts_check import differences, dtype_notes
from offline.contracts_registry import Registry, RegistryEntry, read_registry
from offline.contracts_syntax import SourceUnreadable
from tips.features.profile_schema import PROFILE_FEATURES

EXAMPLE = Path(__file__).parent / "contracts" / "registry.ts"
ENTRY = '{ name: "a", dtype: "number", ttlSec: 60, description: "", compute: () => 1, invalidatedBy: ["s"] }'
A = {"a": (60.0, {"s"})}


def read(tmp_path: Path, code: str | bytes, name: str = "registry.ts") -> dict[str, tuple[float, set[str]]]:
    """Return ttl and subjects by name."""
    file = tmp_path / name
    file.write_bytes(code if isinstance(code, bytes) else code.encode())
    return {one.name: (one.ttl_sec, set(one.invalidated_by)) for one in read_registry(file).entries.values()}


def entry(named: str = "a", /, **changes: str) -> str:
    """Return the code of an entry; a change to "" leaves a field out."""
    fields = {
        "name": f'"{named}"',
        "dtype": '"number"',
        "ttlSec": "60",
        "description": '""',
        "compute": "() => 1",
        "invalidatedBy": '["s"]',
        **changes,
    }
    return "{ " + ", ".join(f"{field}: {code}" for field, code in fields.items() if code) + " }"


SAME = {
    "array": f"export const F = [{ENTRY}];",
    "as const": f"export const F = [{ENTRY}] as const;",
    "satisfies": f"export const F = [{ENTRY}] as const satisfies readonly Feature[];",
    "annotated": f"export const F: ReadonlyArray<Feature<number>> = [{ENTRY}];",
    "old assertion": f"export const F = <readonly Feature[]>[{ENTRY}];",
    "default export": f"export default [{ENTRY}];",
    "exported later": f"const F = [{ENTRY}];\nexport {{ F as default }};",
    "export =": f"const F = [{ENTRY}];\nexport = F;",
    "module.exports": f"const F = [{ENTRY}];\nmodule.exports = F;",
    "no export": f"const F = [{ENTRY}];",
    "frozen": f"export const F = Object.freeze([{ENTRY}] as const);",
    "object by name": f"export const F = {{ a: {entry('', name='')} }};",
    "object with quoted key": f'export const F = {{ "a": {entry("", name="")} }} satisfies Record<string, Feature>;',
    "object with computed key": f'const K = "a" as const;\nexport const F = {{ [K]: {entry("", name="")} }};',
    "object with other keys": f"export const F = {{ camelCase: {ENTRY} }};",
    "within an object": f"export default {{ version: 1, features: [{ENTRY}], names: ['a'] }};",
    "Map": f'export const F = new Map<string, Feature>([["a", {entry("", name="")}]]);',
    "Map of named entries": f'export const F: ReadonlyMap<string, Feature> = new Map([["camelCase", {ENTRY}]]);',
    "Map by identifiers": f'const a = {ENTRY};\nconst PAIRS = [["a", a]];\nexport default new Map(PAIRS);',
    "Map that is set": f'const K = "a";\nexport const F = new Map();\nF.set(K, {entry("", name="")});',
    "static field": f"export class Registry {{ static readonly F: Feature[] = [{ENTRY}]; static n = 1; m = 2; }}",
    "static field by name": f"export default class {{ static a = 1; static F = {{ a: {entry('', name='')} }}; }}",
    "abstract class": f"export abstract class Registry {{ private static readonly F = new Set([{ENTRY}]); }}",
    "one call per entry": f"export const a = define({ENTRY});",
    "call without a result": f"define<number>({ENTRY});",
    "call of a method": f"const registry = new Registry();\nregistry.register({ENTRY});",
    "chained calls": f"export const registry = builder().add({ENTRY}).freeze();",
    "call with all": f"export const F = defineFeatures([{ENTRY}]);",
    "shorthand": f"const a = {ENTRY};\nexport const F = {{ a }};",
    "by identifier": f"const a = {ENTRY} as const;\nexport const F = [a];",
    "spread": f"const MORE = [{ENTRY}];\nexport const F = [...MORE, ...[]];",
    "exported twice": f"export const a = {ENTRY};\nexport const F = [a];\nexport const BY_NAME = {{ a }};",
    "declared after use": f"export const F = [a];\nconst a = {ENTRY};",
    "trailing commas": "export const F = [" + entry(invalidatedBy='["s",]').replace(" }", ", }") + ",];",
    "quoted keys": 'export const F = [{ "name": "a", \'ttlSec\': 60, "invalidatedBy": ["s"] }];',
    "comments": f"/* [ */ export const F = [ // {ENTRY},\n {ENTRY.replace('60', '/* 61 */ 60')}, /* {ENTRY} */ ];",
    "entry commented out": f"export const F = [{ENTRY},\n // {entry('gone')},\n /* {entry('away')}, */ ];",
    "shared fields": "export const BASE = { dtype: 'number', ttlSec: 99, invalidatedBy: ['s'] };\n"
    "export const F = [{ ...BASE, name: 'a', ttlSec: 60, compute }];",
    "ttl by constant": f"const MINUTE = 60;\nexport const F = [{entry(ttlSec='MINUTE')}];",
    "ttl by arithmetic": "const DAY = 24 * 60 * 60;\n"
    f"export const F = [{entry(ttlSec='(DAY / 24 - 3_540) * 2 ** 0 % 61')}];",
    "ttl by member": f"const TTL = {{ minute: 60 }} as const;\nexport const F = [{entry(ttlSec='TTL.minute')}];",
    "ttl by index": f"const TTL = {{ 'a b': 60 }};\nexport const F = [{entry(ttlSec='TTL[`a b`]!')}];",
    "ttl in hexadecimal": f"export const F = [{entry(ttlSec='0x3C')}];",
    "ttl with exponent": f"export const F = [{entry(ttlSec='+6e1')}];",
    "ttl as const": f"export const F = [{entry(ttlSec='60 as Seconds')}];",
    "template": f"export const F = [{entry(name='`a`', invalidatedBy='[`s`]')}];",
    "template of constants": f"const P = 's';\nexport const F = [{entry(invalidatedBy='[`${P}`]')}];",
    "concatenated": f"export const F = [{entry(invalidatedBy='[`` + `s`]')}];",
    "escapes": "export const F = [" + entry(invalidatedBy=r"['\u0073', '\x73', '\u{73}']") + "];",
    "one subject": f"export const F = [{entry(invalidatedBy=repr('s'))}];",
    "enum": f'enum S {{ Tip = "s" }}\nexport const F = [{entry(invalidatedBy="[S.Tip]")}];',
    "subjects by name": f"const ON = ['s'] as const;\nexport const F = [{entry(invalidatedBy='ON')}];",
    "subjects spread": f"const ON = ['s'] as const;\nexport const F = [{entry(invalidatedBy='[...ON]')}];",
    "compute as method": "export const F = [{ name: 'a', ttlSec: 60, invalidatedBy: ['s'], "
    "async compute({ a }: C): Promise<number> { return `}]${a}`.length; } }];",
    "compute with traps": "export const F = [" + entry(compute='(x) => ({ name: x, ttlSec: 1, s: /["{]/ })') + "];",
    "nested object": "export const F = [" + entry(meta="{ name: 'x', ttlSec: 5, invalidatedBy: [] }") + "];",
    "decoy constant": f"const EXAMPLE = {entry('decoy')};\nexport const F = [{ENTRY}];",
    "decoy in a function": f"export function example() {{ return {entry('decoy')}; }}\nexport const F = [{ENTRY}];",
    "decoy in a type": "export interface Feature { name: 'decoy'; ttlSec: number; invalidatedBy: [] }\n"
    f"export const F = [{ENTRY}];",
    "decoy in a text": f"const TEXT = `export const G = [{entry('decoy')}]`;\nexport const F = [{ENTRY}];",
    "derived": f"export const F = [{ENTRY}];\nexport const NAMES = F.map((f) => f.name);\n"
    "export const BY = Object.fromEntries(F.map((f) => [f.name, f]));",
    "other exports": "export const VERSION = 3;\nexport type { T } from './t';\nexport class C {}\n"
    f"export const F = [{ENTRY}];",
    "empty statement": f";;export const F = [{ENTRY}];;",
}


@pytest.mark.parametrize("code", SAME.values(), ids=SAME)
def test_however_it_is_written_it_says_the_same(tmp_path: Path, code: str) -> None:
    assert read(tmp_path, code) == A


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


REFUSED = {
    "imported ttl": (
        f"import {{ DAY }} from './time';\nexport const F = [{entry(ttlSec='7 * DAY')}];",
        r"2:\d+: entry a: ttlSec .* DAY is imported from './time'",
    ),
    "ttl from a call": (f"export const F = [{entry(ttlSec='days(7)')}];", r"entry a: ttlSec .* `days\(7\)`"),
    "ttl from process": (f"export const F = [{entry(ttlSec='process.env.TTL')}];", "entry a: ttlSec .* process"),
    "ttl by choice": (f"export const F = [{entry(ttlSec='DEV ? 1 : 60')}];", "entry a: ttlSec"),
    "ttl that may change": (f"let T = 60;\nexport const F = [{entry(ttlSec='T')}];", "entry a: ttlSec .* may change"),
    "ttl of itself": (f"const T = T + 1;\nexport const F = [{entry(ttlSec='T')}];", "ttlSec .* is defined by itself"),
    "ttl as a text": (f"export const F = [{entry(ttlSec=repr('60'))}];", "entry a: ttlSec must be a number"),
    "ttl below zero": (f"export const F = [{entry(ttlSec='-60')}];", "entry a: ttlSec must be a number above 0"),
    "ttl divided by zero": (f"export const F = [{entry(ttlSec='60 / 0')}];", "entry a: ttlSec .* no finite number"),
    "ttl in old octal": (f"export const F = [{entry(ttlSec='074')}];", "074"),
    "no ttl": (f"export const F = [{entry(ttlSec='')}];", "entry a: ttlSec is missing"),
    "no subjects": (f"export const F = [{entry(invalidatedBy='')}];", "entry a: invalidatedBy is missing"),
    "subjects that are none": (f"export const F = [{entry(invalidatedBy='[1]')}];", "entry a: invalidatedBy must be"),
    "subjects from a set": (f"export const F = [{entry(invalidatedBy='new Set()')}];", "entry a: invalidatedBy"),
    "imported subject": (
        f"import S from './s';\nexport const F = [{entry(invalidatedBy='[S.tip]')}];",
        "entry a: invalidatedBy .* S is imported",
    ),
    "no name": (f"export const F = [{entry(name='')}];", "name must be a text"),
    "name from a call": (f"export const F = [{entry(name='n()')}];", "name cannot be evaluated"),
    "given twice": (
        f"export const F = [{ENTRY.replace('ttlSec', 'ttlSec: 1, ttlSec')}];",
        "entry a: ttlSec is given twice",
    ),
    "duplicate": (f"export const F = [{ENTRY},\n{ENTRY}];", r"2:1: entry a: is declared twice, first on line 1"),
    "duplicate in another list": (f"export const F = [{ENTRY}];\nexport const G = [{ENTRY}];", "declared twice"),
    "imported entry": (f"import {{ b }} from './b';\nexport const F = [{ENTRY}, b];", r"`b` .* imported from './b'"),
    "imported entries": (f"import {{ B }} from './b';\nexport const F = [{ENTRY}, ...B];", r"`\.\.\.B` .* imported"),
    "entry from a call": (f"export const F = [{ENTRY}, make('b')];", r"`make\('b'\)` cannot be read as an entry"),
    "entry by choice": (f"export const F = [{ENTRY}, X ? {entry('b')} : {entry('c')}];", "cannot be read as an entry"),
    "something else": (f"export const F = [{ENTRY}, null];", "`null` cannot be read as an entry"),
    "something else in an object": (f"export const F = {{ a: {ENTRY}, b: 5 }};", "`5` cannot be read as an entry"),
    "filtered": (f"const F = [{ENTRY}];\nexport const G = F.filter((f) => f.ttlSec > 1);", r"2:\d+: the entries in"),
    "pushed to": (f"const F = [{ENTRY}];\nF.push({entry('b')});\nexport const G = F.concat();", "the entries in"),
    "chosen": (f"const F = [{ENTRY}];\nexport const G = DEV ? [] : F;", "the entries in"),
    "shared from elsewhere": (
        "import { B } from './b';\nexport const F = [{ ...B, name: 'a', ttlSec: 60, compute }];",
        "entry a: B is imported",
    ),
    "Map of something else": (f"export const F = new Map([['a', {ENTRY}], ['b', make('b')]]);", "cannot be read as an"),
    "Map of others": (f"import {{ P }} from './p';\nexport const F = new Map([['a', {ENTRY}], ...P]);", "imported"),
    "Map under a name from a call": (f"export const F = new Map([[k(), {entry(name='')}]]);", "name must be a text"),
    "nothing exported": ("const x = 1;", "no entries"),
    "empty": ("", "no entries"),
    "only a function": (f"export function features() {{ return [{ENTRY}]; }}", "no entries"),
    "unclosed": (f"export const F = [{ENTRY};", r"1:\d+: syntax error"),
    "rubbish": (f"// a\n// b\nexport const F = = [{ENTRY}];", r"3:\d+: syntax error"),
    "declared twice": (f"const F = [{ENTRY}];\nconst F = [];\nexport {{ F }};", "F is declared twice"),
    "of itself": ("export const F = [...F];", "deep|no entries"),
    "too deep": (f"export const F = [{entry(ttlSec='(' * 5000 + '60' + ')' * 5000)}];", "deep"),
}  # fmt: skip


@pytest.mark.parametrize(("code", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_named_and_never_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str, problem: str
) -> None:
    file = tmp_path / "registry.ts"
    file.write_text(code)
    assert main(["contracts", "check", "--registry", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert all(line.startswith(f"{file}:") for line in err.splitlines())
    assert re.search(problem, err), err


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
