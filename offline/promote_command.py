"""`tips promote`: a policy answers from now on, if the evidence says that it may."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError

from offline import lab
from offline.command import (
    ActorOption,
    BadInput,
    EndpointOption,
    ReasonOption,
    RegionOption,
    TableOption,
    aligned,
    connect,
    settings_of,
)
from offline.config_commands import Operator, check_reason, known
from offline.experiments.gate import Thresholds, judged
from tips.bandit.registry import POLICIES
from tips.contracts.configuration import MAX_SHADOWS, Configuration
from tips.settings import Settings
from tips.state import keys
from tips.state.configuration import read_configuration

_USUAL = Thresholds()


def promote(
    policy: Annotated[str, typer.Argument(help="Name of the policy that is to answer.")],
    logs: Annotated[
        Path | None, typer.Option("--logs", metavar="DIR", help="What `tips export` wrote, with the policy as shadow.")
    ] = None,
    simulation: Annotated[
        Path | None,
        typer.Option("--simulation", metavar="DIR", help="What `tips simulate` wrote of it and the active policy."),
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="How much less reward per decision is still not worse.")
    ] = _USUAL.margin,
    min_shadow: Annotated[int, typer.Option(min=1, help="Decisions it must have run as a shadow.")] = _USUAL.shadow,
    min_effective_sample: Annotated[
        float, typer.Option(min=1.0, help="Effective sample size that its weights must leave.")
    ] = _USUAL.effective_sample,
    force: Annotated[
        bool, typer.Option("--force", help="Promote it whatever the evidence says; needs --reason, and is recorded.")
    ] = False,
    no_shadow: Annotated[
        bool, typer.Option("--no-shadow", help="Stop teaching the policy that was active until now.")
    ] = False,
    reason: ReasonOption = "",
    by: ActorOption = None,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
) -> None:
    """Make a policy the active one; the one before becomes a shadow and goes on learning, so that you can go back."""
    if policy not in POLICIES:
        raise BadInput(f"active_policy: {policy!r} is no policy; there are {', '.join(POLICIES)}")
    check_reason(force, reason)
    settings = settings_of(table, endpoint, region)
    active = _active(read_configuration(connect(settings).get(*keys.CONFIGURATION)).configuration, settings)
    command = f"promote {policy}{' --no-shadow' if no_shadow else ''}"
    if active != policy:
        if logs is None and not force:
            raise BadInput(
                "--logs: say where the evidence is, with --simulation; `tips export` and `tips simulate` make it. "
                "Without evidence a policy is promoted by --force with a --reason alone"
            )
        asked = replace(_USUAL, margin=margin, shadow=min_shadow, effective_sample=min_effective_sample)
        command += _judgement(policy, active, logs, simulation, asked, settings, force)

    def edit(current: Configuration) -> Configuration:
        if (now := _active(current, settings)) != active:
            raise BadInput(
                f"{now} has come to answer meanwhile, and {policy} was judged against {active}: promote anew"
            )
        return _promoted(current, policy, settings, no_shadow)

    Operator(settings, by, reason).change(edit, command)


def _active(configuration: Configuration, settings: Settings) -> str:
    return configuration.active_policy or settings.active_policy


def _promoted(current: Configuration, policy: str, settings: Settings, no_shadow: bool) -> Configuration:
    before = _active(current, settings)
    shadows = [name for name in current.shadows if name not in (policy, before)]
    if before != policy and not no_shadow:
        shadows = [before, *shadows]
    if len(shadows) > MAX_SHADOWS:
        raise BadInput(
            f"{before} would be shadow number {len(shadows)} of at most {MAX_SHADOWS}: "
            "take one out with `tips config set shadows=...`, or use --no-shadow"
        )
    return known({**current.model_dump(mode="json"), "active_policy": policy, "shadows": shadows})


def _judgement(
    policy: str,
    active: str,
    logs: Path | None,
    simulation: Path | None,
    asked: Thresholds,
    settings: Settings,
    force: bool,
) -> str:
    """Print what was found of each condition and return it for the audit trail.

    Ends the command with 1 where one is not met and the promotion is not forced.
    """
    if logs is None:
        return " --force (not judged)"
    lab.required()
    # Only now: the packages they need are the lab's.
    from offline.experiments import evidence
    from offline.experiments.evaluate_command import watched

    found = evidence.gathered(
        policy,
        active,
        logs,
        _summary(simulation),
        table=settings.table_name,
        now=datetime.now(UTC),
        watched=watched,
    )
    checks = judged(found, asked)
    print(aligned([("met" if one.passed else "NOT MET", one.name, one.said) for one in checks]))
    unmet = [one.name for one in checks if not one.passed]
    data = f"data {found.data_hash[:12]}"
    # What was asked for is part of what was found: a margin wide enough is met by anything.
    for name in ("margin", "shadow", "effective_sample"):
        if (value := getattr(asked, name)) != getattr(_USUAL, name):
            data += f", {name.replace('_', ' ')} {value:g}"
    if not unmet:
        return f"{' --force' if force else ''} (met: all; {data})"
    if force:
        return f" --force (unmet: {', '.join(unmet)}; {data})"
    print(f"{policy} is not promoted; {active} goes on answering. --force with a --reason overrules this.")
    raise typer.Exit(1)


class _Difference(BaseModel):
    policy: str
    against: str
    low: float | None
    high: float | None
    seeds: int


class _Summary(BaseModel):
    """What the gate reads of a simulation's summary."""

    seeds: list[int]
    policy_versions: dict[str, str]
    differences: list[_Difference]


def _summary(folder: Path | None) -> dict[str, Any] | None:
    if folder is None:
        return None
    file = folder / "summary.json"
    try:
        return _Summary.model_validate_json(file.read_bytes()).model_dump()
    except OSError as error:
        raise BadInput(f"--simulation: {file} cannot be read: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise BadInput(f"--simulation: {file} is not what `tips simulate` writes: {place}: {first['msg']}") from None
