"""Profile features in Feast: views generated from their definitions here, over an export, served from DynamoDB.

Nothing else imports Feast. It sends no usage data any more, and has no network but DynamoDB's here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml
from botocore.session import Session
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.infra.online_stores.helpers import compute_entity_id
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float64

from tips.features.profile_schema import PROFILE_FEATURES, ProfileFeature

if TYPE_CHECKING:
    from offline.feature_store.logs import Logs

PROJECT = "tips_features"
SERVICE = "profile"
AT_DECISION = "profile_at_decision"
_UPDATED_AT = {"reactions": "reactions_at", "tips shown": "shown_at"}
"""The column that says how old a feature is, by what the feature is computed from."""
_BEGIN = datetime(2000, 1, 1, tzinfo=UTC)
_KEY_VERSION = 3

USER = Entity(
    name="user",
    join_keys=["user_id"],
    value_type=ValueType.STRING,
    description="a person, as the recommender names them",
)


@dataclass(frozen=True, slots=True)
class Definitions:
    """What is applied to a registry. online: views that are materialised; updated_at: the column of their time."""

    online: dict[str, FeatureView]
    updated_at: dict[str, str]
    at_decision: FeatureView
    service: FeatureService

    @property
    def all(self) -> list[Any]:
        return [USER, *self.online.values(), self.at_decision, self.service]


def definitions(logs: Logs) -> Definitions:
    """Generate the views over an export from `PROFILE_FEATURES`.

    A view has one time-to-live and one time of update, so there is one per pair of these; the service `profile` holds
    them all. `profile_at_decision` is what decisions saw, for joins as of a point in time, and never online.
    """
    groups: defaultdict[tuple[str, int], list[ProfileFeature]] = defaultdict(list)
    for feature in PROFILE_FEATURES:
        groups[feature.source, feature.ttl_sec].append(feature)
    online, updated_at = {}, {}
    for (source, ttl_sec), features in groups.items():
        name = f"profile_{source.replace(' ', '_')}_{ttl_sec}s"
        updated_at[name] = _UPDATED_AT[source]
        files = FileSource(
            name=name,
            path=str((logs.folder / "profiles" / "part-0.parquet").absolute()),
            timestamp_field=updated_at[name],
        )
        online[name] = FeatureView(
            name=name,
            entities=[USER],
            ttl=timedelta(seconds=ttl_sec),
            schema=_fields(features),
            source=files,
            online=True,
            description=f"profile features of {source}, as stored online",
        )
    decisions = FileSource(
        name=AT_DECISION, path=str((logs.folder / "decisions").absolute()), timestamp_field="decided_at"
    )
    at_decision = FeatureView(
        name=AT_DECISION,
        entities=[USER],
        ttl=timedelta(0),  # whatever their age: a decision saw what it saw
        schema=_fields(PROFILE_FEATURES),
        source=decisions,
        online=False,
        description="profile features as decisions saw them",
    )
    service = FeatureService(name=SERVICE, features=list(online.values()))
    return Definitions(online, updated_at, at_decision, service)


def _fields(features: Iterable[ProfileFeature]) -> list[Field]:
    types = {"float": Float64}
    return [Field(name=one.name, dtype=types[one.dtype], description=one.description) for one in features]


def apply(logs: Logs, repo: Path, region: str, endpoint: str | None) -> FeatureStore:
    """Write `feature_store.yaml` and the registry to the folder, and make the online tables.

    Any program with Feast serves from it then: `FeatureStore(repo_path=...)`. The tables are Feast's own,
    `tips_features.<view>`, and never the service's.
    """
    repo.mkdir(parents=True, exist_ok=True)
    online = {"type": "dynamodb", "region": region, "endpoint_url": endpoint}
    configuration = {
        "project": PROJECT,
        "provider": "local",
        "registry": str((repo / "registry.db").absolute()),
        "offline_store": {"type": "file"},
        "online_store": {name: value for name, value in online.items() if value is not None},
        "entity_key_serialization_version": _KEY_VERSION,
    }
    (repo / "feature_store.yaml").write_text(yaml.safe_dump(configuration, sort_keys=False), encoding="utf-8")
    store = FeatureStore(repo_path=str(repo))
    found = definitions(logs)
    # A feature that now has another time to live is in another view; the old one goes, with its table.
    known = {*found.online, found.at_decision.name}
    gone = [view for view in store.list_feature_views() if view.name not in known]
    store.apply(found.all, objects_to_delete=[*gone], partial=False)
    return store


@dataclass(frozen=True, slots=True)
class Materialised:
    """What is online now in a view. removed: people who are not in the export any more."""

    view: str
    people: int
    removed: int


def materialize(logs: Logs, store: FeatureStore, region: str, endpoint: str | None) -> list[Materialised]:
    """Write the export's profiles to the online tables, and remove everybody who is not in it, as the erased are."""
    done = []
    for name, updated_at in definitions(logs).updated_at.items():
        people = logs.profiles.filter(pl.col(updated_at).is_not_null())["user_id"].to_list()
        removed = _remove_others(f"{PROJECT}.{name}", people, region, endpoint)
        if people:
            store.materialize(_BEGIN, datetime.now(UTC), feature_views=[name])
        done.append(Materialised(name, len(people), removed))
    return done


def _remove_others(table_name: str, people: Sequence[str], region: str, endpoint: str | None) -> int:
    """Remove the rows of all but these from one of Feast's tables; a row's key is a hash of the person's id."""
    kept = {_entity_id(user_id) for user_id in people}
    client: Any = Session().create_client("dynamodb", region_name=region, endpoint_url=endpoint)
    pages = client.get_paginator("scan").paginate(TableName=table_name, ProjectionExpression="entity_id")
    others = [item for page in pages for item in page["Items"] if item["entity_id"]["S"] not in kept]
    for item in others:
        client.delete_item(TableName=table_name, Key=item)
    return len(others)


def _entity_id(user_id: str) -> str:
    key = EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=user_id)])
    return str(compute_entity_id(key, entity_key_serialization_version=_KEY_VERSION))
