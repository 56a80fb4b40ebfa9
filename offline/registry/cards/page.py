"""A policy's card as an HTML page with plots."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from offline import pages
from offline.registry.cards.card import markdown, sections
from offline.registry.cards.check import stamp

if TYPE_CHECKING:
    from tips.bandit.policy import Policy


def html(policy: Policy, evidence: Mapping[str, Any]) -> str:
    page = pages.Page(f"Model card: {policy.name}", f"Version {policy.version} · {stamp(markdown(policy, evidence))}")
    for heading, body in sections(policy, evidence):
        blocks = _blocks(body)
        if heading == "Offline metrics":
            blocks.insert(1, _rewards(evidence))
        elif heading == "Fairness checks":
            blocks[1:1] = [_slices(evidence, "reward"), _slices(evidence, "exploration")]
        page.section(heading, *blocks)
    return page.html()


def _blocks(body: str) -> list[pages.Block]:
    """Return a section's Markdown, which is paragraphs, lists and tables, as blocks."""
    blocks = []
    for part in body.split("\n\n"):
        lines = part.splitlines()
        if lines and lines[0].startswith("| "):
            cells = [_cells(line) for line in lines]
            blocks.append(pages.table(cells[0], cells[2:]))
        elif lines and lines[0].startswith("- "):
            blocks.append(pages.text("\n\n".join(line.removeprefix("- ") for line in lines)))
        else:
            blocks.append(pages.text(part.replace("`", "")))
    return blocks


def _cells(line: str) -> list[str]:
    cells = re.split(r"(?<!\\)\|", line)[1:-1]
    return [cell.strip().replace("\\|", "|").replace("`", "") for cell in cells]


def _rewards(evidence: Mapping[str, Any]) -> pages.Block:
    rows = [
        ("by chance", evidence["logs"]["chance"]),
        ("as logged", evidence["logs"]["logged"]),
        ("this policy, doubly robust", evidence["metrics"]["reward_dr"]),
        ("this policy, self-normalised", evidence["metrics"]["reward_snips"]),
    ]
    return _intervals(
        rows, "Reward a decision with 95 % intervals over people.", "Reward a decision of this policy and others"
    )


def _slices(evidence: Mapping[str, Any], key: str) -> pages.Block:
    rows = [(one["name"], one[key]) for one in evidence["slices"] if key in one]
    what = {"reward": "Reward a decision", "exploration": "Probability to explore"}[key]
    return _intervals(rows, f"{what} by slice; intervals hold for all slices together.", f"{what} by slice")


def _intervals(rows: Sequence[tuple[str, Mapping[str, float]]], caption: str, alt: str) -> pages.Block:
    fig, axes = pages.plot(height=0.8 + 0.42 * max(1, len(rows)))
    for place, (_, one) in enumerate(reversed(rows)):
        axes.plot([one["low"], one["high"]], [place, place], color=pages.COLOURS[0], linewidth=2)
        axes.plot([one["value"]], [place], "o", color=pages.COLOURS[0])
    axes.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)])
    axes.set_ylim(-0.6, max(1, len(rows)) - 0.4)
    return pages.figure(fig, caption, alt)
