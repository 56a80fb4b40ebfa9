"""Tables to export, in this process or as DynamoDB's point-in-time export writes them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from ulid import ULID

from offline.feature_store.export import Manifest, export
from offline.feature_store.logs import Logs
from tips.bandit.decision import Decision, Evaluation
from tips.bandit.policy import Distribution
from tips.bandit.registry import POLICIES
from tips.features.vectors import Candidate, Situation

Item = dict[str, Any]
NOW = datetime.now(UTC).replace(microsecond=0)
US = 1_000_000
HOUR_US = 3600 * US


@dataclass
class Items:
    """A source of given items."""

    given: Sequence[Item]
    who_is_erased: AbstractSet[str] = frozenset()
    name: str = "items of a test"
    as_of_us: int = round(NOW.timestamp() * US)
    expected: int | None = None

    def items(self) -> Iterable[Item]:
        yield from self.given

    def erased(self, user_ids: Sequence[str]) -> AbstractSet[str]:
        return {one for one in user_ids if one in self.who_is_erased}


def exported(items: Sequence[Item], folder: Path, **options: Any) -> Logs:
    """Export items and read the export."""
    written(Items(items, **options), folder)
    return Logs.read(folder)


def written(source: Any, folder: Path, default_reward: float = 0.0) -> Manifest:
    return export(source, folder, default_reward, lambda what, done: None)


def decision_id_at(at_us: int, number: int = 0) -> str:
    return str(ULID.from_bytes((at_us // 1000).to_bytes(6, "big") + number.to_bytes(10, "big")))


def decision(user_id: str = "anna", **changes: Any) -> Decision:
    """A decision of an hour ago with all that one may hold; its vectors are what today's encoders give."""
    candidates = [
        {
            "id": "report",
            "kind": "task",
            "source": "todoist",
            "features": {"is_overdue": True, "priority": 4.0, "task_age_days": 3.7},
        },
        {
            "id": "walk",
            "kind": "advice",
            "source": "llm",
            "prompt_version": "v2-mentor",
            "model": "local/template",
            "generation_id": decision_id_at(changes_at(changes) - HOUR_US, 7),
            "features": {"unknown": 0.1 + 0.2},
        },
        {"id": "bare", "features": {}},
    ]
    profile = {"completion_rate_30d": 1 / 3, "mean_dwell_ms_30d": None, "preferred_hour": 20.5, "mood": 0.7}
    given: dict[str, Any] = {
        "user_id": user_id,
        "decision_id": decision_id_at(changes_at(changes)),
        "candidates": candidates,
        "situation": Situation(9.0, 2.0, profile),
        "chosen": 1,
        "policy": "igw-ucb",
        "epoch": 3,
        "degraded": False,
        "reward_wait_us": 24 * HOUR_US,
        "experiments": {"tone": "warm"},
        "context": {"timezone": "Europe/Berlin", "task_count": 5},
        "profile_sources": {"completion_rate_30d": "request", "mean_dwell_ms_30d": "request"},
        "took_us": 1234,
    } | {name: value for name, value in changes.items() if name != "at_us"}
    if "evaluations" not in given:
        given["evaluations"] = {
            name: evaluation(name, given["situation"], given["candidates"], given["chosen"])
            for name in dict.fromkeys((given["policy"], "egreedy-v2"))
        }
    return Decision(**given)


def changes_at(changes: dict[str, Any]) -> int:
    at_us: int = changes.get("at_us", round(NOW.timestamp() * US) - HOUR_US)
    return at_us


def evaluation(name: str, situation: Situation, candidates: Sequence[Item], chosen: int) -> Evaluation:
    policy = POLICIES[name]
    X = policy.schema.encode(situation, [Candidate.from_log(one) for one in candidates])
    k = len(candidates)
    scores = np.linspace(0.1, 0.9, k) / 3
    return Evaluation(
        name,
        policy.version,
        policy.schema.hash,
        policy.schema.names,
        {"gamma": 1 / 7},
        Distribution(scores, scores / 3, scores * 1.1, np.full(k, 1 / k)),
        X[chosen],
        "01J000000000000000000PR10R" if name == "igw-ucb" else None,
    )


@dataclass
class FakeExport:
    """Writes what DynamoDB writes: gzip-compressed lines, with manifests that count them and hash the files.

    root: the folder, or the prefix in a bucket, that DynamoDB would be given.
    """

    write: Callable[[str, bytes], None]
    prefix: str = ""
    files: int = 3
    name: str = "01700000000000-a1b2c3d4"
    data: str = field(default="", init=False)

    @classmethod
    def in_folder(cls, root: Path, **options: Any) -> FakeExport:
        def write(path: str, content: bytes) -> None:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)

        return cls(write, **options)

    def full(self, items: Sequence[Item], at: datetime) -> str:
        lines = [{"Item": as_text(item)} for item in items]
        summary = {"exportType": "FULL_EXPORT", "exportTime": _iso(at)}
        return self._written(lines, f"AWSDynamoDB/{self.name}/data", summary)

    def incremental(self, records: Sequence[Item], begin: datetime, end: datetime) -> str:
        summary = {
            "exportType": "INCREMENTAL_EXPORT",
            "exportTime": None,
            "exportFromTime": _iso(begin),
            "exportToTime": _iso(end),
            "outputView": "NEW_AND_OLD_IMAGES",
        }
        return self._written(records, "AWSDynamoDB/data", summary)

    def _written(self, lines: Sequence[Item], data: str, summary: Item) -> str:
        entries = []
        for number in range(self.files):
            part = lines[number :: self.files]
            text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in part)
            content = gzip.compress(text.encode())
            key = f"{self.prefix}{data}/{self.name[-4:]}{number:08}.json.gz"
            self.write(key, content)
            md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
            entries.append({"itemCount": len(part), "md5Checksum": md5, "etag": "e-1", "dataFileS3Key": key})
        place = f"{self.prefix}AWSDynamoDB/{self.name}"
        self.write(f"{place}/_started", b"")
        self.write(f"{place}/manifest-files.json", "".join(json.dumps(one) + "\n" for one in entries).encode())
        whole = {
            "version": "2023-08-01",
            "exportArn": f"arn:aws:dynamodb:eu-west-1:123456789012:table/tips/export/{self.name}",
            "tableArn": "arn:aws:dynamodb:eu-west-1:123456789012:table/tips",
            "s3Bucket": "exports",
            "s3Prefix": self.prefix.rstrip("/") or None,
            "manifestFilesS3Key": f"{place}/manifest-files.json",
            "billedSizeBytes": 0,
            "itemCount": len(lines),
            "outputFormat": "DYNAMODB_JSON",
            **summary,
        }
        self.write(f"{place}/manifest-summary.json", json.dumps(whole).encode())
        return place


def change(new: Item | None, at_us: int, old: Item | None = None) -> Item:
    """A record of an incremental export; without a new image a removal."""
    item = new or old
    assert item is not None
    record: Item = {
        "Metadata": {"WriteTimestampMicros": {"N": str(at_us)}},
        "Keys": {"pk": item["pk"], "sk": item["sk"]},
    }
    if new is not None:
        record["NewImage"] = as_text(new)
    if old is not None:
        record["OldImage"] = as_text(old)
    return record


def as_text(value: Any) -> Any:
    """An item as an export has it: binary values as base64 text."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: as_text(one) for name, one in value.items()}
    return [as_text(one) for one in value] if isinstance(value, list) else value


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
