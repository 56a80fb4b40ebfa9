"""The page of a simulation: what each policy came to, for whom, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from offline import pages
from offline.experiments.sim.curves import Curve, of_persona, regret_curve, reward_curve
from offline.experiments.sim.personas import PERSONAS
from offline.experiments.sim.pulls import LEVEL, POWER
from offline.experiments.sim.results import ORACLE, RANDOM, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from offline.experiments.sim.runs import Failure


def page(summary: Mapping[str, Any], runs: Sequence[Run], failures: Sequence[Failure] = ()) -> str:
    """Return the report as one self-contained HTML file."""
    ended = datetime.fromtimestamp(summary["ends_at"], UTC)
    seeds = summary["seeds"]
    written = pages.Page(
        "Simulation",
        f"{summary['users']} people per run, up to {summary['rounds']} rounds each in {summary['weeks']:g} simulated "
        f"weeks that end {ended:%Y-%m-%d %H:%M} UTC; {len(seeds)} seeds; code {summary['code']}",
    )
    if failures:
        written.section("Runs that failed", pages.table(["run", "exit code", "last line"], _failed(failures)))
    written.section("What each policy came to", *_overview(summary))
    written.section("By persona", *_by_persona(summary))
    if summary["pulls"]:
        written.section("How many pulls tell two policies apart", pages.text(_pulls(summary)))
    for persona in summary["personas"]:
        by_policy = of_persona(runs, persona)
        if by_policy:
            written.section(f"Persona {persona}", pages.text(PERSONAS[persona].description), *_curves(by_policy))
    written.section("How it was measured", pages.text(_method(summary)))
    return written.html()


def figure_of(one: Mapping[str, float | None], digits: int = 3) -> str:
    """Return mean and interval as text."""
    if one["low"] is None or one["high"] is None:
        return f"{one['mean']:.{digits}f}"
    return f"{one['mean']:.{digits}f} ({one['low']:.{digits}f} to {one['high']:.{digits}f})"


def _failed(failures: Sequence[Failure]) -> list[list[str]]:
    return [
        [f"{one.spec.policy}, seed {one.spec.seed}", str(one.code), (one.said.splitlines() or [""])[-1]]
        for one in failures
    ]


def _overview(summary: Mapping[str, Any]) -> list[pages.Block]:
    rows = []
    for name, one in summary["policies"].items():
        observed = figure_of(one["observed"]) if "observed" in one else ""
        rows.append([name, figure_of(one["reward"]), figure_of(one["regret"]), figure_of(one["share"], 2), observed])
    columns = ["policy", "reward per round", "regret per round", "share of the gap", "observed reward"]
    blocks = [pages.table(columns, rows, "Means over seeds, with 95 % intervals over seeds in brackets.")]
    if summary["differences"]:
        compared = [[one["policy"], one["against"], figure_of(one)] for one in summary["differences"]]
        blocks.append(
            pages.table(["policy", "against", "difference of reward"], compared, "The same people, seed by seed.")
        )
    if len(summary["seeds"]) < 2:
        blocks.append(pages.text("One seed says nothing of how much of this is luck: there are no intervals."))
    return blocks


def _by_persona(summary: Mapping[str, Any]) -> list[pages.Block]:
    policies = [name for name in summary["policies"] if name not in (RANDOM, ORACLE)]
    rows = []
    for persona in summary["personas"]:
        cells = [summary["policies"][name]["by_persona"].get(persona) for name in policies]
        rows.append([persona, *("" if one is None else figure_of(one["share"], 2) for one in cells)])
    return [pages.table(["persona", *policies], rows, "Share of the gap between random (0) and oracle (1).")]


def _pulls(summary: Mapping[str, Any]) -> str:
    said = summary["pulls"]
    names = " and ".join(dict.fromkeys(said["compared"]))
    variances = ", ".join(f"{name} {variance:.3f}" for name, variance in said["variances"].items())
    apart, before, wide = said["difference"], said["original_pulls"], said["half_width"]
    return f"""
        The service before this one was chosen by a simulation of one seed in which two policies were {apart:g} apart
        after {before} pulls each. The variance of a single reward, measured here: {variances}. With that of {names},
        the 95 % interval of a difference after {before} pulls of each is ± {wide:.3f}, {wide / apart:.0f} times the
        difference itself. To tell {apart:g} apart takes {said["needed"]:,} pulls of each policy (two-sided test at
        {LEVEL:.0%}, power {POWER:.0%}); with {before} the power is {said["power"]:.1%}. That figure did not tell the
        two policies apart.

        n = (v1 + v2) (z(0.975) + z(0.80))² / d², for independent pulls. A policy that learns while it is pulled makes
        those of one person dependent, so this is the least that it takes."""


def _curves(by_policy: Mapping[str, Any]) -> list[pages.Block]:
    regret, axes = pages.plot()
    curves = {name: regret_curve(frames) for name, frames in by_policy.items()}
    for place, (name, curve) in enumerate(curves.items()):
        _draw(axes, curve, name, pages.COLOURS[place % len(pages.COLOURS)])
    # Bands of few seeds are wider than anything that could be: there is no regret below zero.
    axes.set_ylim(0.0, 2.0 * max(0.1, *(float(curve.mean.max()) for curve in curves.values())))
    axes.set_xlabel("reactions so far")
    axes.set_ylabel("cumulative regret")
    axes.legend(loc="upper left")
    reward, above = pages.plot()
    for place, (name, frames) in enumerate(by_policy.items()):
        _draw(above, reward_curve(frames), name, pages.COLOURS[place % len(pages.COLOURS)])
    first = next(iter(by_policy.values()))
    for column, style in ((ORACLE, "--"), (RANDOM, ":")):
        curve = reward_curve(first, column)
        above.plot(curve.x, curve.mean, linestyle=style, color=pages.COLOURS[-1], label=column)
    above.set_ylim(-1.0, 1.0)
    above.set_xlabel("reactions so far")
    above.set_ylabel("mean reward per round")
    above.legend(loc="best")
    policies = ", ".join(by_policy)
    return [
        pages.figure(
            regret,
            "Cumulative regret of a person against the oracle; bands: 95 % over seeds, cut off where there is no room. "
            "The less steep, the better.",
            f"Lines of cumulative regret by reactions so far for {policies}",
        ),
        pages.figure(
            reward,
            "Exact mean reward of what was served; oracle and random for what the first policy's people were offered.",
            f"Lines of mean reward by reactions so far for {policies}, between random and oracle",
        ),
    ]


def _draw(axes: Axes, curve: Curve, name: str, colour: str) -> None:
    axes.plot(curve.x, curve.mean, color=colour, label=name)
    axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)


_METHOD = """
    Every round is a request to the real handler of /score with the table behind it; reactions reach it over /reward or
    as events through consume, and what is left without one teaches the default reward when its wait has ended in
    simulated time.

    Reward, regret and share are exact: of each round, the probabilities that /score returned and the mean reward of
    every candidate by the person's hidden rule, which no policy sees. Regret is what the best candidate of each round
    would have brought more. The share is 0 for choosing at random and 1 for the oracle. A tip without a reaction in
    time counts with the default reward.

    A curve goes on as long as half of the persona's people have had so many reactions."""


def _method(summary: Mapping[str, Any]) -> str:
    if summary["judge"] == "rule":
        return _METHOD
    asked, malformed, given_up = (summary["judged"].get(name, 0) for name in ("asked", "malformed", "given_up"))
    return f"""{_METHOD}

        Reactions were those of a language model that played the persona: {asked} answers, of which {malformed} were
        malformed and asked for again; {given_up} times none was usable, which counted as no reaction. Regret is still
        measured by the hidden rule of that persona, which the model is not told."""
