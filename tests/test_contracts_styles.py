"""Feature registries as TypeScript projects write them: however it is written, it says the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.registry_code import ENTRY, A, entry, read

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
    "map": f"export const F = new Map([['a', {entry('', name='')}]]);",
    "map with types": f"export const F: ReadonlyMap<string, E> = new Map<string, E>([['a', {ENTRY}], ]);",
    "map of constants": f"const K = 'a' as const;\nconst a = {ENTRY};\nexport const F = new Map([[K, a] as const]);",
    "map set": f"export const F = new Map<string, E>();\nF.set('a', {entry('', name='')});",
    "map set in a chain": f"export const F = new Map<string, E>()\n  .set('a', {entry('', name='')});",
    "map set later, exported first": f"export default F;\nconst F = new Map();\nF.set('a', {ENTRY});",
    "map of an object": f"const O = {{ a: {ENTRY} }};\nexport const F = new Map(Object.entries(O));",
    "map of an array": f"const L = [{ENTRY}];\nexport const F = new Map(L.map((f) => [f.name, f] as const));",
    "map's values": f"const M = new Map([['a', {ENTRY}]]);\nexport const F = [...M.values()];",
    "pushed": f"const F: E[] = [];\nF.push({ENTRY});\nexport {{ F }};",
    "pushed and copied": f"const F: E[] = [];\nF.push({ENTRY});\nexport const G = F.concat();",
    "static field": f"export class R {{ static readonly entries = [{ENTRY}] as const; }}",
    "private static field": f"export class R {{ private static readonly entries: E[] = [{ENTRY}]; }}",
    "private name": f"export class R {{ static #entries = [{ENTRY}];\n static all() {{ return R.#entries; }} }}",
    "static getter": f"export class R {{ static get entries(): E[] {{ return [{ENTRY}]; }} }}",
    "static method": f"export class R {{ static entries() {{ return [{ENTRY}]; }} }}",
    "static method with a constant": f"export class R {{ static entries() {{ const a = {ENTRY}; return [a]; }} }}",
    "static map": f"export default class {{ static readonly F = new Map([['a', {ENTRY}]]); static v = 1; }}",
    "static entries": f"export abstract class R {{ static a = {ENTRY};\n static get all() {{ return [R.a]; }} }}",
    "static constant": f"export class R {{ static readonly T = 60;\n static F = [{entry(ttlSec='R.T')}]; }}",
    "static constant by this": f"export class R {{ static T = 60;\n static F = [{entry(ttlSec='this.T')}]; }}",
    "exported from a class": f"class R {{ static readonly entries = [{ENTRY}]; }}\nexport const F = R.entries;",
    "instance's field": f"class R {{ readonly entries = [{ENTRY}]; }}\nexport const registry = new R();",
    "class expression": f"export const R = class {{ static F = [{ENTRY}]; }};",
    "class without export": f"class R {{ static readonly F = [{ENTRY}]; }}",
    "namespace": f"export namespace R {{ const T = 60; export const F = [{entry(ttlSec='T')}]; }}",
    "namespace's constant": f"namespace T {{ export const MIN = 60; }}\nexport const F = [{entry(ttlSec='T.MIN')}];",
    "export = object": f"export = {{ F: [{ENTRY}] }};",
    "export = class": f"class R {{ static F = [{ENTRY}]; }}\nexport = R;",
    "exports.": f"exports.F = [{ENTRY}];",
    "builder function": f"export function features(): E[] {{ return [{ENTRY}]; }}",
    "builder arrow": f"export const features = () => [{ENTRY}];",
    "builder called": f"function build() {{ return [{ENTRY}]; }}\nexport const F = build();",
    "builder with a map": "export function build() { const m = new Map<string, E>(); "
    f"m.set('a', {ENTRY}); return m; }}",
    "builder with a list": f"const build = () => {{ const l: E[] = []; l.push({ENTRY}); return l; }};\n"
    "export const F = build();",
    "called at once": f"export const F = (() => [{ENTRY}])();",
    "from entries": f"export const F = Object.fromEntries([['a', {entry('', name='')}]]);",
    "from mapped entries": f"const L = [{ENTRY}];\nexport const F = Object.fromEntries(L.map((f) => [f.name, f]));",
    "object's values": f"const O = {{ a: {ENTRY} }};\nexport const F = Object.values(O);",
    "assigned": f"export const F = Object.assign({{}}, {{ a: {ENTRY} }});",
    "concatenated lists": f"const L = [{ENTRY}];\nexport const F = ([] as E[]).concat(L, []);",
    "flat": f"export const F = [[{ENTRY}], []].flat();",
    "spread objects": f"const O = {{ a: {ENTRY} }};\nexport const F = {{ ...O, ...{{}} }} satisfies Record<string, E>;",
    "computed keys": f"enum N {{ A = 'a' }}\nexport const F = {{ [N.A]: {entry('', name='')} }};",
    "computed template key": f"const P = '';\nexport const F = {{ [`${{P}}a`]: {entry('', name='')} }};",
    "helper with defaults": "const define = (f: Partial<E>): E => ({ ttlSec: 60, invalidatedBy: ['s'], ...f });\n"
    "export const F = [define({ name: 'a', compute })];",
    "helper that overrides": "function define(f: E) { return { ...f, ttlSec: 60 }; }\n"
    f"export const F = [define({entry(ttlSec='5')})];",
    "helper that scales": "const define = ({ minutes, ...f }: D) => ({ ...f, ttlSec: minutes * 60 });\n"
    f"export const F = [define({entry(ttlSec='', minutes='1')})];",
    "helper with a default parameter": "const define = ({ ttlSec = 60, on: invalidatedBy, ...f }: D) => "
    "({ ...f, ttlSec, invalidatedBy });\n"
    f"export const F = [define({entry(ttlSec='', invalidatedBy='', on='[`s`]')})];",
    "helper with ??": "const define = (f: D) => ({ ...f, ttlSec: f.ttlSec ?? 60 });\n"
    f"export const F = [define({entry(ttlSec='')})];",
    "helper with places": "function feature(name: string, ttlSec: number, ...invalidatedBy: string[]) "
    "{ return { name, ttlSec, invalidatedBy, compute: () => 1 }; }\nexport const F = [feature('a', 60, 's')];",
    "helper with its own names": "const ttlSec = 5;\nconst define = (ttlSec: number, f: D) => ({ ...f, ttlSec });\n"
    f"export const F = [define(60, {entry(ttlSec='')})];",
    "helper of all": "const withTtl = (fs: D[]) => fs.map((f) => ({ ...f, ttlSec: 60 }));\n"
    f"export const F = withTtl([{entry(ttlSec='')}]);",
    "helper for times": "const days = (n: number) => n * 86_400;\n"
    f"export const F = [{entry(ttlSec='days(1) / 1440')}];",
    "helper that registers": f"function define(f: E) {{ registry.push(f); return f; }}\ndefine({ENTRY});",
    "helper as a method": "class R { items: E[] = []; add(f: E) { this.items.push(f); return this; } }\n"
    f"export const registry = new R().add({ENTRY});",
    "name given first": f"defineFeature('a', {entry('', name='')});",
    "numbered enum": f"enum T {{ Zero, One, Min = 60 }}\nexport const F = [{entry(ttlSec='T.Min * T.One')}];",
    "enum of its own": f"enum T {{ A = 30, B = A * 2 }}\nexport const F = [{entry(ttlSec='T.B')}];",
    "enum by index": f"const enum S {{ Tip = 's' }}\nexport const F = [{entry(invalidatedBy='[S[`Tip`]]')}];",
    "exported as a name": f"const F = [{ENTRY}];\nexport {{ F as 'features', F as features }};",
    "derived objects": f"export const F = [{ENTRY}];\n"
    "export const PUBLIC = F.map((f) => ({ name: f.name, ttlSec: f.ttlSec }));\n"
    "export const COPY = F.map((f) => ({ ...f }));",
    "looked up": f"export const F = [{ENTRY}];\nexport const find = (n: string) => F.find((f) => f.name === n);",
    "class for each": "class A implements Feature { readonly name = 'a'; readonly ttlSec = 60;\n"
    "  readonly invalidatedBy = ['s'] as const; compute() { return 1; } }\nexport const F = [new A()];",
    "namespace for each": "export namespace A { export const name = 'a', ttlSec = 60, invalidatedBy = ['s']; }",
    "shared fields in a class": "export class R { static readonly BASE = { ttlSec: 99, invalidatedBy: ['s'] };\n"
    "  static readonly F = [{ ...R.BASE, name: 'a', ttlSec: 60, compute }]; }",
    "derived, exported first": f"const F = [{ENTRY}];\nconst P = F.map(({{ name, ttlSec }}) => ({{ name, ttlSec }}));\n"
    "export { P, F };",
    "derived with more": f"export const F = [{ENTRY}];\nexport const P = F.map((f) => ({{ ...f, ...more(f) }}));",
    "made twice": f"const build = () => [{ENTRY}];\nexport const F = build();\nexport const G = build();",
    "by a getter and by name": f"export class R {{ static get F() {{ return [{ENTRY}]; }} }}\nexport const F = R.F;",
    "in a callback": f"register(() => [{ENTRY}]);",
    "helper that walks": "const walk = (n: N): N => ({ ...n, left: walk(n.left), ttlSec: 1, name: walk(n.right) });\n"
    f"export const F = [{entry(compute='walk(1)')}];",
    "another field changed": f"const S = {{ n: 1, t: 60 }};\nS.m = 2;\nexport const F = [{entry(ttlSec='S.t')}];",
    "inherited": f"class B {{ static F = [{ENTRY}]; }}\nexport class R extends B {{ static version = 1; }}",
    "of a base": "abstract class Daily { ttlSec = 60; invalidatedBy = ['s']; }\n"
    "class A extends Daily { name = 'a'; compute() { return 1; } }\nexport const F = [new A()];",
    "of a made base": f"export class R extends withFeatures([{ENTRY}]) {{}}",
    "alias": f"namespace N {{ export const F = [{ENTRY}]; }}\nexport import F = N.F;",
    "decorator": f"@Feature({ENTRY})\nexport class A {{}}",
    "decorator of a method": f"class A {{ @Feature({ENTRY}) compute() {{ return 1; }} }}",
    "fields given one by one": f"const F: Record<string, E> = {{}};\nF.a = {entry('', name='')};\nexport default F;",
    "awaited": f"await register({ENTRY});",
    "empty statement": f";;export const F = [{ENTRY}];;",
}


@pytest.mark.parametrize("code", SAME.values(), ids=SAME)
def test_however_it_is_written_it_says_the_same(tmp_path: Path, code: str) -> None:
    assert read(tmp_path, code) == A
