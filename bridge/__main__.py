"""`python -m bridge [--ensure-streams]`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "tips-bridge")  # read when telemetry is imported

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
        print(f"bridge: {error}", file=sys.stderr)
        return 2
    try:
        finished = asyncio.run(_run(settings))
    except OSError as error:
        print(f"bridge: BRIDGE_HEALTH_HOST and BRIDGE_HEALTH_PORT cannot be used: {error}", file=sys.stderr)
        return 2
    if not finished:
        # An invocation that does not end would keep the process; its messages are delivered again.
        sys.stdout.flush()
        os._exit(0)
    return 0


async def _run(settings: Settings) -> bool:
    return await Bridge(settings).run()


if __name__ == "__main__":
    sys.exit(main())
