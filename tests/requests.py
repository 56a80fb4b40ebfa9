"""Requests as a recommender sends them, and what they left behind."""

from __future__ import annotations

from typing import Any

from ulid import ULID

from tips.settings import Settings
from tips.state.table import Table

CANDIDATES: list[dict[str, Any]] = [
    {"id": "report", "kind": "task", "source": "todoist", "features": {"is_overdue": True, "priority": 4}},
    {"id": "plants", "kind": "task", "source": "todoist", "features": {"task_age_days": 3, "priority": 1}},
    {"id": "walk", "kind": "advice", "source": "llm", "content": "A secret walk", "features": {"unknown": 0.25}},
]
CONTEXT: dict[str, Any] = {"hour_of_day": 9, "day_of_week": 2, "timezone": "Europe/Berlin"}
PROFILE: dict[str, Any] = {
    "completion_rate_30d": 0.4,
    "dismiss_rate_30d": 0.2,
    "mean_dwell_ms_30d": 90_000,
    "preferred_hour": 20,
    "tip_volume_30d": 17,
}


def score_request(**changes: Any) -> dict[str, Any]:
    return {
        "user_id": "anna",
        "candidates": CANDIDATES,
        "context": CONTEXT,
        "profile_features": PROFILE,
        **changes,
    }


def stats(score: Any, path: str = "/stats/anna") -> tuple[int, float]:
    """Return pulls and cumulative reward."""
    body = score.call("GET", path).json
    return body["pulls"], body["cumulative_reward"]


def decided_at_us(decision_id: str) -> int:
    return round(ULID.from_str(decision_id).timestamp * 1_000_000)


def connect(table: Any) -> Table:
    return Table(Settings(table_name=table.name, dynamodb_endpoint=table.endpoint), timeout_ms=5000)
