"""Logged decisions as arrays: what was drawn, by which probabilities, and how two policies would have drawn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from offline.command import BadInput
from offline.experiments import reward_model
from offline.experiments.estimators import Rounds
from offline.experiments.recompute import arrived_at, recomputed
from offline.feature_store.logs import LoggedDecision, Logs, logged_decisions, shown_by_reaction
from tips.bandit.policy import Policy
from tips.bandit.prior import Prior

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Method = Literal["shadow", "recomputed"]
Watched = Callable[[Iterable[Any], int, str], Iterable[Any]]
"""Shows how far something has come: what is gone through, how many there are, and what it is for."""

ENOUGH_LOGGED = 1000
"""Decisions with a policy's own distribution in the log that `auto` is content with, if they are less than half."""


@dataclass(frozen=True, eq=False)
class Candidacy:
    """A policy that is judged or compared with; recomputed with a prior and a half-life (microseconds, 0 for none)."""

    policy: Policy
    method: Literal["auto", "shadow", "recomputed"] = "auto"
    prior: Prior | None = None
    half_life: int = 0


@dataclass(frozen=True, eq=False)
class Trials:
    """n decisions in time order. The candidates of all lie one after the other in the flat arrays.

    decided_at, known_at: microseconds, of the choice and of its reward; starts, shown: (n,), places in the flat arrays
    of a decision's first candidate and of the one drawn. logged: b; challenger: p; against: o.
    """

    users: tuple[str, ...]
    decided_at: Integers
    known_at: Integers
    reward: Array
    starts: Integers
    shown: Integers
    logged: Array
    challenger: Array
    against: Array

    def __len__(self) -> int:
        return len(self.reward)

    @cached_property
    def people(self) -> Integers:
        """Whose decision each is: (n,), 0..c-1."""
        return np.unique(np.array(self.users), return_inverse=True)[1].astype(np.int64)

    @property
    def covered(self) -> NDArray[np.bool_]:
        """Whether all that the two would show could have been shown: (n,), known before the draw."""
        missing = (self.logged <= 0) & ((self.challenger > 0) | (self.against > 0))
        return ~np.logical_or.reduceat(missing, self.starts)

    def only(self, kept: NDArray[np.bool_]) -> Trials:
        """Return the decisions of which kept, (n,), is true."""
        sizes = np.diff(self.starts, append=len(self.logged))
        flat = np.repeat(kept, sizes)
        starts = np.cumsum(sizes[kept]) - sizes[kept]
        return Trials(
            tuple(user for user, one in zip(self.users, kept, strict=True) if one),
            self.decided_at[kept],
            self.known_at[kept],
            self.reward[kept],
            starts,
            starts + (self.shown - self.starts)[kept],
            self.logged[flat],
            self.challenger[flat],
            self.against[flat],
        )

    def weight(self, probabilities: Array) -> Array:
        """Return the weights of the candidates drawn: (n,)."""
        weight: Array = probabilities[self.shown] / self.logged[self.shown]
        return weight

    def rounds(self, probabilities: Array, q: Array) -> Rounds:
        """Return the rounds for a policy's probabilities; both flat."""
        value = np.add.reduceat(probabilities * q, self.starts)
        return Rounds(self.reward, self.weight(probabilities), q[self.shown], value)

    def largest_weight(self, probabilities: Array) -> float:
        """Return the largest weight that a draw could have had."""
        return float((probabilities / self.logged).max())


@dataclass(frozen=True, eq=False)
class Found:
    """What an export holds for a comparison. frame: the rows of `trials`; left_out: how many decisions, by reason."""

    trials: Trials
    frame: pl.DataFrame
    method: Method
    degraded: int
    left_out: dict[str, int]


def find(logs: Logs, challenger: Candidacy, against: Candidacy, watched: Watched, since: int = 0) -> Found:
    """Return the decisions that can be judged.

    Decisions are left out by time and never for what became of them: those whose reward wait was not over when the
    table was read, deferred ones that were never activated, and those of which their reaction alone says that they
    were shown. A degraded decision stays: its probabilities are those that were drawn by. Left out as well, by what
    was known before the draw: where a distribution is to be as logged and is not there, and where one of the two would
    show what could not be drawn. since: microseconds; earlier decisions teach and are not judged.
    Raises `BadInput` where none is left.
    """
    frame = logs.decisions
    known = pl.col("reward").is_not_null() & pl.col("wait_ends_at").is_not_null()
    by_reaction = shown_by_reaction()
    over = known & (pl.col("wait_ends_at") < logs.as_of) & ~by_reaction
    recent = pl.col("decided_at").dt.timestamp("us") >= since
    left_out = {
        "deferred and never activated": frame.filter(pl.col("wait_ends_at").is_null()).height,
        "deferred and shown by the word of their reaction alone": frame.filter(by_reaction).height,
        "reward wait not over": frame.filter(
            pl.col("wait_ends_at").is_not_null() & ~over.fill_null(False) & ~by_reaction
        ).height,
        "before what is judged": frame.filter(over & ~recent).height,
    }
    usable = frame.select((over & recent).fill_null(False)).to_series()
    if not usable.any():
        raise BadInput("--logs: no decision in it can be judged yet: the reward wait of none was over at the export")
    method = _method(challenger, _logged_with(frame, challenger.policy) & usable, int(usable.sum()))
    for one, logged in ((challenger, method == "shadow"), (against, against.method == "shadow")):
        if logged:
            before = int(usable.sum())
            usable &= _logged_with(frame, one.policy)
            left_out[f"without {one.policy.name}'s distribution"] = before - int(usable.sum())
    if not usable.any():
        raise BadInput(
            f"--logs: in no decision that can be judged are the distributions of both {challenger.policy.name} and "
            f"{against.policy.name}"
        )
    rows = frame.filter(usable)
    recomputes = [challenger if method == "recomputed" else None, None]
    if not _logged_with(rows, against.policy).all():
        recomputes[1] = against
    told = [None if one is None else _recomputed(frame, usable, one, watched) for one in recomputes]
    # Logged with every decision that is judged, or else with none of them taken: a mixture would be no policy.
    names = challenger.policy.name, against.policy.name
    trials = _trials(watched(logged_decisions(rows), rows.height, "reading decisions"), names, told)
    covered = trials.covered
    if not covered.any():
        raise BadInput(
            f"--logs: {deciding(rows)} gave no probability to tips that {names[0]} or {names[1]} would show: nothing "
            "can be said of them"
        )
    left_out["in which a tip that one of the two would show could not be shown"] = int((~covered).sum())
    trials, rows = trials.only(covered), rows.filter(pl.Series(covered))
    counted = {reason: count for reason, count in left_out.items() if count}
    return Found(trials, rows, method, int(rows["degraded"].sum()), counted)


def expectations(found: Found, watched: Watched) -> tuple[Array, Array]:
    """Return q of all candidates, flat, twice: cross-fitted by person, and from the past alone."""
    trials, frame = found.trials, found.frame
    shown = np.concatenate(
        [
            reward_model.vectors(one, only=one.chosen)
            for one in watched(logged_decisions(frame), frame.height, "fitting the reward model")
        ]
    )
    fits = (
        reward_model.cross_fitted(shown, trials.reward, trials.users),
        reward_model.past_only(shown, trials.reward, trials.decided_at, trials.known_at),
    )
    q: tuple[list[Array], list[Array]] = ([], [])
    for row, one in enumerate(watched(logged_decisions(frame), frame.height, "expecting rewards")):
        X = reward_model.vectors(one)
        for of, fit in zip(q, fits, strict=True):
            of.append(fit.predict(X, row))
    return np.concatenate(q[0]), np.concatenate(q[1])


def deciding(frame: pl.DataFrame) -> str:
    """Return the policy that took most decisions, of several the first by name."""
    return str(frame["policy"].value_counts().sort(["count", "policy"], descending=[True, False])["policy"][0])


def answering(logs: Logs) -> str:
    """Return the policy that was configured to answer when the table was read, else the one that took most decisions.

    Which one took the last decision is chance: callers name policies, and experiments have arms.
    """
    configured = logs.audit.filter(pl.col("kind") == "configuration")["after"]
    active = json.loads(configured[-1]).get("active_policy") if len(configured) else None
    return deciding(logs.decisions) if active is None else str(active)


def _logged_with(rows: pl.DataFrame, policy: Policy) -> pl.Series:
    """Return whether each row holds the distribution of this version of the policy: it chose, or was a shadow."""
    of = pl.element().struct
    same = (of.field("policy") == policy.name) & (of.field("policy_version") == policy.version)
    return rows.select(pl.col("evaluations").list.eval(same).list.any()).to_series()


def _method(challenger: Candidacy, logged: pl.Series, usable: int) -> Method:
    count = int(logged.sum())
    if challenger.method == "shadow" and not count:
        raise BadInput(
            f"--method shadow: {challenger.policy.name} was no shadow in any of these decisions; "
            "--method recomputed replays it"
        )
    if challenger.prior is not None:
        if challenger.method == "shadow":
            raise BadInput("--prior: what a shadow made of a decision is logged; give --method recomputed")
        return "recomputed"
    if challenger.method != "auto":
        return challenger.method
    return "shadow" if count >= min(ENOUGH_LOGGED, usable / 2) and count else "recomputed"


def _recomputed(frame: pl.DataFrame, usable: pl.Series, one: Candidacy, watched: Watched) -> Iterator[Array]:
    replayed = recomputed(frame, one.policy, prior=one.prior, half_life=one.half_life)
    for wanted, propensity in zip(usable, watched(replayed, frame.height, f"replaying {one.policy.name}"), strict=True):
        if wanted:
            yield propensity


def _trials(
    decisions: Iterable[LoggedDecision], names: tuple[str, str], told: Sequence[Iterator[Array] | None]
) -> Trials:
    """told: of the challenger and of the other, where it is not to be taken from the log."""
    flat: tuple[list[Array], list[Array], list[Array]] = ([], [], [])
    rows: list[tuple[str, int, int, float, int]] = []
    for one in decisions:
        flat[0].append(one.evaluations[one.active].propensity)
        for of, name, given in zip(flat[1:], names, told, strict=True):
            of.append(one.evaluations[name].propensity if given is None else next(given))
        known_at = arrived_at(one)
        if one.reward is None or known_at is None:
            raise ValueError(f"decision {one.decision_id} has no reward yet")
        rows.append((one.user_id, one.decided_at_us, known_at, one.reward, one.chosen))
    users, decided_at, known_at_, reward, chosen = zip(*rows, strict=True)
    sizes = np.array([len(one) for one in flat[0]])
    starts = np.cumsum(sizes) - sizes
    logged, challenger, against = (np.concatenate(one) for one in flat)
    return Trials(
        tuple(users),
        np.array(decided_at),
        np.array(known_at_),
        np.array(reward, dtype=np.float64),
        starts,
        starts + np.array(chosen),
        logged,
        challenger,
        against,
    )
