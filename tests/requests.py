"""Requests as a recommender sends them."""

from __future__ import annotations

from typing import Any

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
