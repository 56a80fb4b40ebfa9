"""Exports in which policies of ours have decided, without a table: people with tastes, served and learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from ulid import ULID

from tests.lab.made_logs import START, write_export
from tips.bandit.decision import draw
from tips.bandit.posterior import form_posterior
from tips.bandit.registry import POLICIES
from tips.bandit.statistics import Statistics
from tips.features.vectors import Candidate, Situation

WAIT = timedelta(hours=24)
KINDS = ("task", "advice", "reminder")
Row = dict[str, Any]


def lived(
    *,
    people: int = 20,
    each: int = 30,
    active: str = "egreedy-v2",
    shadows: Sequence[str] = ("igw-ucb",),
    seed: int = 0,
    experiments: Mapping[str, Sequence[str]] | None = None,
) -> list[Row]:
    """Return decisions, one a person and a day. People like urgent tasks, and each one kind of tips or another.

    experiments: by name the arms, of which each person is in one.
    """
    chance = np.random.default_rng(seed)
    schemas = {POLICIES[name].schema.name: POLICIES[name].schema for name in (active, *shadows)}
    learned = {
        (name, person): Statistics.empty(one.dimension) for name, one in schemas.items() for person in range(people)
    }
    taste = chance.normal(0, 0.4, (people, len(KINDS)))
    arms = {name: chance.choice(list(of), people) for name, of in (experiments or {}).items()}
    rows = []
    for day in range(each):
        for person in range(people):
            at = START + timedelta(days=day, minutes=person)
            decision_id = str(ULID.from_timestamp(at.timestamp()))
            kinds = chance.integers(0, len(KINDS), 4)
            priorities = chance.integers(1, 5, 4)
            candidates = [
                Candidate({"priority": float(priority)}, KINDS[kind], "todoist")
                for kind, priority in zip(kinds, priorities, strict=True)
            ]
            situation = Situation(float(at.hour), float(at.weekday()), {})
            evaluations, chosen = [], -1
            vectors = {}
            for name in (active, *shadows):
                policy = POLICIES[name]
                X = policy.schema.encode(situation, candidates)
                seen, parameters = policy.distribution(X, form_posterior(learned[policy.schema.name, person]))
                chosen = draw(seen.propensity, decision_id) if chosen < 0 else chosen
                vectors[policy.schema.name] = X[chosen]
                evaluations.append(
                    {
                        "policy": name,
                        "policy_version": policy.version,
                        "schema_hash": policy.schema.hash,
                        "role": "active" if name == active else "shadow",
                        "parameters": list(parameters.items()),
                        "names": list(policy.schema.names),
                        "vector": X[chosen].tolist(),
                        **{one: getattr(seen, one).tolist() for one in ("mean", "width", "score", "propensity")},
                    }
                )
            liking = float(np.clip(taste[person, kinds[chosen]] + 0.15 * (priorities[chosen] - 2.5), -1, 1))
            reward = float(1.0 if chance.random() < (1 + liking) / 2 else -1.0)
            for name, x in vectors.items():
                learned[name, person] = learned[name, person].learn(x, 0, None, reward)
            rows.append(
                {
                    "user_id": f"person-{person}",
                    "decision_id": decision_id,
                    "decided_at": at,
                    "tip_id": f"c{chosen}",
                    "chosen": chosen,
                    "candidate_count": 4,
                    "policy": active,
                    "propensity": evaluations[0]["propensity"][chosen],
                    "degraded": False,
                    "deferred": False,
                    "epoch": 0,
                    "hour_of_day": situation.hour_of_day,
                    "day_of_week": situation.day_of_week,
                    "profile_sources": [],
                    "profile_other": [],
                    "experiments": [(name, str(of[person])) for name, of in arms.items()],
                    "candidates": [
                        {
                            "id": f"c{place}",
                            "kind": one.kind,
                            "source": one.source,
                            "features": list(one.features.items()),
                            "booleans": [],
                        }
                        for place, one in enumerate(candidates)
                    ],
                    "evaluations": evaluations,
                    "wait_began_at": at,
                    "wait_ends_at": at + WAIT,
                    "reward": reward,
                    "reward_source": "reaction",
                    "reacted_at": at + timedelta(hours=1),
                }
            )
    return rows


def write(folder: Path, rows: Sequence[Row], audit: Sequence[Row] = ()) -> Path:
    """Write the rows as an export made a month after the last."""
    last: datetime = max(row["decided_at"] for row in rows)
    return write_export(folder, rows, audit=audit, exported_at=last.astimezone(UTC) + timedelta(days=30))
