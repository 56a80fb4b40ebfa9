"""What the bridge reads from its environment; docs/bridge.md has the same table for people."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from tips.settings import Settings as TipsSettings

_SCHEMES = ("nats", "tls")


@dataclass(frozen=True, slots=True)
class Route:
    """One stream, what of it is consumed, and how large it is when the bridge creates it. max_age_sec: seconds."""

    stream: str
    subject: str
    max_age_sec: int
    max_messages: int


ROUTES = (
    Route("signals", "signals.>", 7 * 86_400, 500_000),
    Route("feedback", "feedback.>", 30 * 86_400, 200_000),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be chosen; `from_env` says which variable sets it. No servers: the bridge is disabled."""

    servers: tuple[str, ...] = field(default=(), repr=False)  # may hold a password
    durable_prefix: str = "feature-pipeline"
    creds: str | None = None
    nkey_seed: str | None = None
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    consume_function: str = "ConsumeFunction"
    lambda_endpoint: str | None = None
    batch_messages: int = 100
    batch_age_sec: float = 0.2
    max_in_flight: int = 4
    """Batches of one consumer that may be with `consume` at a time."""
    ack_wait_sec: float = 30.0
    nak_min_sec: float = 1.0
    nak_max_sec: float = 300.0
    invoke_timeout_sec: float = 70.0
    drain_sec: float = 25.0
    health_host: str = "127.0.0.1"
    health_port: int = 8080
    heartbeat_sec: float = 10.0
    tips: TipsSettings = field(default_factory=TipsSettings)
    """Region and table."""
    ensure_streams: bool = False

    @property
    def enabled(self) -> bool:
        return bool(self.servers)

    @property
    def max_ack_pending(self) -> int:
        """Messages of a consumer without an ack, those that wait for their next delivery included.

        Many more than are in flight: as many have to fail at a time before new ones wait for them.
        """
        return max(1000, 20 * self.batch_messages * self.max_in_flight)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, *, ensure_streams: bool = False) -> Self:
        """Read the settings; raises `ValueError` that names the variable when one is unusable."""
        env = os.environ if env is None else env
        default = cls()

        def text(name: str) -> str | None:
            return env.get(name, "").strip() or None

        cert, key = _file(env, "NATS_TLS_CERT"), _file(env, "NATS_TLS_KEY")
        if (cert is None) != (key is None):
            raise ValueError("NATS_TLS_CERT and NATS_TLS_KEY must be set together")
        creds, nkey = _file(env, "NATS_CREDS"), _file(env, "NATS_NKEY_SEED")
        if creds and nkey:
            raise ValueError("NATS_CREDS and NATS_NKEY_SEED: only one of them can be set")
        nak_min = _number(env, "BRIDGE_NAK_MIN_SEC", default.nak_min_sec, minimum=0.01)
        return cls(
            servers=_servers(env, "NATS_URL"),
            durable_prefix=_name(env, "NATS_DURABLE_PREFIX", default.durable_prefix),
            creds=creds,
            nkey_seed=nkey,
            tls_ca=_file(env, "NATS_TLS_CA"),
            tls_cert=cert,
            tls_key=key,
            consume_function=text("CONSUME_FUNCTION") or default.consume_function,
            lambda_endpoint=_endpoint(env, "LAMBDA_ENDPOINT"),
            batch_messages=_whole(env, "BRIDGE_BATCH_MESSAGES", default.batch_messages, minimum=1, maximum=10_000),
            batch_age_sec=_number(env, "BRIDGE_BATCH_AGE_MS", default.batch_age_sec * 1000, minimum=0) / 1000,
            max_in_flight=_whole(env, "BRIDGE_MAX_IN_FLIGHT", default.max_in_flight, minimum=1, maximum=1000),
            ack_wait_sec=_number(env, "BRIDGE_ACK_WAIT_SEC", default.ack_wait_sec, minimum=1),
            nak_min_sec=nak_min,
            nak_max_sec=_number(env, "BRIDGE_NAK_MAX_SEC", max(default.nak_max_sec, nak_min), minimum=nak_min),
            invoke_timeout_sec=_number(env, "BRIDGE_INVOKE_TIMEOUT_SEC", default.invoke_timeout_sec, minimum=0.1),
            drain_sec=_number(env, "BRIDGE_DRAIN_SEC", default.drain_sec, minimum=0),
            health_host=text("BRIDGE_HEALTH_HOST") or default.health_host,
            health_port=_whole(env, "BRIDGE_HEALTH_PORT", default.health_port, minimum=0, maximum=65_535),
            heartbeat_sec=_number(env, "BRIDGE_HEARTBEAT_SEC", default.heartbeat_sec, minimum=0.1, maximum=3600),
            tips=TipsSettings(
                table_name=text("TABLE_NAME") or default.tips.table_name,
                dynamodb_endpoint=_endpoint(env, "DYNAMODB_ENDPOINT"),
                region=text("AWS_REGION") or text("AWS_DEFAULT_REGION") or default.tips.region,
            ),
            ensure_streams=ensure_streams,
        )


def host_of(server: str) -> str:
    """Return host and port of a server's URL: what may be logged of it."""
    address = urlsplit(server)
    return f"{address.hostname}:{address.port or 4222}"


def _servers(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    urls = []
    for number, raw in enumerate(filter(None, (part.strip() for part in env.get(name, "").split(","))), 1):
        url = raw if "://" in raw else f"nats://{raw}"
        try:
            address = urlsplit(url)
            usable = address.scheme in _SCHEMES and bool(address.hostname) and (address.port or 4222) > 0
            # Else a part of a password may have become the rest of the address, and another part its host.
            usable = usable and (address.path in ("", "/")) and not (address.query or address.fragment)
        except ValueError:
            usable = False
        if not usable:
            # The value is not shown: it may hold a password.
            raise ValueError(
                f"{name}: its server {number} must be like nats://host:4222 or tls://user:password@host:4222,"
                " user and password percent-encoded"
            )
        urls.append(url)
    return tuple(urls)


def _name(env: Mapping[str, str], name: str, default: str) -> str:
    value = env.get(name, "").strip() or default
    if len(value) > 64 or not all(letter.isalnum() or letter in "-_" for letter in value):
        raise ValueError(f"{name} must be up to 64 letters, digits, - and _, not {value!r}")
    return value


def _file(env: Mapping[str, str], name: str) -> str | None:
    value = env.get(name, "").strip()
    if not value:
        return None
    try:
        with Path(value).open("rb"):
            return value
    except OSError as error:
        raise ValueError(f"{name} must be a file that can be read: {value!r}: {error.strerror}") from None


def _endpoint(env: Mapping[str, str], name: str) -> str | None:
    value = env.get(name, "").strip()
    if value and not value.startswith(("http://", "https://")):
        raise ValueError(f"{name} must be an address such as http://127.0.0.1:3001, or empty for AWS's own")
    return value or None


def _number(
    env: Mapping[str, str], name: str, default: float, *, minimum: float, maximum: float = sys.float_info.max
) -> float:
    raw = env.get(name, "").strip()
    try:
        value = float(raw) if raw else default
    except ValueError:
        value = math.nan
    if not minimum <= value <= maximum:
        wanted = f"at least {minimum:g}" if maximum == sys.float_info.max else f"from {minimum:g} to {maximum:g}"
        raise ValueError(f"{name} must be a number {wanted}, not {raw!r}")
    return value


def _whole(env: Mapping[str, str], name: str, default: int, *, minimum: int, maximum: int) -> int:
    value = _number(env, name, default, minimum=minimum, maximum=maximum)
    if value % 1:
        raise ValueError(f"{name} must be a whole number, not {env[name]!r}")
    return int(value)
