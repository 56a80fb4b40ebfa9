"""The metrics of /metrics, made from what is known of the consumers when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from bridge.status import ConsumerStatus, Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_Values = dict[str, tuple[str, Callable[["ConsumerStatus"], float]]]

_GAUGES: _Values = {
    "tips_bridge_ready": (
        "1 when messages can be fetched and the lag is known",
        lambda one: float(one.fault is None),
    ),
    "tips_bridge_last_message_timestamp_seconds": (
        "Unix time of the last message that arrived, 0 before the first",
        lambda one: one.last_message or 0.0,
    ),
    "tips_bridge_in_flight_batches": ("Batches that are with consume", lambda one: one.in_flight),
}
_LAG: _Values = {
    "tips_bridge_pending_messages": ("Messages never delivered to the consumer", lambda one: one.pending),
    "tips_bridge_ack_pending_messages": ("Messages delivered and not done", lambda one: one.ack_pending),
    "tips_bridge_lag_messages": ("Messages not done", lambda one: one.lag_messages),
    "tips_bridge_lag_seconds": ("Age of the oldest message that is not done", lambda one: one.lag_seconds),
}
"""Absent for a consumer while the server does not say: an old number would look as if all were well."""
_COUNTERS: _Values = {
    "tips_bridge_processed": ("Messages acked", lambda one: one.processed),
    "tips_bridge_redelivered": ("Messages that arrived and had been delivered before", lambda one: one.redelivered),
}


class _Collector(Collector):
    def __init__(self, consumers: dict[str, ConsumerStatus], connected: bool) -> None:
        self._consumers = consumers
        self._connected = connected

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("tips_bridge_connected", "1 when connected to NATS", value=float(self._connected))
        yield from self._simple()
        failed = CounterMetricFamily(
            "tips_bridge_failed", "Messages nak'ed: their record, their whole batch, or their size", None, _BY_REASON
        )
        batches = CounterMetricFamily("tips_bridge_batches", "Batches handed to consume", None, _BY_OUTCOME)
        invoke = HistogramMetricFamily("tips_bridge_invoke_seconds", "Duration of invocations", labels=_BY_CONSUMER)
        for name, one in self._consumers.items():
            for reason, count in one.failed.items():
                failed.add_metric([name, reason], count)
            for outcome, count in one.batches.items():
                batches.add_metric([name, outcome], count)
            invoke.add_metric([name], *_buckets(one.invoke))
        yield from (failed, batches, invoke)

    def _simple(self) -> Iterator[Metric]:
        for name, (text, value) in {**_GAUGES, **_LAG}.items():
            gauge = GaugeMetricFamily(name, text, labels=_BY_CONSUMER)
            for consumer, one in self._consumers.items():
                if name not in _LAG or one.lag_known:
                    gauge.add_metric([consumer], value(one))
            yield gauge
        for name, (text, value) in _COUNTERS.items():
            counter = CounterMetricFamily(name, text, labels=_BY_CONSUMER)
            for consumer, one in self._consumers.items():
                counter.add_metric([consumer], value(one))
            yield counter


_BY_CONSUMER = ["consumer"]
_BY_REASON = ["consumer", "reason"]
_BY_OUTCOME = ["consumer", "outcome"]


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True)), histogram.total


def exposition(consumers: dict[str, ConsumerStatus], connected: bool) -> bytes:
    """Return all metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Collector(consumers, connected))
    return generate_latest(registry)
