"""The container engine that `sam local` would use: where it answers, its image of the runtime, and its way to the host.

Asked over the Docker API, as SAM asks it. podman's service speaks it as well.
"""

from __future__ import annotations

import ipaddress
import platform
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from devstack.http_server import LOOPBACK

ARCHITECTURE = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
RUNTIME = "python3.13"
IMAGE = f"public.ecr.aws/lambda/python:{RUNTIME.removeprefix('python')}-{ARCHITECTURE}"
_SAID_SEC = 20
_PULL_SEC = 600
_DOCKERS_OWN = "unix:///var/run/docker.sock"


class NotPossible(Exception):
    """Nothing can be run in containers here; the text says why."""


@dataclass(frozen=True, slots=True)
class Engine:
    """address: what DOCKER_HOST would say. bind, seen_as: an address of this machine, and what containers call it."""

    address: str
    bind: str
    seen_as: str

    def remove(self, container: str) -> None:
        """Remove a container, running or not; nothing when it is gone."""
        with _api(self.address) as api:
            api.delete(f"/containers/{container}", params={"force": "true"})


def find_engine(environment: Mapping[str, str]) -> Engine:
    """Return the first engine that answers and has, or can pull, the runtime's image; raises `NotPossible`."""
    silent = []
    for address in _addresses(environment):
        try:
            with _api(address) as api:
                api.get("/_ping").raise_for_status()
        except (httpx.HTTPError, OSError, ValueError) as error:
            silent.append(f"{address}: {error}")
            continue
        try:
            with _api(address) as api:
                _ensure_image(api)
                return Engine(address, *_way_to_the_host(api))
        except (httpx.HTTPError, OSError) as error:
            raise NotPossible(f"the container engine at {address} fails: {error}") from error
    raise NotPossible(f"no container engine answers ({'; '.join(silent)})")


def _addresses(environment: Mapping[str, str]) -> list[str]:
    """Return where an engine may listen: DOCKER_HOST alone, or else docker's context, its usual socket and podman's."""
    if chosen := environment.get("DOCKER_HOST"):
        return [chosen]
    context = _said(environment, "docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
    podman = _said(environment, "podman", "info", "--format", "{{.Host.RemoteSocket.Path}}")
    sockets = [context, _DOCKERS_OWN, f"unix://{podman.removeprefix('unix://')}" if podman else ""]
    return list(dict.fromkeys(filter(None, sockets)))


def _said(environment: Mapping[str, str], command: str, *arguments: str) -> str:
    """Return what a command prints, nothing when there is no such command or it fails."""
    path = shutil.which(command, path=environment.get("PATH", ""))
    if path is None:
        return ""
    try:
        done = subprocess.run(
            [path, *arguments], env=dict(environment), capture_output=True, text=True, timeout=_SAID_SEC, check=False
        )
    except (subprocess.TimeoutExpired, OSError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _api(address: str) -> httpx.Client:
    """Raises `ValueError` on an address that is neither a socket's nor plain TCP."""
    parts = urlsplit(address)
    if parts.scheme == "unix":
        with socket.socket(socket.AF_UNIX) as probe:  # httpx leaves one open that cannot connect
            probe.settimeout(_SAID_SEC)
            probe.connect(parts.path)
        return httpx.Client(transport=httpx.HTTPTransport(uds=parts.path), base_url="http://engine", timeout=_SAID_SEC)
    if parts.scheme == "tcp" and parts.netloc:
        return httpx.Client(base_url=f"http://{parts.netloc}", timeout=_SAID_SEC, trust_env=False)
    raise ValueError("only unix:// and plain tcp:// are asked")


def _ensure_image(api: httpx.Client) -> None:
    if api.get(f"/images/{IMAGE}/json").status_code == 200:
        return
    name, _, tag = IMAGE.rpartition(":")
    pulled = api.post("/images/create", params={"fromImage": name, "tag": tag}, timeout=_PULL_SEC)
    # A pull that fails is answered by 200 as well.
    if api.get(f"/images/{IMAGE}/json").status_code != 200:
        raise NotPossible(f"the image {IMAGE} is not here and cannot be pulled: {pulled.text[-200:].strip()}")


def _way_to_the_host(api: httpx.Client) -> tuple[str, str]:
    """Return an address to listen on, and the name by which a container reaches it."""
    if api.get("/info").json().get("OperatingSystem") == "Docker Desktop":
        return LOOPBACK, "host.docker.internal"  # containers are in a virtual machine that brings them to our loopback
    networks: list[dict[str, Any]] = api.get("/networks").json()
    for network in networks:
        if network["Name"] in ("bridge", "podman") and (ranges := network["IPAM"]["Config"]):
            gateway = ranges[0].get("Gateway") or str(ipaddress.ip_network(ranges[0]["Subnet"])[1])
            return gateway, gateway
    raise NotPossible("the engine has no default bridge, by which containers would reach the table")
