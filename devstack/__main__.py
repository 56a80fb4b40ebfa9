"""`python -m devstack`: keeps the whole service running on loopback until it is stopped."""

from __future__ import annotations

import os
import signal
import sys
import threading

from rich.console import Console
from rich.table import Table

from devstack.stack import PortTaken, Stack

_PORTS = {"DEV_TABLE_PORT": 8000, "DEV_SCORE_PORT": 8001, "DEV_GENERATE_PORT": 8002, "DEV_INVOKE_PORT": 3001}


def main() -> int:
    console = Console(highlight=False, soft_wrap=True)
    try:
        table, score, generate, invoke = (_port(name, default) for name, default in _PORTS.items())
        stack = Stack(table_port=table, score_port=score, generate_port=generate, invoke_port=invoke)
        stopped = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
        with stack:
            _print_addresses(console, stack)
            stopped.wait()
    except (PortTaken, ValueError) as error:
        console.print(f"[red]devstack:[/] {error}", style=None)
        names = ", ".join(_PORTS)
        console.print(f"Ports are set by {names}; 0 takes a free one.")
        return 1
    console.print("stopped")
    return 0


def _port(name: str, default: int) -> int:
    raw = os.environ.get(name, "").strip()
    if not raw:
        return default
    if not raw.isdecimal() or int(raw) > 65535:
        raise ValueError(f"{name} must be a port number, not {raw!r}")
    return int(raw)


def _print_addresses(console: Console, stack: Stack) -> None:
    addresses = Table.grid(padding=(0, 2))
    addresses.add_row("score's function URL", stack.score_url)
    addresses.add_row("generate's function URL", stack.generate_url)
    addresses.add_row("Lambda's Invoke API", f"{stack.invoke_url}  ({', '.join(stack.functions)})")
    addresses.add_row("DynamoDB", f"{stack.table_endpoint}  (table {stack.table_name}, empty)")
    console.print(addresses)
    example = (
        '{"user_id": "ann", "explain": true, "context": {"hour_of_day": 9}, "candidates": ['
        '{"id": "pay-rent", "features": {"is_overdue": true, "priority": 3}}, '
        '{"id": "walk", "features": {"task_age_days": 2}}]}'
    )
    console.print("\nTry:")
    console.print(f"  curl -s {stack.score_url}/score -d '{example}'", markup=False)
    console.print("\nThe functions' logs follow. Ctrl-C stops everything; nothing is kept.")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
