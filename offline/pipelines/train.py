"""Training: from an export and a configuration to a model, the same to the last byte for the same of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ulid import ULID

from offline.command import BadInput
from offline.learning_scan import are_erased, refuse_too_little
from offline.pipelines import people, tuning
from offline.pipelines.config import STRENGTH
from offline.registry.model import Model, Provenance, code_version
from tips.bandit.igw_ucb import InverseGapUCB
from tips.bandit.population import Population, cross_fitted_priors, fit_population
from tips.bandit.registry import POLICIES
from tips.bandit.tuning import parameters_of
from tips.errors import TableUnavailable
from tips.state import keys
from tips.state.priors import pack_prior

if TYPE_CHECKING:
    from offline.feature_store.logs import Logs
    from offline.pipelines.config import TrainingConfig
    from tips.bandit.policy import Policy
    from tips.state.table import Table


@dataclass(frozen=True)
class Trained:
    """A model with what training found out on the way."""

    model: Model
    population: Population
    tuning: tuning.Tuning


def erased_since(logs: Logs, table: Table, deadline_ms: float, now_us: int) -> frozenset[str]:
    """Return the people of an export who have been erased since it was made. now_us: the present.

    Raises `BadInput` for an export so old that tombstones may have gone, `TableUnavailable` if the table does not tell.
    """
    exported = people.as_of_us(logs)
    if now_us - exported > keys.TOMBSTONE_TTL_SEC * 1_000_000:
        raise BadInput(
            f"--logs: the export is older than {keys.TOMBSTONE_TTL_SEC // keys.DAY_SEC} days, and the table no longer "
            "knows who was erased after it: export again"
        )
    everybody = people.everybody(logs)
    try:
        return frozenset(
            name for name, gone in zip(everybody, are_erased(table, everybody, deadline_ms), strict=True) if gone
        )
    except TableUnavailable as error:
        raise TableUnavailable(
            "the table does not say who was erased since the export, so nothing is trained; "
            'with erased = "as exported" in the configuration nobody asks, and the model is not published'
        ) from error


def train(
    logs: Logs, config: TrainingConfig, left_out: frozenset[str], progress: Callable[[str], None] = lambda step: None
) -> Trained:
    """Return the model that an export and a configuration make.

    left_out: people erased since the export; progress: is told each step. Raises `BadInput` where the export holds too
    little.
    """
    policy = _policy(config)
    until = people.last_moment(logs)
    progress("reading what was learned of everybody")
    try:
        learned = people.learned_of(logs, config.data.source, policy.schema, left_out, until)
    except ValueError as error:
        raise BadInput(f"--logs: statistics in {logs.folder} cannot be read: {error}") from None
    refuse_too_little(list(learned.values()), policy.schema.name)
    names, fitting = policy.schema.names, config.prior.model_dump()
    progress(f"fitting the prior to {len(learned)} people")
    population = fit_population(list(learned.values()), names, **fitting)
    if population is None:
        raise BadInput(f"--logs: nothing was learned under {policy.schema.name}")
    points = config.points()
    progress("fitting a prior without each fold of the people")
    priors = dict(zip(learned, cross_fitted_priors(list(learned.values()), names, **fitting), strict=True))
    progress(f"comparing {len(points)} combinations of parameters with the default")
    chosen = tuning.choose(
        people.present_decisions(logs),
        policy,
        priors,
        points,
        max_strength=config.prior.max_strength,
        judged_until_us=until,
        confidence=config.tuning.confidence,
        min_effective_sample=config.tuning.min_effective_sample,
    )
    provenance = Provenance(
        data_hash=logs.data_hash,
        source=config.data.source,
        config=config.document(),
        config_hash=config.hash,
        code=code_version(),
        erased="checked" if config.data.erased == "check" else "as exported",
        left_out=len(left_out),
        people=population.people,
        observations=population.observations,
        until=until,
        min_explore=config.model.min_explore,
    )
    winner = dict(chosen.winner or {})
    prior = population.prior.capped(winner.pop(STRENGTH, config.prior.max_strength))
    model = Model(
        prior=prior,
        policy=policy.name,
        policy_version=policy.version,
        schema=policy.schema.name,
        schema_hash=policy.schema.hash,
        parameters={**parameters_of(policy), **winner},
        provenance=provenance,
        metrics=_metrics(population, chosen),
        tuning=chosen.document(),
    )
    return Trained(_named(model), population, chosen)


def _policy(config: TrainingConfig) -> Policy:
    policy = POLICIES[config.model.policy]
    return replace(policy, min_explore=config.model.min_explore) if isinstance(policy, InverseGapUCB) else policy


def _metrics(population: Population, chosen: tuning.Tuning) -> dict[str, float]:
    metrics = {"people": float(population.people), "observations": population.observations}
    if population.gain is not None:
        metrics |= {"held_out_gain": population.gain[0], "held_out_gain_error": population.gain[1]}
    taken = next((one for one in chosen.compared if one.point == chosen.winner), chosen.default)
    if taken is not None and chosen.logged is not None:
        metrics |= {f"logged_{name}": value for name, value in vars(chosen.logged).items()}
        metrics |= {f"dr_{name}": value for name, value in vars(taken.value).items()}
        metrics |= {f"dr_over_default_{name}": value for name, value in vars(taken.difference).items()}
        metrics["effective_sample"] = taken.effective_sample
        metrics["judged_decisions"] = float(chosen.decisions)
    return metrics


def _named(model: Model) -> Model:
    """Return the model, its prior's version named by the data's last moment and the content: the same gets the same."""
    content = hashlib.sha256(pack_prior(model.prior))
    content.update(json.dumps([model.provenance.config_hash, model.provenance.data_hash]).encode())
    milliseconds = model.provenance.until // 1000
    name = ULID.from_bytes(milliseconds.to_bytes(6, "big") + content.digest()[:10])
    return replace(model, prior=replace(model.prior, version=str(name)))
