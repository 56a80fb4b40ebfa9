"""What health and metrics say of the lag: what the server said lately, or that it has said nothing."""

from __future__ import annotations

import asyncio
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bridge.lag import POLL_SEC, Lag
from bridge.metrics import exposition
from bridge.program import Bridge
from bridge.settings import Settings
from bridge.status import LAG_KEPT_SEC, ConsumerStatus
from devstack.nats import NatsServer, nats_server_version
from tests.bridge_harness import Consume, bridged, until

LAG = {"pending", "ack_pending", "lag_messages", "lag_seconds"}
LAG_METRICS = {
    "tips_bridge_pending_messages",
    "tips_bridge_ack_pending_messages",
    "tips_bridge_lag_messages",
    "tips_bridge_lag_seconds",
}


def status(*, ready_for: float, heard: float | None) -> ConsumerStatus:
    """ready_for, heard: seconds ago."""
    now = time.monotonic()
    return ConsumerStatus(
        "durable",
        problem=None,
        ready_at=now - ready_for,
        looked_up_at=None if heard is None else now - heard,
        pending=7,
        ack_pending=1,
        oldest=time.time() - 60,
    )


def metrics(one: ConsumerStatus) -> dict[str, float]:
    families = text_string_to_metric_families(exposition({"signals": one}, connected=True).decode())
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_numbers_of_three_polls_ago_are_shown() -> None:
    one = status(ready_for=3600, heard=2 * POLL_SEC)
    shown = one.view()
    assert (shown["ready"], shown["problem"]) == (True, None)
    assert (shown["pending"], shown["ack_pending"], shown["lag_messages"]) == (7, 1, 8)
    assert shown["lag_seconds"] >= 60
    values = metrics(one)
    assert (values["tips_bridge_ready"], values["tips_bridge_lag_messages"]) == (1, 8)
    assert values.keys() >= LAG_METRICS


@pytest.mark.parametrize("heard", [LAG_KEPT_SEC + 1, None], ids=["long ago", "never"])
def test_older_numbers_are_not_shown_and_a_fault(heard: float | None) -> None:
    one = status(ready_for=3600, heard=heard)
    shown = one.view()
    assert shown["ready"] is False
    assert shown["problem"] == "JetStream has not said for more than 15 s how far the consumer is"
    assert {name: shown[name] for name in LAG} == dict.fromkeys(LAG)
    values = metrics(one)
    assert values["tips_bridge_ready"] == 0
    assert not values.keys() & LAG_METRICS
    assert values["tips_bridge_processed_total"] == 0


def test_a_consumer_that_just_became_ready_has_time_to_be_looked_up() -> None:
    one = status(ready_for=1, heard=None)
    shown = one.view()
    assert (shown["ready"], shown["lag_messages"]) == (True, None)


def test_what_else_is_wrong_is_said_first() -> None:
    one = status(ready_for=3600, heard=None)
    one.problem = "not connected"
    assert one.view()["problem"] == "not connected"


def test_health_is_503_while_the_lag_of_one_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    bridge = Bridge(Settings(servers=("nats://127.0.0.1:4222",)))
    monkeypatch.setattr("bridge.link.Link.connected", True)
    known, unknown = status(ready_for=3600, heard=1), status(ready_for=3600, heard=3600)
    bridge._statuses = {"signals": known, "feedback": known}
    assert bridge.health()[0] is True
    bridge._statuses = {"signals": known, "feedback": unknown}
    well, shown = bridge.health()
    assert (well, shown["ok"], shown["consumers"]["feedback"]["ready"]) == (False, False, False)


def test_only_an_answer_makes_the_lag_known(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(url: str) -> None:
        async with bridged(url, Consume()) as bridge:
            one = bridge.consumer.status
            lag = Lag(bridge.consumer._link, [bridge.consumer])

            async def no_answer(*_: object) -> None:
                raise TimeoutError

            with monkeypatch.context() as patch:
                patch.setattr("nats.js.client.JetStreamContext.consumer_info", no_answer)
                await lag.look_up()
                assert one.looked_up_at is None
            await until(lambda: time.monotonic() - lag._looked_up > 1)
            await lag.look_up()
            assert one.lag_known
            heard = one.looked_up_at
            await lag.look_up()  # no more than once in a second
            assert one.looked_up_at == heard
            assert one.view()["lag_messages"] == 0

    with NatsServer() as server:
        print("nats-server", nats_server_version(server.binary))
        asyncio.run(run(server.url))
