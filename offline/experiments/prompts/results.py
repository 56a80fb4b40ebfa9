"""What a benchmark leaves: samples in a file, results for programs in another, a page. Samples alone hold texts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from offline.command import BadInput
from offline.experiments.prompts.leaderboard import LEVEL, Entry, Score
from offline.experiments.prompts.scenarios import Scenario
from offline.experiments.prompts.writing import Sample, sample_of
from offline.pages import Block, Page, figure, table, text, tiles
from offline.reports.charts import dots
from offline.reports.means import Mean
from offline.reports.numbers import NOTHING, count, number, share, usd

SAMPLES = "samples.json"


@dataclass(frozen=True)
class Judge:
    """Who rated. kind: `model`, `rules of thumb` or `person`."""

    kind: str
    name: str
    asked: int
    malformed: int
    given_up: int

    @property
    def sentence(self) -> str:
        if self.kind == "person":
            return f"Rated by a person, from {self.name}. {count(self.given_up)} samples have no marks."
        told = f"{count(self.malformed)} of {count(self.asked)} answers were malformed, {count(self.given_up)} samples "
        if self.kind == "model":
            return f"Rated by the model {self.name}. {told}have no ratings."
        return (
            "Rated by rules of thumb, since no judge is configured: they see words and not sense, so this order says "
            f"that everything runs and nothing about which prompt is better. {told}have no ratings."
        )


def written_samples(samples: Sequence[Sample], scenarios: Sequence[Scenario], prompts: Mapping[str, str]) -> str:
    """Return the samples' file. prompts: content hash by version."""
    document = {
        "prompts": dict(prompts),
        "scenarios": [scenario.model_dump(mode="json", exclude_none=True) for scenario in scenarios],
        "samples": [asdict(sample) for sample in samples],
    }
    return json.dumps(document, indent=1, ensure_ascii=False)


def read_samples(folder: Path) -> tuple[list[Sample], list[Scenario], dict[str, str]]:
    """Inverse of `written_samples`; raises `BadInput`."""
    file = folder / SAMPLES
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        scenarios = [Scenario.model_validate(one) for one in document["scenarios"]]
        return [sample_of(one) for one in document["samples"]], scenarios, dict(document["prompts"])
    except (OSError, ValueError, LookupError, TypeError, ValidationError):
        raise BadInput(f"--out: {folder} holds no samples of a benchmark (no readable {SAMPLES})") from None


def document_of(
    entries: Sequence[Entry], judge: Judge, scenarios: Sequence[Scenario], prompts: Mapping[str, str]
) -> Any:
    """Return the results for programs, null where there is no number."""
    return _finite(
        {
            "judge": {**asdict(judge), "note": judge.sentence},
            "level": LEVEL,
            "scenarios": [scenario.name for scenario in scenarios],
            "prompts": dict(prompts),
            "leaderboard": [asdict(entry) for entry in entries],
        }
    )


def metrics_of(entries: Sequence[Entry]) -> dict[str, float]:
    """Return what MLflow keeps of each entry."""
    found = {
        f"{name}.{entry.model}.{entry.version}": value
        for entry in entries
        for name, value in (
            ("composite", entry.composite.mean),
            ("composite_low", entry.composite.low),
            ("composite_high", entry.composite.high),
            *entry.marks.items(),
            ("format_ok", entry.format_ok),
            ("overlong", entry.overlong),
            ("latency_ms_p50", entry.latency_ms[0]),
            *([] if entry.cost_usd is None else [("cost_usd", entry.cost_usd)]),
        )
        if math.isfinite(value)
    }
    return {"".join(one if one.isalnum() or one in "_-./ " else "_" for one in name): of for name, of in found.items()}


def rows_of(entries: Sequence[Entry]) -> list[list[str]]:
    """Return the leaderboard's rows, its heading first."""
    head = ["", "model", "prompt", "composite", "95 % interval", "behind the first", "relevance", "actionab.", "tone"]
    rows = [[*head, "format ok", "overlong"]]
    for place, entry in enumerate(entries, start=1):
        tied = "tied" if entry.tied and entry.behind is not None else f"{place}"
        marks = (number(value, 2) for value in entry.marks.values())
        rows.append(
            [
                tied,
                entry.model,
                entry.version,
                number(entry.composite.mean, 2),
                _interval(entry.composite),
                "" if entry.behind is None else f"{number(entry.behind.mean, 2)} ({_interval(entry.behind)})",
                *marks,
                share(entry.format_ok, 0),
                share(entry.overlong, 0),
            ]
        )
    return rows


def page_of(entries: Sequence[Entry], judge: Judge, scenarios: Sequence[Scenario], prompts: Mapping[str, str]) -> Page:
    """Return the page."""
    repeats = entries[0].samples // len(scenarios)
    models, versions = (", ".join(dict.fromkeys(names)) for names in ((one.model for one in entries), prompts))
    page = Page("oO tips: prompt benchmark", f"Models: {models}. Prompt versions: {versions}.")
    values = [
        ("Scenarios", count(len(scenarios)), f"{repeats} samples of each"),
        ("Samples", count(sum(entry.samples for entry in entries)), "in all"),
        ("Judge", judge.kind, judge.name),
    ]
    head, *rows = rows_of(entries)
    page.section("Leaderboard", tiles(values), text(judge.sentence), table(head, rows), *_drawn(entries), text(_METHOD))
    page.section("By scenario", *_by_scenario(entries, scenarios))
    page.section("Costs and latency", _costs(entries))
    hashes = [[version, content_hash[:12]] for version, content_hash in prompts.items()]
    page.section("Prompt versions", table(["Version", "content hash"], hashes))
    return page


def _drawn(entries: Sequence[Entry]) -> list[Block]:
    rows = [
        (label, Mean(entry.samples, 0, one.mean, one.low, one.high))
        for label, entry in zip(_labels(entries), entries, strict=True)
        if math.isfinite((one := entry.composite).mean)
    ]
    if not rows:
        return [text("There is no rating yet.")]
    caption = "Composite, with 95 % intervals over scenarios."
    return [figure(dots(rows, "composite"), caption, "Composite of each model and prompt version, as in the table.")]


def _labels(entries: Sequence[Entry]) -> list[str]:
    """Return the entries' names; a model that all have in common goes without saying."""
    several = len({entry.model for entry in entries}) > 1
    return [f"{entry.model} {entry.version}" if several else entry.version for entry in entries]


def _by_scenario(entries: Sequence[Entry], scenarios: Sequence[Scenario]) -> list[Block]:
    rows = [
        [scenario.name, *(number(entry.by_scenario[scenario.name], 2) for entry in entries)] for scenario in scenarios
    ]
    told = [[scenario.name, scenario.description, count(scenario.n)] for scenario in scenarios]
    return [
        table(["Scenario", *_labels(entries)], rows, "Mean composite"),
        table(["Scenario", "what it is", "tips"], told),
    ]


def _costs(entries: Sequence[Entry]) -> Block:
    rows = [
        [
            entry.model,
            entry.version,
            count(entry.samples),
            count(entry.unanswered),
            count(entry.unjudged),
            count(entry.prompt_tokens),
            count(entry.completion_tokens),
            usd(entry.cost_usd),
            NOTHING if entry.cost_usd is None else usd(1000 * entry.cost_usd / entry.samples),
            *(number(value / 1000, 2) for value in entry.latency_ms),
        ]
        for entry in entries
    ]
    columns = ["Model", "prompt", "samples", "unanswered", "unjudged", "tokens in", "tokens out", "cost", "per 1,000"]
    return table([*columns, "median s", "p95 s"], rows, "Of all calls of a sample, corrections included")


def _interval(score: Score) -> str:
    return f"{number(score.low, 2)} to {number(score.high, 2)}" if math.isfinite(score.low) else NOTHING


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


_METHOD = """
composite = relevance + actionability + tone (1 to 5 each, means over the tips of a sample) + 2 if the form was right -
1 if a tip was too long, so 2 to 17. The form is right when the model's first answer could be read and held only tips
with the agreed fields and kinds; a tip is too long when the service would not show it. Both are computed and not
judged. An answer without any tip that could be shown has the lowest marks; a model that did not answer has none.

Intervals are percentiles of a bootstrap over scenarios; with few scenarios they are somewhat too narrow. Tied is what
the interval of the difference to the first one does not tell from it.
"""
