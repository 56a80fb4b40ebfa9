"""What scripts/sam-local-check decides without a container: which engine, which events and variables, what is equal."""

from __future__ import annotations

import asyncio
import json
import os
import socketserver
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml

from devstack.events import REGION
from devstack.http_server import LOOPBACK, HttpServer
from devstack.stack import PortTaken, Stack
from devstack.table import TableServer, client, create_table
from devstack.template import ROOT, Template
from scripts import sam_local_check, sam_local_engine
from scripts.sam_local_check import messages_of
from scripts.sam_local_compare import differences, draw, opened, readable
from scripts.sam_local_engine import IMAGE, RUNTIME, NotPossible, find_engine
from scripts.sam_local_run import NoAnswer, SamLocal, events, patient_template, variables
from tests.bridge_process import FakeConsume, eventually, publish
from tests.conftest import LocalTable
from tests.sam_template import DOCUMENT
from tips.ingest.handover import ConsumeClient, HandoverFailed, Message

Answers = dict[str, Any]
BRIDGE = {"Name": "bridge", "IPAM": {"Config": [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]}}


@contextmanager
def engine(path: Path, answers: Answers, asked: list[str] | None = None) -> Iterator[str]:
    """A Docker API on a socket: `answers` by path, 404 for any other."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            where = self.path.partition("?")[0]
            if asked is not None:
                asked.append(f"{self.command} {self.path}")
            body = json.dumps(answers.get(where, {"message": "there is none"})).encode()
            self.send_response(200 if where in answers else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_DELETE = do_GET

        def address_string(self) -> str:
            return "socket"

        def log_message(self, *_: Any) -> None:
            pass

    with socketserver.UnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown()
            thread.join()


def working(**more: Any) -> Answers:
    return {"/_ping": "OK", f"/images/{IMAGE}/json": {}, "/info": {}, "/networks": [BRIDGE], **more}


def command(folder: Path, name: str, script: str) -> str:
    """Put a command on a PATH of its own, and return that."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return str(folder)


@pytest.fixture(autouse=True)
def _no_engine_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sam_local_engine, "_DOCKERS_OWN", f"unix://{tmp_path}/none.sock")


def test_a_client_without_an_engine_is_no_engine(tmp_path: Path) -> None:
    path = command(tmp_path / "bin", "docker", f"echo unix://{tmp_path}/gone.sock")
    with pytest.raises(NotPossible, match="no container engine answers") as raised:
        find_engine({"PATH": path})
    assert f"unix://{tmp_path}/gone.sock" in str(raised.value)
    assert f"unix://{tmp_path}/none.sock" in str(raised.value)


def test_the_engine_of_dockers_context_is_found(tmp_path: Path) -> None:
    with engine(tmp_path / "d", working()) as address:
        path = command(tmp_path / "bin", "docker", f"echo {address}")
        found = find_engine({"PATH": path})
    assert (found.address, found.bind, found.seen_as) == (address, "172.17.0.1", "172.17.0.1")


@pytest.mark.parametrize("prefix", ["", "unix://"])
def test_podmans_service_is_found_after_a_docker_that_fails(tmp_path: Path, prefix: str) -> None:
    command(tmp_path / "bin", "docker", "exit 1")
    path = command(tmp_path / "bin", "podman", f"echo {prefix}{tmp_path}/p")
    network = {"Name": "podman", "IPAM": {"Config": [{"Subnet": "10.88.0.0/16"}]}}
    with engine(tmp_path / "p", working(**{"/networks": [{"Name": "other"}, network]})) as address:
        found = find_engine({"PATH": path})
    assert (found.address, found.bind) == (address, "10.88.0.1")


def test_docker_host_is_asked_and_nothing_else(tmp_path: Path) -> None:
    with engine(tmp_path / "p", working()) as address:
        path = command(tmp_path / "bin", "podman", f"echo {address}")
        with pytest.raises(NotPossible, match=r"only unix:// and plain tcp:// are asked"):
            find_engine({"PATH": path, "DOCKER_HOST": "ssh://elsewhere"})
        assert find_engine({"PATH": "", "DOCKER_HOST": address}).address == address


def test_containers_of_docker_desktop_reach_loopback_by_its_own_name(tmp_path: Path) -> None:
    with engine(tmp_path / "p", working(**{"/info": {"OperatingSystem": "Docker Desktop"}})) as address:
        found = find_engine({"DOCKER_HOST": address})
    assert (found.bind, found.seen_as) == (LOOPBACK, "host.docker.internal")


def test_an_image_that_is_not_there_is_pulled_or_else_nothing_is_possible(tmp_path: Path) -> None:
    asked: list[str] = []
    answers = working(**{"/images/create": {"error": "no such host"}})
    del answers[f"/images/{IMAGE}/json"]
    with (
        engine(tmp_path / "p", answers, asked) as address,
        pytest.raises(NotPossible, match=r"cannot be pulled: .*no such host"),
    ):
        find_engine({"DOCKER_HOST": address})
    (pull,) = [one for one in asked if one.startswith("POST")]
    assert "fromImage=public.ecr.aws%2Flambda%2Fpython" in pull
    assert f"tag={IMAGE.rpartition(':')[2]}" in pull


def test_the_image_is_that_of_the_templates_runtime() -> None:
    assert DOCUMENT["Globals"]["Function"]["Runtime"] == RUNTIME


def test_without_an_engine_it_says_that_it_was_not_run() -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "sam-local-check"],
        env={"PATH": os.environ["PATH"], "DOCKER_HOST": "unix:///nowhere.sock"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.startswith("sam local was NOT run: no container engine answers (unix:///nowhere.sock: ")


def test_want_of_an_engine_is_no_failure_where_that_was_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    assert sam_local_check.main(["--if-possible"]) == 0
    assert "sam local was NOT run: " in capsys.readouterr().out


def test_want_of_artifacts_is_a_failure_whatever_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with engine(tmp_path / "p", working()) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        assert sam_local_check.main(["--if-possible", str(tmp_path)]) == 2
    assert "nothing is built" in capsys.readouterr().out


def test_every_event_belongs_to_a_function() -> None:
    found = {path.name: function for function, path in events()}
    assert found.keys() == {path.name for path in (ROOT / "events").glob("*.json")}
    assert found["reward.json"] == found["score_legacy.json"] == "ScoreFunction"
    assert found["generate.json"] == "GenerateFunction"
    assert found["consume_sqs.json"] == "ConsumeFunction"


def test_an_event_of_no_function_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "scored.json").write_text("{}")
    with pytest.raises(ValueError, match=r"scored.json belongs to no function"):
        events(tmp_path)


def test_only_variables_that_the_template_declares_are_overridden() -> None:
    for function in Template().functions().values():
        chosen = variables(function, "t", "http://e:1")
        assert chosen.keys() <= function.environment.keys()
        assert (chosen["TABLE_NAME"], chosen["DYNAMODB_ENDPOINT"]) == ("t", "http://e:1")
    assert "SCORE_READ_BUDGET_MS" in variables(Template().functions()["ScoreFunction"], "t", "e")
    assert "SCORE_READ_BUDGET_MS" not in variables(Template().functions()["ConsumeFunction"], "t", "e")


def test_the_page_overrides_what_the_template_declares() -> None:
    page = (ROOT / "docs" / "local.md").read_text()
    chosen = json.loads(page.partition("<<'END'\n")[2].partition("END\n")[0])["Parameters"]
    declared = {name for function in Template().functions().values() for name in function.environment}
    assert {"TABLE_NAME", "DYNAMODB_ENDPOINT", "SCORE_READ_BUDGET_MS"} <= chosen.keys() <= declared


def test_the_messages_are_each_record_once_in_order() -> None:
    subjects = [subject for subject, _ in messages_of(events())]
    assert len(subjects) == 8
    assert (subjects[0], subjects[3]) == ("signals.task.synced", "feedback.tip")
    assert b"applaud" in messages_of(events())[-1][1]  # the one that consume refuses


def test_a_container_has_time_and_finds_the_artifacts(tmp_path: Path) -> None:
    resources = {
        "Fn": {"Properties": {"CodeUri": "Fn", "Timeout": 5}},
        "Queue": {"Properties": {"VisibilityTimeout": 6}},
    }
    (tmp_path / "template.yaml").write_text(yaml.safe_dump({"Resources": resources}))
    patient = yaml.safe_load(patient_template(tmp_path))["Resources"]
    assert patient["Fn"]["Properties"] == {"CodeUri": str(tmp_path / "Fn"), "Timeout": 120}
    assert patient["Queue"] == resources["Queue"]


@pytest.fixture
def sam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], SamLocal]:
    """`sam("echo {}")`: SAM played by a shell script, beside an engine that only takes note."""

    def make(script: str) -> SamLocal:
        (tmp_path / "build").mkdir(exist_ok=True)
        (tmp_path / "build" / "template.yaml").write_text("Resources: {}\n")
        command(tmp_path / "scripts", "sam_offline.sh", script)
        monkeypatch.setattr("scripts.sam_local_run.ROOT", tmp_path)
        found = sam_local_engine.Engine(f"unix://{tmp_path}/e", LOOPBACK, LOOPBACK)
        return SamLocal(found, tmp_path / "build", Template().functions(), tmp_path)

    return make


def test_an_invocation_is_given_its_variables_and_nothing_of_this_environment(
    sam: Callable[[str], SamLocal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TABLE_NAME", "elsewhere")
    script = 'printf "%s\\n" "$@" >asked; env >environment; echo \'{"a": 1}\''
    answer = sam(script).invoke("ScoreFunction", Path("score.json"), "t-1", "http://e:1")
    assert answer == {"a": 1}
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[:5] == ["local", "invoke", "ScoreFunction", "--event", "score.json"]
    assert "--skip-pull-image" in asked
    given = json.loads(Path(asked[asked.index("--env-vars") + 1]).read_text())
    assert given["ScoreFunction"]["TABLE_NAME"] == given["ConsumeFunction"]["TABLE_NAME"] == "t-1"
    environment = (tmp_path / "environment").read_text().splitlines()
    assert f"DOCKER_HOST=unix://{tmp_path}/e" in environment
    assert not [line for line in environment if line.startswith("TABLE_NAME")]


def test_no_answer_with_code_0_is_none_and_the_container_is_removed(
    sam: Callable[[str], SamLocal], tmp_path: Path
) -> None:
    asked: list[str] = []
    script = "echo SAM_CONTAINER_ID: 0123456789abcdef >&2; echo timed out after 5 seconds >&2"
    with engine(tmp_path / "e", {}, asked), pytest.raises(NoAnswer, match="timed out after 5 seconds"):
        sam(script).invoke("ScoreFunction", Path("score.json"), "t", "e")
    assert asked == ["DELETE /containers/0123456789abcdef?force=true"]


def test_a_start_lambda_that_ends_at_once_is_told_with_its_words(sam: Callable[[str], SamLocal]) -> None:
    with pytest.raises(NoAnswer, match="no such option"), sam("echo no such option; exit 2").lambda_api("t", "e"):
        pass


@pytest.mark.parametrize("answer", ['{"errorType": "ValueError", "errorMessage": "x"}', "", "null"])
def test_an_error_that_start_lambda_does_not_mark_leaves_every_record_undone(answer: str) -> None:
    """It never sets the header of a function error, and a time-out prints nothing."""

    def application(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "application/json")])
        return [answer.encode()]

    message = Message("signals.x", 1, b"{}", datetime.now(UTC))
    with HttpServer("start-lambda", application) as api:
        consume = ConsumeClient("ConsumeFunction", endpoint=api.url, region=REGION)
        with pytest.raises(HandoverFailed, match="no partial batch response"):
            consume.hand_over("signals", "c", [message])


ULIDS = ("01M80YJTMK7WBBMB90JMTB1TR9", "01M80YJVBJWJ01WFV8DNPD7TGK")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"decision_id": ULIDS[0]}, {"decision_id": ULIDS[1]}),
        ({f"D#{ULIDS[0]}": 1}, {f"D#{ULIDS[1]}": 1}),
        ({"ttl": 1_803_104_404}, {"ttl": 1_803_104_999}),
        ({"at": 1_795_328_427_493_121}, {"at": 1_795_328_999_493_121}),
        ("2026-11-22T06:20:27.557511+00:00", "2026-11-22T06:20:29.9+00:00"),
        ('{"a": [1795328427493121]}', '{"a":[1795328427493199]}'),
        (0.8695143145286912, 0.8695143145286915),
        ({"took_us": 5_379}, {"took_us": 28_150}),
        ({"took_ms": 2.9}, {"took_ms": 6388.0}),
    ],
)
def test_ids_times_durations_and_last_digits_do_not_make_a_difference(one: Any, other: Any) -> None:
    assert differences(one, other) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": ULIDS[0]}, {"a": "task-report"}),
        ({"ttl": 1_803_104_404}, {"ttl": 1_803_104_404 + 86_400}),
        ({"at": 1_795_328_427_493_121}, {"at": 1_795_328_427}),
        ("2026-11-22T06:20:27+00:00", "2026-11-22T08:20:27+00:00"),
        ('{"a": 1}', '{"a": 2}'),
        (0.8695143, 0.8695144),
        (True, 1),
        ({"a": 1}, {"a": 1, "b": None}),
        ([1], [1, 2]),
        (None, {}),
        ("a", 1),
        ({"took_us": 5_379}, {"took_us": None}),
        ({"took_us": 5_379}, {}),
        ({"took_ms": 2.9}, {"took_ms": -1.0}),
        ({"took_ms": 2.9}, {"took_ms": 60_001.0}),
    ],
)
def test_anything_else_does(one: Any, other: Any) -> None:
    assert differences(one, other)
    assert differences(other, one)


def test_a_difference_is_told_with_its_place() -> None:
    found = differences(
        {"answer": {"body": {"ranking": [{"id": "a"}]}}}, {"answer": {"body": {"ranking": [{"id": "b"}]}}}
    )
    assert found == [".answer.body.ranking[0].id: 'a' / 'b'"]


def test_what_was_drawn_is_the_tip_of_a_score_alone() -> None:
    answer = {"statusCode": 200, "body": '{"tip_id": "walk"}'}
    assert draw(opened((answer, []))) == "walk"
    assert draw(opened(({"batchItemFailures": []}, []))) is None


def test_a_table_is_read_down_to_what_a_decision_and_a_lesson_hold(load_function: Any, table: LocalTable) -> None:
    score, consume = load_function("score"), load_function("consume")
    for function, name in ((score, "score"), (score, "reward"), (consume, "consume_tip_served")):
        function.invoke(json.loads((ROOT / "events" / f"{name}.json").read_text()))
    table.client.put_item(TableName=table.name, Item={"pk": {"S": "C#HEALTH"}, "sk": {"S": "bridge"}})
    items = readable(table.items())
    by_kind = {one["pk"][:2] + one["sk"][:1]: one for one in items}
    assert "C#b" not in by_kind
    assert by_kind["U#D"]["doc"][0]["policy"] == "igw-ucb"
    (learned,) = by_kind["U#L"]["schemas"].values()
    assert learned["statistics"]["cumulative_reward"] == 1.0
    again = json.loads(json.dumps(items))
    assert differences(items, again) == []
    again[items.index(by_kind["U#L"])]["schemas"].popitem()[1]["statistics"]["rx"][0] += 1e-6
    assert len(differences(items, again)) == 1


def test_what_is_packed_otherwise_is_read_as_far_as_it_can_be() -> None:
    item = {
        "pk": {"S": "G#ann"},
        "sk": {"S": "N"},
        "doc": {"B": zlib.compress(b'{"version": "v1"}')},
        "raw": {"B": b"?"},
    }
    (found,) = readable([item])
    assert (found["doc"], found["raw"]) == ({"version": "v1"}, "3f")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one loopback address")
def test_a_table_is_served_on_another_address_only_when_asked() -> None:
    with Stack(table_host="127.0.0.2") as stack:
        assert stack.table_endpoint_outside == stack.table_endpoint.replace(LOOPBACK, "127.0.0.2")
        assert client(stack.table_endpoint_outside).list_tables()["TableNames"] == ["tips"]
    with Stack() as stack:
        assert stack.table_endpoint_outside is None
    with pytest.raises(PortTaken, match=r"table on 127.0.0.1"), Stack(table_host=LOOPBACK):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="other systems bind only addresses that they have")
def test_an_address_that_comes_later_can_be_listened_on() -> None:
    with TableServer() as server, HttpServer("outside", server.application, host="10.88.0.1") as outside:
        create_table(server.url, "later")
        assert outside.url.startswith("http://10.88.0.1:")
        client(server.url).delete_table(TableName="later")


def test_the_stacks_bridge_hands_over_to_another_invoke_api_when_told() -> None:
    with FakeConsume() as api, Stack(nats=True, lambda_endpoint=api.url) as stack:
        asyncio.run(publish(stack.nats_url, ("signals.task.synced", b"{}")))
        eventually(lambda: api.records)
    assert [record["subject"] for record in api.records] == ["signals.task.synced"]
