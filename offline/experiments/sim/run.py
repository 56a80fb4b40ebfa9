"""One run: one policy under one seed, in a process of its own; rounds go to Parquet, progress to standard output.

python -m offline.experiments.sim.run '{"policy": "igw-ucb", "seed": 0, ...}'
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import polars as pl
from ulid import ULID

from offline import prior_store
from offline.command import connect, judge_model
from offline.experiments.sim.clock import DAY_SEC, Clock, travelling
from offline.experiments.sim.judges import ByModel, Judge, by_rule
from offline.experiments.sim.lived import World
from offline.experiments.sim.personas import PERSONAS, draw_individuals
from offline.experiments.sim.probes import Probes
from offline.experiments.sim.service import Service, open_service
from offline.learning_scan import scan_learning
from tips.bandit.population import fit_population
from tips.bandit.registry import POLICIES
from tips.llm.models import resolve_judge
from tips.settings import Settings

if TYPE_CHECKING:
    from tips.bandit.statistics import Statistics

PRIOR_SUFFIX = "+prior"
WARM_SEED = 1_000_000
"""Added to the seed of people that a prior is trained on: none of them is judged."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What is run. policy: its name, with `+prior` if a population prior is trained first on `warm_users` other people.

    end: seconds since 1970, when the simulated `weeks` are over; the `warm_weeks` lie before them. endpoint: address of
    a table to leave everything in; None: one of the run's own. probe_at: reactions of a person at which fresh requests
    are scored without being shown.
    """

    policy: str
    seed: int
    personas: tuple[str, ...]
    users: int
    rounds: int
    weeks: float
    end: float
    judge: str
    out: str
    endpoint: str | None = None
    table: str = "tips"
    warm_users: int = 110
    warm_rounds: int = 25
    warm_weeks: float = 4.0
    probe_at: tuple[int, ...] = ()
    probes: int = 8

    @classmethod
    def from_json(cls, text: str) -> Spec:
        read = json.loads(text)
        return cls(**{**read, "personas": tuple(read["personas"]), "probe_at": tuple(read.get("probe_at", ()))})

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @property
    def served_by(self) -> str:
        return self.policy.removesuffix(PRIOR_SUFFIX)

    @property
    def has_prior(self) -> bool:
        return self.policy.endswith(PRIOR_SUFFIX)

    @property
    def folder(self) -> Path:
        return Path(f"policy={self.policy}") / f"seed={self.seed}"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. total: rounds that there will be at most."""

    done: int
    total: int
    doing: str


@dataclass
class Result:
    """Rounds, probes, what a model that judged was asked, and what the prior was trained on."""

    rows: list[dict[str, Any]]
    probes: list[dict[str, Any]] = field(default_factory=list)
    judge: dict[str, int] = field(default_factory=dict)
    prior: dict[str, Any] = field(default_factory=dict)


def simulate(spec: Spec, tell: Callable[[Progress], None] = lambda _: None) -> Result:
    """Run it in this process, whose clock, environment and ids it takes over meanwhile."""
    start = spec.end - spec.weeks * 7 * DAY_SEC
    begin = start - spec.warm_weeks * 7 * DAY_SEC if spec.has_prior else start
    prefix = str(spec.seed) if spec.endpoint is None else f"{_label(spec)}-{spec.seed}"
    with travelling(begin, f"{spec.policy}/{spec.seed}") as clock, open_service(spec.endpoint, spec.table) as service:
        trained = _train(spec, service, clock, begin, start, prefix, tell) if spec.has_prior else {}
        individuals = draw_individuals(
            spec.users, spec.personas, np.random.default_rng([spec.seed, 11]), f"sim-{prefix}"
        )
        probes = Probes(spec.probe_at, spec.probes, spec.personas, spec.seed)
        total = sum(max(1, round(spec.rounds * one.persona.rounds)) for one in individuals)
        with _judge(spec) as judge:
            world = World(service, clock, judge, spec.served_by, start, spec.end, spec.rounds, spec.seed)
            world.reached = probes.reached
            world.progress = lambda done: tell(Progress(done, total, "judged people"))
            rows = world.run(individuals)
            asked = {}
            if isinstance(judge, ByModel):
                asked = {"asked": judge.asked, "malformed": judge.malformed, "given_up": judge.given_up}
    named = [{**row, "policy": spec.policy} for row in rows]
    return Result(named, [{**row, "policy": spec.policy, "seed": spec.seed} for row in probes.rows], asked, trained)


def _label(spec: Spec) -> str:
    """Return what tells this simulation's people from those of earlier ones in the same table."""
    return f"{int(spec.end):x}"


def _train(
    spec: Spec,
    service: Service,
    clock: Clock,
    begin: float,
    start: float,
    prefix: str,
    tell: Callable[[Progress], None],
) -> dict[str, Any]:
    """Serve other people for some weeks and take a prior of what was learned of them into use, as an operator does."""
    rng = np.random.default_rng([spec.seed, 12])
    others = draw_individuals(spec.warm_users, spec.personas, rng, f"warm-{prefix}")
    total = sum(max(1, round(spec.warm_rounds * one.persona.rounds)) for one in others)
    seed = WARM_SEED + spec.seed
    world = World(service, clock, by_rule, spec.served_by, begin, start, spec.warm_rounds, seed)
    world.progress = lambda done: tell(Progress(done, total, "people for the prior"))
    world.run(others)
    schema, deadline_ms = POLICIES[spec.served_by].schema, service.settings.table_deadline_ms
    table = connect(service.settings)
    learned = scan_learning(table, schema, int(clock.now * 1e6), deadline_ms)
    # Events of several people are learned at the same time, so the table's order is not the same in each run.
    people = sorted(learned.people, key=_canonical)
    population = fit_population(people, schema.names, seed=spec.seed, version=str(ULID()))
    if population is None:
        raise ValueError("nobody reacted: there is no prior to be trained")
    prior_store.store(table, schema.name, population, deadline_ms)
    prior_store.use(
        table,
        schema.name,
        population.prior,
        command="simulate",
        actor="simulation",
        reason="newcomers are judged with it",
        deadline_ms=deadline_ms,
    )
    service.load()
    return {
        "people": population.people,
        "observations": population.observations,
        "share": population.prior.share.tolist(),
        "strength": population.prior.observations.tolist(),
    }


def _canonical(statistics: Statistics) -> bytes:
    return statistics.xx.tobytes() + statistics.rx.tobytes()


@contextmanager
def _judge(spec: Spec) -> Iterator[Judge]:
    if spec.judge == "rule":
        yield by_rule
        return
    judge = ByModel(resolve_judge(Settings.from_env(), judge_model()))
    try:
        yield judge
    finally:
        judge.close()


def frame_of(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Return rounds as a table, the same columns whatever happened in them."""
    types: dict[str, pl.DataType | type[pl.DataType]] = {
        "at": pl.Datetime("us", "UTC"),
        "prompt_version": pl.String,
        "action": pl.String,
        "dwell_ms": pl.Int64,
        "reward": pl.Float64,
        "delay_sec": pl.Float64,
    }
    return pl.DataFrame(rows, schema_overrides=types, infer_schema_length=None)


def write(result: Result, out: Path, spec: Spec) -> None:
    """Keep rounds and probes as Parquet, partitioned by policy and seed, and the rest beside them as JSON."""
    for name, rows in (("rounds", result.rows), ("probes", result.probes)):
        if rows:
            folder = out / name / spec.folder
            folder.mkdir(parents=True, exist_ok=True)
            frame_of(rows).write_parquet(folder / "part-0.parquet")
    folder = out / "runs" / spec.folder
    folder.mkdir(parents=True, exist_ok=True)
    said = {"judge": result.judge, "prior": result.prior}
    (folder / "run.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


@contextmanager
def _progress_alone() -> Iterator[IO[str]]:
    """Yield standard output; what functions write there, metrics and logs, goes nowhere meanwhile.

    The descriptor itself is turned, because loggers took hold of it when they were imported.
    """
    sys.stdout.flush()
    ours = os.dup(1)
    with os.fdopen(ours, "w", encoding="utf-8") as progress, open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        try:
            yield progress
        finally:
            sys.stdout.flush()
            os.dup2(ours, 1)


def main(arguments: Sequence[str] | None = None) -> int:
    (text,) = sys.argv[1:] if arguments is None else arguments
    spec = Spec.from_json(text)
    unknown = [name for name in spec.personas if name not in PERSONAS]
    if unknown or spec.served_by not in POLICIES:
        raise ValueError(f"unknown policy or persona: {spec.policy}, {', '.join(unknown)}")
    with _progress_alone() as progress:

        def tell(now: Progress) -> None:
            if now.done % 10 == 0 or now.done == now.total:
                print(json.dumps(asdict(now)), file=progress, flush=True)

        result = simulate(spec, tell)
    write(result, Path(spec.out), spec)
    return 0


if __name__ == "__main__":
    sys.exit(main())
