"""Generations as `generate` remembers them, so that tips written for people have something to teach."""

from __future__ import annotations

import random
import time
from typing import Any

from ulid import ULID

from tests.chaos.facts import Generated
from tips.bandit.learning import LoggedSchema
from tips.features.prompt_arms import prompt_schema, prompt_situation
from tips.features.vectors import Candidate
from tips.prompts.registry import prompts
from tips.state.generations import Generation, generation_item

VERSIONS = tuple(prompts())
SCHEMA = prompt_schema(VERSIONS)


def written(user_id: str, rng: random.Random) -> tuple[Generated, dict[str, Any]]:
    """Return a generation, and the item that remembers it."""
    at_ms = time.time_ns() // 1_000_000 - rng.randrange(10**8)
    generation_id = str(ULID.from_bytes(at_ms.to_bytes(6, "big") + rng.randbytes(10)))
    version = rng.choice(VERSIONS)
    situation = prompt_situation(rng.randrange(24), rng.randrange(7), {}, rng.randrange(20))
    X = SCHEMA.encode(situation, [Candidate(prompt_version=one) for one in VERSIONS])
    vector = X[VERSIONS.index(version)].tolist()
    generation = Generation(
        user_id=user_id,
        generation_id=generation_id,
        version=version,
        versions=VERSIONS,
        propensity=[1 / len(VERSIONS)] * len(VERSIONS),
        policy="rotation",
        schema=LoggedSchema(SCHEMA.name, SCHEMA.names, SCHEMA.hash),
        vector=vector,
        context={},
        model="m",
    )
    logged = dict(zip(SCHEMA.names, vector, strict=True))
    return Generated(user_id, generation_id, version, logged), generation_item(generation)
