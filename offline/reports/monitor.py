"""Compares the last days with the time that a policy was trained on, and says what no longer holds."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast, get_args

import polars as pl

from offline.feature_store.logs import Logs
from offline.reports.calibration import Calibration, calibration
from offline.reports.inputs import inputs
from offline.reports.means import Mean, mean
from offline.reports.numbers import seconds, share
from offline.reports.stability import FEWEST_PEOPLE, Stability, stability
from offline.reports.staleness import ProfileHealth, profile_health

FEWEST_DECISIONS = 100
DELAY = ("reward", "reward_delay_sec")

Check = Literal["drift", "profile", "delay", "calibration"]
CHECKS: tuple[Check, ...] = get_args(Check)
FINE, CANNOT_TELL, ALARM = 0, 1, 3
"""Exit codes; 2 is that of a command that was asked for wrongly."""


@dataclass(frozen=True)
class Window:
    """Decisions of a span of time. start and end: of the first and the last one."""

    start: datetime | None
    end: datetime | None
    decisions: int
    people: int
    reacted: Mean | None
    """Share of the decisions whose wait is over that have a reaction."""
    delays: tuple[float, ...]
    """Seconds to the reaction: 10 %, median, 90 % and 99 %."""


@dataclass(frozen=True)
class Monitored:
    """What was found. alarms and untold: sentences by check, of what is wrong and of what cannot be told."""

    before: Window
    now: Window
    drift: list[Stability]
    profile: list[ProfileHealth]
    delay: Stability | None
    calibration: list[Calibration]
    calibration_before: list[Calibration]
    alarms: dict[Check, list[str]]
    untold: dict[Check, str]

    def exit_code(self, checks: Collection[Check] = CHECKS) -> int:
        """Return what a schedule is told, by these checks: any alarm, else any that can tell nothing, else fine."""
        if any(self.alarms.get(check) for check in checks):
            return ALARM
        return CANNOT_TELL if any(check in self.untold for check in checks) else FINE

    def document(self, checks: Collection[Check] = CHECKS) -> dict[str, Any]:
        """Return all of it for programs."""
        verdicts = {FINE: "fine", CANNOT_TELL: "cannot tell", ALARM: "alarm"}
        code = self.exit_code(checks)
        found = asdict(self)
        for window in ("before", "now"):
            for end in ("start", "end"):
                at = found[window][end]
                found[window][end] = None if at is None else at.isoformat()
        return {"verdict": verdicts[code], "exit_code": code, "checks": list(checks), **found}


def monitor(train: Logs, now: Logs, days: float, progress: Callable[[float], None] = lambda done: None) -> Monitored:
    """Compare the last `days` of one export with all that is earlier in the other, which may be the same.

    progress: told the share that is done.
    """
    recent, earlier = _windows(train, now, days)
    settled_before, settled_now = _settled(earlier, train), _settled(recent, now)
    drift, delay = _drift(earlier, recent, settled_before, settled_now, progress)
    found = Monitored(
        before=_window(earlier, settled_before),
        now=_window(recent, settled_now),
        drift=drift,
        profile=profile_health(earlier, recent, now.profiles, now.as_of),
        delay=delay,
        calibration=calibration(settled_now),
        calibration_before=calibration(settled_before),
        alarms={},
        untold={},
    )
    for check in CHECKS:
        if reason := _untold(check, found):
            found.untold[check] = reason
        elif sentences := _ALARMS[check](found):
            found.alarms[check] = sentences
    return found


def _windows(train: Logs, now: Logs, days: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    newest = cast("datetime | None", now.decisions["decided_at"].max())
    span = timedelta(days=days)
    if newest is None or now.as_of - newest > span:
        # Nothing was decided lately: what was before is not what is now.
        return now.decisions.clear(), train.decisions
    since = newest - span
    return now.decisions.filter(pl.col("decided_at") > since), train.decisions.filter(pl.col("decided_at") <= since)


def _settled(decisions: pl.DataFrame, logs: Logs) -> pl.DataFrame:
    """Return the decisions whose wait is over: of the others only those with a quick reaction would be known."""
    return decisions.filter(pl.col("wait_ends_at") <= pl.lit(logs.as_of))


def _window(decisions: pl.DataFrame, settled: pl.DataFrame) -> Window:
    delays = settled["reward_delay_sec"].drop_nulls()
    return Window(
        cast("datetime | None", decisions["decided_at"].min()),
        cast("datetime | None", decisions["decided_at"].max()),
        len(decisions),
        decisions["user_id"].n_unique(),
        mean(settled.with_columns((pl.col("reward_source") == "reaction").alias("_reacted")), "_reacted", (0.0, 1.0)),
        tuple(float(delays.quantile(q) or 0.0) for q in (0.1, 0.5, 0.9, 0.99)) if len(delays) else (),
    )


def _drift(
    earlier: pl.DataFrame,
    recent: pl.DataFrame,
    settled_before: pl.DataFrame,
    settled_now: pl.DataFrame,
    progress: Callable[[float], None],
) -> tuple[list[Stability], Stability | None]:
    # A schema that is only in one of the windows has nothing to be compared with.
    before = {(group, name): frame for group, name, frame in inputs(earlier) if len(frame)}
    now = {(group, name): frame for group, name, frame in inputs(recent) if len(frame)}
    delay = "value", pl.col("reward_delay_sec")
    reacted = [window.filter(pl.col("reward_delay_sec").is_not_null()) for window in (settled_before, settled_now)]
    if all(len(window) for window in reacted):
        before[DELAY], now[DELAY] = (window.select("user_id", delay[1].alias(delay[0])) for window in reacted)
    compared = [key for key in before if key in now]
    found = []
    for done, key in enumerate(compared, start=1):
        found.append(stability(*key, before[key], now[key], looked_at=len(compared)))
        progress(done / len(compared))
    of_inputs = [one for one in found if (one.group, one.feature) != DELAY]
    return of_inputs, next((one for one in found if (one.group, one.feature) == DELAY), None)


def _drift_alarms(found: Monitored) -> list[str]:
    return [f"{one.feature} ({one.group}) drifted: PSI {one.psi:.2f}" for one in found.drift if one.verdict == "drift"]


def _profile_alarms(found: Monitored) -> list[str]:
    sentences = []
    for one in found.profile:
        if "missing" in one.alarms and one.missing_before and one.missing_now:
            sentences.append(
                f"{one.feature} is missing in {share(one.missing_now.mean, 0)} of decisions, before in "
                f"{share(one.missing_before.mean, 0)}"
            )
        if "stale" in one.alarms and one.behind is not None:
            sentences.append(f"{one.feature} is stale: behind their events for {share(one.behind, 0)} of people")
    return sentences


def _delay_alarms(found: Monitored) -> list[str]:
    if found.delay is None or found.delay.verdict != "drift":
        return []
    return [
        f"reactions take another time: median {seconds(found.now.delays[1])}, before {seconds(found.before.delays[1])} "
        f"(PSI {found.delay.psi:.2f})"
    ]


def _calibration_alarms(found: Monitored) -> list[str]:
    return [
        f"{one.policy} is miscalibrated: its predictions miss by {one.error:.2f} (root mean square)"
        for one in found.calibration
        if one.alarm
    ]


_ALARMS: dict[Check, Callable[[Monitored], list[str]]] = {
    "drift": _drift_alarms,
    "profile": _profile_alarms,
    "delay": _delay_alarms,
    "calibration": _calibration_alarms,
}


def _untold(check: Check, found: Monitored) -> str | None:
    """Return why a check can tell nothing at all, None where it can."""
    if check != "calibration":
        for name, window in (("training", found.before), ("now", found.now)):
            if window.decisions < FEWEST_DECISIONS or window.people < FEWEST_PEOPLE:
                return (
                    f"{name} has {window.decisions} decisions of {window.people} people, and it takes at least "
                    f"{FEWEST_DECISIONS} of {FEWEST_PEOPLE}"
                )
    if check == "drift" and all(one.verdict == "cannot tell" for one in found.drift):
        return "no feature has enough people to tell drift from chance"
    if check == "delay" and (found.delay is None or found.delay.verdict == "cannot tell"):
        return "too few people have reacted"
    if check == "calibration" and not any(one.error is not None for one in found.calibration):
        return "too few decisions of now have a known reward and a prediction"
    return None
