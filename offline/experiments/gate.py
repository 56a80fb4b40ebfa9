"""The gate before a promotion: what must be shown of a policy before it may answer.

Every check reads evidence that was made for the purpose: the evaluation of the policy on logs against the one that
answers now (`evaluation.py`), a simulation of both (`sim`), and the policy's model card. A check that has no evidence
fails; nothing is taken for granted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

DOUBTFUL = 0.001
"""p-value below which the logged probabilities are not believed."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What is asked for.

    margin: how much less reward per decision than the active policy's is still "not worse"; shadow: decisions in which
    the policy was logged as a shadow; effective_sample: effective sample size of its weights; seeds: of the simulation;
    age: how old the export of the logs may be.
    """

    margin: float = 0.05
    shadow: int = 1000
    effective_sample: float = 200.0
    seeds: int = 3
    age: timedelta = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Check:
    """One condition. name: a word for the audit trail; said: what was asked for and what was found."""

    name: str
    passed: bool
    said: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a challenger. None: there is none of that kind.

    policy, active: names; version, active_version: of the two in this code. data_hash, exported_at: of the logs;
    shadow_decisions: how many hold its distribution as a shadow, in this version. evaluation: as `tips evaluate`
    writes it; evaluation_lacks: why there is none. simulation: summary.json of `tips simulate`. card_lacks: what is
    missing of its model card, or makes it stale.
    """

    policy: str
    active: str
    version: str
    active_version: str
    now: datetime
    data_hash: str = ""
    shadow_decisions: int = 0
    exported_at: datetime | None = None
    evaluation: Mapping[str, Any] | None = None
    evaluation_lacks: str = ""
    simulation: Mapping[str, Any] | None = None
    card_lacks: Sequence[str] = ()


def judged(evidence: Evidence, asked: Thresholds) -> list[Check]:
    """Return all checks, in the order in which they are told."""
    return [
        _shadow(evidence, asked),
        _recent(evidence, asked),
        _not_worse(evidence, asked),
        _effective_sample(evidence, asked),
        _probabilities(evidence),
        _simulated(evidence, asked),
        _card(evidence),
    ]


def _shadow(evidence: Evidence, asked: Thresholds) -> Check:
    found = evidence.shadow_decisions
    said = f"{found} decisions as a shadow in version {evidence.version}, {asked.shadow} are asked for"
    return Check("shadow", found >= asked.shadow, said)


def _recent(evidence: Evidence, asked: Thresholds) -> Check:
    days = asked.age.days
    if evidence.exported_at is None:
        return Check("recent", False, f"no logs, an export of the last {days} days is asked for")
    age = evidence.now - evidence.exported_at
    said = f"logs exported {evidence.exported_at:%Y-%m-%d %H:%M} UTC, at most {days} days ago is asked for"
    return Check("recent", timedelta(minutes=-5) <= age <= asked.age, said)


def _not_worse(evidence: Evidence, asked: Thresholds) -> Check:
    wanted = f"above -{asked.margin:g} is asked for"
    if evidence.evaluation is None:
        why = f" ({evidence.evaluation_lacks})" if evidence.evaluation_lacks else ""
        return Check("not-worse", False, f"not evaluated on logs{why}; a difference {wanted}")
    against = evidence.evaluation["against"]
    if (evidence.evaluation["policy"], against) != (evidence.policy, evidence.active):
        said = f"the evaluation is of {evidence.evaluation['policy']} against {against}, not against {evidence.active}"
        return Check("not-worse", False, said)
    sequence = evidence.evaluation["difference"]["confidence_sequence"]
    low, high, decisions = sequence["low"], sequence["high"], sequence["decisions"]
    said = (
        f"difference to {against} by the confidence sequence {low:+.3f} to {high:+.3f} after {decisions} decisions, "
        f"its low end {wanted}"
    )
    return Check("not-worse", low > -asked.margin, said)


def _effective_sample(evidence: Evidence, asked: Thresholds) -> Check:
    wanted = f"{asked.effective_sample:g} is asked for"
    if evidence.evaluation is None:
        return Check("effective-sample", False, f"not evaluated on logs; {wanted}")
    found = float(evidence.evaluation["overlap"]["effective_sample_size"])
    return Check("effective-sample", found >= asked.effective_sample, f"effective sample size {found:.0f}, {wanted}")


def _probabilities(evidence: Evidence) -> Check:
    wanted = f"p of {DOUBTFUL:g} or more is asked for"
    if evidence.evaluation is None:
        return Check("probabilities", False, f"not evaluated on logs; {wanted}")
    found = float(evidence.evaluation["overlap"]["propensity_p_value"])
    said = f"that the logged probabilities are those that were drawn by has p = {found:.2g}, {wanted}"
    return Check("probabilities", found >= DOUBTFUL, said)


def _simulated(evidence: Evidence, asked: Thresholds) -> Check:
    wanted = f"a difference above -{asked.margin:g} over {asked.seeds} seeds or more is asked for"
    if evidence.simulation is None:
        return Check("simulation", False, f"not simulated; {wanted}")
    difference = difference_between(evidence.simulation, evidence.policy, evidence.active)
    if difference is None:
        said = f"the simulation has no interval for the difference of {evidence.policy} to {evidence.active}; {wanted}"
        return Check("simulation", False, said)
    for policy, version in ((evidence.policy, evidence.version), (evidence.active, evidence.active_version)):
        simulated = evidence.simulation["policy_versions"].get(policy)
        if simulated != version:
            said = f"version {simulated} of {policy} was simulated, and here is {version}"
            return Check("simulation", False, said)
    low, high, both = difference
    seeds = min(both, len(set(evidence.simulation["seeds"])))
    said = f"difference to {evidence.active} {low:+.3f} to {high:+.3f} over {seeds} seeds, {wanted}"
    return Check("simulation", seeds >= asked.seeds and low > -asked.margin, said)


def difference_between(simulation: Mapping[str, Any], policy: str, against: str) -> tuple[float, float, int] | None:
    """Return the interval of the difference in mean reward, whichever way round the summary has it, and its seeds.

    Seeds are those in which both runs ended well. None where the two are not compared, and for one seed, of which there
    is no interval.
    """
    for one in simulation["differences"]:
        if one["low"] is None or one["high"] is None:
            continue
        if (one["policy"], one["against"]) == (policy, against):
            return float(one["low"]), float(one["high"]), int(one["seeds"])
        if (one["policy"], one["against"]) == (against, policy):
            return -float(one["high"]), -float(one["low"]), int(one["seeds"])
    return None


def _card(evidence: Evidence) -> Check:
    lacks = "; ".join(evidence.card_lacks)
    return Check("card", not lacks, f"model card: {lacks}" if lacks else "model card complete and of this version")
