"""Whether cards are there, whole, and of the code as it is. Needs no package of the lab: the gate asks it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from offline.registry.cards.card import identity, markdown, sections
from tips.bandit.registry import POLICIES

FOLDER = Path(__file__).parent
_NAMED = {
    "policy_version": "the policy's version",
    "schema": "the schema",
    "schema_hash": "the schema's hash",
    "parameters": "the parameters",
}


def card_is_complete(policy: str, folder: Path = FOLDER) -> list[str]:
    """Return in words what a policy's card lacks, or what makes it stale; nothing for one that is complete."""
    if policy not in POLICIES:
        return [f"no policy is called {policy!r}"]
    evidence_file, markdown_file, html_file = files_of(policy, folder)
    try:
        evidence = json.loads(evidence_file.read_text(encoding="utf-8"))
        written, page = (path.read_text(encoding="utf-8") for path in (markdown_file, html_file))
    except FileNotFoundError as error:
        return [f"{Path(error.filename).name} is missing"]
    except (OSError, ValueError) as error:
        return [f"{evidence_file.name} cannot be read: {error}"]
    return _stale(policy, evidence) or _incomplete(policy, evidence, written, page)


def files_of(policy: str, folder: Path = FOLDER) -> tuple[Path, Path, Path]:
    """Return where evidence, Markdown and HTML of a policy's card lie."""
    evidence, text, page = (folder / f"{policy}.{ending}" for ending in ("json", "md", "html"))
    return evidence, text, page


def stamp(text: str) -> str:
    """Return what the HTML page shows of the Markdown that it was made with."""
    return f"card {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _stale(policy: str, evidence: Any) -> list[str]:
    if not isinstance(evidence, dict):
        return ["the evidence is no JSON object"]
    now = identity(POLICIES[policy])
    return [
        f"stale: {said} was {evidence.get(name)!r} and is {now[name]!r}"
        for name, said in _NAMED.items()
        if evidence.get(name) != now[name]
    ]


def _incomplete(policy: str, evidence: dict[str, Any], written: str, page: str) -> list[str]:
    try:
        lacking = [f"{heading}: is empty" for heading, body in sections(POLICIES[policy], evidence) if not body.strip()]
        text = markdown(POLICIES[policy], evidence)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        return [f"the evidence lacks something: {type(error).__name__} {error}"]
    if written != text:
        lacking.append("stale: the Markdown is not what code and evidence give")
    if stamp(text) not in page:
        lacking.append("stale: the HTML page is of another text")
    return lacking
