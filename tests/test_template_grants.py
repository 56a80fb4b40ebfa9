"""Least privilege, by what the functions do: every call that the code makes is granted, and every grant is used."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devstack.events import Message, envelope, jetstream_batch
from devstack.ttl import expire
from tests.conftest import LoadedFunction, LocalTable
from tests.recorded_table import Need, RecordedTable
from tests.requests import score_request
from tests.sam_template import deployed, listed
from tips.settings import Settings
from tips.state import keys
from tips.state.breakers import TableBreaker
from tips.state.table import Table

NAMES = ("score", "generate", "consume")
CAPS = {
    "CAP_USER_TOKENS_PER_DAY": "1000000",
    "CAP_TOTAL_TOKENS_PER_DAY": "1000000",
    "DEFAULT_PROMPT_VERSION": "auto",
}
AT = "2026-11-20T08:30:00Z"
REFUSED = "http://127.0.0.1:9"

# Granted, and not for a call that a function's code makes.
BY_LAMBDA = {
    *("logs:CreateLogStream", "logs:PutLogEvents", "xray:PutTraceSegments", "xray:PutTelemetryRecords"),
    *("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"),
    *("sqs:SendMessage",),
}


def statements(name: str) -> list[dict[str, Any]]:
    role = deployed()[f"{name.capitalize()}Role"]["Properties"]
    return [one for policy in role["Policies"] for one in policy["PolicyDocument"]["Statement"]]


def matches(pattern: str, key: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), key, re.DOTALL) is not None


def patterns(statement: dict[str, Any]) -> list[str]:
    """Of partition keys; a statement on the table without the one condition that is known here fails."""
    ((operator, condition),) = statement["Condition"].items()
    assert operator == "ForAllValues:StringLike"
    assert list(condition) == ["dynamodb:LeadingKeys"]
    return list(condition["dynamodb:LeadingKeys"])


def allows(statement: dict[str, Any], need: Need) -> bool:
    return (
        need.action in listed(statement["Action"])
        and need.resource in listed(statement["Resource"])
        and all(any(matches(pattern, key) for pattern in patterns(statement)) for key in need.keys)
    )


class Service:
    """The three functions on one table, each through a server that remembers what it asks for."""

    def __init__(
        self, load: Callable[..., LoadedFunction], table: LocalTable, servers: dict[str, RecordedTable]
    ) -> None:
        self.load = load
        self.table = table
        self.servers = servers
        self.score = self.function("score")
        self.consume = self.function("consume")
        self.generate = self.function("generate", **CAPS)

    def function(self, name: str, **environment: str) -> LoadedFunction:
        return self.load(name, DYNAMODB_ENDPOINT=self.servers[name].url, **environment)

    def write(self, user_id: str) -> dict[str, Any]:
        """Return a candidate written for somebody."""
        answer = self.generate.call("POST", "/generate", {"user_id": user_id, "n": 1})
        assert answer.status == 200
        return dict(answer.json["candidates"][0])

    def decide(self, user_id: str, candidate: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """Return the decision for the one candidate."""
        answer = self.score.call("POST", "/score", score_request(user_id=user_id, candidates=[candidate], **changes))
        assert (answer.status, answer.json["logged"]) == (200, True)
        return dict(answer.json)

    def deliver(self, subject: str, num_delivered: int = 1, **payload: Any) -> Any:
        message: Message = (subject, envelope(payload))
        return self.consume.invoke(jetstream_batch([message], num_delivered=num_delivered))


def use_score(service: Service) -> None:
    call = service.score.call
    written = service.write("ann")
    first = service.decide("ann", written)
    service.servers["score"].refused = {"BatchGetItem"}
    assert service.decide("ann", written)["degraded"]
    service.servers["score"].refused = set()
    deferred = service.decide("ann", written, defer=True)
    for path, body in (
        ("/activate", {"user_id": "ann", "decision_id": deferred["decision_id"]}),
        ("/reward", {"user_id": "ann", "decision_id": first["decision_id"], "action": "done", "dwell_ms": 60_000}),
        ("/reward", {"user_id": "ann", "decision_id": first["decision_id"], "action": "helpful"}),
        ("/reward", {"user_id": "ann", "tip_id": deferred["tip_id"], "action": "dismiss"}),
        ("/reward", {"user_id": "ann", "tip_id": "unknown", "reward": 0.5, "features": {"priority": 2}}),
        ("/reset/ann", None),
    ):
        assert call("POST", path, body).status == 200, path
    decision = f"/decisions/{first['decision_id']}?user_id=ann"
    for path in ("/stats/ann", "/features/ann", "/profile/ann", "/health", decision):
        assert call("GET", path).status == 200, path
    for _ in range(2):
        assert call("DELETE", "/users/ann").status == 200
    again = {"user_id": "ann", "decision_id": first["decision_id"], "action": "done"}
    assert call("POST", "/reward", again).json["reason"] == "erased"


def use_consume(service: Service) -> None:
    nothing: dict[str, Any] = {"batchItemFailures": []}
    written = service.write("ben")
    first, second, deferred = (service.decide("ben", written, defer=defer) for defer in (False, False, True))
    seen = {"user_id": "ben", "tip_id": first["tip_id"], "decision_id": first["decision_id"]}
    shown = {**seen, "decision_id": deferred["decision_id"], "shown_at": AT}
    assert (
        service.deliver("signals.task.synced", user_id="ben", task_count=3, synced_at=AT, source="todoist") == nothing
    )
    assert service.deliver("signals.tip.served", **shown) == nothing
    assert service.deliver("signals.tip.feedback", **seen, action="done", dwell_ms=60_000) == nothing
    assert service.deliver("feedback.tip", **seen, action="helpful") == nothing
    assert service.deliver("feedback.tip", user_id="ben", tip_id=second["tip_id"], action="dismiss") == nothing
    assert service.deliver("signals.tip.reward_failed", **seen, reward=0.5) == nothing
    assert service.deliver("signals.integration.token_expired", user_id="ben", source="todoist") == nothing
    assert service.deliver("signals.unknown") == nothing
    assert service.deliver("feedback.tip", user_id=7) != nothing
    # More than one item holds.
    assert service.deliver("feedback.tip", num_delivered=5, user_id=7, action="x" * 350_000) == nothing
    service.decide("ben", written)
    events = expire(service.table, time.time() + 2 * 86_400)
    assert events
    assert [service.consume.invoke(event) for event in events] == [nothing] * len(events)


def use_generate(service: Service) -> None:
    generate = service.generate
    assert service.score.call("DELETE", "/users/cem").status == 200
    service.write("dora")
    for path in ("/prompts", "/prompts/stats", "/health"):
        assert generate.call("GET", path).status == 200
    # A model of a server is counted: in caps, under a hash for who was erased, and in its breaker when it refuses.
    refused = service.function("generate", LITELLM_URL=REFUSED, LITELLM_MODEL="m", GENERATE_FALLBACK="true", **CAPS)
    for user_id in ("cem", "dora"):
        assert refused.call("POST", "/generate", {"user_id": user_id}).json["fallback"]
    settings = Settings(table_name=service.table.name, dynamodb_endpoint=service.servers["generate"].url)
    quicker, slower = (TableBreaker(Table(settings, 5000), ["other"]) for _ in range(2))
    quicker.failed("other")
    slower.failed("other")  # finds that the item is not as it was read


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, RecordedTable]]:
    made = {name: RecordedTable(name) for name in NAMES}
    yield made
    for server in made.values():
        server.stop()


@pytest.fixture
def used(
    load_function: Callable[..., LoadedFunction], table: LocalTable, servers: dict[str, RecordedTable]
) -> dict[str, set[Need]]:
    """What the functions needed for all that they do."""
    service = Service(load_function, table, servers)
    for use in (use_score, use_consume, use_generate):
        use(service)
    return {name: server.needs for name, server in servers.items()}


@pytest.mark.thorough
def test_every_call_that_the_code_makes_is_granted_and_every_grant_is_used(used: dict[str, set[Need]]) -> None:
    refused = [
        (name, need) for name in NAMES for need in used[name] if not any(allows(one, need) for one in _on_table(name))
    ]
    assert refused == []
    unused = [
        (name, statement["Sid"], action, resource, pattern)
        for name in NAMES
        for statement in _on_table(name)
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
        for pattern in patterns(statement)
        if not any(
            (need.action, need.resource) == (action, resource) and any(matches(pattern, key) for key in need.keys)
            for need in used[name]
        )
    ]
    assert unused == []


def _on_table(name: str) -> list[dict[str, Any]]:
    return [one for one in statements(name) if not set(listed(one["Action"])) <= BY_LAMBDA]


@pytest.mark.parametrize("name", NAMES)
def test_what_reaches_the_table_is_limited_by_partitions_and_only_single_things_are_deleted(name: str) -> None:
    for statement in _on_table(name):
        assert statement["Effect"] == "Allow"
        assert patterns(statement)
        # Not the table, its backups or its settings; nor a Scan, which has no partition and so would pass any pattern.
        assert {action.removeprefix("dynamodb:") for action in listed(statement["Action"])} <= {
            *("GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem", "DeleteItem"),
            *("BatchWriteItem", "ConditionCheckItem"),
        }


def test_generate_reaches_nothing_of_what_is_kept_of_people_for_others() -> None:
    reachable = {pattern for statement in _on_table("generate") for pattern in patterns(statement)}
    assert not [pattern for pattern in reachable if matches(pattern, keys.user("ann"))]
    assert any(matches(pattern, keys.generation("ann")) for pattern in reachable)
    assert not [pattern for pattern in reachable if pattern.startswith(("*", "U", "?"))]


@pytest.mark.parametrize("name", NAMES)
def test_no_function_changes_the_configuration_or_its_audit_trail(name: str) -> None:
    for statement in _on_table(name):
        reads = {"dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:ConditionCheckItem"}
        writes = set(listed(statement["Action"])) - reads
        for key in (keys.CONFIGURATION[0], keys.AUDIT, keys.PRIORS):
            assert not (writes and any(matches(pattern, key) for pattern in patterns(statement)))
