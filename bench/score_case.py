"""One warm `/score` to measure: the request, the table's answers to it, the handler, and the floor below it."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from botocore.config import Config
from botocore.session import Session
from fastapi import FastAPI, Response
from mangum import Mangum

from bench.instant_dynamodb import Exchange, InstantDynamoDB, Rule
from devstack.events import REGION, LambdaContext, url_event
from tips.bandit.learning import SchemaLearning, UserLearning
from tips.bandit.registry import POLICIES
from tips.bandit.statistics import Statistics
from tips.contracts.configuration import Configuration
from tips.features.profile_counters import CountedReaction, ProfileCounters
from tips.features.profile_schema import WINDOW_DAYS
from tips.features.vectors import Candidate, Schema, Situation
from tips.settings import Settings
from tips.state import keys, profiles
from tips.state.learning import learning_item
from tips.state.table import Table

TABLE = "tips"
USER = "user-7f3a9c52"
CANDIDATES = 50
REACTIONS = 60
"""What the person has taught: enough that every number of their statistics is a full float."""
BUDGET_MS = "5000"
"""The machine may be busy; a call that is given up would be a different request."""

Invoke = Callable[[], dict[str, Any]]


def candidates(count: int = CANDIDATES) -> list[dict[str, Any]]:
    """Return tasks of the person's own and generated tips, 3 to 2, with what each kind carries."""
    rng = random.Random(7)  # noqa: S311
    made = []
    for index in range(count):
        if index % 5 < 3:
            candidate = {
                "id": f"todoist-{6_400_000_000 + 7919 * index}",
                "kind": "task",
                "source": "todoist",
                "content": f"Call the landlord about the heating before the weekend, number {index}",
                "features": {
                    "is_overdue": rng.random() < 0.3,
                    "task_age_days": round(rng.uniform(0, 40), 1),
                    "priority": rng.randint(1, 4),
                },
            }
        else:
            candidate = {
                "id": f"tip-{rng.getrandbits(64):016x}",
                "kind": rng.choice(["advice", "insight", "reminder"]),
                "source": "llm",
                "content": f"Take ten minutes for the task that you have put off longest; it is number {index}.",
                "prompt_version": rng.choice(["v1", "v2-mentor"]),
                "model": "gpt-5-mini",
                "generation_id": "01M7YYVCV6EATNRANDWSNHRZSN",
                "features": {"priority": rng.randint(1, 4)},
            }
        made.append(candidate)
    return made


def score_request() -> dict[str, Any]:
    return {
        "user_id": USER,
        "candidates": candidates(),
        "context": {"hour_of_day": 9, "day_of_week": 2, "timezone": "Europe/Berlin"},
        "profile_features": {
            "completion_rate_30d": 0.41,
            "dismiss_rate_30d": 0.22,
            "mean_dwell_ms_30d": 93_500,
            "preferred_hour": 20,
            "tip_volume_30d": 37,
        },
    }


def learned(schema: Schema, reactions: int = REACTIONS) -> Statistics:
    """Return what a person has taught under a schema, at all hours."""
    rng = np.random.default_rng(7)
    request = score_request()
    shown = [_as_candidate(one) for one in request["candidates"]]
    statistics = Statistics.empty(schema.dimension)
    for number in range(reactions):
        situation = Situation(int(rng.integers(24)), int(rng.integers(7)), request["profile_features"])
        (x,) = schema.encode(situation, [shown[int(rng.integers(len(shown)))]])
        statistics = statistics.learn(x, number, None, float(rng.normal()))
    return statistics


def _as_candidate(one: dict[str, Any]) -> Candidate:
    return Candidate(one["features"], one["kind"], one["source"], one.get("prompt_version"))


def profile_item(user_id: str) -> Any:
    """Return the counts of a person to whom three tips a day were shown and who reacted to two, for 30 days."""
    rng = random.Random(7)  # noqa: S311
    now_us = time.time_ns() // 1000
    counters = ProfileCounters()
    for number in range(3 * WINDOW_DAYS):
        at_us = now_us - number // 3 * keys.DAY_SEC * 1_000_000 - rng.randrange(60_000_000)
        counters = counters.with_shown(at_us, now_us)
        if number % 3:
            action = rng.choice(["done", "done", "dismiss", "snooze"])
            reaction = CountedReaction.at(at_us - rng.randrange(6) * 3_600_000_000, action, rng.randrange(300_000))
            counters = counters.with_reaction(None, reaction, now_us)
    return profiles.write(user_id, None, counters)["Put"]["Item"]


def table_answers(policy: str, shadows: Sequence[str]) -> list[Rule]:
    """Return how the table answers: the person's learning and profile always, the configuration only when asked for."""
    schemas = {POLICIES[name].schema for name in (policy, *shadows)}
    taught = {schema.hash: SchemaLearning(learned(schema), schema.name, schema.names, 1) for schema in schemas}
    pk, sk = keys.CONFIGURATION
    person = learning_item(keys.learning(USER), UserLearning(revision=REACTIONS, schemas=taught))
    profile = profile_item(USER)
    configuration = {
        "pk": {"S": pk},
        "sk": {"S": sk},
        "version": {"N": "1"},
        "origin": {"N": "1"},
        "change": {"S": "01M7YYVCV6EATNRANDWSNHRZSN"},
        "document": {"S": Configuration(active_policy=policy, shadows=list(shadows)).model_dump_json()},
    }

    def read(*items: Any) -> str:
        return json.dumps(
            {"Responses": {TABLE: items}, "UnprocessedKeys": {}}, default=base64_text, separators=(",", ":")
        )

    return [
        Rule("BatchGetItem", read(person, profile, configuration), containing=pk),
        Rule("BatchGetItem", read(person, profile)),
        Rule("BatchWriteItem", json.dumps({"UnprocessedItems": {}})),
    ]


def base64_text(value: bytes) -> str:
    return base64.b64encode(value).decode()


@dataclass(frozen=True)
class Case:
    """Handlers that make the same two calls for the same event.

    The floor does nothing else: FastAPI, Mangum and botocore as they come. The bare one is spared what we spare
    ourselves: its answer is bytes already, and its clients are like ours.
    """

    table: InstantDynamoDB
    score: Invoke
    floor: Invoke
    bare: Invoke


@contextmanager
def case(policy: str = "igw-ucb", shadows: Sequence[str] = ("egreedy-v2",)) -> Iterator[Case]:
    """Yield both handlers, warm. Raises `RuntimeError` when an answer is not a full, logged one."""
    event = url_event("POST", "/score", score_request())
    with InstantDynamoDB(table_answers(policy, shadows)) as table, environment(table.endpoint):
        handler = load_function("score").handler

        def score() -> dict[str, Any]:
            answer: dict[str, Any] = handler(event, LambdaContext("ScoreFunction"))
            return answer

        score()  # the first call also reads the configuration
        answer, exchanges = usual(table, score)
        body = json.loads(answer["body"])
        if body["degraded"] or not body["logged"] or body["policy"] != policy:
            raise RuntimeError(f"not the answer to measure: {answer['body'][:300]}")

        def caller(answered: dict[str, Any] | bytes) -> Invoke:
            floor_handler = floor_app(table.endpoint, exchanges, answered)

            def floor() -> dict[str, Any]:
                floored: dict[str, Any] = floor_handler(event, LambdaContext("ScoreFunction"))
                return floored

            return floor

        yield Case(table, score, caller(body), caller(answer["body"].encode()))


def usual(table: InstantDynamoDB, score: Invoke) -> tuple[dict[str, Any], list[Exchange]]:
    """Return a call in which the person's own task was drawn, as in all but one of a hundred.

    With a generated tip, its signature is written, too. Raises `RuntimeError` when no such call comes.
    """
    for _ in range(20):
        table.exchanges()
        answer = score()
        if json.loads(answer["body"])["tip_id"].startswith("todoist-"):
            return answer, table.exchanges()
    raise RuntimeError(f"no task was drawn in 20 calls: {answer['body'][:300]}")


def floor_app(
    endpoint: str, exchanges: Sequence[Exchange], answer: dict[str, Any] | bytes
) -> Callable[[Any, Any], Any]:
    """Return FastAPI behind Mangum that reads its body as JSON, repeats the two calls and gives a prebuilt answer.

    answer: a dictionary, which FastAPI writes as it writes every answer, or the bytes themselves; then the clients are
    like ours, else as botocore makes them. Their arguments are prebuilt, too.
    """
    reads, writes = (our_client(endpoint) if isinstance(answer, bytes) else client(endpoint) for _ in range(2))
    read, write = (arguments(json.loads(one.body)) for one in exchanges)
    app = FastAPI(openapi_url=None)

    @app.post("/score")
    async def score(request: dict[str, Any]) -> Any:
        reads.batch_get_item(**read)
        writes.batch_write_item(**write)
        return Response(answer, media_type="application/json") if isinstance(answer, bytes) else answer

    return Mangum(app, lifespan="off")


def client(endpoint: str, config: Config | None = None) -> Any:
    """Return a client as botocore makes it."""
    return Session().create_client("dynamodb", region_name=REGION, endpoint_url=endpoint, config=config)


def our_client(endpoint: str) -> Any:
    """Return a client as `tips.state.table` makes it."""
    return Table(Settings(dynamodb_endpoint=endpoint, region=REGION), float(BUDGET_MS))._client


def arguments(body: Any) -> Any:
    """Return DynamoDB's JSON as botocore takes it: binary values are bytes there."""
    if isinstance(body, dict):
        if body.keys() == {"B"}:
            return {"B": base64.b64decode(body["B"])}
        return {name: arguments(value) for name, value in body.items()}
    return [arguments(value) for value in body] if isinstance(body, list) else body


@contextmanager
def environment(endpoint: str) -> Iterator[None]:
    """Set what the function reads at its start, and keep its metrics off the terminal."""
    own = {
        "TABLE_NAME": TABLE,
        "DYNAMODB_ENDPOINT": endpoint,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
        "SCORE_READ_BUDGET_MS": BUDGET_MS,
        "SCORE_WRITE_BUDGET_MS": BUDGET_MS,
        "TABLE_DEADLINE_MS": BUDGET_MS,
    }
    before = dict(os.environ)
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        os.environ.update(own)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def load_function(name: str) -> Any:
    """Return a function's app as a module of its own, with the environment as it is now."""
    path = Path(__file__).resolve().parents[1] / "functions" / name / "app.py"
    spec = importlib.util.spec_from_file_location(f"{name}_under_measurement", path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
