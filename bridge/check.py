"""`python -m bridge.check`: exit code 0 when the bridge of this machine or container is well."""

from __future__ import annotations

import http.client
import os
import sys

from bridge.settings import Settings


def main() -> int:
    settings = Settings.from_env({name: value for name, value in os.environ.items() if name.startswith("BRIDGE_")})
    anywhere = settings.health_host in ("0.0.0.0", "::")  # noqa: S104 (compared with, not listened on)
    connection = http.client.HTTPConnection(
        "127.0.0.1" if anywhere else settings.health_host, settings.health_port, timeout=8
    )
    try:
        connection.request("GET", "/health")
        return int(connection.getresponse().status != 200)
    except OSError:
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
