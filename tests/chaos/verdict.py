"""Holds what is in the table at the end against what the oracle says must be there."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tests.chaos import oracle
from tests.chaos.oracle import Expected, Sums
from tests.chaos.prompts import SCHEMA, VERSIONS
from tests.chaos.service import MAX_DELIVER, TABLE_NAME, Service
from tips.bandit.learning import SchemaLearning
from tips.features.crossed_v3 import CROSSED_V3
from tips.settings import Settings
from tips.state import dead_letters, keys, prompt_counts
from tips.state.learning import read_learning
from tips.state.table import Table

if TYPE_CHECKING:
    from tests.chaos.clients import Clients
    from tests.chaos.run import Run

Items = Mapping[tuple[str, str], dict[str, Any]]
_SHOWN_AT_MOST = 20


class Faults(list[str]):
    """What is wrong, one line each."""

    def __str__(self) -> str:
        more = len(self) - _SHOWN_AT_MOST
        return "\n".join([*self[:_SHOWN_AT_MOST], *([f"... and {more} more"] if more > 0 else [])])


def faults_of(run: Run, service: Service, clients: Clients) -> Faults:
    """Compare everything; an empty list is what is wanted."""
    logged = {
        decision_id: {one["schema_hash"]: one["features"] for one in decision["evaluations"].values()}
        for decision_id, decision in run.decisions.items()
    }
    generated = [one for many in run.generated.values() for one in many]
    expected = oracle.expected(run.decided, logged, generated, run.script.facts, run.wait_us, oracle.today())
    run.late, run.revised = expected.late, expected.revised
    items = {(item["pk"]["S"], item["sk"]["S"]): item for item in service.items()}
    table = Table(Settings(table_name=TABLE_NAME, dynamodb_endpoint=service.table_url), timeout_ms=30_000)
    users = sorted(run.generated)
    faults = Faults()
    faults += _rewards(run, expected)
    for user in users:
        faults += _learning(user, items, expected)
        faults += _profile(user, items, expected)
    faults += _stats(users, clients, expected)
    faults += _profiles_shown(users, clients, expected)
    faults += _prompt_counts(table, expected)
    faults += _dead_letters(table, run)
    return faults


def _rewards(run: Run, expected: Expected) -> Iterator[str]:
    for one in run.decided:
        wanted, found = expected.learned[one.decision_id], run.decisions[one.decision_id]["learned_reward"]
        if wanted != found:
            yield f"{one.user_id}: decision {one.decision_id} has taught {found}, not {wanted}"


def _learning(user: str, items: Items, expected: Expected) -> Iterator[str]:
    stored = read_learning(items.get(keys.learning(user))).schemas
    wanted = expected.sums.get(user, {})
    for digest, sums in wanted.items():
        if digest in stored:
            yield from _sums(f"{user}: schema {digest[:8]}", sums, stored[digest])
        elif sums.pulls:
            yield f"{user}: nothing is stored under schema {digest[:8]}, which has {sums.pulls} pulls"
    if extra := set(stored) - set(wanted):
        yield f"{user}: learned under schemas without a decision: {extra}"
    arms = read_learning(items.get(keys.arms(user))).schemas
    sums = expected.prompts.get(user, Sums(SCHEMA.names))
    if SCHEMA.hash in arms:
        yield from _sums(f"{user}: prompt versions", sums, arms[SCHEMA.hash])
    elif sums.pulls:
        yield f"{user}: nothing is stored of prompt versions, which have {sums.pulls} pulls"


def _sums(whose: str, wanted: Sums, stored: SchemaLearning) -> Iterator[str]:
    held = stored.statistics
    if stored.names != wanted.names:
        yield f"{whose}: names are {stored.names}, not {wanted.names}"
        return
    numbers = {
        "pulls": (held.pulls, wanted.pulls),
        "cumulative": (held.cumulative_reward, wanted.cumulative),
        "weight": (held.weight, wanted.weight),
        "rr": (held.rr, wanted.rr),
    }
    numbers |= {f"rx[{name}]": (held.rx[at], wanted.rx[name]) for at, name in enumerate(wanted.names)}
    numbers |= {
        f"xx[{one}, {other}]": (held.xx[row, column], wanted.xx[one, other])
        for row, one in enumerate(wanted.names)
        for column, other in enumerate(wanted.names)
    }
    wrong = [
        f"{name} is {float(is_):.12g}, not {float(should):.12g}"
        for name, (is_, should) in numbers.items()
        if not math.isclose(is_, should, rel_tol=0, abs_tol=1e-9)
    ]
    if wrong:
        more = f" (and {len(wrong) - 6} more)" if len(wrong) > 6 else ""
        yield f"{whose}: {', '.join(wrong[:6])}{more}"


def _stats(users: list[str], clients: Clients, expected: Expected) -> Iterator[str]:
    for user, answer in zip(users, clients.get_all([f"/stats/{user}" for user in users]), strict=True):
        sums = expected.sums.get(user, {}).get(CROSSED_V3.hash, Sums(()))
        shown = (answer["pulls"], answer["cumulative_reward"])
        if shown[0] != sums.pulls or not math.isclose(shown[1], sums.cumulative, rel_tol=0, abs_tol=1e-9):
            yield f"{user}: GET /stats says {shown}, not {(sums.pulls, sums.cumulative)}"


def _prompt_counts(table: Table, expected: Expected) -> Iterator[str]:
    for version, found in prompt_counts.read(table, VERSIONS).items():
        wanted = expected.counts.get(version, oracle.Counts())
        amounts = (found.settled, found.reactions, found.total, found.squares)
        should = (wanted.settled, wanted.settled, wanted.total, wanted.squares)
        if any(
            not math.isclose(one, other, rel_tol=0, abs_tol=1e-9) for one, other in zip(amounts, should, strict=True)
        ):
            yield f"prompt version {version}: counts are {amounts}, not {should}"


def _profile(user: str, items: Items, expected: Expected) -> Iterator[str]:
    wanted = expected.profiles.get(user, oracle.Profile())
    item = items.get(keys.profile(user), {})
    for name, should in (("reactions", wanted.reactions), ("served", wanted.served)):
        found = json.loads(item[name]["S"]) if name in item else {}
        if found != (plain := json.loads(json.dumps(should))):
            days = sorted(day for day in found.keys() | plain.keys() if found.get(day) != plain.get(day))
            said = ", ".join(f"day {day}: {found.get(day)}, not {plain.get(day)}" for day in days[:4])
            yield f"{user}: {name} counted are wrong on {len(days)} days: {said}"


def _profiles_shown(users: list[str], clients: Clients, expected: Expected) -> Iterator[str]:
    for user, answer in zip(users, clients.get_all([f"/profile/{user}" for user in users]), strict=True):
        wanted = expected.profiles.get(user, oracle.Profile()).features()
        found = {name: one["value"] for name, one in answer["features"].items()}
        wrong = [name for name, should in wanted.items() if not _same(found.get(name), should)]
        if wrong or found.keys() != wanted.keys():
            yield f"{user}: GET /profile says {found}, not {wanted}"


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-9)


def _dead_letters(table: Table, run: Run) -> Iterator[str]:
    found: Counter[tuple[str, bytes]] = Counter()
    for stored in dead_letters.letters(table):
        if stored.num_delivered < MAX_DELIVER:
            yield f"dead letter {stored.letter_id} was given up at delivery {stored.num_delivered}"
        try:
            read = dead_letters.read(table, stored)
        except dead_letters.LetterDamaged as damage:
            yield f"dead letter {stored.letter_id} of {stored.size} bytes: {damage}"
            continue
        if read is None:
            yield f"dead letter {stored.letter_id} is listed and not there"
        else:
            found[read[0].subject, read[0].data] += 1
    wanted = Counter((one.subject, one.data) for one in run.script.messages if one.malformed)
    for (subject, data), count in (wanted - found).items():
        yield f"{count} malformed on {subject} of {len(data)} bytes is no dead letter: {data[:60]!r}"
    for (subject, data), count in (found - wanted).items():
        yield f"{count} dead letter too many, on {subject} of {len(data)} bytes: {data[:60]!r}"
