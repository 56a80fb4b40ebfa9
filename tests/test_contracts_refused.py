"""Feature registries as they had better not be written: refused by name, never read in part."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from offline.cli import main
from tests.registry_code import ENTRY, entry

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
    "chosen": (f"const F = [{ENTRY}];\nexport const G = DEV ? [] : F;", "the entries in"),
    "shared from elsewhere": (
        "import { B } from './b';\nexport const F = [{ ...B, name: 'a', ttlSec: 60, compute }];",
        "entry a: B is imported",
    ),
    "assigned again": (f"export let F = [{ENTRY}];\nF = [];", r"2:1: .* changes it: the entries cannot be told"),
    "left out by name": (f"export const F = omit({{ a: {ENTRY}, b: {entry('b')} }}, 'b');", "b cannot be told"),
    "picked by names": (f"export const F = pick([{ENTRY}, {entry('b')}], ['a']);", "a cannot be told"),
    "nothing exported": ("const x = 1;", "no entries"),
    "empty": ("", "no entries"),
    "only one in a function": (f"export function feature() {{ return {ENTRY}; }}", r"1:\d+: exports no entries"),
    "branching builder": (
        f"export function build() {{ if (DEV) return []; return [{ENTRY}]; }}",
        r"exports no entries[^$]*what .* makes is not looked at",
    ),
    "called branching builder": (
        f"function build() {{ if (DEV) return []; return [{ENTRY}]; }}\nexport const F = build();",
        r"2:\d+: the entries in `build\(\)` cannot be read",
    ),
    "in a condition": (f"export const F = [{ENTRY}];\nif (X) {{ F.push({entry('b')}); }}", r"2:1: the entries in `if"),
    "in a loop": (
        f"const L = [{ENTRY}];\nconst F = new Map();\nfor (const f of L) F.set(f.name, f);\nexport default F;",
        r"3:1: the entries in `for",
    ),
    "taken from a map": (f"export const F = new Map([['a', {ENTRY}]]);\nF.delete('a');", r"2:1: `F.delete.* takes"),
    "taken from a list": (f"export const F = [{ENTRY}, {entry('b')}];\nF.pop();", r"2:1: `F.pop\(\)` takes"),
    "deleted": (f"export const F = {{ a: {ENTRY} }};\ndelete F.a;", r"2:1: `delete F.a` takes"),
    "changed later": (f"export const F = [{ENTRY}];\nF[0].ttlSec = 5;", r"2:1: .* changes it"),
    "replaced later": (f"export const F = {{ a: {ENTRY} }};\nF.a = {entry('a')};", "entry a: is declared twice"),
    "variable": (f"let F = [{ENTRY}];\nF = [];\nexport {{ F }};", "the entries in `F` cannot be read"),
    "imported in a map": (
        f"import {{ b }} from './b';\nexport const F = new Map([['a', {ENTRY}], ['b', b]]);",
        r"2:\d+: .* cannot be read as an entry",
    ),
    "imported set in a map": (
        f"import {{ b }} from './b';\nexport const F = new Map([['a', {ENTRY}]]);\nF.set('b', b);",
        r"3:\d+: .* cannot be read as an entry",
    ),
    "map of more": (
        f"import {{ M }} from './m';\nexport const F = new Map([...M, ['a', {ENTRY}]]);",
        r"2:\d+: `\.\.\.M` cannot be read as an entry: M is imported",
    ),
    "map's key from a call": (f"export const F = new Map([[k(), {entry('', name='')}]]);", "name must be a text"),
    "static block": (f"export class R {{ static {{ R.add({ENTRY}); }} }}", r"1:\d+: the entries in `static"),
    "static list of more": (
        f"import {{ B }} from './b';\nexport class R {{ static F = [{ENTRY}, ...B]; }}",
        r"2:\d+: `\.\.\.B` cannot be read as an entry",
    ),
    "static getter that chooses": (
        f"export class R {{ static get F() {{ if (X) {{ return []; }} return [{ENTRY}]; }} }}",
        r"1:\d+: the entries in .* cannot be read",
    ),
    "computed key from a call": (f"export const F = {{ [k('a')]: {entry('', name='')} }};", r"1:\d+: .*k\('a'\)"),
    "helper from a package": (
        "import { define } from 'features';\nexport const F = [define({ name: 'a', ttlSec: 60, compute })];",
        "entry a: invalidatedBy is missing",
    ),
    "helper that chooses": (
        "function define(f: E) { if (f.slow) { return { ...f, ttlSec: 5 }; } return f; }\n"
        f"export const F = [define({ENTRY})];",
        r"2:\d+: .* cannot be read",
    ),
    "helper with what it is not given": (
        "const define = (f: E, factor: number) => ({ ...f, ttlSec: 60 * factor });\n"
        f"export const F = [define({ENTRY})];",
        "entry a: ttlSec cannot be evaluated: factor is not given",
    ),
    "mapped by what is imported": (
        f"import {{ fix }} from './fix';\nconst L = [{ENTRY}];\nexport const F = L.map(fix);",
        r"3:\d+: the entries in",
    ),
    "copied with another ttl": (
        f"export const F = [{ENTRY}];\nexport const G = F.map((f) => ({{ ...f, ttlSec: 5 }}));",
        "entry a: is declared twice",
    ),
    "constant changed later": (
        f"const TTL = {{ minute: 60 }};\nTTL.minute *= 2;\nexport const F = [{entry(ttlSec='TTL.minute')}];",
        r"3:\d+: entry a: ttlSec cannot be evaluated: `TTL.minute \*= 2` changes it",
    ),
    "helper that changes": (
        f"function define(f: E) {{ f.ttlSec = 5; return f; }}\nexport const F = [define({ENTRY})];",
        r"2:\d+: the entries in `define\(",
    ),
    "list that a branching function returns": (
        f"const L = [{ENTRY}];\nfunction all() {{ if (X) return []; return L; }}\nexport const F = all();",
        r"3:\d+: the entries in `all\(\)` cannot be read",
    ),
    "added in a function": (
        f"const F = new Map();\nfunction init() {{ F.set('a', {ENTRY}); }}\ninit();\nexport default F;",
        r"3:1: the entries in `init\(\)` cannot be read",
    ),
    "label that is no name": (f"register({entry('', name='')}, 'v2');", "name must be a text"),
    "class with a base": (
        "export const F = [new A()];\nclass A extends B { name = 'a'; invalidatedBy = ['s']; }",
        "entry a: ttlSec is missing",
    ),
    "made by what calls itself": (
        f"const f = (n: number) => n ? f(n - 1) : [{ENTRY}];\nexport const F = f(3);",
        r"the entries in .* cannot be read",
    ),
    "generator": (
        f"function* all() {{ yield {ENTRY}; }}\nexport const F = [...all(), {entry('b')}];",
        r"2:\d+: `all\(\)` cannot be read as an entry",
    ),
    "fields given one by one": (
        f"import {{ b }} from './b';\nconst F: any = {{}};\nF.b = b;\nF.a = {ENTRY};\nexport default F;",
        r"3:1: `F.b = b;` changes it",
    ),
    "in a namespace": (f"namespace N {{ F.set('a', {ENTRY}); }}\nexport const F = new Map();", r"1:15: the entries in"),
    "enum from elsewhere": (
        f"import {{ S }} from 'subjects';\nexport const F = [{entry(invalidatedBy='[S.Tip]')}];",
        "entry a: invalidatedBy cannot be evaluated: S is imported from 'subjects'",
    ),
    "enum's member that is not there": (
        f"enum S {{ Tip = 's' }}\nexport const F = [{entry(invalidatedBy='[S.Tipp]')}];",
        r"2:\d+: entry a: invalidatedBy cannot be evaluated: `S.Tipp` is not given",
    ),
    "spread by choice": (f"export const F = [{ENTRY}, ...(DEV ? [{entry('b')}] : [])];", r"cannot be read as an entry"),
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
