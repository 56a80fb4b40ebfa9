"""Profile features kept online: equal to a batch computation over the raw events, used while fresh, shown with age."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from devstack.events import envelope, jetstream_batch
from tests.requests import PROFILE, score_request
from tips.features.profile_counters import CountedReaction, ProfileCounters
from tips.features.profile_schema import PROFILE_FEATURES

OK: dict[str, Any] = {"batchItemFailures": []}
NAMES = [feature.name for feature in PROFILE_FEATURES]
DAY_US = 86_400_000_000


def profile(score: Any, user: str = "anna") -> dict[str, Any]:
    answer = score.call("GET", f"/profile/{user}")
    assert answer.status == 200
    assert answer.json["user_id"] == user
    features: dict[str, Any] = answer.json["features"]
    assert list(features) == NAMES
    return features


def values(score: Any, user: str = "anna") -> list[Any]:
    return [one["value"] for one in profile(score, user).values()]


def decide(score: Any, user: str = "anna", **changes: Any) -> dict[str, Any]:
    request = {"user_id": user, "candidates": [{"id": "a"}, {"id": "b"}], **changes}
    body: dict[str, Any] = score.call("POST", "/score", request).json
    assert body["logged"]
    return body


def iso(at: datetime) -> str:
    return at.isoformat()


def feedback(user: str, tip_id: str, action: str, at: datetime | None = None, **payload: Any) -> tuple[str, Any]:
    at = at or datetime.now(UTC)
    body = {"user_id": user, "tip_id": tip_id, "action": action, **payload}
    return "signals.tip.feedback", envelope(body, occurred_at=iso(at))


def served(user: str, tip_id: str, at: datetime | None = None, **payload: Any) -> tuple[str, Any]:
    at = at or datetime.now(UTC)
    return "signals.tip.served", envelope({"user_id": user, "tip_id": tip_id, "shown_at": iso(at), **payload})


def test_nothing_stored_is_fallbacks_that_are_not_fresh(score: Any) -> None:
    assert values(score) == [0.0, 0.0, 0.0, None, 0.0]
    for name, one in profile(score).items():
        assert (one["updated_at"], one["age_sec"], one["fresh"]) == (None, None, False)
        assert one["ttl_sec"] == (7 * 86_400 if name == "preferred_hour" else 86_400)


def batch_computation(events: list[tuple[str, Any]], today: int) -> list[float | None]:
    """The five features from raw events alone, by their definitions; imports nothing of the service."""
    told: dict[str, Any] = {}
    for subject, event in events:
        told.setdefault(event["event_id"], (subject, event))
    latest: dict[str, tuple[datetime, str, Any]] = {}
    shown = 0
    for event_id, (subject, event) in told.items():
        payload = event["payload"]
        if subject == "signals.tip.served":
            shown += today - 29 <= day(payload["shown_at"]) <= today
            continue
        about = payload.get("decision_id") or event_id
        one = (datetime.fromisoformat(event["occurred_at"]), event_id, payload)
        if about not in latest or one[:2] > latest[about][:2]:
            latest[about] = one
    counted = [one for one in latest.values() if today - 29 <= day(iso(one[0])) <= today and "action" in one[2]]
    actions = Counter(payload["action"] for *_, payload in counted)
    dwells = [payload["dwell_ms"] for *_, payload in counted if payload.get("dwell_ms") is not None]
    hours = Counter(at.astimezone(UTC).hour for at, _, payload in counted if payload["action"] == "done")
    number = len(counted)
    return [
        actions["done"] / number if number else 0.0,
        actions["dismiss"] / number if number else 0.0,
        sum(dwells) / len(dwells) if dwells else 0.0,
        float(min(hours, key=lambda hour: (-hours[hour], hour))) if hours else None,
        float(shown),
    ]


def day(text: str) -> int:
    return datetime.fromisoformat(text).astimezone(UTC).toordinal()


@pytest.mark.parametrize("seed", range(6))
def test_any_shuffled_duplicated_split_stream_equals_the_batch_computation(score: Any, consume: Any, seed: int) -> None:
    rng = random.Random(seed)
    users = ("anna", "ben", "cleo")
    decided = [(user, decide(score, user)) for user in users for _ in range(6)]
    now = datetime.now(UTC)
    by_user: defaultdict[str, list[tuple[str, Any]]] = defaultdict(list)
    for user, body in decided:
        for _ in range(rng.randrange(4)):  # revised, in whatever order
            action = rng.choice(["done", "done", "dismiss", "snooze", "helpful", "not_helpful"])
            more: dict[str, Any] = {"dwell_ms": rng.randrange(500_000)} if rng.random() < 0.6 else {}
            by_user[user].append(feedback(user, body["tip_id"], action, decision_id=body["decision_id"], **more))
        by_user[user].append(served(user, body["tip_id"], decision_id=body["decision_id"]))
    for user in users:  # of tips that nobody here decided on, up to two months ago
        for number in range(12):
            at = now - timedelta(days=rng.choice([0, 1, 5, 20, 29, 30, 31, 60]), hours=rng.randrange(3))
            by_user[user].append(feedback(user, f"t{number}", rng.choice(["done", "dismiss"]), at, dwell_ms=number))
            by_user[user].append(served(user, f"t{number}", at))
    stream = [event for events in by_user.values() for event in events]
    stream += rng.sample(stream, len(stream) // 4)
    stream += [("feedback.tip", event) for subject, event in stream[:10] if subject == "signals.tip.feedback"]
    rng.shuffle(stream)
    while stream:
        size = rng.choice([1, 3, 20])
        assert consume.invoke(jetstream_batch(stream[:size], stream="signals")) == OK
        del stream[:size]
    # A day may have begun meanwhile; then a person's last update was on the one or on the other.
    days = {now.toordinal(), datetime.now(UTC).toordinal()}
    for user in users:
        expected = [pytest.approx(batch_computation(by_user[user], day)) for day in days]
        assert values(score, user) in expected
        assert all(one["fresh"] for one in profile(score, user).values() if one["updated_at"])


def test_http_and_event_are_one_reaction(score: Any, consume: Any) -> None:
    body = decide(score)
    about = {"user_id": "anna", "tip_id": body["tip_id"], "decision_id": body["decision_id"], "action": "done"}
    event = envelope(about)
    reward = {**about, "event_id": event["event_id"], "occurred_at": event["occurred_at"]}
    for _ in range(2):
        assert score.call("POST", "/reward", reward).status == 200
        assert consume.invoke(jetstream_batch([("signals.tip.feedback", event), ("feedback.tip", event)])) == OK
    other = decide(score)
    consume.invoke(jetstream_batch([feedback("anna", other["tip_id"], "dismiss", decision_id=other["decision_id"])]))
    assert values(score)[:2] == [0.5, 0.5]


def test_a_revision_moves_the_counts_and_an_explicit_reward_takes_them_out(score: Any, consume: Any) -> None:
    body = decide(score)
    about = {"decision_id": body["decision_id"]}
    consume.invoke(jetstream_batch([feedback("anna", body["tip_id"], "done", dwell_ms=60_000, **about)]))
    assert values(score)[:3] == [1.0, 0.0, 60_000]
    consume.invoke(jetstream_batch([feedback("anna", body["tip_id"], "dismiss", **about)]))
    assert values(score)[:4] == [0.0, 1.0, 0.0, None]
    score.call("POST", "/reward", {"user_id": "anna", **about, "reward": 0.25})
    assert values(score)[:2] == [0.0, 0.0]
    assert not profile(score)["completion_rate_30d"]["fresh"]


def test_an_erasure_takes_the_profile_along_and_a_reset_does_not(score: Any, consume: Any) -> None:
    consume.invoke(jetstream_batch([feedback("anna", "t", "done"), served("anna", "t")]))
    score.call("POST", "/reset/anna")
    assert values(score)[0] == 1.0
    assert score.call("DELETE", "/users/anna").json["erased"]["profile"] == 1
    consume.invoke(jetstream_batch([feedback("anna", "t", "done"), served("anna", "t")]))
    assert values(score) == [0.0, 0.0, 0.0, None, 0.0]


def logged(score: Any, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    whole = score.call("GET", f"/decisions/{body['decision_id']}", query={"user_id": "anna"}).json
    return whole["profile_features"], whole["profile_sources"]


def test_the_requests_features_count_then_stored_ones_then_fallbacks(score: Any, consume: Any) -> None:
    assert logged(score, decide(score)) == ({}, dict.fromkeys(NAMES, "fallback"))
    assert logged(score, decide(score, profile_features=PROFILE)) == (PROFILE, dict.fromkeys(NAMES, "request"))
    consume.invoke(jetstream_batch([feedback("anna", "t", "done", dwell_ms=5000)]))
    features, sources = logged(score, decide(score))
    assert sources == {**dict.fromkeys(NAMES, "stored"), "tip_volume_30d": "fallback"}
    assert features == {name: one["value"] for name, one in profile(score).items() if name != "tip_volume_30d"}
    features, sources = logged(score, decide(score, profile_features={"dismiss_rate_30d": None, "tip_volume_30d": 3}))
    assert (features["completion_rate_30d"], sources["completion_rate_30d"]) == (1.0, "stored")
    assert (features["dismiss_rate_30d"], sources["dismiss_rate_30d"]) == (None, "request")
    assert (features["tip_volume_30d"], sources["tip_volume_30d"]) == (3, "request")


def test_a_stored_feature_changes_what_the_policy_sees(score: Any, consume: Any) -> None:
    def seen() -> dict[str, float]:
        body = decide(score, policy="egreedy-v2")
        whole = score.call("GET", f"/decisions/{body['decision_id']}", query={"user_id": "anna"}).json
        features: dict[str, float] = whole["evaluations"]["egreedy-v2"]["features"]
        return features

    before = seen()
    consume.invoke(jetstream_batch([feedback("anna", "t", "done"), served("anna", "t")]))
    after = seen()
    assert {name for name in before if before[name] != after[name]} >= {"completion_rate", "tip_volume"}


def test_what_is_stale_is_shown_and_not_used(score: Any, consume: Any, table: Any) -> None:
    consume.invoke(jetstream_batch([feedback("anna", "t", "done"), served("anna", "t")]))
    two_days_ago = str(round((time.time() - 2 * 86_400) * 1e6))
    table.client.update_item(
        TableName=table.name,
        Key={"pk": {"S": "G#anna"}, "sk": {"S": "P"}},
        UpdateExpression="SET reactions_at = :at",
        ExpressionAttributeValues={":at": {"N": two_days_ago}},
    )
    shown = profile(score)
    assert [one["fresh"] for one in shown.values()] == [False, False, False, True, True]
    assert shown["completion_rate_30d"]["value"] == 1.0
    assert shown["completion_rate_30d"]["age_sec"] == pytest.approx(2 * 86_400, abs=60)
    assert profile(score)["completion_rate_30d"]["updated_at"] == shown["completion_rate_30d"]["updated_at"]
    features, sources = logged(score, decide(score))
    assert features.keys() == {"preferred_hour", "tip_volume_30d"}
    assert sources["completion_rate_30d"] == "fallback"


def test_the_preferred_hour_is_brought_into_the_persons_time_zone(score: Any, consume: Any) -> None:
    today = datetime.now(UTC)
    at = (today - timedelta(days=1)).replace(hour=21, minute=5)
    consume.invoke(jetstream_batch([feedback("anna", "t", "done", at)]))
    assert profile(score)["preferred_hour"]["value"] == 21.0
    for zone, hour in (("Asia/Kolkata", 2.5), ("America/Bogota", 16.0), (None, 21.0)):
        context = {"hour_of_day": 9, **({"timezone": zone} if zone else {})}
        assert logged(score, decide(score, context=context))[0]["preferred_hour"] == hour


def test_a_damaged_profile_is_none_and_begins_anew(score: Any, consume: Any, table: Any) -> None:
    for damaged in ({"reactions": {"S": "no json"}}, {"rev": {"S": "x"}, "reactions": {"N": "1"}}):
        item = {"pk": {"S": "G#anna"}, "sk": {"S": "P"}, **damaged}
        table.client.put_item(TableName=table.name, Item=item)
        assert values(score) == [0.0, 0.0, 0.0, None, 0.0]
        assert not decide(score)["degraded"]
        assert consume.invoke(jetstream_batch([feedback("anna", "t", "done")])) == OK
        assert values(score)[0] == 1.0


def test_generate_sees_the_stored_profile(load_function: Callable[..., Any], table: Any, consume: Any) -> None:
    generate = load_function("generate")
    consume.invoke(jetstream_batch([feedback("anna", "t", "done", dwell_ms=9), served("anna", "t")]))

    def sources(**changes: Any) -> tuple[dict[str, Any], dict[str, str]]:
        body = generate.call("POST", "/generate", {"user_id": "anna", "n": 1, **changes}).json
        (item,) = (one for one in table.items() if one["sk"]["S"] == f"N#{body['generation_id']}")
        from tips.state.generations import read_generation

        context = read_generation(item).context
        return dict(context["profile"]), dict(context["profile_sources"])

    profile, where = sources()
    assert profile["completion_rate_30d"] == 1.0
    assert where == dict.fromkeys(NAMES, "stored")
    profile, where = sources(profile_features={"completion_rate_30d": 0.25})
    assert (profile["completion_rate_30d"], where["completion_rate_30d"]) == (0.25, "request")


def test_days_leave_the_window_and_what_was_counted_then_cannot_be_taken_out_again() -> None:
    now = 20_000 * DAY_US
    first = CountedReaction(20_000, 5, "done", 10)
    counters = ProfileCounters().with_reaction(None, first, now)
    later = counters.with_reaction(None, CountedReaction(20_029, 6, "dismiss"), now + 29 * DAY_US)
    assert later.window().reactions == 2
    gone = later.with_reaction(None, CountedReaction(20_030, 7, "dismiss"), now + 30 * DAY_US)
    assert (gone.window().reactions, gone.window().done) == (2, 0)
    assert gone.with_reaction(first, None, now + 30 * DAY_US).reactions == gone.reactions
    assert ProfileCounters().with_reaction(None, first, now + 30 * DAY_US).reactions == {}
    # A clock that is behind takes nothing back.
    assert gone.with_reaction(None, first, now).reactions == gone.reactions


def test_what_was_counted_and_taken_out_leaves_nothing() -> None:
    rng = random.Random(1)
    told = [
        CountedReaction(20_000 + rng.randrange(5), rng.randrange(24), rng.choice(["done", "dismiss", "snooze"]), dwell)
        for dwell in (None, 7, 0, 10**12, 3)
    ]
    counters = ProfileCounters()
    for one in told:
        counters = counters.with_reaction(None, one, 20_005 * DAY_US)
    rng.shuffle(told)
    for one in told:
        counters = counters.with_reaction(one, None, 20_005 * DAY_US)
    assert counters.reactions == {}
    assert counters.features() == {}


def test_requests_profile_is_validated_as_before(score: Any) -> None:
    answer = score.call("POST", "/score", score_request(profile_features={"completion_rate_30d": 2}))
    assert (answer.status, answer.json["error"]["field"]) == (422, "profile_features.completion_rate_30d")
