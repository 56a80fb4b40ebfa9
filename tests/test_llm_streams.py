"""Connections to a model's server over TLS, and what they are called when they fail."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpcore
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tips.llm.failures import Heard, heard_of_this_call
from tips.llm.streams import connect
from tips.llm.transport import CallFailed, OneCallTransport

ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a key and a certificate for `localhost` that nobody else has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    path.write_bytes(
        key.private_bytes(form, serialization.PrivateFormat.PKCS8, plain)
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@contextmanager
def server(certificate: Path, answer: bytes = ANSWER) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the port of a server of one connection, and where what came of it is put: the request, then its end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    heard: list[bytes] = []

    def serve() -> None:
        connection, _ = listening.accept()
        connection.settimeout(5)
        try:
            with context.wrap_socket(connection, server_side=True) as stream:
                heard.append(stream.recv(65_536))
                stream.sendall(answer)
                if answer == ANSWER:
                    heard.append(stream.recv(1))
        except OSError as error:
            heard.append(type(error).__name__.encode())

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1], heard
        thread.join(5)


def call(port: int, transport: OneCallTransport, heard: Heard) -> bytes:
    async def made() -> bytes:
        heard_of_this_call.set(heard)
        response = await transport.handle_async_request(httpx.Request("GET", f"https://localhost:{port}/v1"))
        return response.content

    return asyncio.run(made())


def test_an_answer_over_tls_is_read_and_its_connection_ended(certificate: Path) -> None:
    with server(certificate) as (port, received):
        assert call(port, OneCallTransport(ssl.create_default_context(cafile=certificate)), Heard()) == b"abcde"
    assert received[0].startswith(b"GET /v1 HTTP/1.1\r\n")
    assert received[1] in (b"", b"ConnectionResetError", b"SSLEOFError")


def test_a_certificate_is_not_asked_for_where_none_is_wanted(certificate: Path) -> None:
    with server(certificate) as (port, _):
        assert call(port, OneCallTransport(verify=False), Heard()) == b"abcde"


def test_a_certificate_that_nobody_signed_is_no_connection(certificate: Path) -> None:
    heard = Heard()
    with server(certificate) as (port, received), pytest.raises(CallFailed):
        call(port, OneCallTransport(), heard)
    assert (heard.sent, heard.connected, heard.status) == (True, False, None)
    assert len(received) == 1
    assert received[0].startswith(b"SSL")  # its own failure: no request


def test_an_answer_over_tls_that_is_cut_off_is_a_failure_of_a_connection_there_was(certificate: Path) -> None:
    heard = Heard()
    with server(certificate, ANSWER[:-10]) as (port, _), pytest.raises(CallFailed):
        call(port, OneCallTransport(ssl.create_default_context(cafile=certificate)), heard)
    assert (heard.connected, heard.status, heard.complete) == (True, 200, False)


def test_connecting_ends_in_time() -> None:
    # The listening socket's queue is full, so nobody answers the next one.
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        origin = httpcore.Origin(b"http", b"127.0.0.1", listening.getsockname()[1])
        with pytest.raises(httpcore.ConnectTimeout):
            asyncio.run(connect(origin, ssl.create_default_context(), 0.05))


def test_an_unknown_name_is_no_connection() -> None:
    with pytest.raises(httpcore.ConnectError):
        asyncio.run(connect(httpcore.Origin(b"http", b"no.such.invalid", 80), ssl.create_default_context(), 5.0))
