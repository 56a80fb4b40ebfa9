"""Prompt versions as arms: which reactions teach them what, once, and what is counted of them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from ulid import ULID

from devstack.events import envelope, jetstream_batch
from devstack.ttl import expire
from tests.requests import stats
from tips.bandit.learning import LoggedSchema, SchemaLearning, UserLearning
from tips.bandit.statistics import Statistics
from tips.errors import ConditionNotMet
from tips.features.prompt_arms import prompt_schema, prompt_situation
from tips.features.similarity import signature
from tips.features.vectors import Candidate
from tips.prompts.registry import prompts
from tips.state import keys, prompt_counts
from tips.state.decision_codec import RememberedDecision
from tips.state.generation_memory import GenerationMemory
from tips.state.generations import Generation, Spent, generation_item, read_generation
from tips.state.learning import pack_statistics, read_learning, unpack_statistics
from tips.state.person import Needs, Person
from tips.state.prompt_counts import PromptCounts
from tips.state.shared_knowledge import SharedKnowledge
from tips.state.table import Table
from tips.state.teaching import LearningRules

VERSIONS = tuple(prompts())
SCHEMA = prompt_schema(VERSIONS)
DAY_SEC = 86_400


def written(user_id: str = "anna", version: str = "v2-mentor", hour: float = 9, **changes: Any) -> Generation:
    """A generation as `generate` would remember it."""
    X = SCHEMA.encode(prompt_situation(hour, 2, {}, 5), [Candidate(prompt_version=one) for one in VERSIONS])
    return Generation(
        **{
            "user_id": user_id,
            "generation_id": str(ULID()),
            "version": version,
            "versions": VERSIONS,
            "propensity": [1 / len(VERSIONS)] * len(VERSIONS),
            "policy": "rotation",
            "schema": LoggedSchema(SCHEMA.name, SCHEMA.names, SCHEMA.hash),
            "vector": X[VERSIONS.index(version)].tolist(),
            "context": {"hour_of_day": hour},
            "model": "m",
            **changes,
        }
    )


@dataclass
class World:
    """Score and consume on one table, as a recommender uses them."""

    client: Table
    table: Any
    score: Any
    consume: Any

    def generation(self, **changes: Any) -> Generation:
        generation = written(**changes)
        self.client.put(generation_item(generation))
        return generation

    def shown(self, generation: Generation, **fields: Any) -> str:
        """Have the generation's one tip chosen; returns the decision's id."""
        tip = {
            "id": f"{generation.generation_id}-1",
            "kind": "advice",
            "source": "llm",
            "content": "Take a walk around the block before you decide.",
            "prompt_version": generation.version,
            "generation_id": generation.generation_id,
        }
        body = {"user_id": generation.user_id, "candidates": [tip], **fields}
        answer = self.score.call("POST", "/score", body)
        assert answer.json["logged"], answer.text
        return str(answer.json["decision_id"])

    def react(self, decision_id: str, user_id: str = "anna", **fields: Any) -> Any:
        return self.score.call("POST", "/reward", {"user_id": user_id, "decision_id": decision_id, **fields}).json

    def learned(self, user_id: str = "anna") -> UserLearning:
        return read_learning(self.client.get(*keys.arms(user_id)))

    def counts(self, version: str = "v2-mentor") -> PromptCounts:
        found = prompt_counts.read(self.client, VERSIONS)[version]
        return replace(found, total=round(found.total, 12), squares=round(found.squares, 12))

    def pass_time(self, seconds: float) -> None:
        for event in expire(self.table, time.time() + seconds):
            assert self.consume.invoke(event) == {"batchItemFailures": []}


@pytest.fixture
def world(client: Table, table: Any, load_function: Callable[..., Any]) -> World:
    environment = {"DEFAULT_REWARD": "-0.2", "REWARD_WAIT": "24h"}
    return World(client, table, load_function("score", **environment), load_function("consume", **environment))


def test_a_generation_is_read_back_to_the_last_bit() -> None:
    one = written(
        hour=0.1 + 0.2,
        mean=[0.1, 1 / 3],
        width=[],
        score=[0.5],
        parameters={"gamma": 1e-17},
        policy_version="1",
        prior="p",
    )
    back = read_generation(generation_item(one))
    assert {**vars(back), "versions": VERSIONS} == vars(one)


def test_what_a_generation_took_is_kept_where_older_readers_need_not_look() -> None:
    spent = Spent(prompt_tokens=812, completion_tokens=95, cost_usd=0.1 + 0.2, attempts=2, took_ms=1234.5)
    item = generation_item(written(spent=spent))

    assert read_generation(item).spent == spent
    before = {name: value for name, value in item.items() if name != "spent"}
    assert before.keys() == generation_item(written()).keys()
    assert read_generation(before).spent is None


def test_a_reaction_teaches_the_version_with_the_vector_logged_when_it_wrote(world: World) -> None:
    generation = world.generation(hour=20)
    decision_id = world.shown(generation, context={"hour_of_day": 3})
    assert world.learned().schemas == {}
    assert world.counts() == PromptCounts(shown=1)
    assert world.react(decision_id, reward=0.5)["applied"]
    learned = world.learned().schemas[SCHEMA.hash]
    x = np.array(generation.vector)
    assert learned.names == SCHEMA.names
    np.testing.assert_allclose(learned.statistics.rx, 0.5 * x)
    np.testing.assert_allclose(learned.statistics.xx, np.outer(x, x))
    assert world.counts() == PromptCounts(1, 1, 1, 0.5, 0.25)
    assert world.counts("v1") == PromptCounts()


def test_told_again_in_any_way_it_is_one_reaction(world: World) -> None:
    decision_id = world.shown(world.generation())
    payload = {"user_id": "anna", "tip_id": "x", "decision_id": decision_id, "action": "helpful"}
    tip_id = world.score.call("GET", f"/decisions/{decision_id}", query={"user_id": "anna"}).json["tip_id"]
    event = jetstream_batch(
        [("feedback.tip", envelope(payload | {"tip_id": tip_id}, event_id="e-1"))],
    )
    for _ in range(2):
        world.react(decision_id, action="helpful", event_id="e-1")
        assert world.consume.invoke(event) == {"batchItemFailures": []}
    assert world.counts() == PromptCounts(1, 1, 1, 0.5, 0.25)
    assert world.learned().schemas[SCHEMA.hash].statistics.pulls == 1


def test_a_revision_moves_what_was_learned_and_counted(world: World) -> None:
    generation = world.generation()
    decision_id = world.shown(generation)
    for reward in (0.1, 0.7, -1.0, 0.3):
        world.react(decision_id, reward=reward)
    counts = world.counts()
    assert counts == PromptCounts(1, 1, 1, 0.3, 0.09)
    statistics = world.learned().schemas[SCHEMA.hash].statistics
    np.testing.assert_allclose(statistics.rx, 0.3 * np.array(generation.vector), atol=1e-12)
    assert (statistics.pulls, statistics.weight) == (1, 1)


def test_sums_that_come_to_nothing_can_be_added_to(world: World) -> None:
    for reward in (0.3, -0.3, 0.0, 1e-9, -1.0, 1.0):
        assert world.react(world.shown(world.generation()), reward=reward)["applied"]
    assert world.counts() == PromptCounts(6, 6, 6, 1e-9, 2.18)


def test_no_reaction_teaches_the_default_and_a_reaction_in_time_revises_it(world: World) -> None:
    decision_id = world.shown(world.generation())
    world.pass_time(DAY_SEC + 60)
    assert world.counts() == PromptCounts(1, 1, 0, -0.2, 0.04)
    world.react(decision_id, reward=-0.2)
    assert world.counts() == PromptCounts(1, 1, 1, -0.2, 0.04), "the same reward, but a reaction"
    world.react(decision_id, reward=1.0)
    assert world.counts() == PromptCounts(1, 1, 1, 1.0, 1.0)


def test_a_tip_that_was_never_shown_teaches_nothing(world: World) -> None:
    generation = world.generation()
    decision_id = world.shown(generation, defer=True)
    world.pass_time(30 * DAY_SEC)
    assert world.learned().schemas == {}
    assert world.counts() == PromptCounts()
    world.score.call("POST", "/activate", {"user_id": "anna", "decision_id": decision_id})
    assert world.counts() == PromptCounts(shown=1)
    world.react(decision_id, reward=0.5)
    assert world.counts() == PromptCounts(1, 1, 1, 0.5, 0.25)


def test_what_a_deferred_tip_says_counts_once_it_is_shown(world: World) -> None:
    memory = GenerationMemory(world.client, SharedKnowledge(0, 20, (SCHEMA,)))
    generation = world.generation()
    decision_id = world.shown(generation, defer=True)
    assert memory.recently_shown("anna") == []
    world.score.call("POST", "/activate", {"user_id": "anna", "decision_id": decision_id})
    assert memory.recently_shown("anna") == [signature("Take a walk around the block before you decide.")]
    (item,) = (item for item in world.table.items() if item["sk"]["S"].startswith("X#"))
    assert int(item["ttl"]["N"]) > time.time() + 80 * DAY_SEC
    assert "walk" not in repr(world.table.items())


@pytest.mark.parametrize("change", [{"generation_id": None}, {"prompt_version": None}])
def test_other_tips_teach_no_version(world: World, change: dict[str, Any]) -> None:
    tip = {"id": "t", "prompt_version": "v1", "generation_id": str(ULID()), **change}
    answer = world.score.call("POST", "/score", {"user_id": "anna", "candidates": [tip]})
    world.react(answer.json["decision_id"], reward=1.0)
    assert world.learned().schemas == {}
    assert set(prompt_counts.read(world.client, VERSIONS).values()) == {PromptCounts()}
    assert stats(world.score) == (1, 1.0), "but of tips it is learned"


def test_a_generation_of_somebody_else_teaches_nothing(world: World) -> None:
    generation = world.generation(user_id="bob")
    tip = {"id": "t", "prompt_version": "v2-mentor", "generation_id": generation.generation_id}
    answer = world.score.call("POST", "/score", {"user_id": "anna", "candidates": [tip]})
    world.react(answer.json["decision_id"], reward=1.0)
    assert world.counts() == PromptCounts()
    assert world.learned().schemas == {} == world.learned("bob").schemas


def test_one_generation_may_be_shown_more_than_once(world: World) -> None:
    generation = world.generation()
    for reward in (1.0, 0.5):
        world.react(world.shown(generation), reward=reward)
    assert world.counts() == PromptCounts(2, 2, 2, 1.5, 1.25)
    assert world.learned().schemas[SCHEMA.hash].statistics.pulls == 2


def test_a_reset_forgets_versions_too_and_keeps_the_counts(world: World) -> None:
    before = world.shown(world.generation())
    world.react(before, reward=1.0)
    assert world.score.call("POST", "/reset/anna").status == 200
    assert world.learned().schemas == {}
    world.react(before, reward=-1.0)
    assert world.learned().schemas == {}, "of an older epoch"
    assert world.counts() == PromptCounts(1, 1, 1, 1.0, 1.0)
    world.react(world.shown(world.generation()), reward=0.5)
    assert world.learned().schemas[SCHEMA.hash].statistics.pulls == 1


def test_an_erasure_leaves_nothing_of_versions(world: World) -> None:
    generation = world.generation()
    decision_id = world.shown(generation)
    world.react(decision_id, reward=1.0)
    world.score.call("DELETE", "/users/anna")
    assert not [item for item in world.table.items() if "anna" in item["pk"]["S"]]
    world.react(decision_id, reward=0.5)
    assert not [item for item in world.table.items() if "anna" in item["pk"]["S"]]


def test_damaged_learning_of_versions_holds_up_nothing_else(world: World) -> None:
    decision_id = world.shown(world.generation())
    pk, sk = keys.arms("anna")
    world.client.put({"pk": {"S": pk}, "sk": {"S": sk}, "rev": {"N": "1"}, "schemas": {"M": {"x": {"B": b"?"}}}})
    assert world.react(decision_id, reward=1.0)["applied"]
    assert stats(world.score) == (1, 1.0)
    assert world.client.get(pk, sk)["schemas"]["M"]["x"]["B"] == b"?"  # type: ignore[index]
    world.client.put(
        {"pk": {"S": pk}, "sk": {"S": sk}, "rev": {"N": "1"}, "epoch": {"N": "0"}, "epoch_at": {"N": "0"}}
        | {"schemas": {"M": {}}}
    )
    world.react(decision_id, reward=0.5)
    assert world.counts() == PromptCounts(1, 1, 1, 0.5, 0.25), "repaired, the next revision catches up"


def test_what_was_learned_survives_a_version_more(world: World) -> None:
    older = prompt_schema(VERSIONS[:2])
    X = older.encode(prompt_situation(9, 2, {}, 5), [Candidate(prompt_version="v2-mentor")])
    schema = LoggedSchema(older.name, older.names, older.hash)
    old = world.generation(schema=schema, vector=X[0].tolist())
    world.react(world.shown(old), reward=1.0)
    assert set(world.learned().schemas) == {older.hash}
    mapped = world.learned().statistics(SCHEMA)
    at = [SCHEMA.names.index(name) for name in older.names]
    np.testing.assert_allclose(mapped.rx[at], X[0])
    new = world.generation(version="v1")
    world.react(world.shown(new), reward=-1.0)
    learned = world.learned().schemas[SCHEMA.hash].statistics
    expected = np.array(new.vector) * -1.0
    expected[at] += X[0]
    np.testing.assert_allclose(learned.rx, expected)


@pytest.mark.parametrize("seed", range(3))
def test_any_order_and_repetition_leave_what_plain_sums_say(world: World, seed: int) -> None:
    """Reactions by HTTP and ends of waits, of several people and versions, shuffled and repeated."""
    rng = random.Random(seed)
    told: list[tuple[str, str, float, str]] = []
    sums = {user: np.zeros(len(SCHEMA.names)) for user in ("anna", "bob")}
    totals = dict.fromkeys(VERSIONS, 0.0)
    for number in range(12):
        user, version = rng.choice(["anna", "bob"]), rng.choice(VERSIONS)
        generation = world.generation(user_id=user, version=version, hour=rng.randrange(24))
        decision_id = world.shown(generation)
        rewards = [round(rng.uniform(-1, 1), 3) for _ in range(rng.randint(1, 3))]
        now = time.time()
        for place, reward in enumerate(rewards):
            at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{place:03}999Z"
            told.append((user, decision_id, reward, f"{at}|e-{number}-{place}"))
        sums[user] += rewards[-1] * np.array(generation.vector)
        totals[version] += rewards[-1]
    told += rng.sample(told, len(told) // 2)
    rng.shuffle(told)
    time.sleep(0.02)  # so that no reaction is said to be of the future
    for user, decision_id, reward, said in told:
        at, _, event_id = said.partition("|")
        world.react(decision_id, user, reward=reward, occurred_at=at, event_id=event_id)
    for user, expected in sums.items():
        learned = world.learned(user).schemas.get(SCHEMA.hash)
        got = np.zeros(len(SCHEMA.names)) if learned is None else learned.statistics.rx
        np.testing.assert_allclose(got, expected, atol=1e-9)
    for version, total in totals.items():
        assert world.counts(version).total == pytest.approx(total, abs=1e-12)


def test_counts_are_spread_over_items_by_person(world: World) -> None:
    for number in range(6):
        user = f"user-{number}"
        world.react(world.shown(world.generation(user_id=user)), user, reward=0.1)
    items = [item for item in world.table.items() if item["pk"]["S"].startswith("C#PROMPTS#")]
    assert len(items) > 2
    assert world.counts() == PromptCounts(6, 6, 6, 0.6, 0.06)
    assert not [item for item in world.table.items() if item["pk"]["S"].startswith("C#SHOWN#")]


def test_a_tip_that_stood_in_is_no_versions(world: World) -> None:
    generation = written()  # a fallback is not logged
    tip = {"id": "t", "source": "fallback", "prompt_version": "v1", "generation_id": generation.generation_id}
    answer = world.score.call("POST", "/score", {"user_id": "anna", "candidates": [tip]})
    assert world.counts("v1") == PromptCounts()
    world.react(answer.json["decision_id"], reward=1.0)
    assert world.counts("v1") == PromptCounts()


def test_a_version_of_any_name_is_counted_apart_from_waits(world: World) -> None:
    tip = {"id": "t", "prompt_version": "W#x", "generation_id": str(ULID())}
    world.score.call("POST", "/score", {"user_id": "anna", "candidates": [tip]})
    (marker,) = (item for item in world.table.items() if item["pk"]["S"].startswith("C#SHOWN"))
    assert not marker["sk"]["S"].startswith(keys.WAIT_PREFIX), "its end would be taken for that of a reward wait"


def attempt_on(world: World, decision_id: str) -> tuple[Person, RememberedDecision]:
    needs = Needs(decision_id=decision_id)
    person = Person(world.client, "anna", [needs], LearningRules(), time.time_ns() // 1000)
    remembered = person.decision(needs)
    assert remembered is not None
    return person, remembered


def test_a_lesson_that_was_on_its_way_when_all_was_reset_is_not_learned(world: World) -> None:
    generation = written()
    decision_id = world.shown(generation)
    world.react(decision_id, reward=0.5)  # of tips it is learned; of versions not, because nothing is logged yet
    world.client.put(generation_item(generation))
    person, before = attempt_on(world, decision_id)
    moves = person.settle(before, before)
    writes = person.writes()
    assert not moves
    world.score.call("POST", "/reset/anna")
    with pytest.raises(ConditionNotMet):
        world.client.transact(writes)
    assert world.learned().schemas == {}


def test_a_reaction_that_turns_out_late_is_taken_back(world: World) -> None:
    decision_id = world.shown(world.generation(), defer=True)
    now = time.time()
    world.react(decision_id, reward=1.0)
    assert world.counts() == PromptCounts(1, 1, 1, 1.0, 1.0)
    person, remembered = attempt_on(world, decision_id)
    early = replace(remembered, activated_at=round((now - 3 * DAY_SEC) * 1e6))
    person.settle(remembered, early)
    world.client.transact(person.writes())
    assert world.counts() == PromptCounts()
    np.testing.assert_allclose(world.learned().schemas[SCHEMA.hash].statistics.rx, 0.0, atol=1e-12)


def test_many_versions_make_no_large_item() -> None:
    versions = tuple(f"v{number}" for number in range(40))
    schema = prompt_schema(versions)
    statistics = Statistics.empty(schema.dimension)
    rng = np.random.default_rng(1)
    for version in versions:
        for hour in range(10):
            X = schema.encode(prompt_situation(hour, 2, {}, 5), [Candidate(prompt_version=version)])
            statistics = statistics.learn(X[0], 0, None, float(rng.uniform(-1, 1)))
    learned = SchemaLearning(statistics, schema.name, schema.names, 0)
    packed = pack_statistics(learned)
    assert len(packed) < 40_000
    back = unpack_statistics(packed)
    assert back.statistics.xx.tolist() == statistics.xx.tolist()
    assert back.statistics.rx.tolist() == statistics.rx.tolist()
