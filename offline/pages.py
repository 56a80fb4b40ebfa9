"""Reports as one HTML file each: text, tables, tiles and figures, with nothing to load and no script."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5f5f5f")
"""Told apart by the colour-blind too: Okabe and Ito's, without black and yellow, which lines cannot have on white."""

_INK, _GRID = "#333333", "#d9d9d9"
# The salt makes names inside a figure follow from its content alone; writing stays writing, so it can be searched.
_LOOK: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tips",
    "font.family": "DejaVu Sans",  # comes with matplotlib, and is wide: the reader's own font will fit
    "font.size": 12.5,  # on a phone a figure has two thirds of its size
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.labelcolor": _INK,
    "axes.edgecolor": _GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "text.color": _INK,
    "xtick.color": _GRID,
    "ytick.color": _GRID,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
}
_SAVED = {"Date": None, "Creator": None, "Format": None, "Type": None}

_PREAMBLE = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_SIZE = re.compile(r' (?:width|height)="[^"]*"')
_NAME = re.compile(r'(\bid="|url\(#|href="#)')
_NUMBER = re.compile(r"^[-+±<>≤≥~]?\s*[$€]?\s*\d[\d,.\u202f]*\s*(?:%|ms|s|min|h|d)?(?:\s*(?:±|to|\.\.).*)?$")
_EMPTY = ("", "-", "\u2013")

_STYLE = """
:root { color-scheme: light dark; --back: #f6f7f8; --card: #ffffff; --ink: #1f2328; --soft: #59636e;
  --line: #d6dbe0; --accent: #0063a0; }
@media (prefers-color-scheme: dark) { :root { --back: #14171a; --card: #1d2125; --ink: #e4e7ea; --soft: #a0a9b2;
  --line: #363c42; --accent: #74b8ea; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.25rem 1rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; line-height: 1.3; margin: 0 0 .75rem; overflow-wrap: anywhere; }
p { margin: 0 0 .75rem; overflow-wrap: anywhere; }
a { color: var(--accent); }
.subtitle { color: var(--soft); margin: .4rem 0 0; }
nav { margin: .8rem 0 0; font-size: .9rem; display: flex; flex-wrap: wrap; gap: .3rem 1rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem;
  margin: 1rem 0 0; }
section > :last-child { margin-bottom: 0; }
.scroll { overflow-x: auto; margin: 0 0 .9rem; }
table { border-collapse: collapse; font-size: .88rem; min-width: 100%; }
.caption { color: var(--soft); font-size: .88rem; margin: 0 0 .2rem; }
th, td { text-align: left; padding: .35rem .7rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 600; color: var(--soft); vertical-align: bottom; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td { white-space: nowrap; }
td.w { white-space: normal; min-width: 15rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .6rem; margin: 0 0 .9rem; }
.tiles > div { border: 1px solid var(--line); border-radius: 8px; padding: .55rem .7rem; min-width: 0; }
.tiles dt { color: var(--soft); font-size: .8rem; }
.tiles dd { margin: 0; overflow-wrap: anywhere; }
.tiles dd.value { font-size: 1.3rem; font-weight: 600; line-height: 1.3; }
.tiles dd.note { color: var(--soft); font-size: .8rem; }
figure { margin: 0 0 .9rem; }
figure .scroll { background: #ffffff; border: 1px solid var(--line); border-radius: 8px; padding: .4rem; margin: 0; }
figure svg { display: block; width: 100%; height: auto; min-width: 20rem; max-width: 42rem;
  margin: 0 auto; }
/* The figure names the font it was measured with. */
figure svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
  sans-serif !important; }
figcaption { color: var(--soft); font-size: .88rem; margin: .4rem 0 0; }
@media (max-width: 30rem) { main { padding: 1rem .5rem 2rem; } section { padding: .8rem .7rem; }
  figure .scroll { padding: .2rem; } }
@media print { body { background: none; } section { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Block:
    """A piece of a section, as HTML that needs no further escaping."""

    html: str


@dataclass
class Page:
    """A page of sections under a title, in the order in which they were added."""

    title: str
    subtitle: str = ""
    _sections: list[tuple[str, tuple[Block, ...]]] = field(default_factory=list, init=False)

    def section(self, heading: str, *blocks: Block) -> None:
        self._sections.append((heading, blocks))

    def html(self) -> str:
        """Return the file's text; the same sections give the same text."""
        links = "".join(f'<a href="#s{n}">{escape(name)}</a>' for n, (name, _) in enumerate(self._sections, start=1))
        parts = [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>{escape(self.title)}</title><style>{_STYLE}</style></head><body><main>",
            f"<header><h1>{escape(self.title)}</h1>",
            f'<p class="subtitle">{escape(self.subtitle)}</p>' if self.subtitle else "",
            f'<nav aria-label="Sections">{links}</nav>' if len(self._sections) > 2 else "",
            "</header>",
        ]
        for number, (heading, blocks) in enumerate(self._sections, start=1):
            inner = "\n".join(block.html for block in blocks)
            parts.append(f'<section id="s{number}"><h2>{escape(heading)}</h2>\n{inner}\n</section>')
        return "\n".join(filter(None, [*parts, "</main></body></html>", ""]))


def text(words: str) -> Block:
    """Return paragraphs; an empty line parts them."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", words)]
    return Block("\n".join(f"<p>{escape(part)}</p>" for part in paragraphs if part))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> Block:
    """Return a table; a column of numbers stands to the right. Raises `ValueError` for a row of another length."""
    if any(len(row) != len(columns) for row in rows):
        raise ValueError(f"every row of a table must have {len(columns)} cells, one to a column")
    numbers = [_are_numbers([row[place] for row in rows]) for place in range(len(columns))]
    heads = "".join(
        f'<th scope="col"{_class(number)}>{escape(name)}</th>' for name, number in zip(columns, numbers, strict=True)
    )
    lines = "\n".join(
        "<tr>" + "".join(f"<td{_class(n, cell)}>{escape(cell)}</td>" for cell, n in zip(row, numbers, strict=True))
        + "</tr>"
        for row in rows
    )  # fmt: skip
    title, label = (f'<p class="caption">{escape(caption)}</p>', escape(caption)) if caption else ("", "table")
    return Block(
        # Not a <caption>, which would be as wide as the table and so wider than a phone.
        f'{title}<div class="scroll" tabindex="0"><table aria-label="{label}"><thead><tr>{heads}</tr></thead>'
        f"<tbody>\n{lines}\n</tbody></table></div>"
    )


def tiles(values: Sequence[tuple[str, str, str]]) -> Block:
    """Return single figures side by side, each a label, a value and a note, which may be empty."""
    inner = "".join(
        f'<div><dt>{escape(label)}</dt><dd class="value">{escape(value)}</dd>'
        + (f'<dd class="note">{escape(note)}</dd>' if note else "")
        + "</div>"
        for label, value, note in values
    )
    return Block(f'<dl class="tiles">{inner}</dl>')


def figure(fig: Figure, caption: str, alt: str) -> Block:
    """Return a figure with its caption; `alt` says what it shows to those who cannot see it."""
    written = io.StringIO()
    with mpl.rc_context(_LOOK), warnings.catch_warnings():
        # The reader's own font is used, which may well have them.
        warnings.filterwarnings("ignore", r"Glyph \d+", UserWarning)
        for words in fig.findobj(Text):
            words.set_parse_math(False)  # names come from anywhere, and a dollar in one is a dollar
        for axes in fig.axes:
            if legend := axes.get_legend():
                legend.get_frame().set_linewidth(0)
                for label in legend.get_texts():
                    label.set_fontsize("medium")
        fig.savefig(written, format="svg", metadata=_SAVED)
    root, rest = _PREAMBLE.sub("", written.getvalue()).split(">", 1)
    svg = _SIZE.sub("", root) + ">" + rest.strip()
    # Names must be one figure's own on a page of several.
    prefix = "f" + hashlib.sha256(svg.encode()).hexdigest()[:8] + "-"
    svg = _NAME.sub(lambda found: found[1] + prefix, svg)
    return Block(
        f'<figure><div class="scroll" role="img" aria-label="{escape(alt)}" tabindex="0">{svg}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def plot(width: float = 7, height: float = 3.2) -> tuple[Figure, Axes]:
    """Return an empty figure of the house's look; width, height: inches."""
    with mpl.rc_context(_LOOK):
        fig = Figure(figsize=(width, height), facecolor="white", layout="constrained")
        axes: Axes = fig.subplots()
        axes.tick_params(length=0)
    return fig, axes


def _are_numbers(cells: Sequence[str]) -> bool:
    said = [cell.strip() for cell in cells if cell.strip() not in _EMPTY]
    return bool(said) and all(_NUMBER.match(cell) for cell in said)


def _class(number: bool, cell: str = "") -> str:
    if number:
        return ' class="n"'
    # A long text would otherwise be a narrow, high cell beside wide numbers.
    return ' class="w"' if len(cell) > 40 else ""
