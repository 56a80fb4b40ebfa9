"""Consume: both envelopes, every subject, partial batch responses, dead letters; through the real handler."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest

from devstack.events import envelope, jetstream_batch, sqs_batch
from tests.requests import score_request

AT = "2026-11-20T08:30:00Z"

PAYLOADS: dict[str, dict[str, Any]] = {
    "signals.task.synced": {"user_id": "anna", "task_count": 12, "synced_at": AT, "source": "todoist"},
    "signals.tip.served": {
        "user_id": "anna",
        "tip_id": "report",
        "decision_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "policy": "egreedy-v2",
        "prompt_version": "v1",
        "kind": "task",
        "shown_at": AT,
    },
    "signals.tip.feedback": {
        "user_id": "anna",
        "tip_id": "report",
        "decision_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "action": "done",
        "dwell_ms": 1234.5,
    },
    "feedback.tip": {"user_id": "anna", "tip_id": "report", "action": "dismiss", "dwell_ms": 10},
    "signals.tip.reward_failed": {
        "user_id": "anna",
        "tip_id": "report",
        "decision_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "reward": 0.5,
        "action": "done",
        "dwell_ms": 20,
        "error": "timeout",
    },
    "signals.integration.token_expired": {"user_id": "anna", "source": "todoist"},
}
REQUIRED = [
    (subject, name)
    for subject, payload in PAYLOADS.items()
    for name in payload
    if name in ("user_id", "tip_id", "task_count", "synced_at", "shown_at")
    or (name == "action" and subject != "signals.tip.reward_failed")
    or (name == "source" and subject == "signals.integration.token_expired")
]
OK: dict[str, Any] = {"batchItemFailures": []}


def failed(*identifiers: str) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": one} for one in identifiers]}


def batch(subject: str, payload: Any, **options: Any) -> dict[str, Any]:
    return jetstream_batch([(subject, envelope(payload))], **options)


def kept(table: Any) -> list[dict[str, Any]]:
    """What is kept of people, which leaves out when bad records were first seen."""
    return [item for item in table.items() if "first_delivered_at" not in item or "data" in item]


def camel(payload: dict[str, Any]) -> dict[str, Any]:
    def name(snake: str) -> str:
        first, *rest = snake.split("_")
        return first + "".join(part.capitalize() for part in rest)

    return {name(key): value for key, value in payload.items()}


@pytest.mark.parametrize("subject", PAYLOADS)
@pytest.mark.parametrize("style", [dict, camel])
@pytest.mark.parametrize("wrap", [jetstream_batch, sqs_batch])
def test_every_payload_in_both_styles_and_envelopes(consume: Any, subject: str, style: Any, wrap: Any) -> None:
    data = style(envelope(style({**PAYLOADS[subject], "new_field": {"kept": [1]}})))
    assert consume.invoke(wrap([(subject, data)])) == OK


@pytest.mark.parametrize("subject", PAYLOADS)
def test_optional_fields_may_be_missing_or_null(consume: Any, subject: str) -> None:
    needed = {name for one, name in REQUIRED if one == subject}
    payload = PAYLOADS[subject]
    if subject == "signals.tip.reward_failed":
        needed.add("reward")
    assert consume.invoke(batch(subject, {name: payload[name] for name in needed})) == OK
    nulls = {name: value if name in needed else None for name, value in payload.items()}
    assert consume.invoke(batch(subject, nulls)) == OK


@pytest.mark.parametrize(("subject", "name"), REQUIRED)
def test_a_missing_required_field_fails_its_record(consume: Any, table: Any, subject: str, name: str) -> None:
    payload = {key: value for key, value in PAYLOADS[subject].items() if key != name}
    assert consume.invoke(batch(subject, payload)) == failed("1")
    assert kept(table) == []


@pytest.mark.parametrize("name", ["event_id", "occurred_at", "schema_version", "producer", "payload"])
def test_a_missing_envelope_field_fails_its_record(consume: Any, name: str) -> None:
    data = {key: value for key, value in envelope(PAYLOADS["feedback.tip"]).items() if key != name}
    assert consume.invoke(jetstream_batch([("feedback.tip", data)])) == failed("1")


@pytest.mark.parametrize(
    ("subject", "changes"),
    [
        ("feedback.tip", {"action": "applaud"}),
        ("feedback.tip", {"action": None}),
        ("feedback.tip", {"action": 1}),
        ("feedback.tip", {"dwell_ms": -1}),
        ("feedback.tip", {"dwell_ms": "12"}),
        ("feedback.tip", {"user_id": ""}),
        ("feedback.tip", {"user_id": 7}),
        ("feedback.tip", {"tip_id": "x" * 129}),
        ("signals.tip.served", {"kind": "poem"}),
        ("signals.tip.served", {"shown_at": "yesterday"}),
        ("signals.task.synced", {"task_count": -1}),
        ("signals.task.synced", {"task_count": 1.5}),
        ("signals.task.synced", {"task_count": True}),
        ("signals.tip.reward_failed", {"reward": 1.5}),
        ("signals.tip.reward_failed", {"reward": float("nan")}),
        ("signals.tip.reward_failed", {"reward": None, "action": None}),
    ],
)
def test_a_value_that_is_not_allowed_fails_its_record(
    consume: Any, table: Any, subject: str, changes: dict[str, Any]
) -> None:
    assert consume.invoke(batch(subject, {**PAYLOADS[subject], **changes})) == failed("1")
    assert kept(table) == []


@pytest.mark.parametrize("wrap", [jetstream_batch, sqs_batch])
def test_a_bad_record_leaves_its_neighbours_alone(consume: Any, table: Any, wrap: Any) -> None:
    synced = [{**PAYLOADS["signals.task.synced"], "user_id": f"user-{number}"} for number in range(3)]
    messages = [("signals.task.synced", envelope(one)) for one in synced]
    bad = ("feedback.tip", envelope({**PAYLOADS["feedback.tip"], "action": "applaud"}))
    event = wrap([messages[0], bad, messages[1], ("feedback.tip", b"\xff no json"), messages[2]])
    identifiers = [one.get("messageId") or str(one["stream_seq"]) for one in event.get("Records") or event["records"]]
    assert consume.invoke(event) == failed(identifiers[1], identifiers[3])
    assert {item["pk"]["S"] for item in kept(table)} == {"U#user-0", "U#user-1", "U#user-2"}


def synced_item(table: Any) -> tuple[str, str]:
    (item,) = table.items()
    assert (item["pk"]["S"], item["sk"]["S"]) == ("U#anna", "S#todoist")
    assert int(item["ttl"]["N"]) > 0
    return item["task_count"]["N"], item["synced_at"]["N"]


def test_task_synced_the_latest_wins_in_any_order(consume: Any, table: Any) -> None:
    def sync(count: int, at: str) -> None:
        payload = {"user_id": "anna", "task_count": count, "synced_at": at, "source": "todoist"}
        assert consume.invoke(batch("signals.task.synced", payload)) == OK

    sync(5, "2026-11-20T08:00:00Z")
    sync(7, "2026-11-20T10:00:00+01:00")
    later = synced_item(table)
    assert later[0] == "7"
    sync(6, "2026-11-20T08:30:00Z")
    sync(7, "2026-11-20T09:00:00Z")
    assert synced_item(table) == later
    sync(0, "2026-11-20T09:00:00.000001Z")
    assert synced_item(table)[0] == "0"


def test_token_expired_is_kept_beside_the_sync(consume: Any, table: Any) -> None:
    for subject in ("signals.task.synced", "signals.integration.token_expired"):
        assert consume.invoke(batch(subject, PAYLOADS[subject])) == OK
    (item,) = table.items()
    assert {"synced_at", "token_expired_at"} <= item.keys()


def test_tip_served_marks_the_decision_shown_at_its_first_showing(score: Any, consume: Any) -> None:
    body = score.call("POST", "/score", score_request()).json
    user = {"user_id": "anna", "tip_id": body["tip_id"], "decision_id": body["decision_id"]}

    def shown(at: str) -> tuple[str, str]:
        assert consume.invoke(batch("signals.tip.served", {**user, "shown_at": at})) == OK
        logged = score.call("GET", f"/decisions/{body['decision_id']}", query={"user_id": "anna"}).json
        return logged["ts"], logged["shown_at"]

    decided, first = shown("9999-12-31T23:59:59.999999Z")
    assert decided < first < "2999"  # no later than it was told
    assert shown("9999-12-31T23:59:59.999999Z")[1] == first
    assert shown("0001-01-01T00:00:00Z")[1] == decided  # no earlier than it was decided
    assert shown("2999-01-01T00:00:00Z")[1] == decided


@pytest.mark.parametrize("decision_id", ["01ARZ3NDEKTSV4RRFFQ69G5FAV", "no ulid"])
def test_tip_served_makes_no_decision_of_its_own(consume: Any, table: Any, decision_id: str) -> None:
    payload = {**PAYLOADS["signals.tip.served"], "decision_id": decision_id}
    assert consume.invoke(batch("signals.tip.served", payload)) == OK
    # That it was shown is counted all the same, once.
    assert sorted((item["pk"]["S"], item["sk"]["S"][:2]) for item in table.items()) == [
        ("G#anna", "P"),
        ("U#anna", "E#"),
    ]


def test_feedback_without_decision_id_reaches_the_decision_that_showed_the_tip(score: Any, consume: Any) -> None:
    body = score.call("POST", "/score", score_request()).json
    payload = {"user_id": "anna", "tip_id": body["tip_id"], "action": "helpful"}
    event = jetstream_batch([("feedback.tip", envelope(payload, occurred_at="2999-01-01T00:00:00Z"))])
    assert consume.invoke(event) == OK
    assert score.call("GET", "/stats/anna").json["cumulative_reward"] == 0.5


@pytest.mark.parametrize(("reward", "learned"), [({"reward": 0.25}, 0.25), ({"action": "snooze"}, 0.1)])
def test_a_reward_that_http_lost_is_a_reward(score: Any, consume: Any, reward: dict[str, Any], learned: float) -> None:
    body = score.call("POST", "/score", score_request()).json
    payload = {"user_id": "anna", "tip_id": body["tip_id"], "decision_id": body["decision_id"], **reward}
    assert consume.invoke(batch("signals.tip.reward_failed", payload)) == OK
    assert score.call("GET", "/stats/anna").json["cumulative_reward"] == learned


@pytest.mark.parametrize("subject", ["signals.tip.shared", "feedback.app", "signals.x"])
@pytest.mark.parametrize("data", [b"", b"\x00\xff", b'{"any": "thing"}'])
def test_an_unknown_subject_is_done(consume: Any, subject: str, data: bytes, capsys: Any) -> None:
    assert consume.invoke(jetstream_batch([(subject, data)])) == OK
    assert "EventUnknownSubject" in capsys.readouterr().out


@pytest.mark.parametrize("version", [1, 1.0, "1", "2.3"])
def test_a_schema_version_is_a_whole_number_or_a_text(consume: Any, version: Any) -> None:
    data = envelope(PAYLOADS["feedback.tip"], schema_version=version)
    assert consume.invoke(jetstream_batch([("feedback.tip", data)])) == OK


def test_bad_records_wait_for_a_slow_table_at_the_same_time(load_function: Any) -> None:
    from tests.faulty_dynamodb import faulty_dynamodb

    with faulty_dynamodb("throttling") as endpoint:
        consume = load_function("consume", DYNAMODB_ENDPOINT=endpoint, TABLE_DEADLINE_MS="1000")
        event = jetstream_batch([("feedback.tip", b"no json")] * 8, num_delivered=9)
        started = time.monotonic()
        assert consume.invoke(event) == failed(*map(str, range(1, 9)))
        assert time.monotonic() - started < 6  # and not eight deadlines


def test_a_subject_of_somebody_else_is_a_bad_record(consume: Any) -> None:
    assert consume.invoke(batch("orders.created", {})) == failed("1")


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"records": []},
        {"Records": []},
        {"source": "nats.jetstream"},
        {"source": "nats.jetstream", "records": {}},
        {"source": "nats.jetstream", "records": [{"subject": "feedback.tip", "data": ""}]},
        {"source": "nats.jetstream", "records": [{"stream_seq": None, "subject": "feedback.tip", "data": ""}]},
        {"source": "nats.jetstream", "records": [{"stream_seq": -1, "subject": "feedback.tip", "data": ""}]},
        {"source": "nats.jetstream", "records": ["text"]},
        {"Records": [{"eventSource": "aws:sqs", "body": "{}"}]},
        {"Records": [{"eventSource": "aws:s3", "messageId": "1", "body": "{}"}]},
        [],
        "text",
        None,
    ],
)
def test_what_cannot_be_acknowledged_record_by_record_raises(consume: Any, event: Any) -> None:
    with pytest.raises(ValueError, match=r"event|record"):
        consume.invoke(event)


def test_an_empty_batch_has_no_failures(consume: Any) -> None:
    assert consume.invoke({"source": "nats.jetstream", "stream": "signals", "records": []}) == OK


@pytest.mark.parametrize(
    ("change", "raw"),
    [
        ({"data": "not base64!"}, b"not base64!"),
        ({"data": base64.b64encode(b"[1, 2").decode()}, b"[1, 2"),
        ({"data": base64.b64encode(b"[" * 100_000).decode()}, b"[" * 100_000),
        ({"subject": 7}, None),
        ({"data": None}, None),
    ],
)
def test_a_bad_record_becomes_a_dead_letter_after_five_deliveries(
    consume: Any, table: Any, change: dict[str, Any], raw: bytes | None
) -> None:
    event = batch("feedback.tip", PAYLOADS["feedback.tip"], first_seq=77)
    event["records"][0].update(change)
    for delivered in (1, 2.0, "3", 4, None):
        event["records"][0]["num_delivered"] = delivered
        assert consume.invoke(event) == failed("77")
    assert kept(table) == []
    event["records"][0]["num_delivered"] = "5"
    assert consume.invoke(event) == OK
    (item,) = table.items()
    assert item["pk"]["S"].startswith("C#DLQ#")
    assert item["reason"]["S"]
    if raw is not None:
        assert item["data"]["B"] == raw
    assert consume.invoke(event) == OK
    assert len(table.items()) == 1


def test_a_dead_letter_larger_than_an_item_is_kept_in_parts(consume: Any, table: Any) -> None:
    raw = bytes(range(256)) * 3600  # 921,600 bytes that are no JSON
    assert consume.invoke(jetstream_batch([("feedback.tip", raw)], num_delivered=9)) == OK
    items = sorted(table.items(), key=lambda item: item["sk"]["S"])
    assert b"".join(item["data"]["B"] for item in items) == raw
    assert items[0]["parts"]["N"] == str(len(items)) == "4"


def test_a_bad_sqs_message_is_a_dead_letter_by_its_receive_count(consume: Any, table: Any) -> None:
    event = sqs_batch([("feedback.tip", b"no json")], receive_count=4)
    event["Records"][0]["body"] = "no record"
    identifier = event["Records"][0]["messageId"]
    assert consume.invoke(event) == failed(identifier)
    event["Records"][0]["attributes"] = None
    assert consume.invoke(event) == failed(identifier)
    event["Records"][0]["attributes"] = {"ApproximateReceiveCount": "5"}
    assert consume.invoke(event) == OK
    (item,) = table.items()
    assert item["data"]["B"] == b"no record"


def test_an_unreachable_table_fails_every_good_record_however_often_delivered(load_function: Any) -> None:
    consume = load_function("consume", DYNAMODB_ENDPOINT="http://127.0.0.1:1", TABLE_DEADLINE_MS="50")
    messages = [(subject, envelope(payload)) for subject, payload in PAYLOADS.items()]
    assert consume.invoke(jetstream_batch(messages, num_delivered=99)) == failed("1", "2", "3", "4", "5", "6")


def test_a_fault_of_ours_in_one_record_leaves_its_neighbours_alone(score: Any, consume: Any, table: Any) -> None:
    table.client.put_item(
        TableName=table.name, Item={"pk": {"S": "U#ben"}, "sk": {"S": "L"}, "rev": {"N": "1"}, "nonsense": {"S": "x"}}
    )
    ben = score.call("POST", "/score", score_request(user_id="ben")).json
    assert (ben["degraded"], ben["logged"]) == (True, True)
    payload = {"user_id": "ben", "tip_id": ben["tip_id"], "decision_id": ben["decision_id"], "action": "done"}
    event = jetstream_batch(
        [
            ("feedback.tip", envelope(payload)),
            ("signals.task.synced", envelope(PAYLOADS["signals.task.synced"])),
        ]
    )
    assert consume.invoke(event) == failed("1")
    assert any(item["pk"]["S"] == "U#anna" for item in table.items())


def test_without_time_left_the_rest_is_reported_as_failed(consume: Any, table: Any) -> None:
    messages = [("signals.task.synced", envelope(PAYLOADS["signals.task.synced"]))] * 3
    assert consume.invoke(jetstream_batch(messages), timeout=1.0) == failed("1", "2", "3")
    assert kept(table) == []


def test_logs_name_the_field_and_never_quote_the_record(consume: Any, caplog: Any, capsys: Any) -> None:
    payload = {**PAYLOADS["feedback.tip"], "user_id": "anna-secret", "tip_id": "tip-secret", "action": "action-secret"}
    consume.invoke(batch("feedback.tip", payload))
    (record,) = caplog.records
    assert record.reason.startswith("payload.action: ")
    assert "secret" not in repr(record.__dict__) + capsys.readouterr().out


def test_the_streams_count_of_deliveries_counts_for_an_sqs_message_too(consume: Any) -> None:
    bad = jetstream_batch([("feedback.tip", b"no json")], num_delivered=5)["records"][0]
    event = sqs_batch([("feedback.tip", b"no json")], receive_count=1)
    event["Records"][0]["body"] = json.dumps(bad)
    assert consume.invoke(event) == OK
