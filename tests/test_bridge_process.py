"""The bridge as the process that it is: its end, its health and metrics, its heartbeat."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from devstack.nats import NatsServer, nats_server_version
from tests.bridge_process import BridgeProcess, FakeConsume, eventually, publish, takes_all
from tests.conftest import LocalTable
from tips.state import bridge_health


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with NatsServer() as running:
        print("nats-server", nats_server_version(running.binary))
        yield running


@pytest.fixture
def goes_on() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def api(goes_on: threading.Event) -> Iterator[FakeConsume]:
    """A `consume` that takes everything, once `goes_on` is set."""

    def waits(event: dict[str, Any]) -> Any:
        assert goes_on.wait(60)
        return takes_all(event)

    with FakeConsume(waits) as running:
        yield running
        goes_on.set()


OF_AWS = "(AWS_..., its files, or an endpoint)"
FULL_DISK = """
import bridge.lag, errno, os, sys
from bridge.__main__ import main
async def run(_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
bridge.lag.Lag.run = run
sys.exit(main())
"""


def metrics(bridge: BridgeProcess) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(bridge.get("/metrics").text)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_health_metrics_and_heartbeat_of_a_life(
    server: NatsServer,
    api: FakeConsume,
    goes_on: threading.Event,
    table: LocalTable,
    load_function: Any,
) -> None:
    environment = {"NATS_URL": server.url, "LAMBDA_ENDPOINT": api.url, "BRIDGE_HEARTBEAT_SEC": "0.2"}
    score = load_function("score")
    with BridgeProcess({**environment, **table.environment()}, "--ensure-streams") as bridge:
        bridge.ready()
        asyncio.run(publish(server.url, *[("signals.tip.served", b"{}")] * 3))
        eventually(lambda: api.events)
        health = eventually(lambda: (now := bridge.health())["consumers"]["signals"]["lag_messages"] == 3 and now)
        assert (health["ok"], health["enabled"], health["connected"]) == (True, True, True)
        signals = health["consumers"]["signals"]
        assert signals["consumer"] == "feature-pipeline-signals"
        assert signals["lag_seconds"] > 0
        assert signals["last_msg_ts"].endswith("Z")
        assert 1 <= signals["in_flight"] <= 3
        assert metrics(bridge)[("tips_bridge_lag_messages", "signals")] == 3

        goes_on.set()
        eventually(lambda: bridge.health()["consumers"]["signals"]["lag_messages"] == 0)
        signals = bridge.health()["consumers"]["signals"]
        assert (signals["processed"], signals["failed"], signals["lag_seconds"], signals["in_flight"]) == (3, 0, 0, 0)
        shown = metrics(bridge)
        assert shown[("tips_bridge_connected",)] == 1
        assert shown[("tips_bridge_ready", "feedback")] == 1
        assert shown[("tips_bridge_processed_total", "signals")] == 3
        assert shown[("tips_bridge_processed_total", "feedback")] == 0
        assert shown[("tips_bridge_failed_total", "signals", "record")] == 0
        assert shown[("tips_bridge_lag_seconds", "signals")] == 0
        assert shown[("tips_bridge_last_message_timestamp_seconds", "signals")] > 1.7e9
        batches = shown[("tips_bridge_batches_total", "signals", "ok")]
        assert shown[("tips_bridge_invoke_seconds_count", "signals")] == batches
        assert shown[("tips_bridge_invoke_seconds_bucket", "signals", "+Inf")] == batches >= 1

        def seen() -> Any:
            nats = score.call("GET", "/health").json["nats"]
            return nats["consumers"]["signals"]["processed"] == 3 and nats

        nats = eventually(seen)
        assert (nats["enabled"], nats["stale"]) == (True, False)
        assert nats["last_heartbeat"].endswith("Z")

        server.stop()
        eventually(lambda: bridge.get("/health").status_code == 503)
        assert bridge.health()["connected"] is False
        assert bridge.stop() == 0
    assert "bridge stopped" in bridge.output
    assert "Traceback" not in bridge.output


def test_a_heartbeat_that_stopped_is_called_stale(client: Any) -> None:
    bridge_health.write(client, bridge_health.UNKNOWN, 10)
    assert bridge_health.read(client).stale is False
    bridge_health.write(client, bridge_health.UNKNOWN, -10)  # as if six of ten seconds had gone by
    assert bridge_health.read(client).stale is True


def test_sigterm_lets_what_is_in_flight_come_to_its_end(
    server: NatsServer, api: FakeConsume, goes_on: threading.Event
) -> None:
    with BridgeProcess({"NATS_URL": server.url, "LAMBDA_ENDPOINT": api.url}, "--ensure-streams") as bridge:
        bridge.ready()
        asyncio.run(publish(server.url, ("feedback.tip", b"x")))
        eventually(lambda: api.events)
        bridge.process.send_signal(signal.SIGTERM)
        eventually(lambda: "bridge drains" in bridge.output)
        assert bridge.process.poll() is None
        assert bridge.get("/health").status_code == 503
        asyncio.run(publish(server.url, ("feedback.tip", b"too late for this one")))
        goes_on.set()
        assert bridge.process.wait(30) == 0
    assert [one["stream_seq"] for one in api.records] == [1]
    (last,) = [json.loads(line) for line in bridge.lines if "bridge stopped" in line]
    assert last["drained"] is True
    with BridgeProcess({"NATS_URL": server.url, "LAMBDA_ENDPOINT": api.url}) as bridge:
        eventually(lambda: bridge.health()["consumers"]["feedback"]["processed"] == 1)
        assert [one["stream_seq"] for one in api.records] == [1, 2]  # the first was acked, the second given back
        eventually(lambda: bridge.health()["consumers"]["feedback"]["lag_messages"] == 0)
        assert bridge.stop(signal.SIGINT) == 0


def test_an_invocation_without_an_end_does_not_keep_the_process_and_a_second_signal_ends_it_at_once(
    server: NatsServer, api: FakeConsume
) -> None:
    environment = {"NATS_URL": server.url, "LAMBDA_ENDPOINT": api.url, "BRIDGE_ACK_WAIT_SEC": "1"}
    with BridgeProcess({**environment, "BRIDGE_DRAIN_SEC": "0.1"}, "--ensure-streams") as bridge:
        bridge.ready()
        asyncio.run(publish(server.url, ("feedback.tip", b"x")))
        eventually(lambda: api.events)
        assert bridge.stop() == 0
        assert '"drained":false' in bridge.output
    with BridgeProcess({**environment, "BRIDGE_DRAIN_SEC": "60"}) as bridge:
        bridge.ready()
        eventually(lambda: len(api.events) == 2)  # delivered again, because nobody answered for it
        bridge.process.send_signal(signal.SIGTERM)
        eventually(lambda: "bridge drains" in bridge.output)
        assert bridge.stop() == 1


def test_without_servers_it_is_disabled_and_says_so(table: LocalTable) -> None:
    with BridgeProcess({"NATS_URL": "", **table.environment()}) as bridge:
        answer = bridge.get("/health")
        assert (answer.status_code, answer.json()["enabled"]) == (200, False)
        assert "bridge disabled: NATS_URL is empty" in bridge.output
        assert bridge.get("/elsewhere").status_code == 404
        assert bridge.stop() == 0
    (item,) = table.items()
    assert json.loads(item["health"]["S"])["enabled"] is False


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ({"NATS_URL": "http://host"}, "NATS_URL: its server 1"),
        ({"BRIDGE_HEALTH_HOST": "192.0.2.1"}, "BRIDGE_HEALTH_HOST and BRIDGE_HEALTH_PORT cannot be used"),
        ({"AWS_PROFILE": "no-such"}, "AWS_PROFILE cannot be used: The config profile (no-such)"),
        ({"AWS_CONFIG_FILE": __file__}, f"the configuration of AWS {OF_AWS} cannot be used: Unable to parse"),
        ({"AWS_REGION": "a b", "NATS_URL": "nats://127.0.0.1:9"}, f"the configuration of AWS {OF_AWS} cannot be used"),
        ({"LAMBDA_ENDPOINT": "http://", "NATS_URL": "nats://127.0.0.1:9"}, "Invalid endpoint: http://"),
    ],
    ids=["setting", "address", "profile", "AWS's file", "region", "endpoint"],
)
def test_what_cannot_be_used_ends_it_with_code_2(variable: dict[str, str], said: str) -> None:
    with BridgeProcess(variable) as bridge:
        assert bridge.process.wait(60) == 2
    assert bridge.output.startswith("bridge: ")
    assert said in bridge.output
    assert "Traceback" not in bridge.output


def test_a_fault_of_the_system_while_it_runs_is_not_taken_for_a_setting() -> None:
    # Which would keep a supervisor from starting it again.
    with BridgeProcess({"NATS_URL": "nats://127.0.0.1:9"}, program=FULL_DISK) as bridge:
        assert bridge.process.wait(60) == 1
    assert bridge.output.rstrip().endswith("OSError: [Errno 28] No space left on device")
    assert "BRIDGE_HEALTH" not in bridge.output
