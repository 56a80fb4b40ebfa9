"""`tips config show|set`, `tips rollback`: the configuration, changed with an audit trail."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from offline.command import (
    ActorOption,
    BadInput,
    EndpointOption,
    ReasonOption,
    RegionOption,
    TableOption,
    actor_named,
    connect,
    settings_of,
    short_text,
)
from offline.config_report import print_json, shown, trail_shown
from tips.bandit.registry import POLICIES
from tips.contracts.configuration import SHARES_TOLERANCE, Configuration, Experiment
from tips.errors import ConfigurationUnreadable
from tips.prompts.registry import prompts, released
from tips.settings import Settings
from tips.state import configuration as state
from tips.state import keys

app = typer.Typer(help="What is served: active policy, shadows, experiments, prompt aliases.", no_args_is_help=True)

KEYS = tuple(Configuration.model_fields)
MOST_TRIED = 0.5
"""Share of people whom an experiment may give to other policies than the active one: more would be a promotion."""


@app.command()
def show(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    history: Annotated[int, typer.Option(min=0, max=1000, metavar="N", help="Show the last N changes too.")] = 0,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
) -> None:
    """Show the configuration in force, and who changed it last."""
    settings = settings_of(table, endpoint, region)
    connected = connect(settings)
    item = connected.get(*keys.CONFIGURATION)
    trail = state.history(connected, max(history, 1))
    try:
        stored = state.read_configuration(item)
    except ConfigurationUnreadable:
        # The trail is what somebody needs who has to repair it.
        print("\n".join(trail_shown(trail)))
        raise
    last = next((entry for entry in trail if entry.version_to == stored.version), None)
    if as_json:
        print_json(stored, settings, last, trail[:history])
        return
    print("\n".join(shown(stored, settings, last)))
    if history:
        print("\n" + "\n".join(trail_shown(trail)))


@app.command(name="set")
def set_(
    assignments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="active_policy=NAME, shadows=NAME,NAME, experiments=JSON or prompt_aliases=JSON; empty clears.",
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="JSON object with any of the keys; - is the standard input. Others stay.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Change the active policy without evidence; needs --reason, and is recorded."),
    ] = False,
    reason: ReasonOption = "",
    by: ActorOption = None,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
) -> None:
    """Change parts of the configuration."""
    if (file is None) == (not assignments):
        raise BadInput("say what to set, either as KEY=VALUE or with --file")
    check_reason(force, reason)
    changes = _from_file(file) if file is not None else _from_assignments(assignments or [])
    settings = settings_of(table, endpoint, region)

    def edit(current: Configuration) -> Configuration:
        after = known({**current.model_dump(mode="json"), **changes})
        if not force:
            _refuse_promotion(current, after, settings.active_policy)
        return after

    said = f"config set {' '.join(assignments or ['--file'])}"
    command = said if len(said) <= 200 and said.isprintable() else f"config set {' '.join(changes)}"
    Operator(settings, by, reason).change(edit, f"{command}{' --force' if force else ''}")


def rollback(
    to: Annotated[
        int | None, typer.Option(min=0, metavar="VERSION", help="Restore this version; 0 is the empty configuration.")
    ] = None,
    reason: ReasonOption = "",
    by: ActorOption = None,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
) -> None:
    """Restore what was in force before the last change; again, and it goes back one more."""
    operator = Operator(settings_of(table, endpoint, region), by, reason)
    operator.restore(to, "rollback" if to is None else f"rollback --to {to}")


@dataclass(frozen=True)
class Operator:
    """Somebody who changes the configuration, and is told what came of it."""

    settings: Settings
    by: str | None
    reason: str

    def change(
        self,
        edit: Callable[[Configuration], Configuration],
        command: str,
        told: Callable[[Configuration, Configuration], str] | None = None,
    ) -> None:
        """Make the change; `told` says in words what became of the configuration before."""
        before: list[Configuration] = []

        def remembering(current: Configuration) -> Configuration:
            before.append(current)
            return edit(current)

        stored = state.change(connect(self.settings), remembering, **self._said(command))
        if stored.configuration == before[-1]:
            print(f"nothing to change: version {stored.version} says so already")
        else:
            if told is not None:
                print(told(before[-1], stored.configuration))
            self._tell(stored)

    def restore(self, to: int | None, command: str) -> None:
        self._tell(state.rollback(connect(self.settings), _refuse_unknown, to=to, **self._said(command)))

    def _said(self, command: str) -> dict[str, Any]:
        return {
            "command": command,
            "actor": actor_named(self.by),
            "reason": short_text(self.reason, "--reason", 500),
            "deadline_ms": self.settings.table_deadline_ms,
        }

    def _tell(self, stored: state.Stored) -> None:
        print("\n".join(shown(stored, self.settings, None)))
        print(f"The functions follow within {self.settings.configuration_cache_sec:g} s.")


def _refuse_promotion(before: Configuration, after: Configuration, default: str) -> None:
    """Raises `BadInput` where a change makes others than the active policy answer most people, without evidence."""
    was, is_ = (one.active_policy or default for one in (before, after))
    if was != is_:
        raise BadInput(
            f"active_policy: {is_} has to show that it may answer: `tips promote {is_}` asks for evidence. "
            "Without it, --force with a --reason"
        )
    tried = {one.name: _share_of_others(one, is_) for one in before.experiments}
    for experiment in after.experiments:
        share = _share_of_others(experiment, is_)
        if share > max(MOST_TRIED, tried.get(experiment.name, 0.0)) + SHARES_TOLERANCE:
            raise BadInput(
                f"experiments: {experiment.name} has policies other than {is_} answer {share:.0%} of all people, and "
                f"without evidence it may be {MOST_TRIED:.0%}: `tips promote` asks for it. Without it, --force with "
                "a --reason"
            )


def _share_of_others(experiment: Experiment, active: str) -> float:
    if experiment.kind != "policy":
        return 0.0
    return math.fsum(share for arm, share in experiment.arms.items() if arm != active)


def check_reason(force: bool, reason: str) -> None:
    """Raises `BadInput` where something is forced and nobody says why."""
    if force and not reason.strip():
        raise BadInput("--force: say why with --reason, for the audit trail")


def _from_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or key not in KEYS or key in changes:
            raise BadInput(f"{assignment!r}: must be KEY=VALUE, each KEY once, of {', '.join(KEYS)}")
        value = value.strip()
        match key:
            case "active_policy":
                changes[key] = value or None
            case "shadows":
                changes[key] = [name.strip() for name in value.split(",")] if value else []
            case "prompt_aliases":
                changes[key] = _json(value or "{}", key)
            case _:
                changes[key] = _json(value or "[]", key)
    return changes


def _from_file(file: Path) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from None
    changes = _json(text, str(file))
    if not isinstance(changes, dict):
        raise BadInput(f"{file}: must be a JSON object with any of {', '.join(KEYS)}")
    return changes


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{what}: must be JSON: {error}") from None


def known(document: dict[str, Any]) -> Configuration:
    """Return the document as a configuration that this code can serve; raises `BadInput` that names the field."""
    try:
        configuration = Configuration.model_validate_json(json.dumps(document))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            fields = Experiment.model_fields if len(first["loc"]) > 1 else KEYS
            raise BadInput(f"{place}: there is no such field; there are {', '.join(fields)}") from None
        raise BadInput(f"{place}: {first['msg']}") from None
    _refuse_unknown(configuration)
    return configuration


def _refuse_unknown(configuration: Configuration) -> None:
    active, shadows = configuration.active_policy, configuration.shadows
    _refuse_strangers("active_policy", [] if active is None else [active], "policy", POLICIES)
    _refuse_strangers("shadows", shadows, "policy", POLICIES)
    if active in shadows:
        raise BadInput(f"shadows: {active} is the active policy, which learns anyway")
    for alias, version in configuration.prompt_aliases.items():
        there_are = [prompt.version for prompt in released()]
        _refuse_strangers(f"prompt_aliases.{alias}", [version], "released prompt version", there_are)
    for experiment in configuration.experiments:
        what, there_are = (
            ("policy", list(POLICIES)) if experiment.kind == "policy" else ("prompt version", [*prompts()])
        )
        _refuse_strangers(f"arms of {experiment.name}", list(experiment.arms), what, there_are)


def _refuse_strangers(field: str, names: Sequence[str], what: str, there_are: Any) -> None:
    for name in names:
        if name not in there_are:
            raise BadInput(f"{field}: {name!r} is no {what}; there are {', '.join(there_are)}")
