"""Streams and durable consumers as the bridge needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nats.errors
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NotFoundError

from bridge.client import described
from tips import telemetry

if TYPE_CHECKING:
    from nats.js.client import JetStreamContext

    from bridge.settings import Route, Settings


_FILTERS_CHANGE_FROM = (2, 10)
"""Servers before this store a durable's new filter, and deliver by its old one until they are started again."""


class Unusable(Exception):
    """A stream or a consumer is not there, or not as it has to be; the text says what to do."""


def durable_name(settings: Settings, route: Route) -> str:
    return f"{settings.durable_prefix}-{route.stream}"


async def make_ready(js: JetStreamContext, settings: Settings, route: Route) -> None:
    """Look for the stream, create it where that was asked for, and create or correct the consumer.

    Raises `Unusable`.
    """
    try:
        stream = await _stream(js, settings, route)
        await _consumer(js, settings, route, stream)
    except (nats.errors.Error, APIError, TimeoutError) as error:
        raise Unusable(f"JetStream does not serve stream {route.stream}: {described(error)}") from error


async def _stream(js: JetStreamContext, settings: Settings, route: Route) -> StreamConfig:
    """Return the settings that the stream has."""
    wanted = StreamConfig(
        name=route.stream,
        subjects=[route.subject],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=route.max_age_sec,
        max_msgs=route.max_messages,
    )
    try:
        found = (await js.stream_info(route.stream)).config
    except NotFoundError:
        if not settings.ensure_streams:
            raise Unusable(
                f"stream {route.stream} does not exist: create it, or start the bridge with --ensure-streams"
            ) from None
        await js.add_stream(wanted)
        telemetry.logger.info("stream created", extra={"stream": route.stream})
        return wanted
    names = ("subjects", "retention", "storage", "discard", "max_age", "max_msgs")
    differs = _differences(found, {name: getattr(wanted, name) for name in names})
    if differs:
        telemetry.logger.info(
            "stream differs from what --ensure-streams would create and is left as it is",
            extra={"stream": route.stream, "differs": differs},
        )
    return found


async def _consumer(js: JetStreamContext, settings: Settings, route: Route, stream: StreamConfig) -> None:
    durable = durable_name(settings, route)
    wanted: dict[str, Any] = {
        "ack_policy": AckPolicy.EXPLICIT,
        # A limit would drop good rewards in every outage that is longer than so many deliveries.
        "max_deliver": -1,
        "filter_subject": route.subject,
        "ack_wait": settings.ack_wait_sec,
        "max_ack_pending": settings.max_ack_pending,
    }
    try:
        found = (await js.consumer_info(route.stream, durable)).config
    except NotFoundError:
        config = ConsumerConfig(durable_name=durable, deliver_policy=DeliverPolicy.ALL, **wanted)
        await js.add_consumer(route.stream, config)
        telemetry.logger.info("consumer created", extra={"stream": route.stream, "consumer": durable})
        return
    if found.deliver_policy not in (None, DeliverPolicy.ALL):
        telemetry.logger.warning(
            "consumer was not made to deliver all: what its stream held before is never delivered",
            extra={
                "stream": route.stream,
                "consumer": durable,
                "deliver_policy": _shown(found.deliver_policy),
                "remedy": "delete it, and the bridge creates it anew from the stream's beginning",
            },
        )
    if not found.filter_subject and not found.filter_subjects and _all_under(stream, route.subject):
        del wanted["filter_subject"]
    elif found.filter_subject != route.subject and _server_version(js) < _FILTERS_CHANGE_FROM:
        raise Unusable(
            f"consumer {durable} would lose messages (filter_subject is {_shown(found.filter_subject)}, not"
            f" {route.subject}) and a server before 2.10 goes on with the old one: delete it"
            f" (nats consumer rm {route.stream} {durable} --force), and the bridge creates it anew"
        )
    # Each of these loses messages, or what is in them, or the place in the stream.
    wanted |= dict.fromkeys(("filter_subjects", "backoff", "deliver_subject", "inactive_threshold", "headers_only"))
    differs = _differences(found, wanted)
    if not differs:
        return
    try:
        answer = await js.add_consumer(route.stream, found.evolve(name=None, **wanted))
        left = _differences(answer.config, wanted)
    except APIError as error:
        raise Unusable(
            f"consumer {durable} would lose messages ({differs}) and the server does not correct it"
            f" ({error.description}): delete it, and the bridge creates it anew"
        ) from error
    if left:
        raise Unusable(f"consumer {durable} would lose messages ({left}): delete it, and the bridge creates it anew")
    telemetry.logger.warning(
        "consumer corrected", extra={"stream": route.stream, "consumer": durable, "differed": differs}
    )


def _all_under(stream: StreamConfig, subject: str) -> bool:
    """Return whether a stream can hold nothing but what `subject`, which ends with `.>`, selects."""
    elsewhere = stream.mirror or stream.sources or stream.subject_transform  # these bring other subjects
    return not elsewhere and all(one.startswith(subject.removesuffix(">")) for one in stream.subjects or [""])


def _server_version(js: JetStreamContext) -> tuple[int, int]:
    version = js._nc.connected_server_version
    return version.major, version.minor


def _differences(found: object, wanted: dict[str, Any]) -> str:
    """Return what differs as text; nothing, zero and absent are the same to a server."""
    pairs = ((name, getattr(found, name, None), value) for name, value in wanted.items())
    return ", ".join(
        f"{name} is {_shown(is_)}, not {_shown(value)}" for name, is_, value in pairs if differ(is_, value)
    )


def differ(left: object, right: object) -> bool:
    return (left or None) != (right or None)


def _shown(value: object) -> str:
    return str(getattr(value, "value", value))
