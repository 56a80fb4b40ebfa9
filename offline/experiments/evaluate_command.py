"""`tips evaluate`: what a policy would have brought, from the logs of another."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from ulid import ULID

from offline import lab
from offline.command import BadInput, settings_of
from offline.registry.tracking import DEFAULT, TrackingOption
from tips.bandit.forgetting import half_life_us
from tips.bandit.igw_ucb import InverseGapUCB
from tips.bandit.registry import POLICIES
from tips.state.priors import unpack_prior

if TYPE_CHECKING:
    from offline.experiments.evaluation import Evaluation
    from tips.bandit.policy import Policy
    from tips.bandit.prior import Prior
    from tips.settings import Settings

METHODS = ("auto", "shadow", "recomputed")


def evaluate(
    policy: Annotated[str, typer.Option("--policy", help="The policy that is judged.")],
    logs: Annotated[Path, typer.Option("--logs", metavar="DIR", help="What `tips export` wrote.")],
    against: Annotated[
        str | None, typer.Option("--against", metavar="POLICY", help="Compared with; default: the active policy.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="shadow: by its logged distributions; recomputed: replayed in time order; auto: as logged, if it was."
        ),
    ] = "auto",
    prior: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Population prior for the replay; what came before its training is not judged."
        ),
    ] = None,
    alpha: Annotated[float, typer.Option(min=0.0001, max=0.5, help="Error of the confidence sequence.")] = 0.05,
    shares: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EXPERIMENT=JSON",
            help='Shares of an experiment, as voices={"v1": 0.5}; default: as last configured in the logs.',
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE.json", help="Write the result here too.")] = None,
    tracking: TrackingOption = None,
) -> None:
    """Estimate what a policy would have brought, and whether it is better than the active one."""
    lab.required()
    from offline.experiments.evaluation import evaluate as evaluated
    from offline.experiments.report import report
    from offline.experiments.trials import Candidacy, answering
    from offline.feature_store.logs import Logs

    settings = settings_of(None, None, None)
    if method not in METHODS:
        raise BadInput(f"--method: must be one of {', '.join(METHODS)}, not {method!r}")
    judged = _policy(policy, "--policy", settings)
    given_shares = _shares(shares or ())
    read = Logs.read(logs)
    if read.decisions.is_empty():
        raise BadInput(f"--logs: {logs} holds no decisions")
    other = _policy(against or answering(read), "--against", settings)
    if judged.name == other.name and prior is None:
        raise BadInput(f"--against: {other.name} cannot be compared with itself; name the policy it is to replace")
    since, population = (0, None) if prior is None else _prior(prior, judged, settings)
    half_life = half_life_us(settings.half_life_days)
    result = evaluated(
        read,
        Candidacy(judged, method, population, half_life),  # type: ignore[arg-type]  # one of METHODS
        Candidacy(other, half_life=half_life),
        watched=watched,
        alpha=alpha,
        since=since,
        shares=given_shares,
    )
    document = result.as_json()
    print(report(result))
    if out is not None:
        _write(out, json.dumps(document, indent=1) + "\n")
    if tracking or os.environ.get("MLFLOW_TRACKING_URI") or Path(DEFAULT.removeprefix("sqlite:///")).exists():
        print(f"\nkept in MLflow: run {_kept(result, document, tracking)}")


def _policy(name: str, option: str, settings: Settings) -> Policy:
    """Return the policy as the functions have it."""
    from dataclasses import replace

    if name not in POLICIES:
        raise BadInput(f"{option}: unknown policy {name!r}; known are {', '.join(sorted(POLICIES))}")
    policy = POLICIES[name]
    return replace(policy, min_explore=settings.min_explore) if isinstance(policy, InverseGapUCB) else policy


def _prior(file: Path, policy: Policy, settings: Settings) -> tuple[int, Prior]:
    """Return from when on decisions had no part in the prior (microseconds), and it as policies would use it."""
    try:
        prior = unpack_prior(file.read_bytes())
        trained_at = ULID.from_str(prior.version).datetime
    except (OSError, ValueError) as error:
        raise BadInput(f"--prior: {file} is no population prior with its time of training: {error}") from None
    fitting = prior.capped(settings.prior_strength_max).for_schema(policy.schema.names)
    if fitting is None:
        raise BadInput(f"--prior: {file} shares no feature with {policy.schema.name}, which {policy.name} uses")
    # The name has the time in milliseconds, and a model's is of the last decision that taught it.
    since = (trained_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) + 1000
    return since, fitting


def _shares(given: Iterable[str]) -> Mapping[str, Mapping[str, float]] | None:
    shares: dict[str, dict[str, float]] = {}
    for one in given:
        experiment, equals, text = one.partition("=")
        try:
            arms = json.loads(text)
            shares[experiment] = {str(arm): float(share) for arm, share in arms.items()}
            sound = bool(equals) and all(0 < share <= 1 for share in shares[experiment].values())
        except (ValueError, TypeError, AttributeError):
            sound = False
        if not sound:
            raise BadInput(f'--shares: {one!r} must be EXPERIMENT=JSON, as voices={{"v1": 0.5, "v2": 0.5}}')
    return shares or None


def watched(things: Iterable[Any], total: int, what: str) -> Iterator[Any]:
    """Return the same things, with a progress bar on a terminal's stderr as they are gone through."""
    from rich.console import Console
    from rich.progress import track

    console = Console(file=sys.stderr)
    if not console.is_terminal:
        return iter(things)
    return iter(track(things, what, total, console=console, transient=True))


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"--out: {file} cannot be written: {error}") from None


def _kept(result: Evaluation, document: Mapping[str, Any], uri: str | None) -> str:
    from offline.registry import tracking

    sequence = result.sequence
    metrics = {
        **{f"{name}.value": one.value for name, one in result.estimates.items()},
        "logged.value": result.logged_value.value,
        "gain.dr": result.gain,
        "gain.low": float(sequence.lows[-1]),
        "gain.high": float(sequence.highs[-1]),
        "effective_sample_size": result.overlap.effective_sample_size,
        "max_weight": result.overlap.max_weight,
    }
    params = {"policy": result.policy, "against": result.against, "method": result.method, **result.logs}
    return tracking.log_run(
        tracking.tracking(uri),
        "evaluations",
        f"{result.policy} against {result.against}",
        params=params,
        metrics=metrics,
        tags={"data_hash": str(result.logs["data_hash"])},
        texts={"evaluation.json": json.dumps(document, indent=1)},
    )
