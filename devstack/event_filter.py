"""Filter patterns of Lambda's event source mappings, as far as the template uses them: exact values and prefixes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def matches(pattern: Mapping[str, Any], event: Any) -> bool:
    """Whether every field of the pattern is in the event with one of its values.

    Raises `ValueError` on a rule that is not supported here.
    """
    return isinstance(event, Mapping) and all(
        matches(wanted, event.get(name))
        if isinstance(wanted, Mapping)
        else name in event and any(_fits(rule, event[name]) for rule in wanted)
        for name, wanted in pattern.items()
    )


def _fits(rule: Any, value: Any) -> bool:
    match rule:
        case {"prefix": str(prefix)}:
            return isinstance(value, str) and value.startswith(prefix)
        case Mapping():
            raise ValueError(f"the filter rule {rule} is not supported locally")
    return bool(rule == value)
