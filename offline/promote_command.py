"""`tips promote`: a policy answers from now on, if the evidence says that it may."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

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
from tips.bandit.registry import POLICIES
from tips.contracts.configuration import MAX_SHADOWS, Configuration
from tips.settings import Settings
from tips.state import keys
from tips.state.configuration import read_configuration

MARGIN, SHADOW, EFFECTIVE_SAMPLE, SEEDS, AGE_DAYS = 0.05, 1000, 200.0, 3, 14


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
        float, typer.Option(min=0.0, max=2.0, help="How much less reward per decision is still not worse.")
    ] = MARGIN,
    min_shadow: Annotated[int, typer.Option(min=1, help="Decisions it must have run as a shadow.")] = SHADOW,
    min_effective_sample: Annotated[
        float, typer.Option(min=1.0, help="Effective sample size that its weights must leave.")
    ] = EFFECTIVE_SAMPLE,
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
    active = _active(settings)
    command = f"promote {policy}{' --no-shadow' if no_shadow else ''}"
    if active != policy:
        if logs is None and not force:
            raise BadInput(
                "--logs: say where the evidence is, with --simulation; `tips export` and `tips simulate` make it. "
                "Without evidence a policy is promoted by --force with a --reason alone"
            )
        asked = {"margin": margin, "shadow": min_shadow, "effective_sample": min_effective_sample}
        command += _judgement(policy, active, logs, simulation, asked, settings, force)
    Operator(settings, by, reason).change(lambda current: _promoted(current, policy, settings, no_shadow), command)


def _active(settings: Settings) -> str:
    stored = read_configuration(connect(settings).get(*keys.CONFIGURATION))
    return stored.configuration.active_policy or settings.active_policy


def _promoted(current: Configuration, policy: str, settings: Settings, no_shadow: bool) -> Configuration:
    before = current.active_policy or settings.active_policy
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
    asked: dict[str, Any],
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
    from offline.experiments import evidence, gate
    from offline.experiments.evaluate_command import watched

    found = evidence.gathered(
        policy,
        active,
        logs,
        _summary(simulation),
        min_explore=settings.min_explore,
        now=datetime.now(UTC),
        watched=watched,
    )
    checks = gate.judged(found, gate.Thresholds(**asked, seeds=SEEDS, age=timedelta(days=AGE_DAYS)))
    print(aligned([("met" if one.passed else "NOT MET", one.name, one.said) for one in checks]))
    unmet = [one.name for one in checks if not one.passed]
    data = f"data {found.data_hash[:12]}"
    if not unmet:
        return f"{' --force' if force else ''} (met: all; {data})"
    if force:
        return f" --force (unmet: {', '.join(unmet)}; {data})"
    print(f"{policy} is not promoted; {active} goes on answering. --force with a --reason overrules this.")
    raise typer.Exit(1)


def _summary(folder: Path | None) -> dict[str, Any] | None:
    if folder is None:
        return None
    file = folder / "summary.json"
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"--simulation: {file} cannot be read: {error}") from None
    if not isinstance(summary, dict) or not {"seeds", "policy_versions", "differences"} <= summary.keys():
        raise BadInput(f"--simulation: {file} is not what `tips simulate` writes")
    return summary
