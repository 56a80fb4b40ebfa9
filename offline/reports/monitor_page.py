"""What `tips monitor` found, as a page."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from matplotlib.figure import Figure

from offline.pages import COLOURS, Block, Page, figure, plot, table, text, tiles
from offline.reports import stability as limits
from offline.reports.calibration import TOLERATED, Calibration
from offline.reports.monitor import CHECKS, Check, Monitored, Window
from offline.reports.numbers import (
    NOTHING,
    count,
    interval,
    mean_number,
    mean_share,
    number,
    seconds,
    share,
    share_interval,
)
from offline.reports.stability import Stability
from offline.reports.staleness import BEHIND, MORE_MISSING

_DRAWN = 4
"""Features whose distributions are drawn."""
_MOST_BINS = 12
_VERDICTS = {0: "Fine", 1: "Cannot tell", 3: "Alarm"}
_ORDER = ("drift", "watch", "cannot tell", "stable")


def page_of(found: Monitored, checks: Collection[Check] = CHECKS) -> Page:
    """Return the page."""
    page = Page("oO tips: monitor", f"{_span(found.now)}, compared with {_span(found.before)}")
    page.section("Verdict", *_verdict(found, checks))
    page.section("Feature drift", *_drift(found.drift))
    page.section("Profile features", *_profile(found))
    page.section("Reward delay", *_delay(found))
    page.section("Calibration", *_calibration(found))
    page.section("How it is judged", text(_JUDGED))
    return page


def _span(window: Window) -> str:
    if window.start is None or window.end is None:
        return "no decisions"
    return f"{window.start:%Y-%m-%d} to {window.end:%Y-%m-%d}"


def _verdict(found: Monitored, checks: Collection[Check]) -> list[Block]:
    code = found.exit_code(checks)
    windows = [
        ("Now", count(found.now.decisions), f"decisions of {count(found.now.people)} people"),
        ("Training", count(found.before.decisions), f"decisions of {count(found.before.people)} people"),
    ]
    rows = []
    for check in CHECKS:
        state = "alarm" if check in found.alarms else "cannot tell" if check in found.untold else "fine"
        said = "; ".join(found.alarms.get(check, [])) or found.untold.get(check, "")
        rows.append([check, state if check in checks else f"{state} (not asked for)", said])
    return [
        tiles([("Verdict", _VERDICTS[code], f"exit code {code}"), *windows]),
        table(["Check", "state", "why"], rows),
    ]


def _drift(drift: list[Stability]) -> list[Block]:
    if not drift:
        return [text("There is no feature to compare: one of the windows is empty.")]
    ordered = sorted(drift, key=lambda one: (_ORDER.index(one.verdict), -one.psi))
    rows = [
        [
            one.feature,
            one.verdict,
            number(one.psi),
            number(one.expected),
            number(one.noise),
            one.group,
            count(one.people[0]),
            count(one.people[1]),
        ]
        for one in ordered
    ]
    columns = ["Feature", "verdict", "PSI", "by chance", "limit of chance", "of", "people before", "now"]
    blocks = [table(columns, rows, "By verdict, then by PSI")]
    for one in [one for one in ordered if one.verdict in ("drift", "watch")][:_DRAWN]:
        blocks.append(
            figure(
                _bins(one),
                f"{one.feature} ({one.group}): PSI {number(one.psi)}, by chance {number(one.expected)}.",
                f"Bars: shares of the values of {one.feature}, in training and now.",
            )
        )
    return blocks


def _bins(one: Stability) -> Figure:
    fig, axes = plot()
    bins = sorted(one.bins, key=lambda part: -abs(part.now - part.before))[:_MOST_BINS]
    bins = [part for part in one.bins if part in bins]
    places = np.arange(len(bins))
    axes.bar(places - 0.2, [part.before for part in bins], 0.4, color=COLOURS[6], label="training")
    axes.bar(places + 0.2, [part.now for part in bins], 0.4, color=COLOURS[1], label="now")
    axes.set_xticks(places, [part.label for part in bins], rotation=40, ha="right")
    axes.grid(False, axis="x")
    axes.set_ylabel("share")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return fig


def _profile(found: Monitored) -> list[Block]:
    missing = [
        [
            one.feature,
            " and ".join(one.alarms) or "fine",
            mean_share(one.missing_before),
            mean_share(one.missing_now),
            share_interval(one.missing_now),
            *(share(one.sources.get(source, 0.0)) if one.sources else NOTHING for source in _SOURCES),
        ]
        for one in found.profile
    ]
    stored = [
        [
            one.feature,
            seconds(one.ttl_sec),
            count(one.stored),
            share(one.past_ttl),
            count(one.with_events),
            share(one.behind),
        ]
        for one in found.profile
    ]
    return [
        table(
            ["Feature", "verdict", "missing before", "now", "95 % interval", *(f"{one} now" for one in _SOURCES)],
            missing,
            "What decisions knew",
        ),
        table(
            ["Feature", "ttl", "people stored", "older than ttl", "people with events", "behind them"],
            stored,
            "What is stored for the people of now, at the time of the export",
        ),
        text(
            "A value older than its ttl is not used and is no fault: it changes with the person's events alone, and a "
            "person without any for a while has none that is fresh. Behind are those whose events are newer than their "
            "value by more than its ttl: there the computation lags."
        ),
    ]


_SOURCES = ("request", "stored", "fallback")


def _delay(found: Monitored) -> list[Block]:
    rows = []
    for name, window in (("training", found.before), ("now", found.now)):
        delays = [seconds(value) for value in window.delays] or [NOTHING] * 4
        reacted = window.reacted
        rows.append([name, mean_share(reacted), share_interval(reacted), *delays])
    blocks = [
        table(
            ["Window", "with a reaction", "95 % interval", "10 %", "median", "90 %", "99 %"],
            rows,
            "Of decisions whose wait is over; then the delay of reactions",
        )
    ]
    if found.delay is None:
        return [*blocks, text("In one of the windows nobody has reacted.")]
    one = found.delay
    return [
        *blocks,
        figure(
            _bins(one),
            f"Delay of reactions, seconds. {one.verdict}: PSI {number(one.psi)}, by chance {number(one.expected)}.",
            "Bars: shares of the delays of reactions, in training and now.",
        ),
    ]


def _calibration(found: Monitored) -> list[Block]:
    if not found.calibration:
        return [text("No decision of now has a known reward and a prediction.")]
    rows = [
        _calibration_row(one, name)
        for name, listed in (("training", found.calibration_before), ("now", found.calibration))
        for one in listed
    ]
    columns = ["Policy", "window", "verdict", "decisions", "gap", "95 % interval", "slope", "95 % interval", "error"]
    blocks = [table(columns, rows, "Gap: mean of reward minus prediction; slope: of reward on prediction, 1 is right")]
    for one in found.calibration:
        blocks.append(
            figure(
                _reliability(one),
                f"{one.policy}, now: mean reward by predicted mean, with 95 % intervals by person. On the line "
                "predictions are right.",
                f"Points: mean reward over prediction for {one.policy}, and the line where both are equal.",
            )
        )
    return blocks


def _calibration_row(one: Calibration, window: str) -> list[str]:
    verdict = "alarm" if one.alarm else "fine" if one.error is not None else "cannot tell"
    slope = one.slope
    return [
        one.policy,
        window,
        verdict,
        count(one.decisions),
        mean_number(one.gap),
        interval(one.gap),
        number(slope and slope[0]),
        NOTHING if slope is None else f"{number(slope[1])} to {number(slope[2])}",
        number(one.error),
    ]


def _reliability(one: Calibration) -> Figure:
    fig, axes = plot()
    predicted = [part.predicted for part in one.bins]
    observed = [part.observed.mean for part in one.bins]
    ends = [min(predicted), max(predicted)]
    axes.plot(ends, ends, color=COLOURS[6], linestyle="--", linewidth=1)
    for part in one.bins:
        if part.observed.low is not None and part.observed.high is not None:
            axes.vlines(part.predicted, part.observed.low, part.observed.high, color=COLOURS[0], alpha=0.45, lw=2.5)
    axes.plot(predicted, observed, "o", color=COLOURS[0])
    axes.set_xlabel("predicted mean of the tip shown")
    axes.set_ylabel("mean reward")
    return fig


_JUDGED = f"""
Drift: the population stability index (PSI) over bins that the training window decides: its deciles, single values
where there are few, and one bin for what is missing. A feature has drifted at {limits.LARGE:g} and is to be watched
from {limits.MODERATE:g}, if the index is also larger than chance makes it. Chance is reckoned by person, since
decisions of one person are alike; over all features together it gives a false alarm in
{share(limits.FALSE_ALARMS, 0)} of looks at most. Where chance alone could pass {limits.LARGE:g}, it cannot be told.

Profile features: an alarm where the share of decisions without the feature has grown by more than
{share(MORE_MISSING, 0)} and more than chance, or where more than {share(BEHIND, 0)} of the people with events have a
value that lags behind them.

Reward delay: the index again, over decisions whose reward wait is over, since of the others only quick reactions are
known.

Calibration: an alarm where predictions miss the mean reward of their bin by more than {TOLERATED:g} in the root mean
square, what chance adds being taken out, with a probability under 1 % if they were right.
"""
