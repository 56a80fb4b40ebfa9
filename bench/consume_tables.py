"""The Markdown of what `bench.consume` measured."""

from __future__ import annotations

from typing import Any

_SIDES = {
    "consume1": "`consume`, 1 event per user",
    "consume5": "`consume`, 5 events per user",
    "consume25": "`consume`, 25 events per user",
    "floor": "floor: a transaction per event",
    "bare": "bare: the same by clients like ours",
    "prebuilt5": "of `consume`, 5 events per user, the transactions alone, prebuilt",
    "prebuilt25": "of `consume`, 25 events per user, the transactions alone, prebuilt",
    "marks": "barer: of each transaction the mark alone",
}
_FETCHERS = {"bridge": "`python -m bridge`", "bare": "nats-py alone: fetch 100, ack"}


def markdown(result: dict[str, Any]) -> str:
    """Return all tables. result: what `bench.consume.consume` returned, or its JSON."""
    bridge = result["bridge"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return "\n\n".join(
        (
            f"### `consume`, {result['events']} events a batch\n\n"
            "The function's handler, and a table that answers at once from another process. "
            f"Every event is a reaction to a decision among {result['candidates']} candidates, as configured by "
            "default. The floor makes one botocore call per event, as botocore comes: the conditional transaction by "
            "which `consume` learns from a single event (mark, decision, learning, profile), prebuilt; it reads and "
            "computes nothing, and one call follows the other. The bare one's clients are like ours, which leave "
            "out the check of parameters and botocore's copying of values; the barer one also leaves all but the mark "
            "out. "
            f"Median of {result['rounds']} rounds of {result['calls_per_round']} batches each in turn, with quartiles, "
            "all on one core; per core: by the processor time of the process and its threads. "
            f"Asked of both, the clock and processor time, whichever is less: {_bars(result['bars'])}.",
            _instant(result["instant"]),
            "### What they ask of the table, per event\n\n"
            "Write units: 2 for each KB begun of every item that a transaction writes.",
            _requests(result["instant"]),
            "### On a table that carries it out\n\n"
            "moto behind HTTP in another process, one request at a time, with decisions of its own for every batch of "
            f"{result['moto_events']} events; by the clock. "
            f"Median of {result['moto_rounds']} rounds of one batch each in turn, with quartiles. "
            f"Asked: {_bars(result['moto_bars'])}. moto takes its time for each item, so that a transaction of many is "
            "not much faster there: the last rows say how many times the floor the table itself would let through.",
            _moto(result["moto"]),
            "### What the bridge can bring\n\n"
            f"The real process, nats-server {bridge['nats_server']}, and an Invoke API that answers at once, each a "
            f"process on this machine; {bridge['messages']} messages of {bridge['message_bytes']} bytes that wait in "
            "the stream, until all are acked. "
            f"Median of {bridge['runs']} runs in turn, with the slowest and the fastest.",
            _bridge(bridge["rows"]),
            f"{result['seconds']:.0f} s; {versions}.",
        )
    )


def _bars(bars: list[dict[str, Any]]) -> str:
    return "; ".join(
        f"{bar['asked']:g} times the floor at {bar['per_user']} events per user: {bar['reached']:.2f}, "
        f"{'met' if bar['met'] else 'not met'}"
        for bar in bars
    )


def _instant(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| | events/s | events/s per core | over floor | quartiles | processor time | over bare | over barer |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| {_SIDES[row['name']]} | {row['per_sec']:.0f} | {row['per_core_sec']:.0f} | **{row['ratio']:.2f}** "
            f"| {_spread(row)} | **{row['processor']:.2f}** | {row['over_bare']:.2f} | {row['over_marks']:.2f} |"
        )
    return "\n".join(lines)


def _requests(rows: list[dict[str, Any]]) -> str:
    lines = ["| | reads | transactions | write units |", "| --- | ---: | ---: | ---: |"]
    for row in rows:
        requests = row["requests"]
        lines.append(
            f"| {_SIDES[row['name']]} | {requests.get('BatchGetItem', 0):g} | {requests['TransactWriteItems']:g} "
            f"| {row['units']:.1f} |"
        )
    return "\n".join(lines)


def _moto(rows: list[dict[str, Any]]) -> str:
    lines = ["| | events/s | over floor | quartiles |", "| --- | ---: | ---: | ---: |"]
    for row in rows:
        lines.append(f"| {_SIDES[row['name']]} | {row['per_sec']:.0f} | **{row['ratio']:.2f}** | {_spread(row)} |")
    return "\n".join(lines)


def _bridge(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| | messages/s | slowest to fastest | of nats-py alone | processor, s per 1,000 | invocations | largest batch "
        "|",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| {_FETCHERS[row['name']]} | {row['per_sec']:.0f} | {row['low']:.0f} to {row['high']:.0f} "
            f"| {row['times_bare']:.2f} | {row['processor_per_1000']:.3f} "
            f"| {row.get('invocations', '')} | {row.get('largest', '')} |"
        )
    return "\n".join(lines)


def _spread(row: dict[str, Any]) -> str:
    return f"{row['low']:.2f} to {row['high']:.2f}"
