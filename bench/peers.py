"""Other people's learners behind the interface of `bench.problem`. Each is imported only when it is made."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.problem import lowest_reward
from tips.bandit.decision import draw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.problem import Configuration

PACKAGES = ("vowpalwabbit", "mabwiser", "bayesianbandits")


class VowpalWabbit:
    """cb_explore_adf with a namespace per arm, so that each has weights of its own; VW adds its constant itself."""

    def __init__(self, options: str, configuration: Configuration, arms: int, seed: int) -> None:
        self.low = lowest_reward(configuration)
        costs = "--cb_min_cost -1 --cb_max_cost 1" if self.low < 0 and "--epsilon" not in options else ""
        own = " ".join(f"--{key} {value}" for key, value in configuration.items() if key != "low")
        command = f"--cb_explore_adf --quiet --random_seed {seed} {options} {own} {costs}"
        self.workspace: Any = import_module("vowpalwabbit").Workspace(command)
        self.namespaces = [f"|{chr(ord('a') + arm)} " for arm in range(arms)]
        self._example: list[str] = []
        self._probabilities = np.ones(arms) / arms

    def choose(self, context: NDArray[np.float64], decision_id: str) -> tuple[int, NDArray[np.float64]]:
        features = " ".join(f"{j}:{value:.6g}" for j, value in enumerate(context.tolist()) if value)
        self._example = [namespace + features for namespace in self.namespaces]
        self._probabilities = np.array(self.workspace.predict(self._example), dtype=np.float64)
        return draw(self._probabilities, decision_id), self._probabilities

    def learn(self, context: NDArray[np.float64], arm: int, reward: float) -> None:
        cost = -reward if self.low < 0 else 1.0 - reward
        self._example[arm] = f"0:{cost:.9g}:{self._probabilities[arm]:.9g} {self._example[arm]}"
        self.workspace.learn(self._example)


class MABWiser:
    """LinUCB or LinTS; before its first reward, which it needs to begin, any arm."""

    def __init__(self, policy: str, configuration: Configuration, arms: int, seed: int) -> None:
        module = import_module("mabwiser.mab")
        own = {key: value for key, value in configuration.items() if key != "low"}
        self.arms = arms
        self.model: Any = module.MAB(list(range(arms)), getattr(module.LearningPolicy, policy)(**own), seed=seed)
        self._begun = False

    def choose(self, context: NDArray[np.float64], decision_id: str) -> tuple[int, None]:
        if not self._begun:
            return draw(np.ones(self.arms), decision_id), None
        return int(self.model.predict(context[None])), None

    def learn(self, context: NDArray[np.float64], arm: int, reward: float) -> None:
        (self.model.partial_fit if self._begun else self.model.fit)([arm], [reward], context[None])
        self._begun = True


class BayesianBandits:
    """A normal regressor per arm under UCB (the 84 % quantile, one deviation) or Thompson sampling.

    The noise is taken to be 0.3 (precision 10), the same width of exploration as a LinUCB with alpha 0.3.
    """

    def __init__(self, configuration: Configuration, arms: int, seed: int) -> None:
        module = import_module("bayesianbandits")
        precision = 10.0
        prior = precision * float(configuration["ridge"])
        learners = [module.NormalRegressor(alpha=prior, beta=precision) for _ in range(arms)]
        ucb = configuration["policy"] == "UCB"
        policy = module.UpperConfidenceBound(alpha=0.84) if ucb else module.ThompsonSampling()
        agents = [module.Arm(arm, learner=learner) for arm, learner in enumerate(learners)]
        self.agent: Any = module.ContextualAgent(agents, policy, random_seed=seed)

    def choose(self, context: NDArray[np.float64], decision_id: str) -> tuple[int, None]:
        (arm,) = self.agent.pull(context[None])
        return int(arm), None

    def learn(self, context: NDArray[np.float64], arm: int, reward: float) -> None:
        self.agent.select_for_update(arm).update(context[None], np.array([reward]))
