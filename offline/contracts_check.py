"""Profile features here beside the same features in the TypeScript registry."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from offline.contracts_registry import Registry, RegistryEntry
from tips.features.profile_schema import PROFILE_FEATURES, ProfileFeature

_DTYPES = {"number": "float", "float": "float", "float64": "float"}
"""What a dtype there is called here."""


def differences(registry: Registry, features: Sequence[ProfileFeature] = PROFILE_FEATURES) -> list[tuple[str, str]]:
    """Return what differs, as (feature, how): names, times to live and invalidating events."""
    found: list[tuple[str, str]] = []
    for feature in features:
        entry = registry.entries.get(feature.name)
        if entry is None:
            found.append((feature.name, "missing there"))
            continue
        if feature.ttl_sec != entry.ttl_sec:
            found.append((feature.name, f"ttl {feature.ttl_sec} here, {entry.ttl_sec:.15g} there{_place(entry)}"))
        if set(feature.invalidated_by) != entry.invalidated_by:
            here, there = _listed(feature.invalidated_by), _listed(entry.invalidated_by)
            found.append((feature.name, f"invalidated by {here} here, {there} there{_place(entry)}"))
    known = {feature.name for feature in features}
    found += [(name, f"missing here{_place(entry)}") for name, entry in registry.entries.items() if name not in known]
    return found


def dtype_notes(registry: Registry, features: Sequence[ProfileFeature] = PROFILE_FEATURES) -> list[str]:
    """Return where the types differ, a line each; "number" there is float here."""
    return [
        f"{feature.name} is {feature.dtype} here, {entry.dtype} there{_place(entry)}"
        for feature in features
        if (entry := registry.entries.get(feature.name)) is not None
        and entry.dtype is not None
        and _DTYPES.get(entry.dtype, entry.dtype) != feature.dtype
    ]


def _place(entry: RegistryEntry) -> str:
    return f" (line {entry.line})"


def _listed(subjects: Collection[str]) -> str:
    return ", ".join(sorted(subjects)) or "nothing"
