"""`python -m devstack.demo`: simulated people are served and learned from, through the real functions.

Everything goes the way it goes in production: function-URL events to score and generate, reactions by HTTP and as
JetStream batches to consume, decisions and statistics in DynamoDB.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from devstack.people import PERSONAS, Person, population
from devstack.service import HttpService, ServiceError
from devstack.simulation import Outcome, Step, feedback, simulate
from devstack.stack import Stack

PER_PERSONA = 4
ROUNDS = 30
BUDGET_SEC = 45.0
"""On a busy machine the days that do not fit are left out."""
AT_ONCE = 4
"""People who are served at the same time, each by another instance of score."""


def main() -> int:
    console = Console(highlight=False, soft_wrap=True)
    with tempfile.NamedTemporaryFile("w", prefix="tips-demo-", suffix=".log", delete=False) as log:
        try:
            with Stack(environment={}, log=log, max_instances=AT_ONCE) as stack:
                _show(console, stack, seed=int(time.time()))
            code = 0
        except (ServiceError, RuntimeError, httpx.HTTPError) as error:
            console.print(f"The demo failed: {error}\nWhat the functions logged: {log.name}", style="red", markup=False)
            return 1
        except KeyboardInterrupt:
            console.print("stopped")
            code = 130
    Path(log.name).unlink()
    return code


def _show(console: Console, stack: Stack, seed: int) -> None:
    started = time.monotonic()
    people = population(PER_PERSONA, seed)
    console.print(
        f"\n{len(people)} simulated people with {len(PERSONAS)} habits are shown one tip a day for {ROUNDS} days."
    )
    console.print("The service knows nothing of them at first; it learns from how they react.\n")
    columns = (TextColumn("{task.description:<34}"), BarColumn(24), MofNCompleteColumn())
    with (
        HttpService(stack.score_url, stack.generate_url, stack.invoke_url) as service,
        ThreadPoolExecutor(AT_ONCE) as executor,
    ):
        with Progress(*columns, console=console, refresh_per_second=4) as progress:
            starting = progress.add_task("starting the three functions", total=3)
            writing = progress.add_task("generate: writing tips", total=len(people))
            living = progress.add_task("score, reward, consume: days", total=ROUNDS)
            counts = {"ScoreFunction": AT_ONCE, "GenerateFunction": 1, "ConsumeFunction": 1}
            for _ in executor.map(lambda name: stack.functions[name].warm(counts[name]), counts):
                progress.advance(starting)
            for _ in executor.map(lambda person: _write_tips(service, person), people):
                progress.advance(writing)
            outcome = simulate(
                service,
                people,
                ROUNDS,
                seed=seed,
                executor=executor,
                deadline=started + BUDGET_SEC,
                on_round=lambda _: progress.advance(living),
            )
        learned = _learned_after_repeating(service, people, outcome)
    if outcome.rounds < ROUNDS:
        console.print(f"\nThis machine is busy: it ends after {outcome.rounds} days, to be done within a minute.")
    _print_decision(console, _telling_step(outcome.steps))
    _print_means(console, outcome)
    _print_totals(console, outcome, learned, time.monotonic() - started)


def _write_tips(service: HttpService, person: Person) -> None:
    tasks = [{"id": task["id"], "content": task["content"], **task["features"]} for task in person.tasks()]
    answer = service.generate({"user_id": person.user_id, "context": {"tasks": tasks}, "n": 3})
    person.tips = answer["candidates"]


def _learned_after_repeating(service: HttpService, people: Sequence[Person], outcome: Outcome) -> int:
    """Send the last day's reactions a second time, as events; return how many the service has learned in all."""
    again = [step for step in outcome.steps if step.round == outcome.rounds - 1]
    service.deliver([feedback(step) for step in again])
    learned: int = sum(service.stats(person.user_id)["pulls"] for person in people)
    if learned != len(outcome.steps):
        raise ServiceError(f"{len(outcome.steps)} reactions, but {learned} learned")
    return learned


def _telling_step(steps: Sequence[Step]) -> Step:
    """Return a late decision that was no exploration, with as large a lead as there is."""

    def lead(step: Step) -> float:
        first, second = (ranked["score"] for ranked in step.decision["ranking"][:2])
        return float(first - second)

    late = [step for step in steps[-len(steps) // 4 :] if not step.decision["explored"]]
    return max(late or steps[-1:], key=lead)


def _print_decision(console: Console, step: Step) -> None:
    persona = step.person.persona
    ranked = {entry["id"]: entry for entry in step.decision["ranking"]}
    table = Table()
    table.add_column("candidate", no_wrap=True)
    for name in ("overdue", "age", "priority", "expected", "chance"):
        table.add_column(name, justify="right", no_wrap=True)
    for candidate in sorted(step.request["candidates"], key=lambda entry: -ranked[entry["id"]]["score"]):
        features, entry = candidate["features"], ranked[candidate["id"]]
        is_shown = candidate["id"] == step.decision["tip_id"]
        table.add_row(
            ("> " if is_shown else "  ") + _short(candidate["content"]),
            {True: "yes", False: "no", None: "-"}[features.get("is_overdue")],
            f"{features['task_age_days']} d" if features else "-",
            str(features.get("priority", "-")),
            f"{entry['score']:+.2f}",
            f"{entry['propensity']:.3f}",
            style="bold green" if is_shown else None,
        )
    console.print(f"\n[bold]One decision of day {step.round + 1}, for somebody who {persona.habit}[/]")
    console.print(table, soft_wrap=False)
    console.print(f"Why this one? {step.decision['explanation']['sentence']}", markup=False)
    console.print(f"Reaction: {step.reaction.action}, reward {step.reaction.reward:+.1f}")


def _short(text: str, limit: int = 23) -> str:
    return text if len(text) <= limit else text[: limit - 3].rstrip() + "..."


def _print_means(console: Console, outcome: Outcome) -> None:
    table = Table()
    table.add_column("people", no_wrap=True)
    table.add_column("habit", no_wrap=True)
    early_days, late_days = max(1, outcome.rounds // 8), outcome.rounds // 2
    for name in (f"days 1-{early_days}", f"days {late_days + 1}-{outcome.rounds}", "random"):
        table.add_column(name, justify="right", no_wrap=True)
    for persona in PERSONAS:
        means = outcome.means(persona.name)
        table.add_row(persona.name, persona.habit, *(f"{x:+.2f}" for x in (means.early, means.late, means.random)))
    table.add_section()
    means = outcome.means()
    values = (f"{x:+.2f}" for x in (means.early, means.late, means.random))
    table.add_row("everybody", "", *values, style="bold")
    console.print("\n[bold]Mean reward of what was shown, from -1 to 1[/]")
    console.print(table, soft_wrap=False)
    console.print(
        "A tip that was shown counts with the mean reward it has for that person; random is\n"
        "the same mean over all candidates of the same decisions. What the reactions really\n"
        f"brought, luck included: {means.observed_early:+.2f} early, {means.observed_late:+.2f} late."
    )


def _print_totals(console: Console, outcome: Outcome, learned: int, seconds: float) -> None:
    console.print(
        f"\n{len(outcome.steps)} decisions and {learned} reactions learned in {seconds:.0f} s:\n"
        f"{outcome.by_http} came by HTTP, {outcome.by_event} as JetStream events. Those of the last day were sent\n"
        "a second time, as events: each was still learned once.\n"
    )
    console.print("[bold]Next[/]")
    console.print("  make dev    keeps this stack running on local ports and prints where;")
    console.print("              then: curl -s http://127.0.0.1:8001/stats/ann")
    console.print("  make test   runs all tests")


if __name__ == "__main__":
    sys.exit(main())
