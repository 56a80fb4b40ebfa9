"""Which parameters of a policy can be set from outside the code, and within which bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tips.bandit.policy import Policy

BOUNDS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "linucb": {"alpha": (0.0, 10.0)},
    "egreedy-v1": {"epsilon": (0.0, 1.0)},
    "egreedy-v2": {"epsilon": (0.0, 1.0)},
    "lints": {"scale": (0.0, 10.0)},
    "squarecb": {"c": (0.1, 100_000.0)},
    "igw-ucb": {"alpha": (0.0, 10.0), "c": (0.1, 100_000.0)},
}
"""By policy and parameter. The floor under `igw-ucb`'s probabilities is no parameter of a model but the functions'
setting `MIN_EXPLORE`, which every policy evaluation relies on."""


def tuned(policy: Policy, parameters: Mapping[str, float]) -> Policy:
    """Return the policy with these parameters, the others as they are.

    Raises `ValueError` that names a parameter which the policy does not have, or which is out of its bounds.
    """
    bounds = BOUNDS.get(policy.name, {})
    for name, value in parameters.items():
        if name not in bounds:
            known = ", ".join(bounds) or "none"
            raise ValueError(f"{policy.name} has no parameter {name!r} that can be set; there are {known}")
        low, high = bounds[name]
        if not (_is_number(value) and low <= value <= high):
            raise ValueError(f"{policy.name}: {name} must be a number from {low:g} to {high:g}, not {value!r}")
    changes: dict[str, Any] = {name: float(value) for name, value in parameters.items()}
    return replace(policy, **changes)


def _is_number(value: object) -> bool:
    """What a table holds may be anything that JSON has."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def parameters_of(policy: Policy) -> dict[str, float]:
    """Return the parameters that could be set, as they are."""
    return {name: float(getattr(policy, name)) for name in BOUNDS.get(policy.name, {})}
