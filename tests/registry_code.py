"""Code of feature registries, and what is read of it."""

from __future__ import annotations

from pathlib import Path

from offline.contracts_registry import read_registry

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
