"""Connections by asyncio's own streams: httpcore's pool on anyio takes twice as long to open one."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import Any

import httpcore

_NEXT_ADDRESS_SEC = 0.25
"""After this long a name's next address is tried beside the first (RFC 8305)."""


async def connect(
    origin: httpcore.Origin, tls: ssl.SSLContext, timeout_sec: float | None
) -> httpcore.AsyncHTTP11Connection:
    """Return a connection to a server. Raises httpcore's `ConnectTimeout` or `ConnectError`."""
    host = origin.host.decode("ascii").strip("[]")
    with _faults(httpcore.ConnectTimeout, httpcore.ConnectError):
        async with asyncio.timeout(timeout_sec):
            reader, writer = await asyncio.open_connection(
                host,
                origin.port,
                ssl=tls if origin.scheme == b"https" else None,
                happy_eyeballs_delay=None if _is_address(host) else _NEXT_ADDRESS_SEC,
            )
    return httpcore.AsyncHTTP11Connection(origin, _Stream(reader, writer))


def _is_address(host: str) -> bool:
    try:
        return bool(ip_address(host))
    except ValueError:
        return False


class _Stream(httpcore.AsyncNetworkStream):
    """Sends a request in one piece, when its answer is read for the first time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._unsent = b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._unsent += buffer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._unsent:
            self._writer.write(self._unsent)
            self._unsent = b""
        with _faults(httpcore.ReadTimeout, httpcore.ReadError):
            async with asyncio.timeout(timeout):
                return await self._reader.read(max_bytes)

    async def aclose(self) -> None:
        # Not `close`: over TLS that waits for the server, and what was asked has been answered or given up.
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()

    def get_extra_info(self, info: str) -> Any:
        return self._writer.get_extra_info(info)


@contextmanager
def _faults(late: type[Exception], failed: type[Exception]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise late(str(error)) from None
    except OSError as error:
        raise failed(str(error)) from None
