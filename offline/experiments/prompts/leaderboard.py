"""From ratings to a leaderboard: composites per model and prompt version, with intervals over scenarios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offline.experiments.prompts.judging import LOWEST, MARKS, Ratings
from offline.experiments.prompts.writing import Sample

DRAWS = 10_000
LEVEL = 0.95
_SEED = 20260101

Key = tuple[str, str]
"""Model and prompt version."""


@dataclass(frozen=True)
class Score:
    """A mean over scenarios, and its interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Entry:
    """A line of the leaderboard. tied: its difference to the first has an interval that holds zero.

    unanswered and unjudged samples are in no score. Latency and tokens are of all calls of a sample; cost_usd: of all
    samples together, None where nobody knows a price.
    """

    model: str
    version: str
    composite: Score
    behind: Score | None
    tied: bool
    marks: dict[str, float]
    format_ok: float
    overlong: float
    by_scenario: dict[str, float]
    samples: int
    unanswered: int
    unjudged: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    latency_ms: tuple[float, float]
    """Median and 95 %."""


def composite(sample: Sample, ratings: Ratings) -> dict[str, float] | None:
    """Return a sample's marks, each the mean over its tips, and their composite; None where it has no ratings.

    composite = relevance + actionability + tone + 2 format_ok - overlong. A model that answered without any tip that
    could be shown has the lowest marks.
    """
    if not sample.answered:
        return None
    if sample.tips:
        rated = ratings.get(sample.sample_id)
        if rated is None:
            return None
        marks = {name: float(np.mean([getattr(one, name) for one in rated])) for name in MARKS}
    else:
        marks = dict.fromkeys(MARKS, float(LOWEST))
    return {**marks, "composite": sum(marks.values()) + 2 * sample.format_ok - sample.overlong}


def leaderboard(samples: Sequence[Sample], ratings: Ratings) -> list[Entry]:
    """Return the entries, best first; those without any score are last.

    Intervals are percentiles of a bootstrap over scenarios, the same ones drawn for all entries, so that a difference
    is taken scenario by scenario. They say how far this holds for other scenarios of the kind, for these models' draws.
    """
    of_key: dict[Key, list[Sample]] = {}
    for sample in samples:
        of_key.setdefault((sample.model, sample.version), []).append(sample)
    names = list(dict.fromkeys(sample.scenario for sample in samples))
    scored = {
        key: [(sample, marks) for sample in own if (marks := composite(sample, ratings)) is not None]
        for key, own in of_key.items()
    }
    table = np.array([[_mean([marks["composite"] for sample, marks in scored[key] if sample.scenario == name])
                       for name in names] for key in of_key])  # fmt: skip
    draws = np.random.default_rng(_SEED).integers(0, len(names), (DRAWS, len(names)))
    order = sorted(range(len(of_key)), key=lambda at: -_or_last(_mean(table[at])))
    best = order[0]
    entries = []
    for at in order:
        key = list(of_key)[at]
        behind = None if at == best else _bootstrapped(table[at] - table[best], draws)
        tied = at == best or (behind is not None and behind.low <= 0 <= behind.high)
        entries.append(_entry(key, of_key[key], scored[key], table[at], draws, names, behind, tied))
    return entries


def _entry(
    key: Key,
    own: Sequence[Sample],
    scored: Sequence[tuple[Sample, dict[str, float]]],
    by_scenario: NDArray[np.float64],
    draws: NDArray[np.int64],
    names: Sequence[str],
    behind: Score | None,
    tied: bool,
) -> Entry:
    answered = [sample for sample in own if sample.answered]
    costs = [sample.cost_usd for sample in own if sample.cost_usd is not None]
    latencies = [sample.latency_ms for sample in answered] or [float("nan")]
    return Entry(
        model=key[0],
        version=key[1],
        composite=_bootstrapped(by_scenario, draws),
        behind=behind,
        tied=tied,
        marks={name: _mean([marks[name] for _, marks in scored]) for name in MARKS},
        format_ok=_mean([float(sample.format_ok) for sample in answered]),
        overlong=_mean([float(sample.overlong) for sample in answered]),
        by_scenario={name: float(value) for name, value in zip(names, by_scenario, strict=True)},
        samples=len(own),
        unanswered=len(own) - len(answered),
        unjudged=len(answered) - len(scored),
        prompt_tokens=sum(sample.prompt_tokens for sample in own),
        completion_tokens=sum(sample.completion_tokens for sample in own),
        cost_usd=sum(costs) if len(costs) == len(own) else None,
        latency_ms=(float(np.median(latencies)), float(np.quantile(latencies, 0.95))),
    )


def _bootstrapped(values: NDArray[np.float64], draws: NDArray[np.int64]) -> Score:
    """Return the mean of one value per scenario; nan: a scenario without any, which is passed over."""
    drawn = values[draws]
    known = np.isfinite(drawn)
    counts = known.sum(axis=1)
    means = np.where(known, drawn, 0.0).sum(axis=1)[counts > 0] / counts[counts > 0]
    if not len(means):
        return Score(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Score(_mean(values), float(low), float(high))


def _mean(values: Sequence[float] | NDArray[np.float64]) -> float:
    known = [float(value) for value in values if np.isfinite(value)]
    return sum(known) / len(known) if known else float("nan")


def _or_last(value: float) -> float:
    return value if np.isfinite(value) else -np.inf
