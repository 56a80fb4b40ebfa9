"""Facts as messages on the wire: told once, told again, told in other ways, among messages that nobody can read."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from tests.chaos.facts import Fact
from tests.chaos.workload import FEEDBACK, Events, Sizes

LARGE_BYTES = 900 * 1024
_WINDOW = 100
"""How far from its place, in messages, something may be published."""


@dataclass(frozen=True, slots=True)
class Published:
    """One message to publish. malformed: it must end as a dead letter."""

    subject: str
    data: bytes
    malformed: bool = False


@dataclass(frozen=True)
class Script:
    """All that is told. rewards: bodies of `POST /reward`."""

    facts: Sequence[Fact]
    messages: Sequence[Published]
    rewards: Sequence[dict[str, Any]]


def script(rng: random.Random, sizes: Sizes, events: Events) -> Script:
    """Draw everything that is told, in the order in which it is published."""
    facts = events.draw(sizes.events - sizes.malformed - sizes.told_again)
    told_otherwise = rng.sample([one for one in facts if one.subject in FEEDBACK], sizes.other_ways)
    again = [replace(one, subject=_other_subject(one)) for one in told_otherwise]
    again += rng.sample(facts, sizes.told_again - len(again))
    messages = [(at, Published(one.subject, wire(rng, one))) for at, one in enumerate(facts)]
    place = {one.event_id: at for at, one in enumerate(facts)}
    messages += [(place[one.event_id], Published(one.subject, wire(rng, one))) for one in again]
    messages += [(rng.randrange(len(facts)), one) for one in malformed(rng, sizes.malformed)]
    shuffled = sorted(messages, key=lambda one: one[0] + rng.uniform(0, _WINDOW))
    reactions = [one for one in facts if one.kind == "reaction"]
    rewards = [reward_body(rng, one) for one in rng.sample(reactions, sizes.other_ways)]
    return Script(facts, [one for _, one in shuffled], rewards)


def _other_subject(fact: Fact) -> str:
    return FEEDBACK[1] if fact.subject == FEEDBACK[0] else FEEDBACK[0]


def iso(rng: random.Random, at_us: int) -> str:
    """Return the time in one of the forms that producers use, to the microsecond."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
    if rng.random() < 0.3:
        at = at.astimezone(timezone(timedelta(hours=rng.randint(-11, 13))))
    return at.isoformat(timespec="microseconds").replace("+00:00", rng.choice(("Z", "+00:00")))


def wire(rng: random.Random, fact: Fact) -> bytes:
    """Return the envelope, with snake_case or camelCase names."""
    at = iso(rng, fact.at_us)
    payload: dict[str, Any] = {"user_id": fact.user_id}
    match fact.kind:
        case "reaction":
            said = {
                "tip_id": fact.tip_id,
                "decision_id": fact.decision_id,
                "action": fact.action,
                "dwell_ms": fact.dwell_ms,
                "reward": fact.reward,
            }
            payload |= {name: value for name, value in said.items() if value is not None}
        case "served":
            payload |= {"tip_id": fact.tip_id, "shown_at": at}
            payload |= {} if fact.decision_id is None else {"decision_id": fact.decision_id}
        case "other":
            payload |= {"task_count": 3, "synced_at": at, "source": "todoist"}
    envelope = {
        "event_id": fact.event_id,
        "occurred_at": at,
        "schema_version": 1,
        "producer": "chaos",
        "payload": payload,
    }
    return json.dumps(_camel(envelope) if rng.random() < 0.3 else envelope).encode()


def _camel(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {_camel_name(name): _camel(inner) for name, inner in value.items()}


def _camel_name(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def reward_body(rng: random.Random, fact: Fact) -> dict[str, Any]:
    said = {
        "user_id": fact.user_id,
        "event_id": fact.event_id,
        "tip_id": fact.tip_id,
        "decision_id": fact.decision_id,
        "action": fact.action,
        "dwell_ms": fact.dwell_ms,
        "reward": fact.reward,
        "occurred_at": iso(rng, fact.at_us),
    }
    return {name: value for name, value in said.items() if value is not None}


def malformed(rng: random.Random, count: int) -> list[Published]:
    """Return messages that nobody can read, each of its own bytes, the first one of 900 KB."""
    found = []
    for number in range(count):
        subject = rng.choice((*FEEDBACK, "signals.tip.reward_failed", "signals.tip.served"))
        found.append(Published(subject, _bad_bytes(rng, number), malformed=True))
    return found


def _bad_bytes(rng: random.Random, number: int) -> bytes:
    unique = f"bad-{number}"
    good = {
        "event_id": unique,
        "occurred_at": "2026-01-01T00:00:00Z",
        "schema_version": 1,
        "producer": "chaos",
        "payload": {"user_id": "person-000", "tip_id": "t", "action": "done", "shown_at": "2026-01-01T00:00:00Z"},
    }

    def with_payload(**fields: Any) -> bytes:
        payload: dict[str, Any] = good["payload"]  # type: ignore[assignment]
        return json.dumps({**good, "payload": {**payload, **fields}}).encode()

    kinds = (
        lambda: rng.randbytes(LARGE_BYTES),
        lambda: b"",
        lambda: f"{{not json {unique}".encode(),
        lambda: json.dumps(good).encode()[: -rng.randrange(2, 40)],
        lambda: json.dumps([unique]).encode(),
        lambda: json.dumps(unique).encode(),
        lambda: json.dumps({name: value for name, value in good.items() if name != "occurred_at"}).encode(),
        lambda: with_payload(user_id=None),
        lambda: with_payload(user_id=number),
        lambda: with_payload(user_id="nul\x00inside"),
        lambda: b"\x00" * 7 + unique.encode() + b"\x00",
        lambda: b"\xff\xfe" + unique.encode(),
        lambda: b"[" * 50_000 + unique.encode(),
        lambda: json.dumps({**good, "occurred_at": 1_800_000_000}).encode(),
        lambda: with_payload(tip_id=""),
        lambda: with_payload(tip_id="\ud800"),
    )
    # One of 900 KB and one without any byte: more of the one are slow, more of the other cannot be told apart.
    return kinds[number if number < 2 else 2 + (number - 2) % (len(kinds) - 2)]()
