"""What logs and the registry say of a policy: the part of its card that is measured, and committed beside it as JSON.

Reward is the doubly robust estimate of what the policy would have earned on the logged decisions (`estimators.py`). Its
probabilities are the logged ones where it took part in nearly all decisions, as the one that chose or as a shadow, else
those that a replay without a population prior gives (`replay.py`). The reward model is the replayed belief under the
schema of the default policy. Intervals are over people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from offline.command import BadInput
from offline.experiments.diagnostics import effective_sample_size
from offline.experiments.estimators import Rounds, averages, doubly_robust_terms, estimates
from offline.pipelines import people
from offline.pipelines.intervals import Estimate, difference_over_people, mean_over_people
from offline.pipelines.replay import Seen, replay
from offline.registry.cards.card import identity
from offline.registry.cards.history import history_of
from tips.bandit.registry import POLICIES
from tips.features.crossed_v3 import CROSSED_V3

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from offline.feature_store.logs import Logs
    from tips.bandit.policy import Policy
    from tips.features.vectors import Schema

MIN_DECISIONS = 100
MIN_PEOPLE = 5
_LEVEL = 0.95
_LOGGED_SHARE = 0.9
_DIGITS = 6
NEW = 10
"""Rewards, those by default among them, of which fewer had arrived of a person who counts as new."""
MANY_TASKS = 5
THRESHOLDS = {"reward": 0.15, "exploration": 0.15}
"""How much less reward, and how much more exploration, a slice may have than the other people's decisions."""
_BANDS = ((0, 6), (6, 12), (12, 18), (18, 24))
_FEW_WEIGHTS = 30.0


def evidence_of(
    logs: Logs,
    names: Sequence[str],
    of: str,
    evaluations: Sequence[Mapping[str, Any]],
    registered: Mapping[str, Mapping[str, Any]],
    progress: Callable[[str], None] = lambda step: None,
) -> dict[str, dict[str, Any]]:
    """Return the evidence of policies by name.

    of: whose decisions they are, in words; evaluations: as `tips evaluate` writes them; registered: by policy, what the
    registry says of its model. Raises `BadInput` where the logs hold too little.
    """
    frame, until = people.present_decisions(logs), people.last_moment(logs)
    everybody = dict.fromkeys(frame["user_id"].unique().to_list())
    replayed: dict[Schema, list[Seen]] = {}

    def seen_under(schema: Schema) -> list[Seen]:
        if schema not in replayed:
            progress(f"replaying under {schema.name}")
            replayed[schema] = replay(frame, schema, everybody, until)
        return replayed[schema]

    believed = seen_under(CROSSED_V3)
    users = {one.decision.user_id for one in believed}
    if len(believed) < MIN_DECISIONS or len(users) < MIN_PEOPLE:
        raise BadInput(
            f"--logs: a card takes {MIN_DECISIONS} decisions of {MIN_PEOPLE} people whose reward wait is over; there "
            f"are {len(believed)} of {len(users)}"
        )
    _, persons = np.unique([one.decision.user_id for one in believed], return_inverse=True)
    times = [one.decision.decided_at_us for one in believed]
    uniform = doubly_robust_terms(_rounds(believed, [np.full(len(one.mean), 1.0 / len(one.mean)) for one in believed]))
    slices = _slices(believed, _task_counts(frame))
    data = {
        "data_hash": logs.data_hash,
        "of": of,
        "decisions": len(believed),
        "people": len(users),
        "from": _day(min(times)),
        "to": _day(max(times)),
        "logged": _told(mean_over_people(np.array([one.reward for one in believed]), persons, _LEVEL)),
        "chance": _told(mean_over_people(uniform, persons, _LEVEL)),
    }
    found = {}
    for name in names:
        progress(f"judging {name}")
        policy = POLICIES[name]
        method, propensities, exploration = _distributions(policy, believed, seen_under)
        rounds = _rounds(believed, propensities)
        found[name] = {
            "format": 1,
            **identity(policy),
            "logs": data,
            "method": method,
            "metrics": _metrics(rounds, exploration, persons),
            "thresholds": THRESHOLDS,
            "slices": _judged_slices(slices, rounds, exploration, uniform, persons),
            "evaluations": [_essence(one) for one in evaluations if one["policy"] == name],
            "model": registered.get(name),
            "history": history_of(policy, logs.audit),
        }
    return found


def _distributions(
    policy: Policy, believed: Sequence[Seen], seen_under: Callable[[Schema], list[Seen]]
) -> tuple[str, list[NDArray[np.float64]], NDArray[np.float64]]:
    """Return how the policy's probabilities were found, these, and of each decision the probability to explore."""
    logged = [one.decision.evaluations.get(policy.name) for one in believed]
    ours = [one is not None and one.policy_version == policy.version for one in logged]
    replayed = None if np.mean(ours) >= _LOGGED_SHARE else seen_under(policy.schema)
    propensities, exploration = [], np.empty(len(believed))
    for place, one in enumerate(logged):
        if one is not None and ours[place] and replayed is None:
            score, propensity = one.score, one.propensity
        else:
            again = (replayed or seen_under(policy.schema))[place].distribution(policy)
            score, propensity = again.score, again.propensity
        propensities.append(propensity)
        exploration[place] = propensity[score < score.max()].sum()
    return ("recomputed" if replayed is not None else "logged"), propensities, exploration


def _rounds(believed: Sequence[Seen], propensities: Sequence[NDArray[np.float64]]) -> Rounds:
    pairs = list(zip(believed, propensities, strict=True))
    return Rounds(
        np.array([one.reward for one in believed]),
        np.array([p[one.decision.chosen] / one.shown_with for one, p in pairs]),
        np.array([one.mean[one.decision.chosen] for one in believed]),
        np.array([p @ one.mean for one, p in pairs]),
    )


def _metrics(rounds: Rounds, exploration: NDArray[np.float64], persons: NDArray[np.intp]) -> dict[str, Any]:
    of = averages(rounds, np.inf)
    normalised = rounds.weight * (rounds.reward - float(of.weighted_reward / of.weight)) if of.weight else rounds.weight
    # Of the ratio of two means, linearised.
    snips = mean_over_people(normalised / float(of.weight) if of.weight else normalised, persons, _LEVEL)
    value = estimates(rounds, np.inf)["snips"] if of.weight else 0.0
    return {
        "reward_dr": _told(mean_over_people(doubly_robust_terms(rounds), persons, _LEVEL)),
        "reward_snips": _told(Estimate(value, value + snips.low - snips.value, value + snips.high - snips.value)),
        "exploration": _told(mean_over_people(exploration, persons, _LEVEL)),
        "effective_sample": _rounded(effective_sample_size(rounds.weight)),
        "mean_weight": _told(mean_over_people(rounds.weight, persons, _LEVEL)),
    }


def _task_counts(frame: Any) -> dict[str, int | None]:
    if "task_count" not in frame.columns:
        return {}
    return dict(zip(frame["decision_id"].to_list(), frame["task_count"].to_list(), strict=True))


def _slices(believed: Sequence[Seen], told: Mapping[str, int | None]) -> dict[str, NDArray[np.bool_]]:
    """Return (n,) masks by name. Tasks are counted among the candidates where the request did not tell of any."""
    known = np.array([one.known for one in believed])
    hours = np.array([-1.0 if (hour := one.decision.situation.hour_of_day) is None else hour for one in believed])
    tasks = np.array([
        candidates if (count := told.get(one.decision.decision_id)) is None else count
        for one in believed
        for candidates in [sum(candidate.kind == "task" for candidate in one.decision.candidates)]
    ])  # fmt: skip
    return {
        f"new people (fewer than {NEW} rewards known)": known < NEW,
        f"others ({NEW} or more)": known >= NEW,
        f"few tasks (fewer than {MANY_TASKS})": tasks < MANY_TASKS,
        f"many tasks ({MANY_TASKS} or more)": tasks >= MANY_TASKS,
        **{f"hour {low} to {high}": (hours >= low) & (hours < high) for low, high in _BANDS},
    }


def _judged_slices(
    slices: Mapping[str, NDArray[np.bool_]],
    rounds: Rounds,
    exploration: NDArray[np.float64],
    uniform: NDArray[np.float64],
    persons: NDArray[np.intp],
) -> list[dict[str, Any]]:
    """Return each slice that has decisions, at a level that holds for all slices together (Bonferroni)."""
    reward = doubly_robust_terms(rounds)
    level = 1.0 - (1.0 - _LEVEL) / len(slices)
    found = []
    for name, inside in slices.items():
        users, own = np.unique(persons[inside], return_inverse=True)
        row: dict[str, Any] = {"name": name, "decisions": int(inside.sum()), "people": len(users)}
        if len(users) < MIN_PEOPLE or inside.all():
            reason = "it is all there is" if inside.all() else f"fewer than {MIN_PEOPLE} people"
            found.append({**row, "verdict": "cannot tell", "because": reason})
            continue
        measured = {
            "reward": mean_over_people(reward[inside], own, level),
            "over_chance": mean_over_people((reward - uniform)[inside], own, level),
            "exploration": mean_over_people(exploration[inside], own, level),
            "reward_difference": difference_over_people(reward, inside, persons, level),
            "exploration_difference": difference_over_people(exploration, inside, persons, level),
        }
        verdict, because = _verdict(measured, effective_sample_size(rounds.weight[inside]))
        found.append(
            {**row, **{key: _told(one) for key, one in measured.items()}, "verdict": verdict, "because": because}
        )
    return found


def _verdict(measured: Mapping[str, Estimate], effective: float) -> tuple[str, str]:
    reward, exploration = measured["reward_difference"], measured["exploration_difference"]
    if measured["over_chance"].high < 0.0:
        return "fails", "served worse than by chance"
    if reward.high < -THRESHOLDS["reward"]:
        return "fails", "less reward than the others by more than the threshold"
    if exploration.low > THRESHOLDS["exploration"]:
        return "fails", "more exploration than the others by more than the threshold"
    if effective < _FEW_WEIGHTS:
        return "cannot tell", f"an effective sample of {effective:.0f}"
    if reward.low < -THRESHOLDS["reward"] or exploration.high > THRESHOLDS["exploration"]:
        return "cannot tell", "the intervals reach beyond a threshold"
    return "passes", "both differences are within the thresholds"


def _essence(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return of an evaluation what a card shows: not the sequence's every step."""
    difference = evaluation["difference"]
    sequence = difference["confidence_sequence"]
    return {
        "against": evaluation["against"],
        "method": evaluation["method"],
        "data_hash": evaluation["logs"]["data_hash"],
        "estimates": {
            name: {"value": _rounded(one["value"]), "interval": [_rounded(end) for end in one["bootstrap"]]}
            for name, one in evaluation["estimates"].items()
        },
        "difference": {
            "dr": _rounded(difference["dr"]),
            "low": _rounded(sequence["low"]),
            "high": _rounded(sequence["high"]),
            "alpha": sequence["alpha"],
            "decisions": sequence["decisions"],
        },
    }


def _told(one: Estimate) -> dict[str, float]:
    return {name: _rounded(value) for name, value in asdict(one).items()}


def _rounded(value: float) -> float:
    # Beyond that, machines differ.
    return round(float(value), _DIGITS) + 0.0


def _day(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us / 1_000_000, UTC):%Y-%m-%d}"
