"""`python -m devstack`: keeps the whole service running on loopback until it is stopped."""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from devstack.instances import Instances
from devstack.stack import PortTaken, Stack

_PORTS = {
    "DEV_TABLE_PORT": 8000,
    "DEV_SCORE_PORT": 8001,
    "DEV_GENERATE_PORT": 8002,
    "DEV_INVOKE_PORT": 3001,
    "DEV_NATS_PORT": 4222,
    "DEV_BRIDGE_PORT": 8080,
}


def main() -> int:
    try:
        table, score, generate, invoke, nats, bridge = (_port(name, default) for name, default in _PORTS.items())
        stopped = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
        with Stack(
            table_port=table,
            score_port=score,
            generate_port=generate,
            invoke_port=invoke,
            nats=True,
            nats_port=nats,
            bridge_port=bridge,
            table_host=os.environ.get("DEV_TABLE_HOST", "").strip() or None,
            lambda_endpoint=os.environ.get("DEV_LAMBDA_ENDPOINT", "").strip() or None,
        ) as stack:
            # A setting that a function refuses shows now, and nobody's first request waits for LiteLLM.
            with ThreadPoolExecutor() as executor:
                list(executor.map(Instances.warm, stack.functions.values()))
            _print_addresses(stack)
            stopped.wait()
    except RuntimeError as error:
        print(f"devstack: {error}", file=sys.stderr)
        return 1
    except (PortTaken, ValueError) as error:
        print(f"devstack: {error}\nPorts are set by {', '.join(_PORTS)}; 0 takes a free one.", file=sys.stderr)
        return 1
    print("stopped")
    return 0


def _port(name: str, default: int) -> int:
    raw = os.environ.get(name, "").strip()
    if not raw:
        return default
    if not raw.isdecimal() or int(raw) > 65535:
        raise ValueError(f"{name} must be a port number, not {raw!r}")
    return int(raw)


def _print_addresses(stack: Stack) -> None:
    print(f"score's function URL     {stack.score_url}")
    print(f"generate's function URL  {stack.generate_url}")
    print(f"Lambda's Invoke API      {stack.invoke_url}  ({', '.join(stack.functions)})")
    print(f"DynamoDB                 {stack.table_endpoint}  (table {stack.table_name}, empty)")
    if stack.table_endpoint_outside:
        print(f"  also for containers    {stack.table_endpoint_outside}  (and whoever else reaches that address)")
    print(
        f"NATS with JetStream      {stack.nats_url}  (streams signals and feedback; the bridge hands them to consume)"
    )
    print(f"the bridge's health      {stack.bridge_url}/health  (and /metrics)")
    example = (
        '{"user_id": "ann", "explain": true, "context": {"hour_of_day": 9}, "candidates": ['
        '{"id": "pay-rent", "features": {"is_overdue": true, "priority": 3}}, '
        '{"id": "walk", "features": {"task_age_days": 2}}]}'
    )
    print(f"\nTry:\n  curl -s {stack.score_url}/score -d '{example}'")
    print("\nThe functions' logs follow. Ctrl-C stops everything; nothing is kept.", flush=True)


if __name__ == "__main__":
    sys.exit(main())
