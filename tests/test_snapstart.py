"""Clones of one snapshot: each has ids, draws, credentials and connections of its own, and trusts nothing it had read.

They are processes under Lambda's runtime client; see tests/clones.py. What a snapshot of a virtual machine does beyond
what a fork does is not shown here: the kernel's own random numbers, and clocks that stand still.
"""

from __future__ import annotations

import gc
import json
import random
import ssl
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
import ulid

from devstack.emulator import BUILD
from devstack.events import Answer
from devstack.table import TableServer, client, create_table
from devstack.template import ROOT
from tests.clones import Clones, Seen
from tests.conftest import LoadedFunction, LocalTable
from tests.model_server import ModelServer
from tests.requests import connect, decided_at_us
from tips import snapstart, telemetry
from tips.state import configuration, table

ROUNDS = 10
HOURS_SEC = 6 * 3600.0
EQUAL = [{"id": str(number)} for number in range(50)]
RUNTIME = ROOT / ".venv-runtime"


@dataclass(frozen=True)
class Story:
    """What two clones of `score` did. answers: by clone, in order; `clock`: earliest and latest time, microseconds."""

    clones: Clones
    answers: dict[int, list[Answer]]
    before: list[Seen]
    after: list[Seen]
    keys_before: set[str]
    logged_before: str
    items: list[dict[str, Any]]
    clock: tuple[float, float]

    def decision_ids(self, clone: int) -> list[str]:
        return [answer.json["decision_id"] for answer in self.answers[clone]]

    def keys(self, clone: int) -> set[str]:
        """Return the access keys that signed what stored a clone's decisions."""
        ids = self.decision_ids(clone)
        return {seen.key for seen in self.after if any(one in seen.body for one in ids)}


def fresh_table(server: TableServer) -> LocalTable:
    name = f"tips-{uuid.uuid4().hex[:12]}"
    create_table(server.endpoint, name)
    return LocalTable(server.endpoint, name, client(server.endpoint))


@pytest.fixture(scope="module")
def story(table_server: TableServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    assert RUNTIME.is_dir(), "there is no .venv-runtime: run `make env-runtime`"
    own = fresh_table(table_server)
    folders = [ROOT / "functions" / "score", ROOT / "layers" / "shared", *RUNTIME.glob("lib/python3*/site-packages")]
    environment = {"TABLE_NAME": own.name}
    scratch = tmp_path_factory.mktemp("clones")
    with Clones(Path(sys.executable), folders, environment, table_server.endpoint, scratch, HOURS_SEC) as clones:
        before, keys, logged = list(clones.table.seen), set(clones.credentials.given), clones.log
        activate(own, "squarecb")
        began = time.time()
        answers: dict[int, list[Answer]] = {clone: [] for clone in clones.restore()}
        for _ in range(ROUNDS):
            for clone, answer in clones.call_all("POST", "/score", {"user_id": "anna", "candidates": EQUAL}).items():
                answers[clone].append(answer)
        clock = ((began + HOURS_SEC) * 1e6 - 1000, (time.time() + HOURS_SEC) * 1e6)
        after = clones.table.seen[len(before) :]
        yield Story(clones, answers, before, after, keys, logged, own.items(), clock)


def activate(own: LocalTable, policy: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "local")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "local")
        configuration.change(
            connect(own),
            lambda current: current.model_copy(update={"active_policy": policy}),
            command="config set",
            actor="ann",
            reason="",
            deadline_ms=5000,
        )


def test_both_clones_answer_as_any_function_does(story: Story) -> None:
    assert len(story.answers) == 2
    for answers in story.answers.values():
        assert [answer.status for answer in answers] == [200] * ROUNDS
        assert not any(answer.json["degraded"] for answer in answers)
        assert all(answer.json["logged"] for answer in answers)


def test_clones_decide_apart(story: Story) -> None:
    one, other = story.answers
    assert len({*story.decision_ids(one), *story.decision_ids(other)}) == 2 * ROUNDS
    drawn = [[answer.json["tip_id"] for answer in story.answers[clone]] for clone in (one, other)]
    assert len(set(drawn[0])) > 1
    assert drawn[0] != drawn[1]


def test_each_clone_signs_with_credentials_of_its_own(story: Story) -> None:
    one, other = (story.keys(clone) for clone in story.answers)
    assert len(one) == len(other) == 1
    assert one != other
    # Nothing at all is signed with what was given before the snapshot.
    assert {seen.key for seen in story.after} == one | other
    assert story.keys_before == {seen.key for seen in story.before}
    assert not story.keys_before & (one | other)
    assert story.clones.snapshot["secrets"] == []


def test_clones_sign_the_same_request_in_the_same_second_each_in_its_way(story: Story) -> None:
    signatures = defaultdict(set)
    for seen in story.after:
        signatures[seen.signed_at, seen.body].add(seen.signature)
    assert max(map(len, signatures.values())) == 2
    assert not {seen.signature for seen in story.before} & {seen.signature for seen in story.after}


def test_no_connection_outlives_the_snapshot(story: Story) -> None:
    assert story.before, "there was a connection"
    assert story.clones.snapshot["connections"] == []
    assert not {seen.connection for seen in story.before} & {seen.connection for seen in story.after}
    users = defaultdict(set)
    for seen in story.after:
        users[seen.connection].add(seen.key)
    assert all(len(keys) == 1 for keys in users.values())
    assert len(users) < len(story.after), "connections are kept"


def test_what_was_changed_since_the_snapshot_is_known_at_once(story: Story) -> None:
    for answers in story.answers.values():
        assert answers[0].json["policy"] == "squarecb"


def test_clones_go_by_the_clock_of_their_restore(story: Story) -> None:
    earliest, latest = story.clock
    for clone in story.answers:
        assert all(earliest <= decided_at_us(one) <= latest for one in story.decision_ids(clone))
    assert all(earliest <= (seen.signed_at.timestamp() + 1) * 1e6 <= latest + 1e6 for seen in story.after)


def test_a_rehearsal_leaves_nothing_behind(story: Story) -> None:
    assert any("rehearsal" in seen.body for seen in story.before), "there was one, and it read"
    assert {seen.operation for seen in story.before} == {"BatchGetItem", "GetItem"}, "nothing was written"
    assert "anna" in str(story.items)
    assert "rehearsal" not in str(story.items)
    assert "_aws" not in story.logged_before, "metrics of a request that nobody sent"


@pytest.mark.emulator
def test_clones_of_generate_write_tips(table_server: TableServer, tmp_path: Path) -> None:
    own = fresh_table(table_server)
    folders = [BUILD / "GenerateFunction", BUILD / "SharedLayer" / "python"]
    python = RUNTIME / "bin" / "python"
    body = {"user_id": "anna", "context": {"tasks": [{"id": "t", "content": "Renew the passport"}]}}
    with ModelServer() as model:
        environment = {"TABLE_NAME": own.name, "LITELLM_URL": model.url}
        with Clones(python, folders, environment, table_server.endpoint, tmp_path, HOURS_SEC) as clones:
            assert "litellm" in clones.snapshot["modules"]
            assert clones.snapshot["connections"] == clones.snapshot["secrets"] == []
            assert "_aws" not in clones.log
            before = list(clones.table.seen)
            assert before
            assert not model.received, "a model was paid for a rehearsal"
            clones.restore()
            answers = [answer for _ in range(2) for answer in clones.call_each("POST", "/generate", body).values()]
        assert [answer.status for answer in answers] == [200] * 4
        assert not any(answer.json["fallback"] for answer in answers)
        assert len({answer.json["generation_id"] for answer in answers}) == 4
        assert len(model.received) == 4
    after = clones.table.seen[len(before) :]
    assert not {seen.connection for seen in before} & {seen.connection for seen in after}
    assert not {seen.key for seen in before} & {seen.key for seen in after}
    assert len({seen.key for seen in after}) == 2
    assert "rehearsal" not in str(own.items())


class Unmoved:
    """A service that knows nothing."""

    def prime(self) -> None: ...
    def renew(self) -> None: ...
    def rehearsing(self) -> AbstractContextManager[None]:
        return nullcontext()


@pytest.fixture
def own_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves alone the clients of all tables that other tests have made in this process."""
    monkeypatch.setattr(table, "_tables", WeakSet())


@pytest.mark.usefixtures("own_tables")
def test_an_id_is_not_the_next_one_after_the_snapshots_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ulid, "default_generator", ulid.default_generator)
    monkeypatch.setattr(time, "time_ns", lambda: 1_800_000_000_000_000_000)
    last = int(ulid.ULID())
    assert int(ulid.ULID()) == last + 1, "within a millisecond ids are counted up"
    snapstart._after_restore(Unmoved())
    assert int(ulid.ULID()) != last + 2


@pytest.mark.usefixtures("own_tables")
def test_what_libraries_draw_differs_after_a_restore() -> None:
    state = random.getstate()
    snapstart._after_restore(Unmoved())
    drawn = random.random()
    random.setstate(state)
    snapstart._after_restore(Unmoved())
    assert random.random() != drawn
    random.setstate(state)


@pytest.mark.usefixtures("own_tables")
def test_openssl_is_given_what_no_other_clone_has(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[bytes, float]] = []
    monkeypatch.setattr(ssl, "RAND_add", lambda *arguments: given.append(arguments))
    for _ in range(2):
        snapstart._after_restore(Unmoved())
    assert [(len(seed), entropy) for seed, entropy in given] == [(32, 32.0)] * 2
    assert given[0] != given[1]


@pytest.mark.thorough
@pytest.mark.usefixtures("own_tables")
@pytest.mark.parametrize("name", ["score", "generate"])
def test_a_snapshot_is_taken_without_a_table(
    load_function: Callable[..., LoadedFunction], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    function = load_function(name, DYNAMODB_ENDPOINT="http://127.0.0.1:1")
    service, handler = function.module.app.state.service, function.module.handler
    requests = [one for one in function.module.REHEARSED if one[1] != "/generate"]  # it would import LiteLLM
    telemetry.flush()
    capsys.readouterr()
    try:
        snapstart._before_snapshot(service, handler, requests)
    finally:
        gc.unfreeze()
    counted = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert counted["RefreshFailed" if name == "score" else "MemoryNotRead"] == [1.0]
    assert "RehearsalFailed" not in counted


@pytest.mark.usefixtures("own_tables")
def test_a_rehearsal_that_fails_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.flush()
    capsys.readouterr()
    snapstart._before_snapshot(Unmoved(), lambda *_: {"statusCode": 500}, [("GET", "/", None)])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["RehearsalFailed"] == [1.0]


@pytest.mark.parametrize("kind", ["on-demand", "provisioned-concurrency"])
def test_elsewhere_nothing_is_registered(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", kind)
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", None)  # importing it would fail
    snapstart.register(Unmoved(), lambda *_: {}, [])
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    with pytest.raises(ImportError):
        snapstart.register(Unmoved(), lambda *_: {}, [])
