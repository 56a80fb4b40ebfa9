"""What the load is put on: moto in a process of its own, and in another a relay with a port for each environment.

python -m bench.load_table moto: serves the table. python -m bench.load_table relay PORT COUNT: passes bytes on to it.
Each prints its ports, then runs until its standard input ends; the relay then prints when its ports were waited for.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench.score_case import TABLE
from devstack.template import ROOT

_THREADS = 8
Wait = tuple[int, int]
"""From when until when the table was waited for: nanoseconds of the monotonic clock, which all processes share."""


@dataclass
class Relay:
    """endpoints: one for each environment. waits: of each, in order of time, once the relay has ended."""

    endpoints: list[str]
    waits: list[list[Wait]]


@contextmanager
def relayed_table(environments: int) -> Iterator[tuple[str, Relay]]:
    """Yield the endpoint of a table and a relay to it."""
    with _running("moto") as moto:
        port = json.loads(_line(moto))
        relay = Relay([], [])
        with _running("relay", str(port), str(environments)) as process:
            relay.endpoints = [f"http://127.0.0.1:{own}" for own in json.loads(_line(process))]
            yield f"http://127.0.0.1:{port}", relay
            out, _ = process.communicate()
            relay.waits = [[(began, ended) for began, ended in one] for one in json.loads(out)]


@contextmanager
def _running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "bench.load_table", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'layers' / 'shared'}:{ROOT}"},
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.communicate()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None  # noqa: S101
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("what stands for the table has ended before it began to listen")
    return line


def _serve_moto() -> None:
    import waitress  # type: ignore[import-untyped]

    from devstack.table import TableServer, create_table

    with TableServer() as table:
        create_table(table.endpoint, TABLE)
        # Unlike moto's own server, and as DynamoDB does, it keeps connections.
        kept = waitress.create_server(table.application, host="127.0.0.1", port=0, threads=_THREADS)
        threading.Thread(target=kept.run, daemon=True).start()
        print(kept.effective_port, flush=True)
        sys.stdin.read()


def _serve_relay(port: int, count: int) -> None:
    waits: list[list[Wait]] = [[] for _ in range(count)]
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    for own, noted in zip(listening, waits, strict=True):
        threading.Thread(target=_accept, args=(own, port, noted), daemon=True).start()
    print(json.dumps([own.getsockname()[1] for own in listening]), flush=True)
    sys.stdin.read()
    print(json.dumps([sorted(noted) for noted in waits]))


def _accept(listening: socket.socket, port: int, noted: list[Wait]) -> None:
    while True:
        client, _ = listening.accept()
        threading.Thread(target=_pass_on, args=(client, port, noted), daemon=True).start()


def _pass_on(client: socket.socket, port: int, noted: list[Wait]) -> None:
    """Pass bytes on both ways; a wait is from the first of a request to the last of its answer."""
    began = ended = 0
    with client, socket.create_connection(("127.0.0.1", port)) as table:
        for one in (client, table):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:  # until one of them ends
            ready: list[Any] = select.select([client, table], [], [])[0]
            for one in ready:
                if not (data := one.recv(1 << 20)):
                    return
                if one is client:
                    began = began if began > ended else time.monotonic_ns()
                    table.sendall(data)
                else:
                    client.sendall(data)
                    was, ended = ended, time.monotonic_ns()
                    if noted and noted[-1] == (began, was):
                        noted[-1] = began, ended  # the same answer's next part
                    else:
                        noted.append((began, ended))


if __name__ == "__main__":
    if sys.argv[1] == "moto":
        _serve_moto()
    else:
        _serve_relay(int(sys.argv[2]), int(sys.argv[3]))
