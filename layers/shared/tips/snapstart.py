"""SnapStart: one initialised process is frozen when a version is published, and every environment is a clone of it.

Before the snapshot a whole request is answered, so that nothing is left to import or to build at the first real one;
then every connection is closed and every credential forgotten. After each restore a clone gets what must be its own:
clients with fresh credentials, chance that no sibling has, and nothing in memory that was read before.
"""

from __future__ import annotations

import io
import json
import os
import random
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, redirect_stdout
from typing import Any, Protocol

import ulid

from tips import telemetry
from tips.state.table import release_clients, renew_clients


class Service(Protocol):
    """What a function knows and does beside its routes."""

    def prime(self) -> None:
        """Open connections and read what all requests share; a table that does not answer is counted."""

    def rehearsing(self) -> AbstractContextManager[None]:
        """Within it requests are answered and leave nothing behind."""
        ...

    def renew(self) -> None:
        """Trust nothing that was read before, and prime."""


Request = tuple[str, str, Mapping[str, Any] | None]
"""Method, path and JSON body."""


def register(service: Service, handler: Callable[[dict[str, Any], Any], Any], requests: Sequence[Request]) -> None:
    """Have `service` rehearse `requests` before a snapshot and renewed after a restore; nothing without SnapStart."""
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start":
        return
    # Part of Lambda's runtime, and not of the artifact.
    from snapshot_restore_py import (  # type: ignore[import-untyped]
        register_after_restore,
        register_before_snapshot,
    )

    register_before_snapshot(_before_snapshot, service, handler, requests)
    register_after_restore(_after_restore, service)


def _before_snapshot(
    service: Service, handler: Callable[[dict[str, Any], Any], Any], requests: Sequence[Request]
) -> None:
    """Rehearse, then let go of all that must not be cloned.

    A table that does not answer, or a request that fails, is logged and counted: the snapshot is taken all the same,
    and clones are slower at their first request.
    """
    service.prime()
    telemetry.flush()
    failed = 0
    # Metrics go to standard output: those of requests that nobody has sent are dropped.
    with service.rehearsing(), redirect_stdout(io.StringIO()):
        for request in requests:
            answer = handler(_event(*request), None)
            if answer["statusCode"] != 200:
                failed += 1
                telemetry.logger.error("rehearsal failed", extra={"path": request[1], "status": answer["statusCode"]})
    if failed:
        telemetry.count("RehearsalFailed", failed)
    telemetry.flush()
    release_clients()


def _after_restore(service: Service) -> None:
    random.seed()  # LiteLLM and OpenAI's client draw their pauses from it
    ssl.RAND_add(os.urandom(32), 32.0)
    # It remembers the last id, and within the same millisecond would go on from there, in every clone alike.
    ulid.default_generator = ulid.ULIDGenerator()
    renew_clients()
    service.renew()


def _event(method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": "rehearsal"},
        "requestContext": {"http": {"method": method, "path": path, "sourceIp": ""}, "requestId": "rehearsal"},
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }
