"""Everything that the functions do, done by the built ones: all routes, all events, all calls of the gateway.

Each scenario returns the files of the artifacts that were imported meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from devstack.events import url_event
from devstack.stream import removed_by_ttl
from devstack.template import ROOT
from scripts import check_generate
from tests.built import built, event, run
from tests.conftest import LocalTable
from tests.model_server import INVALID_JSON, ModelServer, Reply
from tests.requests import CANDIDATES, CONTEXT, score_request

Files = frozenset[Path]
USER = "anna"
POLICIES = ("linucb", "egreedy-v1", "egreedy-v2", "lints", "squarecb", "igw-ucb")
DECIDING = ("", "/egreedy", "/egreedy/v2")


def events_of(prefix: str) -> list[dict[str, Any]]:
    """Return the events of `events/` whose names begin so."""
    return [event(path.name) for path in sorted((ROOT / "events").glob(f"{prefix}*.json"))]


def patient(table: LocalTable) -> dict[str, str]:
    """Return the environment of a function that waits for a slow table."""
    budgets = ("SCORE_READ_BUDGET_MS", "SCORE_WRITE_BUDGET_MS", "GENERATE_TABLE_BUDGET_MS")
    return table.environment() | dict.fromkeys(budgets, "5000") | {"TABLE_DEADLINE_MS": "8000"}


def of_score(table: LocalTable, folder: Path) -> Files:
    """Decide under every policy, then take reactions and show, reset and erase what is stored."""
    deciding = [url_event("POST", "/score", score_request(policy=policy, explain=True)) for policy in POLICIES]
    deciding += [url_event("POST", f"/score{suffix}", score_request(defer=True)) for suffix in DECIDING]
    decided = run("ScoreFunction", folder, [*deciding, *events_of("score")], **patient(table))
    decisions = [json.loads(answer["body"])["decision_id"] for answer in decided.answer]
    reward = {"user_id": USER, "action": "done", "dwell_ms": 30_000}
    events = [
        *(url_event("POST", "/reward", reward | {"decision_id": decision}) for decision in decisions[: len(POLICIES)]),
        url_event("POST", "/reward", reward | {"decision_id": decisions[0], "action": "dismiss"}),
        *(url_event("POST", f"/reward{suffix}", reward | {"tip_id": CANDIDATES[0]["id"]}) for suffix in DECIDING),
        *events_of("reward"),
        url_event("POST", "/activate", {"user_id": USER, "decision_id": decisions[len(POLICIES)]}),
        *(url_event("GET", f"/stats{suffix}/{USER}") for suffix in DECIDING),
        *(url_event("GET", f"/{view}/{USER}") for view in ("features", "profile")),
        url_event("GET", f"/decisions/{decisions[0]}?user_id={USER}"),
        url_event("POST", "/score", score_request()),
        url_event("POST", "/score", "no JSON"),
        url_event("POST", "/score", score_request(candidates=[])),
        url_event("GET", "/nowhere"),
        url_event("GET", "/health"),
        url_event("POST", f"/reset/{USER}"),
        url_event("DELETE", f"/users/{USER}"),
    ]
    settled = run("ScoreFunction", folder, events, **patient(table))
    assert {answer["statusCode"] for answer in (*decided.answer, *settled.answer)} == {200, 400, 404, 422}
    return decided.imported | settled.imported


def of_consume(table: LocalTable, folder: Path) -> Files:
    """Take every event of `events/`, and a reward wait that ended."""
    key = {"pk": {"S": f"U#{USER}"}, "sk": {"S": "W#01ARZ3NDEKTSV4RRFFQ69G5FAV"}}
    events = [*events_of("consume"), {"Records": [removed_by_ttl(table.name, key)]}]
    # Four times the deadline has to fit into the time that a call has left.
    done = run("ConsumeFunction", folder, events, **patient(table) | {"TABLE_DEADLINE_MS": "3000"})
    failed = [identifier for answer in done.answer for identifier in answer["batchItemFailures"]]
    assert len(failed) == 1, failed  # of the event with a bad record
    return done.imported


def of_generate(table: LocalTable, folder: Path) -> Files:
    """Write tips without a model, and with one that does badly at first; make all calls of the gateway."""
    events = [
        *events_of("generate"),
        url_event("POST", "/generate", {"user_id": USER, "context": CONTEXT, "prompt_version": "auto"}),
        url_event("POST", "/generate", {"user_id": USER, "prompt_version": "latest"}),
        url_event("GET", "/prompts"),
        url_event("GET", "/prompts/stats"),
        url_event("GET", "/health"),
    ]
    done = run("GenerateFunction", folder, events, **patient(table))
    with ModelServer(INVALID_JSON, Reply()) as model:
        asked = run("GenerateFunction", folder, events, LITELLM_URL=model.url, **patient(table))
    assert {answer["statusCode"] for answer in (*done.answer, *asked.answer)} == {200}
    found, _ = check_generate.make_all_calls(built())
    assert not any(found["answer"].values()), found["answer"]
    return done.imported | asked.imported | frozenset(map(Path, found["imported"]))


SCENARIOS: Mapping[str, Callable[[LocalTable, Path], Files]] = {
    "ScoreFunction": of_score,
    "GenerateFunction": of_generate,
    "ConsumeFunction": of_consume,
}
