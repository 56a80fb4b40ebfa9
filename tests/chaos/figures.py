"""What a run was like, in numbers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devstack.template import ROOT

if TYPE_CHECKING:
    from tests.chaos.run import Run
    from tests.chaos.service import Service

_NAMES = {
    "events": "messages published",
    "facts": "different events in them",
    "malformed": "malformed, each a dead letter at the end",
    "rewards_by_http": "also told by `POST /reward`",
    "rewards_retried": "answers 503 to them, so that they were told again",
    "users": "people",
    "decisions": "decisions",
    "revised": "of them with several reactions in time",
    "late": "reactions after the reward wait",
    "duration_sec": "duration, s",
    "events_per_sec": "messages per second",
    "deliveries": "deliveries to `consume`",
    "redeliveries": "of them not the first",
    "most_deliveries": "deliveries of one message, at most",
    "good_failed": "deliveries of good messages that failed",
    "invocations": "invocations of `consume`",
    "max_backlog": "messages not done, at most",
    "bridge_kills": "bridge killed (-9)",
    "server_stops": "nats-server stopped",
    "server_kills": "nats-server killed (-9)",
    "table_requests": "table requests of `consume` and `/reward`",
    "table_refused": "of them refused, dropped or never answered",
    "table_misreported": "writes carried out and reported failed",
    "nats_server": "nats-server",
}


def figures(run: Run, service: Service) -> dict[str, Any]:
    """Return the run's numbers; times in seconds."""
    seen = service.consume.seen
    faults = sum((one.faults for one in service.faulty), Counter())
    misreported = sum(count for name, count in faults.items() if name.startswith("done, "))
    return {
        "events": run.confirmed,
        "facts": len(run.script.facts),
        "malformed": sum(one.malformed for one in run.script.messages),
        "rewards_by_http": len(run.script.rewards),
        "rewards_retried": run.rewards_retried,
        "users": run.sizes.users,
        "decisions": len(run.decided),
        "revised": run.revised,
        "late": run.late,
        "duration_sec": round(run.seconds, 1),
        "events_per_sec": round(run.confirmed / run.seconds, 1),
        "deliveries": seen.deliveries,
        "redeliveries": seen.redeliveries,
        "most_deliveries": seen.most_deliveries,
        "good_failed": sum(count for place, count in seen.failed.items() if place not in run.malformed_at),
        "invocations": seen.invocations,
        "errors": dict(seen.errors),
        "max_backlog": run.max_backlog,
        "bridge_kills": run.bridge_kills,
        "server_stops": run.server_stops,
        "server_kills": run.server_kills,
        "table_requests": sum(one.requests.total() for one in service.faulty),
        "table_refused": sum(faults.values()) - misreported,
        "table_misreported": misreported,
        "faults": dict(sorted(faults.items())),
        "nats_server": run.server_version,
        "seed": run.seed,
    }


def keep(found: dict[str, Any], folder: Path = ROOT / "bench") -> None:
    """Write `chaos.json` and `chaos.md`."""
    (folder / "chaos.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    rows = [f"| {said} | {found[name]} |" for name, said in _NAMES.items()]
    text = [
        "# Chaos",
        "",
        "Written by `make ci-full`: a real nats-server, the real bridge, and the real handlers as processes,",
        "with moto for a table. Everything told was learned exactly once.",
        "",
        "| | |",
        "| --- | ---: |",
        *rows,
    ]
    (folder / "chaos.md").write_text("\n".join(text) + "\n", encoding="utf-8")
