"""Where an export comes from makes no difference to it, and nobody who was erased is in it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.session import Session
from moto.server import ThreadedMotoServer
from polars.testing import assert_frame_equal

from offline.cli import main
from offline.command import BadInput
from offline.feature_store import export as export_module
from offline.feature_store.logs import Logs
from offline.feature_store.point_in_time import PointInTimeExport
from offline.feature_store.sources import ExportedTable, LiveTable, stored
from tests.conftest import LoadedFunction, LocalTable
from tests.lab.exports import NOW, US, FakeExport, Items, as_text, change, decision, exported, written
from tests.requests import score_request
from tips.contracts.configuration import Configuration
from tips.state import configuration, erasure, keys
from tips.state.decision_codec import decision_item
from tips.state.table import Table

NOW_US = round(NOW.timestamp() * US)
TABLES = ("decisions", "statistics", "people", "profiles", "generations", "audit")
REGION = "eu-west-1"


@pytest.fixture
def served(
    client: Table, table: LocalTable, load_function: Callable[..., LoadedFunction], monkeypatch: pytest.MonkeyPatch
) -> LocalTable:
    """A table after some traffic: three people, a shadow, reactions, a deferred decision."""
    configuration.change(
        client,
        lambda _: Configuration(active_policy="igw-ucb", shadows=["egreedy-v2"]),
        command="test",
        actor="test",
        reason="",
        deadline_ms=5000,
    )
    score = load_function("score", CONFIG_CACHE_SEC="0")
    for user_id in ("anna", "ben", "carl"):
        for number in range(3):
            answer = score.call("POST", "/score", score_request(user_id=user_id, defer=number == 2)).json
            if number == 0:
                body = {"user_id": user_id, "decision_id": answer["decision_id"], "action": "done", "dwell_ms": 30_000}
                assert score.call("POST", "/reward", body).json["applied"]
    return table


@pytest.fixture
def tips(table: LocalTable, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*arguments: str, code: int = 0) -> str:
        got = main([*arguments, "--endpoint", table.endpoint])
        out, err = capsys.readouterr()
        assert got == code, err or out
        return err if code else out

    return run


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def same(one: Logs, other: Logs) -> None:
    assert one.data_hash == other.data_hash
    for name in TABLES:
        assert len(getattr(one, name)) > 0 or name == "generations"
        assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=True)


def exported_table(*places: str, live: LiveTable | None = None, now_us: int = NOW_US) -> ExportedTable:
    return ExportedTable([PointInTimeExport.at(place, REGION) for place in places], live, now_us)


def test_a_table_scanned_and_exported_by_dynamodb_is_the_same_export(
    served: LocalTable, tips: Callable[..., str], tmp_path: Path
) -> None:
    told = tips("export", "--to", str(tmp_path / "scan"), "--table", served.name)
    scanned = Logs.read(tmp_path / "scan")
    assert re.search(r"decisions +9\n", told)
    assert scanned.data_hash in told
    assert (scanned.manifest["people"], scanned.manifest["erased_left_out"]) == (3, 0)

    items = served.items()  # as botocore gives them, binary values as bytes
    random.Random(1).shuffle(items)
    same(scanned, exported(items, tmp_path / "shuffled"))

    FakeExport.in_folder(tmp_path / "pitr").full(items, NOW)
    tips("export", "--to", str(tmp_path / "full"), "--from", str(tmp_path / "pitr"))
    same(scanned, Logs.read(tmp_path / "full"))


def test_a_table_of_several_pages_is_read_to_its_end(client: Table, tmp_path: Path) -> None:
    rng = random.Random(1)
    names = [f"feature_{number}" for number in range(30)]
    candidates = [{"id": f"tip-{k}", "features": {name: rng.random() for name in names}} for k in range(200)]
    for number in range(25):  # of over 50 kB each; a page has 1 MB
        client.put(decision_item(decision(f"user-{number}", candidates=candidates)))
    assert len(client._call("scan")["Items"]) < 25
    assert written(LiveTable(client, 5000), tmp_path / "export").decisions == 25


def test_changes_on_top_of_a_full_export_are_the_same_export(served: LocalTable, tmp_path: Path) -> None:
    items = served.items()
    decided = [item for item in items if item["sk"]["S"].startswith("D#")]
    before = [item for item in items if item not in decided[:2]]
    before.append({**decided[0], "rev": {"N": "99"}, "shown_at": {"N": "1"}})
    extra = decision_item(decision("dora"))
    begin, middle, end = (NOW - timedelta(hours=hours) for hours in (2, 1, 0))
    FakeExport.in_folder(tmp_path / "full").full([*before, extra], begin)
    late_us = round(end.timestamp() * US)
    first = [change(decided[1], late_us - 7, extra), change({**decided[0], "shown_at": {"N": "2"}}, late_us - 8)]
    second = [
        change(None, late_us - 3, extra),
        change(decided[0], late_us - 2, before[-1]),
        change({**decided[1], "shown_at": {"N": "3"}}, late_us - 9),  # windows may overlap: the latest write counts
    ]
    FakeExport.in_folder(tmp_path / "first").incremental(first, begin, middle)
    FakeExport.in_folder(tmp_path / "second").incremental(second, middle, end)
    source = exported_table(*(str(tmp_path / name) for name in ("full", "first", "second")))
    assert source.as_of_us == late_us
    written(source, tmp_path / "applied")
    same(exported(items, tmp_path / "scan"), Logs.read(tmp_path / "applied"))


def test_an_export_in_s3_is_read_where_it_lies(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tips: Callable[..., str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3)
    client: Any = Session().create_client("s3", region_name=REGION, endpoint_url=s3)
    client.create_bucket(Bucket="exports", CreateBucketConfiguration={"LocationConstraint": REGION})
    items = [decision_item(decision(user_id)) for user_id in ("anna", "ben")]
    put = lambda path, content: client.put_object(Bucket="exports", Key=path, Body=content)  # noqa: E731
    FakeExport(put, prefix="tips/full/").full(items[:1], NOW - timedelta(hours=1))
    changes = [change(items[1], NOW_US)]
    FakeExport(put, prefix="tips/later/").incremental(changes, NOW - timedelta(hours=1), NOW)
    places = ("--from", "s3://exports/tips/full", "--from", "s3://exports/tips/later/")
    tips("export", "--to", str(tmp_path / "cloud"), *places)
    logs = Logs.read(tmp_path / "cloud")
    assert logs.data_hash == exported(items, tmp_path / "local").data_hash
    assert logs.manifest["source"] == "s3://exports/tips/full, s3://exports/tips/later/"
    assert "name one of" in tips("export", "--to", str(tmp_path / "no"), "--from", "s3://exports", code=2)
    assert "NoSuchBucket" in tips("export", "--to", str(tmp_path / "no"), "--from", "s3://nowhere/at-all", code=2)
    client.delete_object(
        Bucket="exports", Key="tips/full/AWSDynamoDB/01700000000000-a1b2c3d4/data/c3d400000001.json.gz"
    )
    assert "c3d400000001.json.gz" in tips("export", "--to", str(tmp_path / "no"), *places, code=2)


def pitr(tmp_path: Path) -> Path:
    items = [decision_item(decision(f"user-{number}")) for number in range(4)]
    FakeExport.in_folder(tmp_path / "pitr", files=2).full(items, NOW)
    return next((tmp_path / "pitr").rglob("data"))


def edited(file: Path, **changes: Any) -> None:
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[-1] |= changes
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: (data / "c3d400000001.json.gz").unlink(), "c3d400000001.json.gz"),
        (
            lambda data: (data / "c3d400000001.json.gz").write_bytes(
                (data / "c3d400000001.json.gz").read_bytes()[:-12]
            ),
            "c3d400000001.json.gz",
        ),
        (lambda data: edited(data.parent / "manifest-files.json", itemCount=3), "holds 2 items.*says 3"),
        (lambda data: edited(data.parent / "manifest-files.json", md5Checksum="AAAA"), "00000001.json.gz.*MD5"),
        (lambda data: edited(data.parent / "manifest-summary.json", itemCount=5), "holds 4 items.*says 5"),
        (lambda data: edited(data.parent / "manifest-summary.json", outputFormat="ION"), "DYNAMODB_JSON"),
        (lambda data: (data.parent / "manifest-files.json").unlink(), "manifest-files.json"),
        (lambda data: (data.parent / "manifest-summary.json").unlink(), "no manifest-summary.json"),
        (lambda data: (data.parent / "manifest-summary.json").write_text("{}"), "cannot be understood"),
    ],
)
def test_an_export_that_is_not_whole_is_refused_by_name(
    damage: Callable[[Path], None], says: str, tmp_path: Path
) -> None:
    damage(pitr(tmp_path))
    with pytest.raises(BadInput, match=says):
        written(exported_table(str(tmp_path / "pitr")), tmp_path / "export")
    assert [one.name for one in tmp_path.iterdir()] == ["pitr"]


def test_exports_that_make_no_whole_are_refused(tmp_path: Path) -> None:
    hour = timedelta(hours=1)
    places = {name: str(tmp_path / name) for name in ("full", "later", "much later")}
    FakeExport.in_folder(tmp_path / "full").full([], NOW - 3 * hour)
    FakeExport.in_folder(tmp_path / "later").incremental([], NOW - 3 * hour, NOW - 2 * hour)
    FakeExport.in_folder(tmp_path / "much later").incremental([], NOW - hour, NOW)
    assert exported_table(places["full"], places["later"]).expected == 0
    for names, says in (
        (["later"], "is incremental"),
        (["full", "full"], "is a full export"),
        (["full", "much later"], "changes are missing"),
    ):
        with pytest.raises(BadInput, match=says):
            exported_table(*(places[name] for name in names))
    with pytest.raises(BadInput, match="35 days old"):
        exported_table(places["full"], now_us=NOW_US + 36 * keys.DAY_SEC * US)


def test_somebody_erased_during_the_scan_is_in_no_table(
    served: LocalTable, client: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Erasing(LiveTable):
        def items(self) -> Iterator[Any]:
            yield from super().items()
            erasure.erase(client, "ben", 5000, settled_sec=0)

    manifest = written(Erasing(client, 5000), tmp_path / "export")
    logs = Logs.read(tmp_path / "export")
    for name in ("decisions", "statistics", "profiles"):
        assert set(getattr(logs, name)["user_id"]) == {"anna", "carl"}
    assert (manifest.erased_left_out, manifest.people) == (1, 2)


@pytest.mark.parametrize("again", [False, True])
def test_somebody_erased_is_left_out_of_a_point_in_time_export(
    again: bool, served: LocalTable, client: Table, tmp_path: Path
) -> None:
    """Their tombstone is among the items, or, erased since, in the live table."""
    kept = served.items()
    erasure.erase(client, "ben", 5000, settled_sec=0)
    tombstones = [] if again else [item for item in served.items() if item["sk"]["S"] == keys.ERASED]
    FakeExport.in_folder(tmp_path / "pitr").full([*kept, *tombstones], NOW)
    live = LiveTable(client, 5000) if again else None
    manifest = written(exported_table(str(tmp_path / "pitr"), live=live), tmp_path / "export")
    assert (manifest.erased_left_out, manifest.people) == (1, 2)
    assert "ben" not in set(Logs.read(tmp_path / "export").decisions["user_id"])


def test_an_export_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    before = exported([decision_item(decision(user_id)) for user_id in ("anna", "ben")], folder)
    after = exported([decision_item(decision("anna"))], folder)
    assert after.data_hash != before.data_hash
    assert [one.name for one in tmp_path.iterdir()] == ["export"]
    assert after.decisions["user_id"].to_list() == ["anna"]


def test_what_fails_on_its_way_leaves_the_export_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Items):
        def items(self) -> Iterator[Any]:
            yield from self.given
            raise KeyboardInterrupt

    folder = tmp_path / "export"
    before = exported([decision_item(decision())], folder)
    with pytest.raises(KeyboardInterrupt):
        written(Failing([decision_item(decision("ben"))]), folder)
    assert [one.name for one in tmp_path.iterdir()] == ["export"]
    assert Logs.read(folder).manifest == before.manifest

    # Killed between the last two steps, where nothing tidies up.
    folder.rename(tmp_path / ".export.before")
    monkeypatch.setattr(export_module, "_written", lambda *_: pytest.fail("stop here"))
    with pytest.raises(pytest.fail.Exception):
        written(Items([]), folder)
    assert Logs.read(folder).manifest == before.manifest


def test_a_folder_of_something_else_is_left_alone(tips: Callable[..., str], table: LocalTable, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"")
    told = tips("export", "--to", str(tmp_path / "photos"), "--table", table.name, code=2)
    assert "--to" in told
    assert "holds something else" in told
    assert (tmp_path / "photos" / "holiday.jpg").exists()
    (tmp_path / "empty").mkdir()
    tips("export", "--to", str(tmp_path / "empty"), "--table", table.name)
    assert Logs.read(tmp_path / "empty").manifest["decisions"] == 0


def test_a_place_that_does_not_exist_is_named(tips: Callable[..., str], tmp_path: Path) -> None:
    told = tips("export", "--to", str(tmp_path / "export"), "--from", str(tmp_path / "nowhere"), code=2)
    assert "--from" in told
    assert "nowhere" in told


def test_both_of_dynamodbs_forms_of_an_item_come_to_one() -> None:
    item = {
        "a": {"B": b"\x00\xff"},
        "b": {"M": {"B": {"B": b"x"}, "S": {"S": "eA=="}}},
        "c": {"L": [{"B": b"y"}, {"N": "1"}, {"BS": [b"z"]}]},
    }
    assert stored(as_text(item)) == stored(item) == item
    with pytest.raises(ValueError, match=r"base64|padding"):
        stored({"a": {"B": "no base64!"}})
