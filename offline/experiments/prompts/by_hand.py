"""Rating by a person: tips go out in a CSV file, shuffled and without who wrote them, and come back with marks."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

from offline.command import BadInput
from offline.experiments.prompts.judging import HIGHEST, LOWEST, MARKS, Judged, Rating, Ratings
from offline.experiments.prompts.scenarios import Scenario
from offline.experiments.prompts.writing import Sample

COLUMNS = ("tip_id", "scenario", "context", "tip", *MARKS)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def sheet(samples: Sequence[Sample], scenarios: Sequence[Scenario]) -> str:
    """Return the CSV: a row per tip, in an order that says nothing of models and versions."""
    seen = {scenario.name: json.dumps(scenario.seen(), ensure_ascii=False) for scenario in scenarios}
    rows = [
        (f"{sample.sample_id}-{place}", sample.scenario, seen[sample.scenario], content, "", "", "")
        for sample in samples
        for place, content in enumerate(sample.tips, start=1)
    ]
    # The ids follow from what was written, so that the order is the same each time and nobody's choice.
    Random(min((row[0] for row in rows), default="")).shuffle(rows := sorted(rows))  # noqa: S311
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([_as_text(cell) for cell in row] for row in rows)
    return written.getvalue()


def read_sheet(file: Path, samples: Sequence[Sample]) -> Judged:
    """Return the ratings of a sheet. Samples of which a tip has no marks are given up. Raises `BadInput`."""
    try:
        rows = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"), newline="")))
    except (OSError, ValueError, csv.Error) as error:
        raise BadInput(f"--import: {file} cannot be read: {error}") from None
    marks: dict[str, Rating] = {}
    for number, row in enumerate(rows, start=2):
        if missing := [name for name in ("tip_id", *MARKS) if row.get(name) is None]:
            raise BadInput(f"--import: {file}, line {number}: no column {missing[0]}")
        given = [str(row[name]).strip() for name in MARKS]
        if any(given):
            marks[str(row["tip_id"])] = _rating(given, f"{file}, line {number}")
    ratings: Ratings = {}
    with_tips = [sample for sample in samples if sample.tips]
    for sample in with_tips:
        found = [marks.pop(f"{sample.sample_id}-{place}", None) for place in range(1, len(sample.tips) + 1)]
        if None not in found:
            ratings[sample.sample_id] = [one for one in found if one is not None]
    if marks:
        raise BadInput(f"--import: {file}: {next(iter(marks))} is a tip of another run: say its folder with --out")
    return Judged(ratings, len(with_tips), 0, len(with_tips) - len(ratings))


def _rating(given: Sequence[str], place: str) -> Rating:
    for name, text in zip(MARKS, given, strict=True):
        if not text.isdecimal() or not LOWEST <= int(text) <= HIGHEST:
            raise BadInput(f"--import: {place}: {name} must be a whole number from {LOWEST} to {HIGHEST}")
    return Rating(*map(int, given))


def _as_text(cell: str) -> str:
    # A spreadsheet would run a tip that begins like a formula.
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
