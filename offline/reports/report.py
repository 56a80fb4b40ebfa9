"""The admin report: what was decided, shown, rewarded and paid for, from an export alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import polars as pl

from offline.feature_store.logs import Logs
from offline.pages import Block, Page, figure, table, text, tiles
from offline.reports import charts, running
from offline.reports.means import Mean, mean, means
from offline.reports.numbers import NOTHING, count, interval, mean_number, mean_share, number, share, share_interval
from tips.bandit.intervals import mean_interval

_LINES = 5
"""Series of a figure over time: more cannot be told apart. The tables have all."""
_BY_PERSON = "Intervals are 95 %, by person; there is none for fewer than five people or where all values are equal."


def report(logs: Logs) -> Page:
    """Return the report's page."""
    decisions = logs.decisions.with_columns(pl.col("decided_at").dt.date().alias("day"))
    page = Page("oO tips: report", _period(decisions, logs))
    if decisions.is_empty():
        page.section("Decisions", text("This export holds no decisions: there is nothing to report yet."))
        page.section("Costs", *running.costs(logs.generations))
        return page
    page.section("At a glance", *_glance(decisions, logs))
    page.section("Rewards: known, open, by default", *_sources(decisions))
    page.section("Reward by policy", *_by(decisions, "policy", "Policy"))
    page.section("Reward over time", *_over_time(decisions))
    page.section("Reward by prompt version", *_by_prompt(decisions))
    page.section("Reward by kind", *_by(decisions, "kind", "Kind"), *_by(decisions, "source", "Source", chart=False))
    page.section("Exploration", *_exploration(decisions))
    page.section("People", *_people(decisions))
    page.section("Latency", *running.latency(decisions))
    page.section("Costs", *running.costs(logs.generations))
    page.section("Changes", *running.changes(logs.audit))
    return page


def _period(decisions: pl.DataFrame, logs: Logs) -> str:
    made = f"exported {str(logs.manifest['exported_at'])[:16].replace('T', ' ')} UTC"
    if decisions.is_empty():
        return made
    days = decisions["day"].sort()
    return f"{days[0]} to {days[-1]}, {made}, data {logs.data_hash[:12]}"


def _glance(decisions: pl.DataFrame, logs: Logs) -> list[Block]:
    people = decisions["user_id"].n_unique()
    reward, explored = mean(decisions, "reward"), mean(decisions, "explored", (0.0, 1.0))
    reacted = decisions.filter(pl.col("reward_source") == "reaction")
    degraded = decisions["degraded"].mean()
    values = [
        ("Decisions", count(len(decisions)), f"on {decisions['day'].n_unique()} days"),
        ("People served", count(people), f"{len(decisions) / people:.1f} decisions each"),
        ("Mean reward", mean_number(reward), f"{interval(reward)} (95 %)" if reward else "none known yet"),
        ("With a reaction", share(len(reacted) / len(decisions)), "of all decisions"),
        ("Explored", mean_share(explored), f"{share_interval(explored)} (95 %)"),
        ("Degraded", share(degraded if isinstance(degraded, float) else None), "answered without the table"),
    ]
    left_out = [
        f"{count(logs.manifest[name])} {what}"
        for name, what in (("erased_left_out", "of erased people"), ("unreadable", "that cannot be read"))
        if logs.manifest.get(name)
    ]
    note = [text(f"Left out of this export: {' and '.join(left_out)}.")] if left_out else []
    return [tiles(values), *note]


def _sources(decisions: pl.DataFrame) -> list[Block]:
    kinds = {
        "reaction": pl.col("reward_source") == "reaction",
        "default (wait over)": pl.col("reward_source") == "default",
        "open (waiting)": pl.col("reward").is_null() & pl.col("wait_began_at").is_not_null(),
        "deferred, not shown": pl.col("reward").is_null() & pl.col("wait_began_at").is_null(),
    }
    counted = {name: decisions.filter(which) for name, which in kinds.items()}
    rows = []
    for name, frame in counted.items():
        rewarded = mean(frame, "reward")
        rows.append([name, count(len(frame)), share(len(frame) / len(decisions)), mean_number(rewarded)])
    late = decisions.filter(pl.col("late_reward").is_not_null())
    rows.append(["late reaction (not learned)", count(len(late)), share(len(late) / len(decisions)), NOTHING])
    actions = decisions.filter(pl.col("action").is_not_null()).group_by("action").len().sort("len", "action")[::-1]
    drawn = {
        name: dict(frame.group_by("day").len().sort("day").iter_rows()) for name, frame in counted.items() if len(frame)
    }
    blocks = [
        table(["Reward", "decisions", "share", "mean"], rows),
        figure(
            charts.stacked_by_day(drawn, "decisions"),
            "Decisions by day (UTC) and what is known of their reward.",
            "Stacked bars: decisions by day, by where their reward comes from.",
        ),
    ]
    if len(actions):
        total = int(actions["len"].sum())
        listed = [[str(name), count(n), share(n / total)] for name, n in actions.iter_rows()]
        blocks.append(table(["Action", "reactions", "share"], listed, "What people did"))
    return blocks


def _by(decisions: pl.DataFrame, column: str, name: str, *, chart: bool = True) -> list[Block]:
    """Return reward by the values of a column: a table, and a figure of means with intervals."""
    shown = means(decisions.with_columns(pl.lit(0.0).alias("_shown")), "_shown", [column])
    rewards, explored = dict(means(decisions, "reward", [column])), dict(means(decisions, "explored", [column]))
    rows, drawn = [], []
    for key, of in shown:
        reward = rewards.get(key)
        label = "not told" if key[0] is None else str(key[0])
        rows.append(
            [
                label,
                count(of.n),
                count(of.people),
                count(reward.n if reward else 0),
                mean_number(reward),
                interval(reward),
                share(explored[key].mean),
            ]
        )
        if reward:
            drawn.append((label, reward))
    columns = [name, "decisions", "people", "rewarded", "mean reward", "95 % interval", "explored"]
    blocks = [table(columns, rows)]
    if not drawn:
        return [*blocks, text("No reward is known yet.")]
    if chart:
        blocks.append(
            figure(
                charts.dots(drawn, "mean reward"),
                f"Mean reward of what was shown, by {name.lower()}. {_BY_PERSON} The groups were not drawn by lot "
                "alone: people and moments differ, so a gap here is no effect. `tips evaluate` estimates effects.",
                f"Mean reward by {name.lower()}, as in the table.",
            )
        )
    return blocks


def _over_time(decisions: pl.DataFrame) -> list[Block]:
    daily = _daily(decisions, "reward")
    if not daily:
        return [text("No reward is known yet.")]
    blocks = [
        figure(
            charts.by_day({"all": daily}, "mean reward"),
            "Mean reward of the decisions of each day (UTC), reactions and defaults. A day's mean moves until its "
            f"waits are over. {_BY_PERSON}",
            "Line: mean reward by day, with a band for the interval.",
        )
    ]
    common = decisions.filter(pl.col("reward").is_not_null())["policy"].value_counts(sort=True)["policy"][:_LINES]
    if len(common) > 1:
        series = {str(name): _daily(decisions.filter(pl.col("policy") == name), "reward") for name in common}
        blocks.append(
            figure(
                charts.by_day(series, "mean reward"),
                f"The same by policy, the {len(common)} with the most rewards.",
                "Lines: mean reward by day, one line per policy.",
            )
        )
    return blocks


def _by_prompt(decisions: pl.DataFrame) -> list[Block]:
    written = decisions.filter(
        pl.col("prompt_version").is_not_null()
        & (pl.col("source").fill_null("") != "fallback")
        & pl.col("wait_began_at").is_not_null()
    )
    if written.is_empty():
        return [text("No tip that was shown names its prompt version.")]
    by_person, rows, drawn = dict(means(written, "reward", ["prompt_version"])), [], []
    for version, frame in sorted(written.partition_by("prompt_version", as_dict=True).items()):
        settled = frame.filter(pl.col("reward").is_not_null())["reward"]
        reactions = frame.filter(pl.col("reward_source") == "reaction")
        of = by_person.get(version)
        low, high = mean_interval(len(settled), float(settled.sum()), float((settled**2).sum())) if of else (0.0, 0.0)
        rows.append(
            [
                str(version[0]),
                count(len(frame)),
                count(len(settled)),
                count(len(reactions)),
                mean_number(of),
                f"{number(low)} to {number(high)}" if of else NOTHING,
                interval(of),
            ]
        )
        if of:
            drawn.append((str(version[0]), of))
    columns = ["Version", "shown", "settled", "reactions", "mean reward", "always valid", "by person"]
    blocks = [
        table(columns, rows),
        text(
            "Counted as `GET /prompts/stats` counts, which leaves out tips that do not name their generation: tips of "
            "a model that were shown; settled are those with a reaction, or whose wait is over. The interval that is "
            "always valid is the one given there and may be looked at as often as one likes; the one by person holds "
            "for one look."
        ),
    ]
    if drawn:
        blocks.append(
            figure(
                charts.dots(drawn, "mean reward"),
                f"Mean reward by prompt version. {_BY_PERSON}",
                "Mean reward by prompt version, as in the table.",
            )
        )
    return blocks


def _exploration(decisions: pl.DataFrame) -> list[Block]:
    policies = decisions["policy"].value_counts(sort=True)["policy"][:_LINES]
    series = {
        str(name): _daily(decisions.filter(pl.col("policy") == name), "explored", (0.0, 1.0)) for name in policies
    }
    drawn = {
        str(name): decisions.filter(pl.col("policy") == name)["propensity"].drop_nulls().to_numpy() for name in policies
    }
    quantiles = [
        [str(name), *(number(float(of.quantile(q) or 0.0)) for q in (0.0, 0.05, 0.5, 0.95)), number(_mean_weight(of))]
        for name in policies
        if len(of := decisions.filter(pl.col("policy") == name)["propensity"].drop_nulls())
    ]
    return [
        figure(
            charts.by_day(series, "explored", shares=True),
            f"Share of the decisions whose tip did not have the best score, by day (UTC). {_BY_PERSON}",
            "Lines: share of explored decisions by day, one per policy.",
        ),
        figure(
            charts.histogram(drawn, running.edges(0.0, 1.0, 25), "propensity of the tip shown"),
            "With which probability what was shown had been chosen.",
            "Histogram of the propensities of the shown tips.",
        ),
        table(
            ["Policy", "lowest", "5 %", "median", "95 %", "mean 1/p"],
            quantiles,
            "Propensity of the tip shown; the mean of 1/p is near the number of candidates where all have a chance",
        ),
    ]


def _mean_weight(propensity: pl.Series) -> float | None:
    positive = propensity.filter(propensity > 0)
    value = (1 / positive).mean()
    return value if isinstance(value, float) else None


def _people(decisions: pl.DataFrame) -> list[Block]:
    daily = decisions.group_by("day").agg(pl.col("user_id").n_unique(), pl.len().alias("n")).sort("day")
    first = decisions.group_by("user_id").agg(pl.col("day").min()).group_by("day").len()
    new = dict(first.iter_rows())
    served: Mapping[date, float] = dict(daily.select("day", "user_id").iter_rows())
    each = decisions.group_by("user_id").len()["len"]
    rows = [[name, count(each.quantile(q, "nearest"))] for name, q in (("median", 0.5), ("95 %", 0.95), ("most", 1.0))]
    return [
        figure(
            charts.lines_by_day(
                {"served": served, "for the first time here": {day: new.get(day, 0) for day in served}}, "people"
            ),
            "People served by day (UTC), and those of them with no earlier decision in this export.",
            "Lines: people served by day, and new ones.",
        ),
        table(["Decisions per person", "number"], rows),
    ]


def _daily(frame: pl.DataFrame, value: str, bounds: tuple[float, float] = (-1.0, 1.0)) -> dict[date, Mean]:
    return {key[0]: of for key, of in means(frame, value, ["day"], bounds) if isinstance(key[0], date)}
