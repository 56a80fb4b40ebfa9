"""`tips cards build|check`: a card for each policy, from its code, logs and the registry."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from offline import lab
from offline.command import BadInput, short_text
from offline.registry.cards.card import markdown
from offline.registry.cards.check import FOLDER, card_is_complete, files_of
from offline.registry.tracking import TrackingOption, tracking
from tips.bandit.registry import POLICIES

app = typer.Typer(help="Model cards: one for each policy, committed, and checked for age.", no_args_is_help=True)

FolderOption = Annotated[
    Path, typer.Option("--to", metavar="DIR", help="Where the cards lie.", show_default="offline/registry/cards")
]
PolicyOption = Annotated[
    list[str] | None, typer.Option("--policy", metavar="NAME", help="Only of this policy; may be given again.")
]


@app.command()
def build(
    logs: Annotated[
        Path | None,
        typer.Option("--logs", metavar="DIR", help="An export to measure on; without it, from the evidence kept."),
    ] = None,
    evaluations: Annotated[
        list[Path] | None, typer.Option("--evaluation", metavar="FILE", help="What `tips evaluate --out` wrote.")
    ] = None,
    policies: PolicyOption = None,
    to: FolderOption = FOLDER,
    uri: TrackingOption = None,
    registry: Annotated[
        bool, typer.Option("--registry/--no-registry", help="Whether to name the registered champion or challenger.")
    ] = True,
    of: Annotated[
        str, typer.Option("--of", metavar="TEXT", help="Whose decisions the logs hold, as the cards say it.")
    ] = "people served",
) -> None:
    """Build the cards anew: evidence as JSON, Markdown, and HTML with plots."""
    lab.required()
    from rich.console import Console

    from offline.feature_store.logs import Logs
    from offline.registry.cards.evidence import evidence_of
    from offline.registry.cards.page import html

    names = _known(policies)
    if logs is None and evaluations:
        raise BadInput("--evaluation is shown beside what logs say: give --logs as well")
    found: dict[str, dict[str, Any]]
    if logs is None:
        found = {name: _kept(name, to) for name in names}
    else:
        read = [_evaluation(path) for path in evaluations or ()]
        registered = _registered(names, uri) if registry else {}
        console = Console(file=sys.stderr)
        with console.status("reading the export") as status:
            found = evidence_of(Logs.read(logs), names, short_text(of, "--of", 200), read, registered, status.update)
    to.mkdir(parents=True, exist_ok=True)
    for name, evidence in found.items():
        evidence_file, markdown_file, html_file = files_of(name, to)
        text = json.dumps(evidence, indent=1, sort_keys=True, allow_nan=False) + "\n"
        evidence_file.write_text(text, encoding="utf-8")
        evidence = json.loads(text)  # as it will be read again: texts go by its order
        try:
            markdown_file.write_text(markdown(POLICIES[name], evidence), encoding="utf-8")
            html_file.write_text(html(POLICIES[name], evidence), encoding="utf-8")
        except (LookupError, TypeError) as error:
            raise BadInput(f"{evidence_file} lacks something ({error}): build the card with --logs") from None
        verdicts = [one["verdict"] for one in evidence["slices"]]
        told = ", ".join(f"{verdicts.count(one)} {one}" for one in dict.fromkeys(verdicts))
        print(f"{markdown_file}: reward {evidence['metrics']['reward_dr']['value']:.3f}; slices: {told}")


@app.command()
def check(policies: PolicyOption = None, to: FolderOption = FOLDER) -> None:
    """Say which cards are missing, incomplete or stale; exit code 1 if any is."""
    lacking = {name: lacks for name in _known(policies) if (lacks := card_is_complete(name, to))}
    for name, lacks in lacking.items():
        print(f"{name}: {'; '.join(lacks)}")
    if lacking:
        raise typer.Exit(1)
    print("all cards are complete and of this code")


def _known(names: list[str] | None) -> list[str]:
    for name in names or ():
        if name not in POLICIES:
            raise BadInput(f"--policy: {name!r} is no policy; there are {', '.join(POLICIES)}")
    return list(names or POLICIES)


def _kept(name: str, folder: Path) -> dict[str, Any]:
    path = files_of(name, folder)[0]
    try:
        evidence = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read ({error}): give --logs to measure anew") from None
    if not isinstance(evidence, dict):
        raise BadInput(f"{path} is no card's evidence: give --logs to measure anew")
    return evidence


def _evaluation(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"--evaluation: {path} cannot be read: {error}") from None
    needed = ("policy", "against", "method", "logs", "estimates", "difference")
    if not isinstance(document, dict) or any(name not in document for name in needed):
        raise BadInput(f"--evaluation: {path} is not what `tips evaluate --out` writes")
    return document


def _registered(names: list[str], uri: str | None) -> dict[str, Mapping[str, Any]]:
    """Return of each policy that has a champion, else a challenger, what the registry says of it."""
    from offline.registry.models import CHALLENGER, CHAMPION, model_of_run, versions

    client = tracking(uri)
    found: dict[str, Mapping[str, Any]] = {}
    for name in names:
        by_alias = {alias: one for one in versions(client, name) for alias in one.aliases}
        chosen = by_alias.get(CHAMPION) or by_alias.get(CHALLENGER)
        if chosen is None:
            continue
        model = model_of_run(client, chosen.run_id)
        found[name] = {
            "name": chosen.name,
            "version": chosen.number,
            "prior": model.prior.version,
            "parameters": dict(model.parameters),
            "data_hash": model.provenance.data_hash,
            "erased": model.provenance.erased,
            "metrics": {key: round(value, 6) for key, value in model.metrics.items()},
        }
    return found
