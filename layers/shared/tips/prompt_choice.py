"""Which prompt version writes: drawn from a distribution that is logged, so that reactions can teach it."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from tips import telemetry
from tips.bandit.assignment import assign
from tips.bandit.decision import draw
from tips.bandit.igw_ucb import InverseGapUCB
from tips.bandit.learning import LoggedSchema, UserLearning
from tips.bandit.posterior import form_posterior
from tips.features.clock import local_time
from tips.features.prompt_arms import prompt_schema, prompt_situation
from tips.features.vectors import Candidate
from tips.prompts import registry
from tips.state import keys
from tips.state.generations import Generation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tips.bandit.policy import Distribution, Parameters
    from tips.contracts.configuration import Configuration
    from tips.contracts.generation import GenerateRequest
    from tips.features.profile import Profile
    from tips.features.vectors import Situation
    from tips.prompts.prompt import Prompt
    from tips.prompts.registry import Selection
    from tips.state.shared_knowledge import SharedKnowledge

SCHEMA = prompt_schema(tuple(registry.prompts()))
ALPHA = 1.0


def select(request: GenerateRequest, default: str | None, configuration: Configuration, now: datetime) -> Selection:
    """Return the versions that a request may get. default: DEFAULT_PROMPT_VERSION. Raises `InvalidField`."""
    aliases: Mapping[str, str] = dict(configuration.prompt_aliases.items())
    arm = None if request.prompt_version else _arm(configuration, request.user_id, now)
    selection = registry.select(request.prompt_version, arm, default, aliases)
    if selection.stale_alias is not None:
        telemetry.count("UnknownPromptAlias")
    return selection


def situation_of(request: GenerateRequest, profile: Profile, now: datetime) -> Situation:
    """Return the context in which a version is chosen. Raises `InvalidField` for an unknown time zone."""
    given = request.context
    hour, day = local_time(given.hour_of_day, given.day_of_week, given.timezone, now)
    tasks = None if given.tasks is None else len(given.tasks)
    return prompt_situation(hour, day, profile.features, tasks)


class PromptChooser:
    """Draws a version: evenly from a rotation, by what was learned under `auto`.

    Versions are few, so one is tried again where candidates would have been replaced by others: a width counts whole,
    as much as rewards from -1 to 1 vary. With 0.3 one person in five stayed with a voice that they like less because
    the right one had begun with a dismissal (rewards of 1 or -1, liked 7 times in 10 against 3, 100 rounds).
    """

    def __init__(self, shared: SharedKnowledge, min_explore: float) -> None:
        self._shared = shared
        self._policy = InverseGapUCB(name="igw-ucb", schema=SCHEMA, alpha=ALPHA, min_explore=min_explore)

    def choose(
        self, user_id: str, generation_id: str, selection: Selection, situation: Situation, learning: UserLearning
    ) -> tuple[Prompt, Generation]:
        """Return the version drawn by `generation_id`, and all that is to be remembered of the choice."""
        versions = [prompt.version for prompt in selection.prompts]
        X = SCHEMA.encode(situation, [Candidate(prompt_version=version) for version in versions])
        chosen = Generation(
            user_id=user_id,
            generation_id=generation_id,
            version="",
            versions=versions,
            propensity=[1 / len(versions)] * len(versions),
            policy="rotation" if len(versions) > 1 else "fixed",
            schema=LoggedSchema(SCHEMA.name, SCHEMA.names, SCHEMA.hash),
            vector=(),
            context={
                "hour_of_day": situation.hour_of_day,
                "day_of_week": situation.day_of_week,
                "profile": dict(situation.profile),
            },
            model="",
        )
        if selection.auto:
            prior = self._shared.prior(SCHEMA)
            now_us = keys.decided_at_us(generation_id)
            try:
                distribution, parameters = self._distribution(X, learning, now_us)
            except (ArithmeticError, ValueError):
                # What is stored of this person can be read, but no belief can be formed from it.
                telemetry.count("PromptLearningUnreadable")
                distribution, parameters = self._distribution(X, UserLearning(), now_us)
            chosen = replace(
                chosen,
                propensity=distribution.propensity.tolist(),
                policy=self._policy.name,
                mean=distribution.mean.tolist(),
                width=distribution.width.tolist(),
                score=distribution.score.tolist(),
                parameters=parameters,
                policy_version=self._policy.version,
                prior=None if prior is None else prior.version,
            )
        drawn = draw(np.array(chosen.propensity), generation_id)
        return selection.prompts[drawn], replace(chosen, version=versions[drawn], vector=X[drawn].tolist())

    def _distribution(
        self, X: NDArray[np.float64], learning: UserLearning, now_us: int
    ) -> tuple[Distribution, Parameters]:
        posterior = form_posterior(learning.statistics(SCHEMA).as_of(now_us), self._shared.prior(SCHEMA))
        distribution, parameters = self._policy.distribution(X, posterior)
        if not all(map(math.isfinite, chain(distribution.score.tolist(), distribution.propensity.tolist()))):
            raise ArithmeticError("no probabilities")
        return distribution, parameters


def _arm(configuration: Configuration, user_id: str, now: datetime) -> str | None:
    """Return the prompt version that an experiment has this person served, if one runs."""
    for experiment in configuration.experiments:
        if experiment.kind == "prompt_version" and (arm := assign(experiment, user_id, now)) is not None:
            if arm in registry.prompts():
                return arm
            telemetry.count("UnknownPromptArm")
            telemetry.logger.warning("an arm is no prompt version", extra={"experiment": experiment.name, "arm": arm})
    return None
