"""From features to a distribution over 50 candidates: the product's policies and other libraries, same people and tips.

Ours goes from a request's candidates and the person's posterior to the distribution, once more with the posterior
formed from their statistics as `/score` does it. Vowpal Wabbit gets what it is made for: the situation as shared
features, each tip's own as an action's, crossed by `-q`; its time is taken with and without writing the text.
MABWiser's LinUCB has a model for each arm, so it sees only what all tips share.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module, util
from typing import Any

import numpy as np

from bench.score_case import CANDIDATES, REACTIONS, learned, score_request
from tips.bandit.posterior import form_posterior
from tips.bandit.registry import POLICIES
from tips.contracts.scoring import Candidate, ScoreRequest
from tips.features.crossed_v3 import CROSSED_V3
from tips.features.vectors import Situation

Call = Callable[[], Any]

SHARED = ("hour_sin", "hour_cos", "weekend", "completion_rate", "preferred_hour", "dismiss_rate", "mean_dwell")
PACKAGES = ("vowpalwabbit", "mabwiser")


def choosers() -> dict[str, Call]:
    """Return what can be measured here, by name; a library that is not installed is left out."""
    request = ScoreRequest.model_validate(score_request())
    situation = Situation(9, 2, request.profile_features or {})
    calls: dict[str, Call] = {}
    for policy in ("igw-ucb", "squarecb"):
        calls |= _ours(policy, situation, request.candidates)
    if util.find_spec("vowpalwabbit"):
        calls |= _vowpal_wabbit(situation, request.candidates)
    if util.find_spec("mabwiser"):
        calls |= _mabwiser(situation)
    return calls


def _ours(name: str, situation: Situation, candidates: list[Candidate]) -> dict[str, Call]:
    policy = POLICIES[name]
    statistics = learned(policy.schema)
    posterior = form_posterior(statistics)

    def choose() -> Any:
        return policy.distribution(policy.schema.encode(situation, candidates), posterior)

    def form_and_choose() -> Any:
        return policy.distribution(policy.schema.encode(situation, candidates), form_posterior(statistics))

    return {f"ours: {name}": choose, f"ours: {name}, posterior formed": form_and_choose}


def _situation_features(situation: Situation) -> dict[str, float]:
    """Return what all candidates share, as the product's schema encodes it before crossing."""
    parts = {encoder.name.partition(":")[0]: encoder.of_situation for encoder in CROSSED_V3.encoders}
    return {name: encode(situation) for name in SHARED if (encode := parts[name]) is not None}


def _vowpal_wabbit(situation: Situation, candidates: list[Candidate]) -> dict[str, Call]:
    command = "--cb_explore_adf --squarecb --quiet --random_seed 1 -q st"
    workspace: Any = import_module("vowpalwabbit").Workspace(command)

    def text() -> list[str]:
        shared = " ".join(f"{name}:{value:.6g}" for name, value in _situation_features(situation).items())
        return [f"shared |s {shared}", *map(_as_action, candidates)]

    rng = np.random.default_rng(7)
    for _ in range(REACTIONS):
        example = text()
        shown = 1 + int(rng.integers(len(candidates)))
        example[shown] = f"0:{rng.random():.6g}:{1 / len(candidates):.6g} {example[shown]}"
        workspace.learn(example)
    ready = text()
    return {
        "Vowpal Wabbit: squarecb": lambda: workspace.predict(text()),
        "Vowpal Wabbit: squarecb, text ready": lambda: workspace.predict(ready),
    }


def _as_action(candidate: Candidate) -> str:
    features = " ".join(f"{name}:{float(value):.6g}" for name, value in candidate.features.items())
    prompt = "" if candidate.prompt_version is None else f" prompt={candidate.prompt_version}"
    return f"|t kind={candidate.kind} source={candidate.source}{prompt} {features}"


def _mabwiser(situation: Situation) -> dict[str, Call]:
    module = import_module("mabwiser.mab")
    arms = list(range(CANDIDATES))
    model: Any = module.MAB(arms, module.LearningPolicy.LinUCB(alpha=0.3), seed=1)
    rng = np.random.default_rng(7)
    shown = [*arms, *rng.integers(CANDIDATES, size=REACTIONS).tolist()]  # each arm at least once
    model.fit(shown, rng.random(len(shown)).tolist(), rng.normal(size=(len(shown), len(SHARED))))

    def choose() -> Any:
        return model.predict(np.array([list(_situation_features(situation).values())]))

    return {"MABWiser: LinUCB": choose}
