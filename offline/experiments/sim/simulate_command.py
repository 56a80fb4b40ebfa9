"""`tips simulate`: policies on simulated people, through the real handlers."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from offline import lab
from offline.command import BadInput
from offline.registry.tracking import TrackingOption
from tips.bandit.registry import POLICIES

_PRIOR = "+prior"
_REFERENCES = ("random", "oracle")
_HOUR_SEC = 3600
_MAX_WEEKS = 12.0
"""What is simulated must not be as old as the table keeps decisions, 90 days."""
_PRIOR_WEEKS = 4.0


def simulate(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where rounds, summary and report go.")],
    policies: Annotated[
        str,
        typer.Option(
            "--policies",
            metavar="P[,P...]",
            help="Policies, each compared with the first; NAME+prior: with a population prior trained in the run.",
        ),
    ] = "igw-ucb,egreedy-v2",
    personas: Annotated[str, typer.Option("--personas", metavar="P[,P...]", help="Personas, or `all`.")] = "all",
    users: Annotated[int, typer.Option(min=1, max=5000, help="People of each run, the personas in turn.")] = 33,
    rounds: Annotated[int, typer.Option(min=1, max=2000, help="Tips that a person looks at, at most.")] = 30,
    seeds: Annotated[str, typer.Option(metavar="N|LIST", help="So many seeds from 0 on, or a list: 3,7,9.")] = "5",
    weeks: Annotated[float, typer.Option(min=1.0, max=_MAX_WEEKS, help="Simulated weeks.")] = 6.0,
    end: Annotated[
        str | None, typer.Option(metavar="ISO", help="When they end; default: the hour that has begun.")
    ] = None,
    judge: Annotated[
        Literal["rule", "llm"],
        typer.Option(help="Who says how people react: the hidden rule, or a model (JUDGE_MODEL, alias `judge`)."),
    ] = "rule",
    prior: Annotated[Literal["none", "trained"], typer.Option(help="`trained`: all policies as NAME+prior.")] = "none",
    keep_in: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            metavar="URL",
            help="Simulate into this table and leave everything there; it says shadows and prior. Default: "
            "tables of the runs' own, which go with them.",
        ),
    ] = None,
    table: Annotated[str, typer.Option("--table", help="Name of the table at --endpoint; made if missing.")] = "tips",
    at_once: Annotated[int, typer.Option(min=1, max=64, help="Runs beside each other.")] = 2,
    tracking: TrackingOption = None,
) -> None:
    """Serve simulated people by each policy under each seed, and report reward, regret and how sure they are."""
    lab.required()
    names = _names(policies, prior)
    if keep_in is not None and any(name.endswith(_PRIOR) for name in names):
        raise BadInput("--endpoint: the table's own prior is used there, so name policies without +prior")
    if any(name.endswith(_PRIOR) for name in names) and weeks > _MAX_WEEKS - _PRIOR_WEEKS:
        raise BadInput(
            f"--weeks: at most {_MAX_WEEKS - _PRIOR_WEEKS:g} with a prior, which takes {_PRIOR_WEEKS:g} before"
        )
    ends = _end(end)

    from offline.experiments.sim.personas import PERSONAS
    from offline.experiments.sim.simulation import Simulation, carry_out

    chosen = list(PERSONAS) if personas == "all" else _listed(personas)
    for name in chosen:
        if name not in PERSONAS:
            raise BadInput(f"--personas: {name!r} is no persona; there are {', '.join(PERSONAS)}")
    if not chosen:
        raise BadInput("--personas: name at least one, or `all`")
    planned = Simulation(
        names, _seeds(seeds), tuple(chosen), users, rounds, weeks, ends, judge, out, keep_in, table, at_once
    )
    raise typer.Exit(carry_out(planned, tracking))


def _listed(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _names(policies: str, prior: str) -> tuple[str, ...]:
    names = [name for name in _listed(policies) if name not in _REFERENCES]
    if prior == "trained":
        names = list(dict.fromkeys(f"{name.removesuffix(_PRIOR)}{_PRIOR}" for name in names))
    for name in names:
        if name.removesuffix(_PRIOR) not in POLICIES:
            raise BadInput(
                f"--policies: {name!r} is no policy; there are {', '.join(POLICIES)}, each also with {_PRIOR}"
            )
    if not names:
        raise BadInput("--policies: name at least one; random and oracle are always there beside it")
    return tuple(names)


def _seeds(text: str) -> tuple[int, ...]:
    try:
        numbers = [int(part) for part in _listed(text)]
    except ValueError:
        numbers = []
    if not numbers or any(not 0 <= number < 10**6 for number in numbers):
        raise BadInput(f"--seeds: {text!r} must be how many, such as 5, or a list of whole numbers from 0, such as 3,7")
    if len(numbers) == 1 and "," not in text:
        if numbers[0] < 1:
            raise BadInput("--seeds: there must be one at least")
        return tuple(range(numbers[0]))
    return tuple(numbers)


def _end(text: str | None) -> float:
    """Return seconds since 1970; an hour that has begun, so that a run can be repeated within it."""
    now = time.time()
    if text is None:
        return now // _HOUR_SEC * _HOUR_SEC
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"--end: {text!r} must be an ISO date and time, such as 2026-11-01T00:00:00Z") from None
    if at.tzinfo is None:
        raise BadInput(f"--end: {text!r} needs a time zone, such as a Z at its end")
    if at.timestamp() > now:
        raise BadInput("--end: must not be in the future")
    return at.timestamp()
