"""How the configuration and its audit trail are shown to people, and to programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from offline.command import aligned
from tips.contracts.configuration import Experiment
from tips.settings import Settings
from tips.state.configuration import AuditEntry, Stored


def print_json(stored: Stored, settings: Settings, last: AuditEntry | None, trail: Sequence[AuditEntry]) -> None:
    document = {
        "version": stored.version,
        "active_policy": stored.configuration.active_policy or settings.active_policy,
        "configuration": stored.configuration.model_dump(mode="json"),
        "changed": _facts(last) if last else None,
        "history": [_facts(entry) for entry in trail],
    }
    print(json.dumps(document, indent=2, ensure_ascii=False))


def _facts(entry: AuditEntry) -> dict[str, Any]:
    return {
        "version": entry.version_to,
        "at": entry.at.isoformat(),
        "by": entry.actor,
        "command": entry.command,
        "reason": entry.reason,
    }


def shown(stored: Stored, settings: Settings, last: AuditEntry | None) -> list[str]:
    configuration = stored.configuration
    said = f", {_minute(last.at)}, {_who_did_what(last)}" if last else ""
    active = configuration.active_policy or f"{settings.active_policy} (the default; the configuration names none)"
    rows = [
        ("version", f"{stored.version}{said}"),
        ("active policy", active),
        ("shadows", ", ".join(configuration.shadows) or "none"),
        ("experiments", "none" if not configuration.experiments else str(len(configuration.experiments))),
    ]
    if configuration.prompt_aliases:
        aliases = sorted(configuration.prompt_aliases.items(), reverse=True)
        rows.append(("prompt aliases", ", ".join(f"{alias} {version}" for alias, version in aliases)))
    lines = [aligned(rows)]
    if configuration.experiments:
        lines.append(aligned([_experiment(one) for one in configuration.experiments], indent="  "))
    return lines


def _experiment(experiment: Experiment) -> tuple[str, ...]:
    now = datetime.now(UTC)
    if experiment.runs_at(now):
        when = f"runs until {_minute(experiment.end)}" if experiment.end else "runs"
    elif now < experiment.start:
        when = f"starts {_minute(experiment.start)}"
    else:
        when = "ended"
    arms = ", ".join(f"{name} {share:.4g}" for name, share in sorted(experiment.arms.items()))
    return experiment.name, experiment.kind, arms, when


def trail_shown(entries: Sequence[AuditEntry]) -> list[str]:
    rows = [(str(e.version_to), _minute(e.at), e.actor, e.command, e.reason) for e in entries]
    return [aligned([("version", "at", "by", "command", "reason"), *rows])]


def _who_did_what(entry: AuditEntry) -> str:
    return f"{entry.actor}: {entry.command}" + (f" ({entry.reason})" if entry.reason else "")


def _minute(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
