"""Tells in a function's log of each of its handler's calls; first on the path of what `bench.load` starts.

A line is `HANDLED`, when it began and ended (ns of the monotonic clock) and for how long its thread ran meanwhile (ns).
"""

import sys
import time
from typing import Any

from awslambdaric import bootstrap  # type: ignore[import-not-found]

_handle = bootstrap.handle_event_request


def _handle_and_tell(client: Any, handler: Any, *rest: Any) -> None:
    def timed(event: Any, context: Any) -> Any:
        began, ran = time.monotonic_ns(), time.thread_time_ns()
        try:
            return handler(event, context)
        finally:
            ran = time.thread_time_ns() - ran
            sys.stderr.write(f"\nHANDLED {began} {time.monotonic_ns()} {ran}\n")
            sys.stderr.flush()

    _handle(client, timed, *rest)


bootstrap.handle_event_request = _handle_and_tell
