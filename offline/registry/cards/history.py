"""A policy's rollout history, from the audit trails of configuration and models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from tips.bandit.policy import Policy

_LAST = 20


def history_of(policy: Policy, audit: pl.DataFrame) -> list[dict[str, str]]:
    """Return what was done with a policy, newest first: when it became active, a shadow or an experiment's arm, and
    which models and priors were in use for its schema. Who did it stays in the table."""
    found = []
    for row in audit.sort("at", descending=True).iter_rows(named=True):
        of = {"configuration": _of_configuration, "prior": _of_model}.get(row["kind"])
        said = "" if of is None else of(policy, row)
        if said:
            at = f"{row['at']:%Y-%m-%d %H:%M} UTC"
            found.append({"at": at, "change": said, "command": row["command"], "reason": row["reason"] or ""})
    return found[:_LAST]


def _of_model(policy: Policy, row: dict[str, Any]) -> str:
    if row["schema"] != policy.schema.name:
        return ""
    return f"prior of {policy.schema.name}: {row['before'] or 'none'} -> {row['after'] or 'none'}"


def _of_configuration(policy: Policy, row: dict[str, Any]) -> str:
    before, after = (_roles(policy.name, row[side]) for side in ("before", "after"))
    return "" if before == after else f"{before} -> {after}"


def _roles(name: str, document: str | None) -> str:
    configured = json.loads(document or "{}")
    roles = ["active"] if configured.get("active_policy") == name else []
    roles += ["shadow"] if name in configured.get("shadows", ()) else []
    roles += [f"arm of {one['name']}" for one in configured.get("experiments", ()) if name in one.get("arms", {})]
    return ", ".join(roles) or "not in use"
