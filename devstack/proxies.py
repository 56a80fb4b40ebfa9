"""Keeps loopback traffic off HTTP proxies, for this process and those it starts."""

from __future__ import annotations

import os

_LOOPBACK = ("127.0.0.1", "localhost")


def bypass_for_loopback() -> None:
    """Add loopback to NO_PROXY; where a proxy is set, AWS clients would send it even requests to 127.0.0.1."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join([*hosts, *(host for host in _LOOPBACK if host not in hosts)])
