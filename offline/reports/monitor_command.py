"""`tips monitor`: whether what a policy was trained on still holds, with an exit code for schedules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offline import lab
from offline.command import BadInput

if TYPE_CHECKING:
    from offline.feature_store.logs import Logs
    from offline.reports.monitor import Check, Monitored

_MOST_DAYS = 366


def monitor(
    logs: Annotated[
        Path | None, typer.Option("--logs", help="An export: its last days are compared with those before.")
    ] = None,
    train: Annotated[
        Path | None, typer.Option("--train", help="An export of the time that was trained on, with --now.")
    ] = None,
    now: Annotated[Path | None, typer.Option("--now", help="An export whose last days are looked at.")] = None,
    days: Annotated[
        float, typer.Option("--days", help="How many days are the last ones; whole weeks, or weekdays differ.")
    ] = 7,
    fail_on: Annotated[
        str, typer.Option("--fail-on", metavar="CHECK,...", help="Which checks decide the exit code.")
    ] = "drift,profile,delay,calibration",
    out: Annotated[Path | None, typer.Option("--out", help="A page, one HTML file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    tracking: Annotated[
        str | None, typer.Option("--tracking", metavar="URI", help="MLflow's store to keep the figures in; else none.")
    ] = None,
) -> None:
    """Look for drift, missing or stale profile features, changed delays and miscalibration.

    Exit codes: 0 fine, 1 cannot tell (too little data), 2 asked for wrongly, 3 alarm.
    """
    if not 0 < days <= _MOST_DAYS:
        raise BadInput(f"--days must be more than 0 and at most {_MOST_DAYS}")
    lab.required()
    from rich.console import Console
    from rich.progress import Progress

    from offline.reports.files import write
    from offline.reports.monitor import monitor as look
    from offline.reports.monitor_page import page_of

    checks = _checks(fail_on)
    trained, recent = _exports(logs, train, now)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("comparing features", total=1.0)
        found = look(trained, recent, days, lambda done: progress.update(task, completed=done))
    if out is not None:
        write(out, page_of(found, checks).html(), "--out")
    if tracking is not None:
        _log(tracking, found, checks, days, trained, recent)
    if as_json:
        print(json.dumps(_finite(found.document(checks)), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _print(found, checks)
    if code := found.exit_code(checks):
        raise typer.Exit(code)


def _checks(text: str) -> tuple[Check, ...]:
    from offline.reports.monitor import CHECKS

    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in CHECKS]
    if unknown or not names:
        raise BadInput(f"--fail-on takes {', '.join(CHECKS)}, separated by commas")
    return tuple(check for check in CHECKS if check in names)


def _exports(logs: Path | None, train: Path | None, now: Path | None) -> tuple[Logs, Logs]:
    from offline.feature_store.logs import Logs

    if logs is not None and train is None and now is None:
        read = Logs.read(logs)
        return read, read
    if logs is None and train is not None and now is not None:
        return Logs.read(train), Logs.read(now)
    raise BadInput("say either --logs, or --train and --now")


def _print(found: Monitored, checks: tuple[Check, ...]) -> None:
    from offline.reports.monitor import CHECKS

    for check in CHECKS:
        note = "" if check in checks else " (not asked for)"
        for sentence in found.alarms.get(check, []):
            print(f"ALARM        {check}{note}: {sentence}")
        if check in found.untold:
            print(f"cannot tell  {check}{note}: {found.untold[check]}")
        elif check not in found.alarms:
            print(f"fine         {check}{note}")
    watched = [one for one in found.drift if one.verdict == "watch"]
    for one in watched:
        print(f"watch        {one.feature} ({one.group}): PSI {one.psi:.2f}")


def _log(uri: str, found: Monitored, checks: tuple[Check, ...], days: float, train: Logs, now: Logs) -> None:
    from offline.registry.tracking import log_run, tracking
    from offline.reports.monitor_page import page_of

    metrics = {f"psi_{one.group}_{one.feature}": one.psi for one in found.drift}
    metrics |= {f"missing_{one.feature}": one.missing_now.mean for one in found.profile if one.missing_now}
    metrics |= {f"calibration_error_{one.policy}": one.error for one in found.calibration if one.error is not None}
    metrics["alarms"] = float(sum(map(len, found.alarms.values())))
    log_run(
        tracking(uri),
        "monitoring",
        f"{found.now.end:%Y-%m-%d}" if found.now.end else "empty",
        params={"days": days, "checks": ",".join(checks), "train": train.data_hash, "now": now.data_hash},
        metrics={_metric(name): value for name, value in metrics.items()},
        tags={"verdict": str(found.document(checks)["verdict"])},
        texts={
            "monitor.html": page_of(found, checks).html(),
            "monitor.json": json.dumps(_finite(found.document(checks)), indent=2),
        },
    )


def _metric(name: str) -> str:
    """Return the name in the characters that MLflow takes."""
    return "".join(letter if letter.isalnum() or letter in "_-./ " else "_" for letter in name)


def _finite(value: object) -> object:
    """Return the value with null for what is no number, which JSON does not know."""
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value
