"""Structured logs and EMF metrics; neither ever carries what a person wrote or who they are."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
import traceback

from aws_lambda_powertools.logging import Logger

# Mangum logs each request's path, and paths hold user ids.
logging.getLogger("mangum").setLevel(logging.CRITICAL)

_service = os.environ.get("POWERTOOLS_SERVICE_NAME", "tips")
logger = Logger(service=_service)
_namespace = os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "oO/Tips")
_Dimensions = tuple[tuple[str, str], ...]
_counts: dict[_Dimensions, dict[str, list[float]]] = {}
_lock = threading.Lock()


def count(name: str, value: float = 1) -> None:
    """Add `value` to the metric `name`, which must come from a closed set, never from a request's text."""
    count_for(name, value)


def count_for(name: str, value: float = 1, **dimensions: str) -> None:
    """Add `value` to the metric `name` under `dimensions`, whose values must come from closed sets as well."""
    with _lock:  # people's records are worked on at the same time
        metrics = _counts.setdefault(tuple(sorted(dimensions.items())), {})
        metrics.setdefault(name, [0.0])[0] += value


def flush() -> None:
    """Print what was counted since the last call, an EMF line per set of dimensions; call when an invocation ends.

    The line is that of Powertools' Metrics, which would take a fortieth of a whole `/score` to make it.
    """
    with _lock:
        taken = _counts.copy()
        _counts.clear()
    for dimensions, counts in taken.items():
        metrics = [{"Name": name, "Unit": "Count"} for name in counts]
        names = ["service", *(name for name, _ in dimensions)]
        directive = {"Namespace": _namespace, "Dimensions": [names], "Metrics": metrics}
        metadata = {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [directive]}
        line = {"_aws": metadata, "service": _service, **dict(dimensions), **counts}
        print(json.dumps(line, separators=(",", ":")))


def log_unforeseen(message: str, fault: BaseException | None = None, **extra: object) -> None:
    """Log an exception, else the one being handled, by type and place; its text may quote what a person wrote."""
    fault = fault or sys.exc_info()[1]
    trace = None if fault is None else fault.__traceback__
    place = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(trace)[-6:]]
    count("UnforeseenError")
    logger.error(message, extra={"exception": type(fault).__name__ if fault else None, "at": place, **extra})
