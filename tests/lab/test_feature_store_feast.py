"""Through Feast come the values that are stored online, and that decisions saw."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from devstack.table import TableServer, client
from offline.cli import main
from offline.feature_store.logs import Logs
from tests.lab.exports import HOUR_US, NOW, US, decision, exported
from tips.features.profile_counters import CountedReaction, ProfileCounters
from tips.features.profile_schema import PROFILE_FEATURES
from tips.features.vectors import Situation
from tips.state import profiles
from tips.state.decision_codec import decision_item

# Feast's, as it is imported, and dask's, which Feast's file store computes with.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'generic' unit for NumPy timedelta:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Downcasting object dtype arrays:FutureWarning"),
]
TABLES = "tips_features."
NOW_US = round(NOW.timestamp() * US)
NAMES = [feature.name for feature in PROFILE_FEATURES]


def counters(*actions: tuple[str, int | None], shown: int = 0) -> ProfileCounters:
    one = ProfileCounters()
    for number, (action, dwell_ms) in enumerate(actions):
        at_us = NOW_US - (number + 1) * 5 * HOUR_US
        one = one.with_reaction(None, CountedReaction.at(at_us, action, dwell_ms), NOW_US - HOUR_US)
    for number in range(shown):
        one = one.with_shown(NOW_US - number * HOUR_US, NOW_US)
    return one


PEOPLE = {
    "anna": counters(("done", 20_001), ("dismiss", None), ("done", 70_000), shown=3),
    "ben": counters(("dismiss", None)),  # no dwell time, no preferred hour, never told what was shown
    "carl": counters(shown=7),
}


def export_of(people: list[str], folder: Path) -> Logs:
    return exported([profiles.write(one, None, PEOPLE[one])["Put"]["Item"] for one in people], folder)


@pytest.fixture
def feast_tables(table_server: TableServer) -> Iterator[str]:
    yield table_server.endpoint
    dynamodb = client(table_server.endpoint)
    for name in dynamodb.list_tables()["TableNames"]:
        if name.startswith(TABLES):
            dynamodb.delete_table(TableName=name)


def run(command: str, logs: Logs, repo: Path, endpoint: str, capsys: pytest.CaptureFixture[str]) -> str:
    got = main(["feast", command, "--logs", str(logs.folder), "--repo", str(repo), "--endpoint", endpoint])
    out, err = capsys.readouterr()
    assert got == 0, err
    return out


def online(repo: Path, people: list[str]) -> dict[str, dict[str, float | None]]:
    from feast import FeatureStore

    store = FeatureStore(repo_path=str(repo))
    service = store.get_feature_service("profile")
    answer = store.get_online_features(features=service, entity_rows=[{"user_id": one} for one in people]).to_dict()
    return {one: {name: answer[name][place] for name in NAMES} for place, one in enumerate(people)}


def ours(person: str) -> dict[str, float | None]:
    stored = PEOPLE[person].features()
    return {name: stored[name].value if name in stored else None for name in NAMES}


def test_what_feast_serves_is_what_is_stored_online(
    feast_tables: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = export_of(list(PEOPLE), tmp_path / "export")
    told = run("materialize", logs, tmp_path / "repo", feast_tables, capsys)
    assert "profile_reactions_86400s" in told
    served = online(tmp_path / "repo", [*PEOPLE, "nobody"])
    assert {person: served[person] for person in PEOPLE} == {person: ours(person) for person in PEOPLE}
    assert served["ben"]["preferred_hour"] is None
    assert served["nobody"] == dict.fromkeys(NAMES)


def test_who_is_not_in_the_export_any_more_leaves_feast(
    feast_tables: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("materialize", export_of(["anna", "ben"], tmp_path / "export"), tmp_path / "repo", feast_tables, capsys)
    assert online(tmp_path / "repo", ["ben"])["ben"] == ours("ben")
    told = run("materialize", export_of(["anna"], tmp_path / "export"), tmp_path / "repo", feast_tables, capsys)
    assert "1 removed" in told
    served = online(tmp_path / "repo", ["anna", "ben"])
    assert served == {"anna": ours("anna"), "ben": dict.fromkeys(NAMES)}
    dynamodb = client(feast_tables)
    for name in (one for one in dynamodb.list_tables()["TableNames"] if one.startswith(TABLES)):
        assert len(dynamodb.scan(TableName=name)["Items"]) <= 1


def test_a_view_that_is_not_defined_any_more_goes_with_its_table(
    feast_tables: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from offline.feature_store import feast_repo

    logs = export_of(["anna"], tmp_path / "export")
    run("materialize", logs, tmp_path / "repo", feast_tables, capsys)
    an_hour = [replace(one, ttl_sec=3600) for one in PROFILE_FEATURES]
    monkeypatch.setattr(feast_repo, "PROFILE_FEATURES", an_hour)
    run("materialize", logs, tmp_path / "repo", feast_tables, capsys)
    tables = [one for one in client(feast_tables).list_tables()["TableNames"] if one.startswith(TABLES)]
    assert sorted(tables) == [f"{TABLES}profile_reactions_3600s", f"{TABLES}profile_tips_shown_3600s"]
    assert online(tmp_path / "repo", ["anna"])["anna"] == ours("anna")


def test_a_join_as_of_a_point_in_time_is_what_the_decision_saw(
    feast_tables: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from feast import FeatureStore

    made = [
        decision(
            user_id,
            at_us=NOW_US - hours * HOUR_US,
            situation=Situation(9.0, 2.0, {} if rate is None else {"completion_rate_30d": rate, "tip_volume_30d": 7.0}),
        )
        for user_id, hours, rate in (("anna", 60, 0.1), ("anna", 30, 1 / 3), ("anna", 2, None), ("ben", 30, 0.7))
    ]
    logs = exported([decision_item(one) for one in made], tmp_path / "export")
    run("apply", logs, tmp_path / "repo", feast_tables, capsys)
    store = FeatureStore(repo_path=str(tmp_path / "repo"))
    decided = logs.decisions
    others = {"user_id": ["anna", "ben"], "event_timestamp": [NOW - timedelta(hours=29), NOW - timedelta(hours=31)]}
    asked = pl.concat(
        [decided.select("user_id", event_timestamp="decided_at"), pl.DataFrame(others)], how="vertical_relaxed"
    )
    features = [f"profile_at_decision:{name}" for name in NAMES]
    joined = store.get_historical_features(entity_df=asked.to_pandas(), features=features).to_df()
    seen = {
        (row["user_id"], row["event_timestamp"].to_pydatetime()): [
            None if math.isnan(row[name]) else row[name] for name in NAMES
        ]
        for row in joined.to_dict("records")
    }
    for row in decided.rows(named=True):
        assert seen[row["user_id"], row["decided_at"]] == [row[name] for name in NAMES]
    assert seen["anna", NOW - timedelta(hours=29)][0] == 1 / 3
    # Feast's file store leaves out who has nothing but later values; in no case does it look ahead.
    assert seen.get(("ben", NOW - timedelta(hours=31)), [None] * 5) == [None] * 5


def test_every_profile_feature_is_in_one_view_with_its_time_to_live(tmp_path: Path) -> None:
    from offline.feature_store.feast_repo import definitions

    found = definitions(exported([], tmp_path / "export"))
    views = {field.name: view for view in found.online.values() for field in view.schema if field.name != "user_id"}
    assert set(views) == set(NAMES)
    for feature in PROFILE_FEATURES:
        assert views[feature.name].ttl == timedelta(seconds=feature.ttl_sec)
        field = next(one for one in views[feature.name].schema if one.name == feature.name)
        assert field.description == feature.description
    assert not found.at_decision.online


def test_feast_is_imported_by_its_adapter_alone() -> None:
    root = Path(__file__).resolve().parents[2]
    importing = [
        file.relative_to(root).as_posix()
        for folder in ("layers/shared/tips", "functions", "bridge", "devstack", "offline")
        for file in (root / folder).rglob("*.py")
        if any(line.strip().startswith(("import feast", "from feast")) for line in file.read_text().splitlines())
    ]
    assert importing == ["offline/feature_store/feast_repo.py"]
