"""Makes two clones of a process that is ready for its snapshot; first on the path of what tests/clones.py starts.

Instead of a snapshot and two restores there is a fork: both processes go on from the same memory. From there on the
clock is SHIFT_SEC ahead. In FROZEN (a file) is left which TCP connections were open then, which modules imported, and
what of botocore's held a secret.
"""

import asyncio
import datetime
import gc
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from snapshot_restore_py import register_before_snapshot  # type: ignore[import-untyped]

_shift_sec = 0.0
_real_time, _real_time_ns, _real_datetime = time.time, time.time_ns, datetime.datetime
_ESTABLISHED = "01"


class _AnyDatetime(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _real_datetime)


class _Shifted(datetime.datetime, metaclass=_AnyDatetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
        return _real_datetime.now(tz) + datetime.timedelta(seconds=_shift_sec)


def _connections() -> list[str]:
    """Remote addresses of this process's TCP connections, as the kernel writes them."""
    links = {os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.exists()}
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return [row[2] for row in rows if row[3] == _ESTABLISHED and f"socket:[{row[9]}]" in links]


def _secrets() -> list[str]:
    """Types of the credentials that are in memory, those that the garbage collector is told not to look at included."""
    gc.unfreeze()
    kinds = [type(one) for one in gc.get_objects()]
    gc.freeze()
    return [
        kind.__name__ for kind in kinds if kind.__module__ == "botocore.credentials" and "Credentials" in kind.__name__
    ]


# Registered first, so that it runs as the last one before the snapshot, and as the first one after it.
@register_before_snapshot  # type: ignore[untyped-decorator]
def _clone() -> None:
    global _shift_sec
    frozen = {"connections": _connections(), "modules": list(sys.modules), "secrets": _secrets()}
    Path(os.environ["FROZEN"]).write_text(json.dumps(frozen))
    # A snapshot keeps the threads that LiteLLM has its work done in, a fork does not.
    asyncio.get_event_loop().set_default_executor(ThreadPoolExecutor())
    os.fork()
    _shift_sec = float(os.environ["SHIFT_SEC"])


time.time = lambda: _real_time() + _shift_sec
time.time_ns = lambda: _real_time_ns() + round(_shift_sec * 1e9)
datetime.datetime = _Shifted  # type: ignore[misc]
