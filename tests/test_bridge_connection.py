"""How the bridge gets to NATS and back, with what credentials, and what it makes of streams and consumers there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import nats
import nkeys  # type: ignore[import-untyped]
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from nats.js.api import AckPolicy, DeliverPolicy, DiscardPolicy, StorageType

from bridge.link import Link
from bridge.settings import ROUTES, Settings
from devstack.nats import NatsServer, nats_server_version
from tests.bridge_harness import Consume, a_route, bridged, until


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with NatsServer() as running:
        print("nats-server", nats_server_version(running.binary))
        yield running


def test_a_server_that_is_away_is_waited_for_and_so_is_one_that_goes_away() -> None:
    consume = Consume()
    server = NatsServer()  # not started yet

    async def run() -> None:
        async with bridged(server.url, consume, ready=False) as bridge:
            problem = bridge.consumer.status.problem
            assert problem == "not connected"
            server.start()
            await until(lambda: bridge.consumer.status.problem is None)
            for expected, end in ((1, server.kill), (2, server.stop)):
                client = await nats.connect(server.url)
                await client.jetstream().publish(f"{bridge.route.stream}.x", b"x")
                await until(lambda: bridge.consumer.status.processed == expected)  # noqa: B023 (awaited in the loop)
                await client.close()
                end()
                await until(lambda: not bridge.consumer._link.connected)
                await until(lambda: bridge.consumer.status.problem is not None)
                server.start()
                await until(lambda: bridge.consumer.status.problem is None)

    try:
        asyncio.run(run())
    finally:
        server.stop()
        server.__exit__()


def test_what_is_in_flight_when_the_connection_breaks_is_answered_on_the_next() -> None:
    consume = Consume()
    consume.goes_on.clear()

    async def run(server: NatsServer) -> None:
        async with bridged(server.url, consume, ack_wait_sec=3600, ready=False) as bridge:
            await until(lambda: bridge.consumer.status.problem is None)
            client = await nats.connect(server.url)
            await client.jetstream().publish(f"{bridge.route.stream}.x", b"x")
            await client.close()
            await until(lambda: consume.batches)
            server.stop()
            await until(lambda: not bridge.consumer._link.connected)
            server.start()
            await until(lambda: bridge.consumer.status.problem is None)
            consume.goes_on.set()
            await until(lambda: bridge.consumer.status.processed == 1)
            client = await nats.connect(server.url)

            async def answered() -> bool:
                info = await client.jetstream().consumer_info(bridge.route.stream, bridge.consumer.status.durable)
                return (info.num_ack_pending, info.num_pending) == (0, 0)

            await until(answered)
            await client.close()

    with NatsServer() as server:
        asyncio.run(run(server))


def test_a_stream_that_is_missing_is_waited_for_unless_it_may_be_created(server: NatsServer) -> None:
    route = a_route()

    async def run() -> None:
        async with bridged(server.url, Consume(), route=route, ready=False, ensure_streams=False) as bridge:
            await until(lambda: "--ensure-streams" in (bridge.consumer.status.problem or ""))
            client = await nats.connect(server.url)
            await client.jetstream().add_stream(name=route.stream, subjects=[route.subject])
            await until(lambda: bridge.consumer.status.problem is None)
            await client.close()

    asyncio.run(run())


def test_streams_and_consumers_are_created_as_documented(server: NatsServer) -> None:
    async def run() -> None:
        for route in ROUTES:
            async with bridged(server.url, Consume(), route=route) as bridge:
                stream = (await bridge.js.stream_info(route.stream)).config
                assert (stream.subjects, stream.max_age, stream.max_msgs) == (
                    [f"{route.stream}.>"],
                    {"signals": 7, "feedback": 30}[route.stream] * 86_400,
                    {"signals": 500_000, "feedback": 200_000}[route.stream],
                )
                assert (stream.storage, stream.discard) == (StorageType.FILE, DiscardPolicy.OLD)
                info = await bridge.info()
                assert info.name == f"feature-pipeline-{route.stream}"
                consumer = info.config
                assert (consumer.ack_policy, consumer.deliver_policy) == (AckPolicy.EXPLICIT, DeliverPolicy.ALL)
                assert (consumer.max_deliver, consumer.ack_wait, consumer.max_ack_pending) == (-1, 30, 8000)
                assert consumer.filter_subject == route.subject
                assert not consumer.deliver_subject

    asyncio.run(run())


def test_an_existing_stream_is_left_as_it_is(server: NatsServer) -> None:
    route = a_route()

    async def run() -> None:
        client = await nats.connect(server.url)
        await client.jetstream().add_stream(name=route.stream, subjects=[route.subject], max_msgs=5)
        async with bridged(server.url, Consume(), route=route) as bridge:
            assert (await bridge.js.stream_info(route.stream)).config.max_msgs == 5
        await client.close()

    asyncio.run(run())


def test_a_consumer_that_is_deleted_is_created_anew(server: NatsServer) -> None:
    consume = Consume()

    async def run() -> None:
        async with bridged(server.url, consume) as bridge:
            await bridge.publish(b"a")
            await until(bridge.all_done)
            await bridge.js.delete_consumer(bridge.route.stream, bridge.consumer.status.durable)
            await until(lambda: bridge.consumer.status.problem)
            await bridge.publish(b"b")
            await until(lambda: consume.handed.count(2) == 1)
            await until(bridge.all_done)

    asyncio.run(run())


async def connects(url: str, **chosen: Any) -> bool:
    """Whether the bridge comes to be connected; it tries for as long as it is not."""
    link = Link(Settings(servers=(url,), **chosen))
    running = asyncio.create_task(link.run())
    try:
        await until(lambda: link.connected or link.failures > 1)
        return link.connected
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def configured(tmp_path: Path, text: str) -> NatsServer:
    file = tmp_path / "nats.conf"
    file.write_text(text)
    return NatsServer(arguments=("--config", str(file)))


def test_user_and_password_and_a_refusal_without_them(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with configured(tmp_path, 'authorization { user: bridge, password: "s3cret-pw" }') as server:
        host = server.url.removeprefix("nats://")
        assert asyncio.run(connects(f"nats://bridge:s3cret-pw@{host}"))

        assert not asyncio.run(connects(f"nats://bridge:wr0ng-pw@{host}"))
    printed = capfd.readouterr()
    assert "s3cret-pw" not in printed.out + printed.err
    assert "wr0ng-pw" not in printed.out + printed.err


def test_a_token(tmp_path: Path) -> None:
    with configured(tmp_path, 'authorization { token: "t0ken" }') as server:
        assert asyncio.run(connects(f"nats://t0ken@{server.url.removeprefix('nats://')}"))


def test_an_nkey(tmp_path: Path) -> None:
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    file = tmp_path / "seed.nk"
    file.write_bytes(seed)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    with configured(tmp_path, f"authorization {{ users: [ {{ nkey: {public} }} ] }}") as server:
        assert asyncio.run(connects(server.url, nkey_seed=str(file)))


def certificates(folder: Path) -> None:
    """An authority `ca.pem`, and by it `server.pem` and `client.pem` with their keys."""
    now = datetime.now(UTC)

    def certificate(name: str, issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None) -> Any:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issued_by, signing = issuer or (subject, key)
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issued_by)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(True, False, False, False, False, issuer is None, issuer is None, False, False),
                critical=True,
            )
            .sign(signing, hashes.SHA256())
        )
        (folder / f"{name}.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{name}-key.pem").write_bytes(private)
        return subject, key

    authority = certificate("ca", None)
    certificate("server", authority)
    certificate("client", authority)


def test_tls_with_certificates_of_both_sides(tmp_path: Path) -> None:
    certificates(tmp_path)
    tls = f"""tls {{ cert_file: "{tmp_path}/server.pem", key_file: "{tmp_path}/server-key.pem",
        ca_file: "{tmp_path}/ca.pem", verify: true }}"""
    with configured(tmp_path, tls) as server:
        url = server.url.replace("nats://", "tls://")
        own = {"tls_cert": f"{tmp_path}/client.pem", "tls_key": f"{tmp_path}/client-key.pem"}
        assert asyncio.run(connects(url, tls_ca=f"{tmp_path}/ca.pem", **own))
        assert not asyncio.run(connects(url, **own))  # by the bridge: nobody vouches for the server
