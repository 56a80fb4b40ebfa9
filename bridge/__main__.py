"""`python -m bridge [--ensure-streams]`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "tips-bridge")  # read when telemetry is imported

from botocore.exceptions import BotoCoreError, ProfileNotFound

from bridge.health import AddressUnusable
from bridge.program import Bridge
from bridge.settings import Settings


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bridge",
        description="Brings events from NATS JetStream to the function consume. Settings come from the environment.",
    )
    parser.add_argument("--ensure-streams", action="store_true", help="create the streams that do not exist")
    arguments = parser.parse_args()
    try:
        settings = Settings.from_env(ensure_streams=arguments.ensure_streams)
    except ValueError as error:
        return _unusable(str(error))
    try:
        bridge = Bridge(settings)
    except ProfileNotFound as error:
        return _unusable(f"AWS_PROFILE cannot be used: {error}")
    except (BotoCoreError, ValueError) as error:
        return _unusable(f"the configuration of AWS (AWS_..., its files, or an endpoint) cannot be used: {error}")
    try:
        finished = asyncio.run(bridge.run())
    except AddressUnusable as error:
        return _unusable(f"BRIDGE_HEALTH_HOST and BRIDGE_HEALTH_PORT cannot be used: {error}")
    if not finished:
        # An invocation that does not end would keep the process; its messages are delivered again.
        sys.stdout.flush()
        os._exit(0)
    return 0


def _unusable(what: str) -> int:
    """Say what cannot be used; returns the exit code for that, with which a supervisor need not try again."""
    print(f"bridge: {what}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
