"""People who have taught something, their decisions, and the events that tell of their reactions."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from ulid import ULID

from bench.score_case import REACTIONS, base64_text, candidates, learned, profile_item, score_request
from tips.bandit.decision import Decision, Evaluation, draw
from tips.bandit.learning import SchemaLearning, UserLearning
from tips.bandit.posterior import form_posterior
from tips.bandit.registry import POLICIES
from tips.features.vectors import Candidate, Situation
from tips.ingest.handover import Message, batch_event
from tips.state import keys
from tips.state.arms import Arms
from tips.state.decision_codec import decision_item
from tips.state.learning import learning_item

SUBJECT = "signals.tip.feedback"
EVENTS = 100
"""Of a batch: what the bridge hands over at once, unless it is told otherwise."""
SIZES = (1, 5, 25)
"""Events per user and batch."""
CANDIDATES = 10
LOGGED = ("igw-ucb",)
"""The policies that took a decision: as configured by default, without a shadow."""


@dataclass(frozen=True)
class Person:
    """items: what the table holds of the person, in DynamoDB's JSON; events: bodies, one reaction each."""

    user_id: str
    items: str
    events: tuple[str, ...]

    def another(self, serial: int) -> Person:
        """Return somebody else of whom the same is known: ids of users are all that differs."""
        user_id = renamed(self.user_id, serial)
        return Person(user_id, renamed(self.items, serial), tuple(renamed(one, serial) for one in self.events))


def renamed(text: str, serial: int) -> str:
    """Return JSON of the first people as that of others, equally long. No base64 has an underscore."""
    return text.replace("_0000_", f"_{serial:04}_")


@cache
def people(size: int) -> tuple[Person, ...]:
    """Return those whose reactions make one batch, each of `size` events."""
    return tuple(_person(f"person_0000_{size:02}_{number:03}", size) for number in range(EVENTS // size))


def batch(of: Sequence[Person]) -> dict[str, Any]:
    """Return the event that hands their reactions to `consume`, in an order of arrival that knows nothing of people."""
    bodies = [body for one in of for body in one.events]
    random.Random(7).shuffle(bodies)  # noqa: S311
    now = datetime.now(UTC)
    messages = [Message(SUBJECT, place, body.encode(), now, place) for place, body in enumerate(bodies, 1)]
    return batch_event("signals", "feature-pipeline-signals", messages)


def _person(user_id: str, decisions: int) -> Person:
    rng = random.Random(user_id)  # noqa: S311
    began = datetime.now(UTC) - timedelta(hours=20)
    made = [_decision(user_id, began + timedelta(minutes=40 * number), rng) for number in range(decisions)]
    learning = UserLearning(revision=REACTIONS, schemas=_learned())
    preferences = Arms(UserLearning()).with_preferences_of(learning, int(began.timestamp() * 1e6)).preferences
    items = [
        learning_item(keys.learning(user_id), learning),
        {**learning_item(keys.arms(user_id), UserLearning(revision=1)), "preferences": {"S": preferences}},
        profile_item(user_id),
        *map(decision_item, made),
    ]
    return Person(
        user_id,
        json.dumps(items, default=base64_text, separators=(",", ":")),
        tuple(_event(one, rng) for one in made),
    )


@cache
def _learned() -> dict[str, SchemaLearning]:
    schemas = {POLICIES[name].schema for name in LOGGED}
    return {one.hash: SchemaLearning(learned(one), one.name, one.names, 1) for one in schemas}


def _decision(user_id: str, at: datetime, rng: random.Random) -> Decision:
    """Return a decision that showed one of the person's own tasks: of a generated tip, its prompt learns as well."""
    given = [{name: value for name, value in one.items() if name != "content"} for one in candidates(CANDIDATES)]
    request = score_request()
    situation = Situation(rng.randrange(24), rng.randrange(7), request["profile_features"])
    columns = [Candidate.from_log(one) for one in given]
    evaluated = []
    for name in LOGGED:
        policy = POLICIES[name]
        X = policy.schema.encode(situation, columns)
        distribution, parameters = policy.distribution(X, form_posterior(_learned()[policy.schema.hash].statistics))
        evaluated.append((policy, X, distribution, parameters))
    propensity = evaluated[0][2].propensity
    # Which one is shown, and so what is learned, does not depend on the hour: only the id does, from which it follows.
    tasks = [share if one["kind"] == "task" else 0.0 for share, one in zip(propensity, given, strict=True)]
    (wanted,) = rng.choices(range(len(given)), tasks)
    chosen, ids = -1, random.Random(f"{user_id} {at}")  # noqa: S311
    while chosen != wanted:
        decision_id = str(ULID.from_bytes(int(at.timestamp() * 1000).to_bytes(6, "big") + ids.randbytes(10)))
        chosen = draw(propensity, decision_id)
    return Decision(
        user_id=user_id,
        decision_id=decision_id,
        candidates=given,
        situation=situation,
        chosen=chosen,
        policy=LOGGED[0],
        evaluations={
            policy.name: Evaluation(
                policy.name,
                policy.version,
                policy.schema.hash,
                policy.schema.names,
                parameters,
                distribution,
                X[chosen],
            )
            for policy, X, distribution, parameters in evaluated
        },
        epoch=0,
        degraded=False,
        reward_wait_us=24 * 3_600_000_000,
        context={"timezone": "Europe/Berlin"},
        profile_sources=dict.fromkeys(request["profile_features"], "request"),
    )


def _event(decision: Decision, rng: random.Random) -> str:
    decided_at = datetime.fromtimestamp(keys.decided_at_us(decision.decision_id) / 1e6, UTC)
    return json.dumps(
        {
            "event_id": str(uuid.UUID(bytes=rng.randbytes(16), version=4)),
            "occurred_at": (decided_at + timedelta(seconds=rng.randrange(10, 600))).isoformat(),
            "schema_version": 1,
            "producer": "recommender",
            "payload": {
                "user_id": decision.user_id,
                "tip_id": decision.tip_id,
                "decision_id": decision.decision_id,
                "action": rng.choice(["done", "done", "dismiss", "snooze", "helpful"]),
                "dwell_ms": rng.randrange(1_000, 900_000),
            },
        }
    )
