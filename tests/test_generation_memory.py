"""What `generate` reads and leaves, whatever the table does."""

from __future__ import annotations

import time

import pytest

from tests.faulty_dynamodb import ANSWERS, faulty_dynamodb
from tests.test_prompt_arms import SCHEMA, written
from tips.bandit.learning import SchemaLearning, UserLearning
from tips.bandit.statistics import Statistics
from tips.contracts.configuration import Configuration
from tips.features.similarity import pack_signature, signature
from tips.settings import Settings
from tips.state import configuration, erasure, keys
from tips.state.generation_memory import RECENT, GenerationMemory
from tips.state.learning import write
from tips.state.shared_knowledge import SharedKnowledge
from tips.state.table import Table


def memory_on(table: Table, cache_sec: float = 0) -> GenerationMemory:
    return GenerationMemory(table, SharedKnowledge(cache_sec, 20, (SCHEMA,)))


@pytest.fixture
def memory(client: Table) -> GenerationMemory:
    return memory_on(client)


def set_alias(client: Table, version: str) -> None:
    configuration.change(
        client,
        lambda current: current.model_copy(update={"prompt_aliases": {"production": version}}),
        command="prompts promote",
        actor="ann",
        reason="",
        deadline_ms=5000,
    )


def show(client: Table, user_id: str, text: str, number: int, **also: object) -> None:
    item = {"pk": {"S": keys.generation(user_id)}, "sk": {"S": keys.shown_text(f"{number:026}")}}
    client.put({**item, "signature": {"B": pack_signature(signature(text))}, **also})


def test_of_a_stranger_nothing_is_known(memory: GenerationMemory) -> None:
    known = memory.recall("anna", ["m-1", "m-2"])
    assert (known.known, known.erased, known.preferences, known.learning.schemas) == (True, False, None, {})
    assert list(known.breakers) == [None, None]
    assert memory.recently_shown("anna") == []


def test_learning_preferences_and_breakers_come_in_one_read(client: Table, memory: GenerationMemory) -> None:
    learned = SchemaLearning(Statistics.empty(SCHEMA.dimension), SCHEMA.name, SCHEMA.names, 7)
    also = {"preferences": {"S": "has liked reminders"}}
    client.transact([write(keys.arms("anna"), 0, UserLearning(1, schemas={SCHEMA.hash: learned}), also)])
    pk, sk = keys.breaker("m-2")
    client.put({"pk": {"S": pk}, "sk": {"S": sk}, "failures": {"N": "3"}})
    set_alias(client, "v2-mentor")
    known = memory.recall("anna", ["m-1", "m-2"])
    assert known.preferences == "has liked reminders"
    assert known.learning.schemas[SCHEMA.hash].updated_at == 7
    assert known.breakers[0] is None
    assert known.breakers[1] is not None
    assert known.breakers[1]["failures"] == {"N": "3"}
    assert memory.shared.configuration == Configuration(prompt_aliases={"production": "v2-mentor"})


def test_shared_knowledge_is_read_when_it_is_due(client: Table) -> None:
    memory = memory_on(client, cache_sec=60)
    assert memory.aliases() == {}
    set_alias(client, "v2-mentor")
    assert memory.aliases() == {}, "as long as it is fresh"
    assert memory_on(client).aliases() == {"production": "v2-mentor"}


def test_the_last_tips_shown_newest_first(client: Table, memory: GenerationMemory) -> None:
    texts = [f"A tip of its own, with the number {number} in words." for number in range(RECENT + 5)]
    for number, text in enumerate(texts):
        show(client, "anna", text, number)
    show(client, "anna", "waiting for its activation", 100, waiting={"BOOL": True})
    show(client, "anna", "long ago", 101, ttl={"N": "1"})
    show(client, "bob", "of somebody else", 102)
    recent = memory.recently_shown("anna")
    assert recent == [signature(text) for text in reversed(texts[5:])]


def test_tips_that_nobody_saw_push_none_out_that_somebody_did(client: Table, memory: GenerationMemory) -> None:
    show(client, "anna", "The one that was shown.", 0)
    for number in range(1, 2 * RECENT):
        show(client, "anna", f"Decided ahead, number {number}.", number, waiting={"BOOL": True})
    assert memory.recently_shown("anna") == [signature("The one that was shown.")]


def test_an_erased_person_is_not_remembered(client: Table, memory: GenerationMemory) -> None:
    erasure.erase(client, "anna", 5000, settled_sec=0)
    assert memory.recall("anna", []).erased
    assert not memory.remember(written())
    assert memory.remember(written("bob"))
    assert client.keys_of(keys.generation("anna"), limit=9) == []


def test_damaged_learning_is_none(client: Table, memory: GenerationMemory) -> None:
    pk, sk = keys.arms("anna")
    client.put({"pk": {"S": pk}, "sk": {"S": sk}, "rev": {"N": "1"}})
    known = memory.recall("anna", [])
    assert (known.known, known.learning.schemas) == (True, {})


@pytest.mark.parametrize("fault", [*ANSWERS, "silent"])
def test_a_faulty_table_costs_its_time_out_once(fault: str) -> None:
    with faulty_dynamodb(fault) as endpoint:
        memory = memory_on(Table(Settings(dynamodb_endpoint=endpoint), timeout_ms=100))
        started = time.monotonic()
        assert not memory.recall("anna", ["m"]).known
        assert time.monotonic() - started < 5  # generous to a busy machine
        started = time.monotonic()
        for _ in range(100):
            assert not memory.recall("anna", ["m"]).known
            assert not memory.remember(written())
            assert memory.aliases() == {}
        assert time.monotonic() - started < 1
