"""What the gate is shown of a challenger: logs evaluated anew, a simulation's summary, the state of its model card."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from offline.command import BadInput
from offline.experiments.evaluation import evaluate
from offline.experiments.gate import Evidence
from offline.experiments.trials import Candidacy, Watched
from offline.feature_store.logs import Logs
from offline.feature_store.sources import SCANNED
from offline.registry.cards.check import card_is_complete
from tips.bandit.policy import Policy
from tips.bandit.registry import POLICIES


def gathered(
    policy: str,
    active: str,
    folder: Path,
    simulation: Mapping[str, Any] | None,
    *,
    table: str,
    now: datetime,
    watched: Watched,
) -> Evidence:
    """Return the evidence for a policy that is to take the place of the active one; both names are known.

    Judged are the decisions for which the distributions of both were logged, as they were served: nothing is
    recomputed, for what the functions had besides a person's reactions (priors, parameters) is in no export's power to
    bring back. Logs in which nothing can be judged are no evidence, and no fault. Raises `BadInput` if the folder is
    no export, or one that was read from a table of another name than `table`.
    """
    logs = Logs.read(folder)
    source = str(logs.manifest["source"])
    if source.startswith(SCANNED) and source != f"{SCANNED}{table}":
        raise BadInput(f"--logs: {folder} is of {source}, and what is to change is the table {table}")
    challenger, other = POLICIES[policy], POLICIES[active]
    found, lacks = None, ""
    try:
        found = evaluate(logs, Candidacy(challenger, "shadow"), Candidacy(other, "shadow"), watched=watched).as_json()
    except BadInput as error:
        lacks = str(error)
    return Evidence(
        policy=policy,
        active=active,
        version=challenger.version,
        active_version=other.version,
        now=now,
        data_hash=logs.data_hash,
        shadow_decisions=_as_shadow(logs.decisions, challenger),
        exported_at=logs.as_of.astimezone(UTC),
        evaluation=found,
        evaluation_lacks=lacks,
        simulation=simulation,
        card_lacks=card_is_complete(policy),
    )


def _as_shadow(decisions: pl.DataFrame, policy: Policy) -> int:
    """Return how many decisions of others hold the policy's distribution, in the version that is here."""
    of = pl.element().struct
    ours = (of.field("policy") == policy.name) & (of.field("policy_version") == policy.version)
    seen = pl.col("evaluations").list.eval(ours & (of.field("role") == "shadow")).list.any()
    return int(decisions.select(seen.sum()).item())
