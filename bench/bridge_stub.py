"""A function `consume` that does nothing: Lambda's Invoke API, whose answer to every batch is that none has failed.

python -m bench.bridge_stub: prints its port. Answers wait for a line on its standard input, whose end ends it.
GET / says what came: invocations, records, and the records of the largest batch.
"""

from __future__ import annotations

import json
import socket
import sys
import threading

_ANSWER = b'{"batchItemFailures":[]}'


class _Server:
    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self._batches: list[int] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]

    def serve(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve_one, args=(connection,), daemon=True).start()

    def _serve_one(self, connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        while request := stream.readline():
            length = 0
            while (line := stream.readline().rstrip()) != b"":
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if request.startswith(b"POST "):
                self._batches.append(stream.read(length).count(b'"stream_seq"'))
                self.goes_on.wait()
                answer = _ANSWER
            else:
                batches = list(self._batches)
                said = {"invocations": len(batches), "records": sum(batches), "largest": max(batches, default=0)}
                answer = json.dumps(said).encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
            connection.sendall(head.encode() + answer)


if __name__ == "__main__":
    server = _Server()
    threading.Thread(target=server.serve, daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.readline()
    server.goes_on.set()
    sys.stdin.read()
