"""Write events/*.json: one ready event per thing a developer wants to replay. Same input, same files."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

EVENTS = Path(__file__).resolve().parents[1] / "events"
USER = "demo-user"
AT = "2026-11-20T08:30:00Z"
# A reaction is taken to be no later than its arrival, so these count after any decision taken before the replay.
REACTED_AT = "2999-01-01T00:00:00Z"

CANDIDATES = [
    {
        "id": "task-report",
        "kind": "task",
        "source": "todoist",
        "content": "Send the quarterly report",
        "features": {"is_overdue": True, "task_age_days": 9, "priority": 4},
    },
    {
        "id": "task-plants",
        "kind": "task",
        "source": "todoist",
        "content": "Water the plants",
        "features": {"is_overdue": False, "task_age_days": 1, "priority": 1},
    },
    {
        "id": "tip-walk",
        "kind": "advice",
        "source": "llm",
        "prompt_version": "v1",
        "content": "A ten minute walk before the next meeting clears the head",
        "features": {"priority": 2},
    },
]
PROFILE = {
    "completion_rate_30d": 0.62,
    "dismiss_rate_30d": 0.14,
    "mean_dwell_ms_30d": 84000,
    "preferred_hour": 9,
    "tip_volume_30d": 41,
}
CONTEXT = {"hour_of_day": 8, "day_of_week": 4, "timezone": "Europe/Berlin"}
SCORE = {"user_id": USER, "candidates": CANDIDATES, "context": CONTEXT}


def url_event(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return a function-URL event (payload format 2.0) of a POST."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json", "host": "localhost", "user-agent": "events"},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "local",
            "domainName": "localhost",
            "domainPrefix": "local",
            "http": {
                "method": "POST",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "events",
            },
            "requestId": "00000000-0000-4000-8000-000000000001",
            "routeKey": "$default",
            "stage": "$default",
            "time": "20/Nov/2026:08:30:00 +0000",
            "timeEpoch": 1795163400000,
        },
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }


def record(subject: str, sequence: int, payload: dict[str, Any]) -> dict[str, Any]:
    """Return one JetStream record of an event with that payload."""
    envelope = {
        "event_id": f"demo-event-{sequence}",
        "occurred_at": REACTED_AT,
        "schema_version": 1,
        "producer": "recommender",
        "payload": payload,
    }
    return {
        "subject": subject,
        "stream_seq": sequence,
        "consumer_seq": sequence,
        "num_delivered": 1,
        "timestamp": AT,
        "headers": {},
        "data": base64.b64encode(json.dumps(envelope).encode()).decode(),
    }


def batch(*records: dict[str, Any]) -> dict[str, Any]:
    """Return the batch that the bridge hands to consume."""
    stream = records[0]["subject"].partition(".")[0]
    return {
        "source": "nats.jetstream",
        "stream": stream,
        "consumer": f"feature-pipeline-{stream}",
        "records": list(records),
    }


def sqs(*records: dict[str, Any]) -> dict[str, Any]:
    """Return an SQS event whose bodies are single records."""
    return {
        "Records": [
            {
                "messageId": f"00000000-0000-4000-8000-{one['stream_seq']:012d}",
                "receiptHandle": "local",
                "body": json.dumps(one),
                "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1795163400000"},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:tips-events",
                "awsRegion": "eu-west-1",
            }
            for one in records
        ]
    }


def reward_wait_over(decision_id: str) -> dict[str, Any]:
    """Return the event of the table's stream after TTL removed the marker of a decision's reward wait."""
    return {
        "Records": [
            {
                "eventID": "c4ca4238a0b923820dcc509a6f75849b",
                "eventName": "REMOVE",
                "eventVersion": "1.1",
                "eventSource": "aws:dynamodb",
                "awsRegion": "eu-west-1",
                "dynamodb": {
                    "ApproximateCreationDateTime": 1795163400,
                    "Keys": {"pk": {"S": f"U#{USER}"}, "sk": {"S": f"W#{decision_id}"}},
                    "SequenceNumber": "100000000000000000001",
                    "SizeBytes": 42,
                    "StreamViewType": "KEYS_ONLY",
                },
                "userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"},
                "eventSourceARN": "arn:aws:dynamodb:eu-west-1:123456789012:table/tips/stream/2026-11-01T00:00:00.000",
            }
        ]
    }


SYNCED = record("signals.task.synced", 1, {"user_id": USER, "task_count": 12, "synced_at": AT, "source": "todoist"})
SERVED = record("signals.tip.served", 2, {"user_id": USER, "tip_id": "task-report", "kind": "task", "shown_at": AT})
SIGNAL_FEEDBACK = record(
    "signals.tip.feedback", 3, {"user_id": USER, "tip_id": "task-report", "action": "done", "dwell_ms": 42000}
)
FEEDBACK = record("feedback.tip", 4, {"userId": USER, "tipId": "task-plants", "action": "dismiss"})
REWARD_FAILED = record(
    "signals.tip.reward_failed", 5, {"user_id": USER, "tip_id": "task-report", "reward": 0.5, "error": "timeout"}
)
TOKEN_EXPIRED = record("signals.integration.token_expired", 6, {"user_id": USER, "source": "todoist"})
UNKNOWN = record("signals.tip.shared", 7, {"user_id": USER, "tip_id": "task-report"})
BAD = record("signals.tip.feedback", 8, {"user_id": USER, "tip_id": "task-report", "action": "applaud"})

FILES: dict[str, dict[str, Any]] = {
    "score.json": url_event("/score", SCORE),
    "score_profile.json": url_event("/score", {**SCORE, "profile_features": PROFILE, "explain": True}),
    "score_legacy.json": url_event("/score/egreedy", SCORE),
    "reward.json": url_event(
        "/reward",
        {
            "user_id": USER,
            "tip_id": "task-report",
            "reward": 1.0,
            "features": {"is_overdue": True, "task_age_days": 9, "priority": 4, "hour_of_day": 8, "day_of_week": 4},
        },
    ),
    "consume_task_synced.json": batch(SYNCED),
    "consume_tip_served.json": batch(SERVED),
    "consume_tip_feedback.json": batch(SIGNAL_FEEDBACK),
    "consume_feedback_tip.json": batch(FEEDBACK),
    "consume_reward_failed.json": batch(REWARD_FAILED),
    "consume_token_expired.json": batch(TOKEN_EXPIRED),
    "consume_unknown_subject.json": batch(UNKNOWN),
    "consume_mixed_one_bad.json": batch(SYNCED, SERVED, BAD, SIGNAL_FEEDBACK),
    "consume_sqs.json": sqs(SYNCED, FEEDBACK),
    "consume_reward_wait_over.json": reward_wait_over("01M7YYVCV6EATNRANDWSNHRZSN"),
}


def render(event: dict[str, Any]) -> str:
    return json.dumps(event, indent=2) + "\n"


if __name__ == "__main__":
    EVENTS.mkdir(exist_ok=True)
    for name, event in FILES.items():
        (EVENTS / name).write_text(render(event))
