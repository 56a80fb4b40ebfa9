"""Who takes part, and the eight configurations that each may be tuned over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from bench import ours
from bench.peers import BayesianBandits, MABWiser, VowpalWabbit
from bench.problem import Configuration, Learner

Support = Literal["floor", "positive", "partial", "none"]
"""What off-policy evaluation gets to divide by. `floor`: exact probabilities, none ever below a fixed share;
`positive`: exact and never zero, but without a lower bound; `partial`: exact, and some are zero or next to it;
`none`: none given, or the choice is deterministic. The first two have full support."""

OURS = "ours"
DEFAULT = "igw-ucb"
SHIPPED = "igw-ucb, one configuration"
"""The default untuned: ridge 1 and rewards 0..1 on every problem."""
NO_FLOOR = "igw-ucb, no floor"
"""The default without its uniform share: what the floor under the probabilities costs."""
VARIANTS = (SHIPPED, NO_FLOOR)


@dataclass(frozen=True)
class Entry:
    """make: (configuration, arms, dimension, seed) -> learner. package: what must be installed, if anything."""

    name: str
    library: str
    support: Support
    grid: Sequence[Configuration]
    make: Callable[[Configuration, int, int, int], Learner]
    package: str | None = None


def grid(**knobs: Sequence[float | str]) -> list[Configuration]:
    """Return every combination; `low`, what a wrong choice is worth, is a knob of every learner."""
    names = ("low", *knobs)
    return [dict(zip(names, values, strict=True)) for values in product((0.0, -1.0), *knobs.values())]


def _own(name: str, support: Support, configurations: Sequence[Configuration], label: str = "") -> Entry:
    def make(configuration: Configuration, arms: int, dimension: int, seed: int) -> Learner:
        return ours.make(name, configuration, arms, dimension)

    return Entry(label or name, OURS, support, configurations, make)


def _vw(name: str, support: Support, options: str, **knobs: Sequence[float | str]) -> Entry:
    def make(configuration: Configuration, arms: int, dimension: int, seed: int) -> Learner:
        return VowpalWabbit(options, configuration, arms, seed)

    configurations = grid(learning_rate=(0.5, 2.0), **knobs)
    return Entry(name, "Vowpal Wabbit", support, configurations, make, "vowpalwabbit")


def _mabwiser(policy: str) -> Entry:
    def make(configuration: Configuration, arms: int, dimension: int, seed: int) -> Learner:
        return MABWiser(policy, configuration, arms, seed)

    return Entry(policy, "MABWiser", "none", grid(alpha=(0.1, 0.3), l2_lambda=(1.0, 10.0)), make, "mabwiser")


def _bayesianbandits() -> Entry:
    def make(configuration: Configuration, arms: int, dimension: int, seed: int) -> Learner:
        return BayesianBandits(configuration, arms, seed)

    configurations = grid(policy=("UCB", "TS"), ridge=(1.0, 10.0))
    return Entry("UCB or TS", "bayesianbandits", "none", configurations, make, "bayesianbandits")


RIDGES = (1.0, 10.0)
DEFAULT_GRID = grid(ridge=(0.3, 1.0, 3.0, 10.0))
ENTRIES = (
    _own("igw-ucb", "floor", DEFAULT_GRID),
    _own("igw-ucb", "floor", [{"low": 0.0, "ridge": 1.0}], SHIPPED),
    _own("igw-ucb", "positive", [{**configuration, "min_explore": 0.0} for configuration in DEFAULT_GRID], NO_FLOOR),
    _own("squarecb", "positive", grid(ridge=RIDGES, c=(10.0, 100.0))),
    _own("egreedy", "floor", grid(ridge=RIDGES, epsilon=(0.02, 0.1))),
    _own("lints", "partial", grid(ridge=RIDGES, scale=(0.1, 0.3))),
    _own("linucb", "none", grid(ridge=RIDGES, alpha=(0.1, 0.3))),
    _vw("squarecb", "positive", "--squarecb", gamma_scale=(100.0, 1000.0)),
    _vw("epsilon", "floor", "", epsilon=(0.02, 0.05)),
    _vw("regcbopt", "none", "--regcb --regcbopt", mellowness=(0.001, 0.01)),
    _mabwiser("LinUCB"),
    _mabwiser("LinTS"),
    _bayesianbandits(),
)
