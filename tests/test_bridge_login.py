"""User, password and token in the address of a server: decoded, and never shown."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nats
import pytest

from bridge.client import connect_options
from bridge.settings import Settings
from devstack.nats import nats_server_version
from offline.event_window import StreamWindow, Window, WindowUnreadable
from tests.test_bridge_connection import configured, connects


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("nats://host", {}),
        ("nats://bob:plain@host", {"user": "bob", "password": "plain"}),
        ("nats://b%40b:p%23ss%2Fw%40rd@host", {"user": "b@b", "password": "p#ss/w@rd"}),
        ("nats://bob:100%sure@host", {"user": "bob", "password": "100%sure"}),
        ("nats://bob:a+b@host", {"user": "bob", "password": "a+b"}),
        ("nats://bob:@host", {"user": "bob", "password": ""}),
        ("nats://t%2Fk%C3%A9n@host", {"token": "t/kén"}),
    ],
)
def test_what_an_address_says_of_who_connects(server: str, expected: dict[str, Any]) -> None:
    assert connect_options(Settings(), server) == {"servers": "nats://host", **expected}


def test_an_address_keeps_its_port() -> None:
    assert connect_options(Settings(), "nats://u:p@[::1]:4333")["servers"] == "nats://[::1]:4333"


def test_a_password_of_any_letters(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with configured(tmp_path, 'authorization { user: bob, password: "p#ss/w@rd%" }') as server:
        print("nats-server", nats_server_version(server.binary))
        host = server.url.removeprefix("nats://")
        assert asyncio.run(connects(f"nats://bob:p%23ss%2Fw%40rd%25@{host}"))
        assert not asyncio.run(connects(f"nats://bob:p%23ss%2Fwr0ng@{host}"))
    printed = capfd.readouterr()
    for secret in ("p#ss", "p%23ss", "wr0ng"):
        assert secret not in printed.out + printed.err


def test_a_token_of_any_letters(tmp_path: Path) -> None:
    with configured(tmp_path, 'authorization { token: "t/k#n" }') as server:
        assert asyncio.run(connects(f"nats://t%2Fk%23n@{server.url.removeprefix('nats://')}"))


def test_a_window_is_read_with_the_login_of_the_server_that_answers(tmp_path: Path) -> None:
    with configured(tmp_path, 'authorization { user: bob, password: "p#ss/w@rd" }') as server:
        host = server.url.removeprefix("nats://")
        window = Window("signals", datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))

        async def make() -> None:
            client = await nats.connect(server.url, user="bob", password="p#ss/w@rd")
            js = client.jetstream()
            await js.add_stream(name="signals", subjects=["signals.>"])
            await js.publish("signals.x", b"x")
            await client.close()

        asyncio.run(make())
        with StreamWindow(Settings(servers=(f"nats://bob:p%23ss%2Fw%40rd@{host}",)), window) as found:
            assert [one.data for one in found] == [b"x"]
        with (
            pytest.raises(WindowUnreadable, match="cannot be reached") as refused,
            StreamWindow(Settings(servers=(f"nats://bob:wr0ng@{host}",)), window),
        ):
            pass
        assert "wr0ng" not in str(refused.value)
