"""Two clones of one snapshot: a function under Lambda's runtime client, forked where its snapshot would be taken.

Around it stand a runtime API that hands out events, an endpoint that gives other credentials each time, and a table
whose requests are written down.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self

from devstack.events import REGION, Answer, url_event
from devstack.http_server import LOOPBACK, HttpServer
from devstack.template import ROOT
from tests.runtime_api import CLONES, START_SEC, RuntimeApi, reply, serve, stop, url

HOOKS = ROOT / "tests" / "snapshot"


@dataclass(frozen=True)
class Seen:
    """A request to the table. `connection`: the port it came from; `key`: the access key that it was signed with."""

    operation: str
    connection: int
    key: str
    signature: str
    signed_at: datetime
    body: str


class WatchedTable:
    """Hands on what it is asked to the table at `endpoint` and writes it down; keeps connections, as DynamoDB does."""

    def __init__(self, endpoint: str) -> None:
        self.seen: list[Seen] = []
        host = endpoint.rpartition("/")[2]

        def hand_on(handler: BaseHTTPRequestHandler, body: bytes) -> None:
            self.seen.append(_seen(handler, body))
            table = http.client.HTTPConnection(host)
            table.request("POST", "/", body, dict(handler.headers))
            answer = table.getresponse()
            reply(handler, answer.status, answer.read(), dict(answer.headers))
            table.close()

        self._server = serve(hand_on)
        self.url = url(self._server)

    def stop(self) -> None:
        stop(self._server)


def _seen(handler: BaseHTTPRequestHandler, body: bytes) -> Seen:
    authorization = handler.headers["Authorization"]
    return Seen(
        operation=handler.headers["X-Amz-Target"].rpartition(".")[2],
        connection=handler.client_address[1],
        key=authorization.partition("Credential=")[2].partition("/")[0],
        signature=authorization.rpartition("Signature=")[2],
        signed_at=datetime.strptime(handler.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC),
        body=body.decode(),
    )


class Credentials(HttpServer):
    """What `AWS_CONTAINER_CREDENTIALS_FULL_URI` names: another access key for each who asks."""

    def __init__(self) -> None:
        self.given: list[str] = []
        super().__init__("credentials", self._give)

    def _give(self, _: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        key = f"AKIA{len(self.given):016}"
        self.given.append(key)
        until = datetime.now(UTC) + timedelta(days=2)
        said = {"AccessKeyId": key, "SecretAccessKey": f"secret of {key}", "Token": f"token of {key}"}
        body = json.dumps(said | {"Expiration": f"{until:%Y-%m-%dT%H:%M:%SZ}"}).encode()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]


class Clones:
    """A process that has taken its snapshot when this is entered, and is two from `restore` on."""

    def __init__(
        self,
        python: Path,
        folders: Sequence[Path],
        environment: Mapping[str, str],
        endpoint: str,
        scratch: Path,
        shift_sec: float = 0.0,
    ) -> None:
        """folders: the path, the function's first. endpoint: of the table. scratch: an empty folder."""
        self.api = RuntimeApi(shift_sec)
        self.table = WatchedTable(endpoint)
        self.credentials = Credentials()
        self._server = serve(self.api.answer)
        self._frozen = scratch / "frozen.json"
        self._log = scratch / "log"
        self._command = [python, "-m", "awslambdaric", "app.handler"]
        self._folder = folders[0]
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(map(str, (HOOKS, *folders))),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "NO_PROXY": LOOPBACK,
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
            "AWS_LAMBDA_RUNTIME_API": f"{LOOPBACK}:{self._server.server_address[1]}",
            "AWS_LAMBDA_FUNCTION_NAME": "clone",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.credentials.url}/credentials",
            "AWS_REGION": REGION,
            "LAMBDA_TASK_ROOT": str(self._folder),
            "DYNAMODB_ENDPOINT": self.table.url,
            "SCORE_READ_BUDGET_MS": "5000",
            "SCORE_WRITE_BUDGET_MS": "5000",
            "GENERATE_TABLE_BUDGET_MS": "5000",
            "FROZEN": str(self._frozen),
            "SHIFT_SEC": str(shift_sec),
            **environment,
        }

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                list(map(str, self._command)),
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the second clone is the first one's child
            )
        # A process that ends in its init takes no snapshot.
        threading.Thread(target=self._watch, daemon=True).start()
        for _ in range(CLONES):
            assert self.api.frozen.acquire(timeout=START_SEC)
        assert not self.api.errors, f"{self.api.errors}\n{self.log}"
        return self

    def _watch(self) -> None:
        code = self._process.wait()
        if not self.api.restored.is_set():
            self.api.errors.append(f"the process ended with {code}")
            self.api.frozen.release(CLONES)

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.api.stop()
        stop(self._server)
        self.table.stop()
        self.credentials.stop()

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def snapshot(self) -> dict[str, list[str]]:
        """What the snapshot held: `connections` that were open, `modules` that were imported, kinds of `secrets`."""
        found: dict[str, list[str]] = json.loads(self._frozen.read_text())
        return found

    def restore(self) -> list[int]:
        """Let the clones go on, and return their names."""
        self.api.restored.set()
        return self.api.idle()

    def call_all(self, method: str, path: str, body: Any = None) -> dict[int, Answer]:
        """Send both clones the same request at the same time."""
        event = url_event(method, path, body)
        coming = {clone: self.api.invoke(clone, event) for clone in self.api.idle()}
        return {clone: _received(answer) for clone, answer in coming.items()}

    def call_each(self, method: str, path: str, body: Any = None) -> dict[int, Answer]:
        """Send the clones the same request, one after the other."""
        event = url_event(method, path, body)
        return {clone: _received(self.api.invoke(clone, event)) for clone in self.api.idle()}


def _received(answer: queue.SimpleQueue[bytes]) -> Answer:
    return Answer.from_result(json.loads(answer.get(timeout=START_SEC)))
