"""Off-policy evaluation of one policy on one export: estimates, intervals, the confidence sequence, the diagnostics."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from offline.experiments.confidence_sequence import ALPHA, ConfidenceSequence, confidence_sequence
from offline.experiments.diagnostics import Overlap, overlap
from offline.experiments.estimators import ESTIMATORS, Rounds, doubly_robust_terms, estimates, tuned_shrinkage
from offline.experiments.intervals import (
    Interval,
    bootstrap,
    empirical_bernstein,
    percentiles,
    resampled_averages,
)
from offline.experiments.sample_ratio import SampleRatio, sample_ratio
from offline.experiments.trials import Candidacy, Found, Trials, Watched, expectations, find
from offline.feature_store.logs import Logs

Array = NDArray[np.float64]

FEWEST = 20
"""Decisions and, for intervals, more than one person: with fewer there is nothing to resample."""


@dataclass(frozen=True)
class Estimate:
    """bernstein: None for self-normalised estimators, to which the bound does not apply."""

    value: float
    bootstrap: Interval
    bernstein: Interval | None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result. logged_value: of the policies that chose; gain: the challenger's over the other, by DR."""

    policy: str
    against: str
    logs: Mapping[str, Any]
    method: str
    shrinkage: float
    estimates: Mapping[str, Estimate]
    logged_value: Estimate
    gain: float
    gain_interval: Interval
    sequence: ConfidenceSequence
    overlap: Overlap
    sample_ratios: tuple[SampleRatio, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain dictionaries, lists and numbers."""
        sequence = self.sequence
        document = {
            "policy": self.policy,
            "against": self.against,
            "logs": dict(self.logs),
            "method": self.method,
            "shrinkage": self.shrinkage if math.isfinite(self.shrinkage) else "infinity",
            "estimates": {name: asdict(one) for name, one in self.estimates.items()},
            "logged_value": asdict(self.logged_value),
            "difference": {
                "dr": self.gain,
                "bootstrap": self.gain_interval,
                "confidence_sequence": {
                    "alpha": sequence.alpha,
                    "low": float(sequence.lows[-1]),
                    "high": float(sequence.highs[-1]),
                    "decisions": int(sequence.times[-1]),
                    "times": sequence.times.tolist(),
                    "lows": sequence.lows.tolist(),
                    "highs": sequence.highs.tolist(),
                },
            },
            "overlap": asdict(self.overlap),
            "sample_ratio": {one.experiment: asdict(one) for one in self.sample_ratios} or None,
            "notes": list(self.notes),
        }
        # JSON knows no infinity: a bound that is none, and an estimate without any weight, are null.
        plain: dict[str, Any] = json.loads(json.dumps(document), parse_constant=lambda name: None)
        return plain


def evaluate(
    logs: Logs,
    challenger: Candidacy,
    against: Candidacy,
    *,
    watched: Watched,
    alpha: float = ALPHA,
    since: int = 0,
    shares: Mapping[str, Mapping[str, float]] | None = None,
) -> Evaluation:
    """Return the evaluation of a challenger.

    since: microseconds; earlier decisions teach and are not judged. shares: of people by experiment and arm; default:
    those of the configuration's audit trail. Raises `BadInput` where nothing can be judged.
    """
    found = find(logs, challenger, against, watched, since)
    trials = found.trials
    q, past_q = expectations(found, watched)
    rounds = trials.rounds(trials.challenger, q)
    shrinkage = tuned_shrinkage(rounds) if len(trials) > 1 else math.inf
    other = trials.rounds(trials.against, q)
    gain = doubly_robust_terms(rounds) - doubly_robust_terms(other)
    sequence = confidence_sequence(
        trials.reward,
        trials.shown,
        trials.starts,
        trials.logged,
        trials.challenger - trials.against,
        past_q,
        alpha=alpha,
    )
    checked, unchecked = _sample_ratios(logs.decisions, shares if shares is not None else _configured_shares(logs))
    return Evaluation(
        policy=challenger.policy.name,
        against=against.policy.name,
        logs=_described(logs, found),
        method=found.method,
        shrinkage=shrinkage,
        estimates=_estimates(trials, rounds, shrinkage),
        logged_value=_logged_value(trials),
        gain=float(gain.mean()),
        gain_interval=_clustered(gain, trials),
        sequence=sequence,
        overlap=overlap(rounds.weight, trials.people, trials.starts, trials.logged, trials.challenger),
        sample_ratios=checked,
        notes=(*_notes(found, challenger), *unchecked),
    )


def _estimates(trials: Trials, rounds: Rounds, shrinkage: float) -> dict[str, Estimate]:
    values = estimates(rounds, shrinkage)
    resampled = bootstrap(rounds, trials.people, shrinkage)
    largest = trials.largest_weight(trials.challenger)
    residual = rounds.reward - rounds.predicted
    # Rewards and expectations are in -1..1; of a weight lambda w / (lambda + w^2) nothing is above sqrt(lambda) / 2.
    shrunk = min(largest, math.sqrt(shrinkage) / 2)
    terms = {
        "ips": (rounds.weight * rounds.reward, largest),
        "dm": (rounds.value, 1.0),
        "dr": (rounds.value + rounds.weight * residual, 1.0 + 2.0 * largest),
        "dros": (rounds.value + rounds.shrunk(shrinkage) * residual, 1.0 + 2.0 * shrunk),
    }
    bounds = {name: _bernstein(term, reach) for name, (term, reach) in terms.items()}
    return {name: Estimate(values[name], resampled[name], bounds.get(name)) for name in ESTIMATORS}


def _logged_value(trials: Trials) -> Estimate:
    interval = _clustered(trials.reward, trials)
    return Estimate(float(trials.reward.mean()), interval, _bernstein(trials.reward, 1.0))


def _bernstein(terms: Array, reach: float) -> Interval | None:
    return empirical_bernstein(terms, -reach, reach) if len(terms) > 1 else None


def _clustered(terms: Array, trials: Trials) -> Interval:
    return percentiles(resampled_averages(terms[:, None], trials.people, 1000, 0)[:, 0], 0.05)


def _described(logs: Logs, found: Found) -> dict[str, Any]:
    at = found.frame["decided_at"]
    return {
        "data_hash": logs.data_hash,
        "decisions": logs.decisions.height,
        "used": len(found.trials),
        "people": int(found.trials.people.max()) + 1,
        "from": at[0].isoformat(),
        "to": at[-1].isoformat(),
    }


def _notes(found: Found, challenger: Candidacy) -> list[str]:
    notes = [f"left out: {count} decisions, {reason}" for reason, count in found.left_out.items()]
    if found.degraded:
        notes.append(f"{found.degraded} decisions were degraded; they count, since their probabilities are exact")
    if len(found.trials) < FEWEST or found.trials.people.max() == 0:
        notes.append("too few decisions or people for the descriptive intervals to mean anything")
    if found.method == "recomputed" and challenger.prior is None:
        priors = {
            one["prior"]
            for row in found.frame["evaluations"]
            for one in row
            if one["schema_hash"] == challenger.policy.schema.hash and one["prior"]
        }
        if priors:
            used = ", ".join(sorted(priors))
            notes.append(f"recomputed without a population prior, where decisions were taken with {used}: see --prior")
    return notes


def _configured_shares(logs: Logs) -> dict[str, Mapping[str, float]]:
    """Return each experiment's shares as it was last configured."""
    shares: dict[str, Mapping[str, float]] = {}
    for after in logs.audit.filter(pl.col("kind") == "configuration")["after"]:
        for experiment in json.loads(after).get("experiments", ()):
            shares[experiment["name"]] = experiment["arms"]
    return shares


def _sample_ratios(
    frame: pl.DataFrame, shares: Mapping[str, Mapping[str, float]]
) -> tuple[tuple[SampleRatio, ...], list[str]]:
    """Return the checks of the experiments that decisions took part in, and of those without shares a note.

    frame: all decisions, judged or not: who can be judged may well depend on the arm.
    """
    seen: dict[str, list[tuple[str, str]]] = {}
    for user_id, arms in frame.select("user_id", "experiments").iter_rows():
        for experiment, arm in (arms or {}).items():
            seen.setdefault(experiment, []).append((user_id, arm))
    checks, notes = [], []
    for experiment, pairs in sorted(seen.items()):
        if experiment not in shares:
            notes.append(f"experiment {experiment}: its shares are not known; give them with --shares")
            continue
        try:
            checks.append(sample_ratio(experiment, pairs, shares[experiment]))
        except ValueError as error:
            notes.append(f"{error}: the shares were changed meanwhile")
    return tuple(checks), notes
