"""The mission's own figure: how soon a person's tips are better than chance, by the number of reactions so far.

Each seed draws two groups of simulated people (`offline.experiments.sim`). The first was served by `igw-ucb` from
nothing for some weeks, and a population prior is fitted to what was learned of them. The second is evaluated: at each
checkpoint the same fresh requests are put to every contestant, and the mean reward of what it would show is computed
exactly, its exploration included. A share of 0 is choosing by chance, of 1 is the oracle who knows the hidden rule.

    python -m bench.mission --out mission.json [--quick]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from offline.experiments.sim.lives import Life, draw_reactions_a_week, logged_people
from offline.experiments.sim.people import People, draw_people
from offline.experiments.sim.reactions import History, expected_rewards
from offline.experiments.sim.requests import Request, draw_request
from tips.bandit.epsilon_greedy import EpsilonGreedy
from tips.bandit.population import fit_prior
from tips.bandit.posterior import Posterior, form_posterior
from tips.bandit.registry import POLICIES
from tips.bandit.statistics import Statistics
from tips.features.crossed_v3 import CROSSED_V3

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tips.bandit.prior import Prior

CHECKPOINTS = (0, 1, 2, 5, 10, 20, 60)
GOAL_AT = 5
GOAL = 0.5
EGREEDY, FROM_NOTHING, POOLED = "egreedy-v2 from nothing", "igw-ucb from nothing", "igw-ucb with the population prior"
PRIOR_ONLY, BEST_LINEAR = "population prior without own learning", "best linear population policy"
BEST_SINGLE, RANDOM, ORACLE = "best population policy (hidden rule)", "random", "oracle"
_IGW = POLICIES["igw-ucb"]
_GREEDY = EpsilonGreedy(name="best-linear", schema=CROSSED_V3, epsilon=0.0)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is simulated. requests: fresh ones, per person, the same at each checkpoint; weeks: of logged people."""

    seeds: int = 10
    logged: int = 300
    weeks: float = 5.0
    evaluated: int = 60
    requests: int = 12
    reference: int = 1000
    """People over whom the hidden rule is averaged for the best population policy."""


QUICK = Size(seeds=2, logged=40, evaluated=6, requests=5, reference=200)


@dataclass(frozen=True, eq=False)
class Requests:
    """Equally many requests for each of some people, and the exact mean reward of each of their candidates."""

    asked: Sequence[Sequence[Request]]
    rewards: Sequence[Sequence[NDArray[np.float64]]]

    @classmethod
    def drawn(cls, people: People, each: int, rng: np.random.Generator) -> Requests:
        asked = [[draw_request(rng) for _ in range(each)] for _ in range(len(people))]
        return cls(
            asked, [[expected_rewards(people[u : u + 1], one)[0] for one in asked[u]] for u in range(len(asked))]
        )

    def mean(self, choose: Callable[[Request, NDArray[np.float64]], float]) -> float:
        """Return the mean over people and requests of what a rule gets that never changes."""
        pairs = zip(self.asked, self.rewards, strict=True)
        return float(np.mean([[choose(q, mu) for q, mu in zip(*pair, strict=True)] for pair in pairs]))

    def bounds(self) -> tuple[float, float]:
        """Return what chance gets, and the oracle."""
        return self.mean(lambda _, mu: float(mu.mean())), self.mean(lambda _, mu: float(mu.max()))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """People who are judged, and for each the requests of a life, and fresh ones; exact rewards of both."""

    people: People
    weekly: Sequence[float]
    lived: Requests
    fresh: Requests

    @classmethod
    def drawn(cls, size: Size, rng: np.random.Generator) -> Evaluation:
        people = draw_people(size.evaluated, rng)
        weekly = [draw_reactions_a_week(rng) for _ in range(size.evaluated)]
        return cls(
            people, weekly, Requests.drawn(people, CHECKPOINTS[-1], rng), Requests.drawn(people, size.requests, rng)
        )

    def lives(self, born: Callable[..., Life], seed: int) -> tuple[dict[int, float], float]:
        """Return the mean reward per round at each checkpoint, and over all rounds that were lived."""
        values = np.zeros((len(self.people), len(CHECKPOINTS)))
        lived = np.zeros(len(self.people))
        for u in range(len(self.people)):
            rng = np.random.default_rng([seed, 3, u])
            life = born(f"{seed}/{u}", self.people[u : u + 1], rng=rng, reactions_a_week=self.weekly[u])
            rounds = 0
            for place, checkpoint in enumerate(CHECKPOINTS):
                for request in self.lived.asked[u][rounds:checkpoint]:
                    lived[u] += life.round(request)
                rounds = checkpoint
                values[u, place] = life.value(self.fresh.asked[u], self.fresh.rewards[u])
            lived[u] /= rounds
        return dict(zip(CHECKPOINTS, values.mean(axis=0).tolist(), strict=True)), float(lived.mean())


def one_seed(seed: int, size: Size) -> dict[str, Any]:
    """Return what each contestant got under one seed, and what the prior came from."""
    rng = np.random.default_rng([seed, 1])
    logged = logged_people(draw_people(size.logged, rng), size.weeks, _IGW, rng)
    prior = fit_prior([life.statistics for life in logged], CROSSED_V3.names, seed=seed)
    if prior is None:
        raise ValueError("nobody reacted: there is nothing to pool")
    evaluation = Evaluation.drawn(size, np.random.default_rng([seed, 2]))
    reference = draw_people(size.reference, np.random.default_rng([seed, 4]))
    untaught = form_posterior(Statistics.empty(CROSSED_V3.dimension), prior)
    contestants: Mapping[str, Callable[..., Life]] = {
        EGREEDY: partial(Life, policy=POLICIES["egreedy-v2"]),
        FROM_NOTHING: partial(Life, policy=_IGW),
        POOLED: partial(Life, policy=_IGW, prior=prior),
        PRIOR_ONLY: partial(Life, policy=_IGW, belief=untaught),
        BEST_LINEAR: partial(Life, policy=_GREEDY, belief=_best_linear(logged, size, rng)),
    }
    lives = {name: evaluation.lives(born, seed) for name, born in contestants.items()}
    return {
        "at": {name: values for name, (values, _) in lives.items()},
        "lived": {name: mean for name, (_, mean) in lives.items()},
        "bounds": {"fresh": evaluation.fresh.bounds(), "lived": evaluation.lived.bounds()},
        "best single": evaluation.fresh.mean(
            lambda request, mu: float(mu[expected_rewards(reference, request).mean(axis=0).argmax()])
        ),
        "prior": _described(prior),
        "logged": {
            "people": len(logged),
            "median_reactions": float(np.median([life.statistics.pulls for life in logged])),
        },
    }


def _best_linear(logged: Sequence[Life], size: Size, rng: np.random.Generator) -> Posterior:
    """Return the linear rule that fits the exact rewards of all candidates best, as if data had no end.

    Of each logged person it sees requests with the profile of a newcomer and with the one at the end of the log.
    """
    d = CROSSED_V3.dimension
    xx, rx = np.eye(d), np.zeros(d)
    for life in logged:
        now = life.history
        for history in (History(), now):
            life.history = history
            for request in (draw_request(rng) for _ in range(size.requests)):
                X = life.encode(request)
                xx += X.T @ X
                rx += X.T @ expected_rewards(life.person, request)[0]
        life.history = now
    return Posterior(np.linalg.solve(xx, rx), np.zeros((d, d)), float(len(logged)))


def _described(prior: Prior) -> dict[str, Any]:
    return {"share": prior.share.tolist(), "strength": prior.observations.tolist(), "noise": prior.noise}


def run(size: Size, progress: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Return all figures, JSON-ready: per contestant and checkpoint mean reward and share of the gap, with errors."""
    results = []
    for seed in range(size.seeds):
        results.append(one_seed(seed, size))
        progress(f"mission: seed {seed + 1} of {size.seeds}")

    def figure(values: Sequence[float], requests: str = "fresh") -> dict[str, Any]:
        reward = np.array(values)
        low, high = np.array([one["bounds"][requests] for one in results]).T
        return {"reward": _mean_and_error(reward), "share": _mean_and_error((reward - low) / (high - low))}

    contestants = {
        name: {
            "at": {str(at): figure([one["at"][name][at] for one in results]) for at in CHECKPOINTS},
            "rounds lived": figure([one["lived"][name] for one in results], "lived"),
        }
        for name in results[0]["at"]
    }
    constants = {
        RANDOM: figure([one["bounds"]["fresh"][0] for one in results]),
        BEST_SINGLE: figure([one["best single"] for one in results]),
        ORACLE: figure([one["bounds"]["fresh"][1] for one in results]),
    }
    best_single = max(
        constants[BEST_SINGLE]["share"]["mean"],
        *(one["share"]["mean"] for one in contestants[BEST_LINEAR]["at"].values()),
    )
    pooled = contestants[POOLED]["at"][str(GOAL_AT)]["share"]["mean"]
    return {
        "size": {name: getattr(size, name) for name in Size.__dataclass_fields__},
        "checkpoints": list(CHECKPOINTS),
        "constants": constants,
        "contestants": contestants,
        "logged": [one["logged"] for one in results],
        "priors": [one["prior"] for one in results],
        "goal": {
            "reactions": GOAL_AT,
            "pooled share": pooled,
            "best population share": best_single,
            "reached": bool(pooled >= GOAL > best_single),
        },
    }


def _mean_and_error(values: NDArray[np.float64]) -> dict[str, float]:
    """Return mean and standard error over seeds. values: (seeds,)."""
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return {"mean": float(values.mean()), "error": float(error)}


def as_markdown(result: Mapping[str, Any]) -> str:
    """Return the tables: share of the gap between random and oracle, and mean reward per round."""
    size, goal = result["size"], result["goal"]
    people = f"{size['seeds']} seeds, {size['evaluated']} people each, none of them among the {size['logged']} logged"
    said = "reached" if goal["reached"] else "missed"
    return "\n\n".join(
        (
            f"Share of the gap between random and oracle that is closed, by reactions so far ({people}; ± one "
            "standard error):",
            _table(result, "share", "{mean:.2f} ± {error:.2f}"),
            "Mean reward per round:",
            _table(result, "reward", "{mean:.3f} ± {error:.3f}"),
            f"Goal: at {goal['reactions']} reactions pooled closes at least half of the gap, and the best population "
            f"policy less than half: {said} ({goal['pooled share']:.2f}; {goal['best population share']:.2f}).",
        )
    )


def _table(result: Mapping[str, Any], what: str, form: str) -> str:
    checkpoints = [str(at) for at in result["checkpoints"]]
    rows = [["", *checkpoints, f"rounds 1 to {checkpoints[-1]}"]]
    for name, one in result["contestants"].items():
        rows.append([name, *(form.format(**one["at"][at][what]) for at in checkpoints)])
        rows[-1].append(form.format(**one["rounds lived"][what]))
    for name, one in result["constants"].items():
        rows.append([name, *[form.format(**one[what])] * len(checkpoints), ""])
    rule = ["---"] + ["---:"] * (len(checkpoints) + 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.mission", description="The mission's own figure.")
    parser.add_argument("--out", type=Path, required=True, help="where the figures go, as JSON")
    parser.add_argument("--quick", action="store_true", help="a small run, to see that everything works")
    options = parser.parse_args(arguments)
    result = run(QUICK if options.quick else Size(), lambda line: print(line, file=sys.stderr))
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(as_markdown(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
