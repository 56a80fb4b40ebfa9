"""Sections of the report on how the service ran: latency, delays, costs, and what was changed."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from offline.pages import Block, figure, table, text
from offline.reports import charts
from offline.reports.numbers import NOTHING, count, number, seconds, usd

_QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
_MOST_ROWS = 50
_MOST_DAYS = 14
_SHORTEST_SEC = 0.1


def edges(low: float, high: float, bins: int) -> NDArray[np.float64]:
    return np.linspace(low, high, bins + 1)


def latency(decisions: pl.DataFrame) -> list[Block]:
    """Return how long decisions took, and how long reactions took to come. decisions: with their `day`."""
    return [*_took(decisions.filter(pl.col("took_ms").is_not_null())), *_delays(decisions)]


def _took(timed: pl.DataFrame) -> list[Block]:
    if timed.is_empty():
        return [text("No decision in this export says how long it took.")]
    daily = timed.group_by("day").agg(
        pl.len().alias("n"), *(pl.col("took_ms").quantile(q).alias(name) for name, q in _QUANTILES)
    )
    daily = daily.sort("day")
    series: dict[str, dict[date, float]] = {name: dict(daily.select("day", name).iter_rows()) for name, _ in _QUANTILES}
    whole = [count(len(timed)), *(number(timed["took_ms"].quantile(q), 2) for _, q in _QUANTILES)]
    rows = [["all", *whole]]
    rows += [
        [str(row["day"]), count(row["n"]), *(number(row[name], 2) for name, _ in _QUANTILES)]
        for row in daily[-_MOST_DAYS:].iter_rows(named=True)
    ]
    return [
        figure(
            charts.lines_by_day(series, "ms"),
            "How long a decision took inside the function, from the parsed request to the choice, by day (UTC). The "
            "network and the write behind it are not in it.",
            "Lines: median, 95th and 99th percentile of the time a decision took, by day.",
        ),
        table(
            ["Day", "decisions", *(f"{name} ms" for name, _ in _QUANTILES)],
            rows,
            f"Time per decision, and of the last {_MOST_DAYS} days",
        ),
    ]


def _delays(decisions: pl.DataFrame) -> list[Block]:
    delays = decisions["reward_delay_sec"].drop_nulls()
    if delays.is_empty():
        return [text("No reaction has come yet.")]
    row = [count(len(delays)), *(seconds(delays.quantile(q)) for q in (0.1, 0.5, 0.9, 0.99))]
    return [
        figure(
            charts.cumulative({"reactions": np.maximum(delays.to_numpy(), _SHORTEST_SEC)}, "seconds"),
            "How soon people react: the share of the counted reactions that came within so many seconds of the "
            "start of the wait.",
            "Curve: cumulative share of reactions over their delay.",
        ),
        table(["Reactions", "10 %", "median", "90 %", "99 %"], [row], "Delay of reactions"),
    ]


def costs(generations: pl.DataFrame) -> list[Block]:
    """Return what generations took in tokens and money."""
    if generations.is_empty():
        return [text("No generation is kept in this export.")]
    spent = generations.filter(pl.col("prompt_tokens").is_not_null())
    if spent.is_empty():
        return [text(f"None of the {count(len(generations))} generations here tells what it took.")]
    spent = spent.with_columns(
        pl.col("generated_at").dt.date().alias("day"),
        (pl.col("prompt_tokens") + pl.col("completion_tokens")).alias("tokens"),
    )
    blocks = [
        table(
            [
                "Model",
                "Prompt version",
                "generations",
                "tokens in",
                "tokens out",
                "cost",
                "per 1,000",
                "calls",
                "p95 s",
            ],
            [
                *(_spent_row(frame, *map(str, key)) for key, frame in _parts(spent, "model", "prompt_version")),
                _spent_row(spent, "all", ""),
            ],
        ),
        _paid_by_day(spent),
    ]
    without, unpriced = len(generations) - len(spent), int(spent["cost_usd"].null_count())
    notes = [
        "Only generations that were stored are here. Tips that stood in for a failed model are not stored, so what "
        "such calls cost is in the metric ModelCostMicroUsd alone."
    ]
    if without:
        notes.append(f"{count(without)} older generations do not tell what they took.")
    if unpriced:
        notes.append(f"Of {count(unpriced)} nobody knows a price; their tokens count, their cost does not.")
    return [*blocks, text(" ".join(notes))]


def _parts(frame: pl.DataFrame, *by: str) -> list[tuple[tuple[object, ...], pl.DataFrame]]:
    return sorted(frame.partition_by(*by, as_dict=True).items(), key=str)


def _spent_row(frame: pl.DataFrame, model: str, version: str) -> list[str]:
    priced = frame.filter(pl.col("cost_usd").is_not_null())
    cost = float(priced["cost_usd"].sum()) if len(priced) else None
    took_ms = frame["took_ms"].quantile(0.95)
    return [
        model,
        version,
        count(len(frame)),
        count(int(frame["prompt_tokens"].sum())),
        count(int(frame["completion_tokens"].sum())),
        usd(cost),
        NOTHING if cost is None else usd(1000 * cost / len(priced)),
        number(float(frame["attempts"].sum()) / len(frame), 2),
        NOTHING if took_ms is None else number(took_ms / 1000, 2),
    ]


def _paid_by_day(spent: pl.DataFrame) -> Block:
    paid = float(spent["cost_usd"].sum()) > 0
    column, label = ("cost_usd", "USD") if paid else ("tokens", "tokens")
    series = {
        str(model[0]): dict(frame.group_by("day").agg(pl.col(column).sum()).sort("day").iter_rows())
        for model, frame in _parts(spent, "model")
    }
    return figure(
        charts.stacked_by_day(series, label),
        f"{'Cost' if paid else 'Tokens (nothing was charged)'} of generations by day (UTC) and model.",
        f"Stacked bars: {label} by day and model.",
    )


def changes(audit: pl.DataFrame) -> list[Block]:
    """Return what people changed, newest first."""
    if audit.is_empty():
        return [text("Nothing was changed: there is no audit trail in this export.")]
    rows = [
        [f"{row['at']:%Y-%m-%d %H:%M}", row["kind"], row["actor"], row["command"], row["reason"] or ""]
        for row in audit.sort("at", descending=True)[:_MOST_ROWS].iter_rows(named=True)
    ]
    return [table(["At (UTC)", "what", "who", "command", "reason"], rows, f"The last {len(rows)} of {len(audit)}")]
