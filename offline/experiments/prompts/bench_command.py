"""`tips bench-prompts`: which model writes the better tips under which prompt version."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from offline import lab
from offline.command import BadInput, aligned, judge_model, settings_of
from offline.registry.tracking import TrackingOption

if TYPE_CHECKING:
    from offline.experiments.prompts.judging import Judged
    from offline.experiments.prompts.results import Judge
    from offline.experiments.prompts.scenarios import Scenario
    from offline.experiments.prompts.writing import Sample
    from tips.llm.models import Model
    from tips.prompts.prompt import Prompt
    from tips.settings import Settings


def bench_prompts(
    models: Annotated[
        str | None,
        typer.Option("--models", metavar="M,...", help="As LITELLM_MODEL names them; default: those configured."),
    ] = None,
    prompts: Annotated[
        str | None, typer.Option("--prompts", metavar="V,...", help="Prompt versions; default: those released.")
    ] = None,
    scenarios: Annotated[
        Path | None, typer.Option("--scenarios", metavar="FILE", help="JSON; default: the built-in ones.")
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", min=1, max=100, help="Samples of each cell.")] = 3,
    judge: Annotated[
        str | None, typer.Option("--judge", metavar="MODEL", help="Who rates; default: JUDGE_MODEL, alias `judge`.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of samples, results and page.")] = Path("lab/prompts"),
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE.csv", help="Rate by hand: write the sheet, judge nothing.")
    ] = None,
    import_: Annotated[
        Path | None, typer.Option("--import", metavar="FILE.csv", help="The sheet with marks, of the run in --out.")
    ] = None,
    tracking: TrackingOption = None,
) -> None:
    """Have models write tips under prompt versions, rate them, and print a leaderboard."""
    settings = settings_of(None, None, None)
    written_by = _models(models, settings)
    versions = _prompts(prompts)
    if import_ is not None and (export is not None or judge is not None or models or prompts or scenarios):
        raise BadInput("--import takes the run in --out as it is: leave out what would write or judge another")
    lab.required()
    from offline.experiments.prompts.by_hand import read_sheet, sheet
    from offline.experiments.prompts.results import SAMPLES, Judge, read_samples, written_samples
    from offline.experiments.prompts.scenarios import read_scenarios
    from offline.reports.files import write

    if import_ is not None:
        samples, used, hashes = read_samples(out)
        judged = read_sheet(import_, samples)
        by = Judge("person", import_.name, judged.asked, judged.malformed, judged.given_up)
        _tell(samples, used, hashes, judged, by, out, tracking)
        return
    used = list(read_scenarios(scenarios))
    hashes = {prompt.version: prompt.content_hash for prompt in versions}
    samples = _written(written_by, versions, used, repeats)
    write(out / SAMPLES, written_samples(samples, used, hashes), "--out")
    if not any(sample.answered for sample in samples):
        codes = sorted({code for sample in samples for code in sample.failures})
        print(f"no model answered ({', '.join(codes)}): see LITELLM_URL and LITELLM_API_KEY", file=sys.stderr)
        raise typer.Exit(1)
    if export is not None:
        write(export, sheet(samples, used), "--export")
        tips = sum(len(sample.tips) for sample in samples)
        print(f"{export}: {tips} tips to rate, 1 to 5; then `tips bench-prompts --out {out} --import {export}`")
        return
    judged, by = _judged(judge, settings, samples, used)
    _tell(samples, used, hashes, judged, by, out, tracking)


def _models(names: str | None, settings: Settings) -> list[Model]:
    from tips.llm.models import resolve_models

    try:
        if names is None:
            return list(resolve_models(settings))
        given = [name.strip() for name in names.split(",") if name.strip()]
        if not given:
            raise BadInput("--models must name a model")
        return [_model(name, settings) for name in dict.fromkeys(given)]
    except ValueError as error:
        raise BadInput(str(error)) from None


def _model(name: str, settings: Settings) -> Model:
    from tips.llm import local_template
    from tips.llm.models import Model, resolve_models

    if name == local_template.NAME:
        return Model(name)
    return resolve_models(replace(settings, litellm_model=name, litellm_fallback_models=()))[0]


def _prompts(names: str | None) -> list[Prompt]:
    from tips.prompts.registry import prompts, released

    if names is None:
        return list(released())
    given = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in given if name not in prompts()]
    if unknown or not given:
        raise BadInput(f"--prompts: must name prompt versions; there are {', '.join(prompts())}")
    return [prompts()[name] for name in dict.fromkeys(given)]


def _written(
    models: Sequence[Model], prompts: Sequence[Prompt], scenarios: Sequence[Scenario], repeats: int
) -> list[Sample]:
    import asyncio

    from offline.experiments.prompts.writing import write_samples
    from tips.llm import gateway

    gateway.load()
    total = len(models) * len(prompts) * len(scenarios) * repeats
    with _Progress("writing", total) as advance:
        return asyncio.run(write_samples(models, prompts, scenarios, repeats, advance))


def _judged(
    name: str | None, settings: Settings, samples: Sequence[Sample], scenarios: Sequence[Scenario]
) -> tuple[Judged, Judge]:
    import asyncio

    from offline.experiments.prompts.judging import judge
    from offline.experiments.prompts.results import Judge
    from tips.llm.failures import ModelFailure
    from tips.llm.models import resolve_judge

    try:
        model = resolve_judge(settings, name or judge_model())
    except ValueError as error:
        raise BadInput(str(error)) from None
    with _Progress("judging", sum(bool(sample.tips) for sample in samples)) as advance:
        try:
            judged = asyncio.run(judge(model, samples, scenarios, advance))
        except ModelFailure as failure:
            print(f"the judge {model.name} cannot be asked ({failure.code}); the samples are kept", file=sys.stderr)
            raise typer.Exit(1) from None
    kind = "rules of thumb" if model.is_template else "model"
    return judged, Judge(kind, model.name, judged.asked, judged.malformed, judged.given_up)


def _tell(
    samples: Sequence[Sample],
    scenarios: Sequence[Scenario],
    hashes: dict[str, str],
    judged: Judged,
    by: Judge,
    out: Path,
    tracking_uri: str | None,
) -> None:
    from offline.experiments.prompts.leaderboard import leaderboard
    from offline.experiments.prompts.results import document_of, metrics_of, page_of, rows_of
    from offline.registry.tracking import log_run, tracking
    from offline.reports.files import write

    entries = leaderboard(samples, judged.ratings)
    page = page_of(entries, by, scenarios, hashes).html()
    document = json.dumps(document_of(entries, by, scenarios, hashes), indent=2, ensure_ascii=False, allow_nan=False)
    write(out / "leaderboard.json", document, "--out")
    write(out / "leaderboard.html", page, "--out")
    print(aligned(rows_of(entries)))
    print(f"\n{by.sentence}\n{out / 'leaderboard.html'}")
    log_run(
        tracking(tracking_uri),
        "prompt-benchmark",
        f"{by.kind} {by.name}",
        params={
            "models": ",".join(dict.fromkeys(entry.model for entry in entries)),
            "prompts": ",".join(hashes),
            "scenarios": ",".join(scenario.name for scenario in scenarios),
            "repeats": entries[0].samples // len(scenarios),
            "judge": by.name,
        },
        metrics=metrics_of(entries),
        tags={"judge_kind": by.kind, **{f"prompt_hash.{version}": content for version, content in hashes.items()}},
        texts={"leaderboard.html": page, "leaderboard.json": document},
    )


class _Progress:
    """A bar on the standard error stream."""

    def __init__(self, what: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self._progress = Progress(console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(what, total=total)

    def __enter__(self) -> _Progress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self) -> None:
        self._progress.advance(self._task)
