"""`tips retake`: take a logged decision again from its log, and say whether it comes out the same, bit for bit."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from offline.command import BadInput, aligned
from tips.bandit import decision
from tips.bandit.policy import Distribution
from tips.bandit.registry import POLICIES


def retake(
    file: Annotated[Path, typer.Argument(help="The answer of GET /decisions/{decision_id}, or - for standard input.")],
) -> None:
    """Take a logged decision again and compare choice, scores and probabilities with the log, bit for bit."""
    logged = _read(file)
    try:
        ids = [candidate["id"] for candidate in logged["candidates"]]
        rows, same = [], True
        for name, seen in logged["evaluations"].items():
            if name not in POLICIES:
                raise BadInput(f"the policy {name} is not known here")
            if seen["policy_version"] != POLICIES[name].version:
                raise BadInput(f"{name} was version {seen['policy_version']}, here it is {POLICIES[name].version}")
            chosen, again = decision.replay(
                POLICIES[name], logged["decision_id"], seen["mean"], seen["width"], seen["parameters"]
            )
            equal = _equal(again, seen) and (name != logged["policy"] or ids[chosen] == logged["tip_id"])
            same = same and equal
            role = "decided" if name == logged["policy"] else "shadow"
            probability = f"{again.propensity[ids.index(logged['tip_id'])]:.6f}"
            rows.append([name, role, ids[chosen], probability, "the same" if equal else "DIFFERENT"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"{file} is no answer of GET /decisions: {type(error).__name__} {error}") from None
    print(f"decision {logged['decision_id']} showed {logged['tip_id']}")
    print(aligned([["policy", "role", "draws", "probability of what was shown", "retake"], *rows]))
    if not same:
        raise typer.Exit(1)


def _read(file: Path) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        logged = json.loads(text)
    except (OSError, ValueError) as error:
        raise BadInput(f"{file} cannot be read as JSON: {error}") from None
    if not isinstance(logged, dict):
        raise BadInput(f"{file} is no answer of GET /decisions: it is not an object")
    return logged


def _equal(again: Distribution, seen: dict[str, Any]) -> bool:
    return bool(again.score.tolist() == seen["score"] and again.propensity.tolist() == seen["propensity"])
