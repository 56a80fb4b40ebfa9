"""Structured logs and EMF metrics; neither ever carries what a person wrote or who they are."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback

from aws_lambda_powertools.logging import Logger

# Mangum logs each request's path, and paths hold user ids.
logging.getLogger("mangum").setLevel(logging.CRITICAL)

_service = os.environ.get("POWERTOOLS_SERVICE_NAME", "tips")
logger = Logger(service=_service)
_namespace = os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "oO/Tips")
_counts: dict[str, list[float]] = {}


def count(name: str, value: float = 1) -> None:
    """Add `value` to the metric `name`, which must come from a closed set, never from a request's text."""
    _counts.setdefault(name, [0.0])[0] += value


def flush() -> None:
    """Print what was counted since the last call as one EMF line; call at the end of each invocation.

    The line is that of Powertools' Metrics, which would take a fortieth of a whole `/score` to make it.
    """
    if not _counts:
        return
    metrics = [{"Name": name, "Unit": "Count"} for name in _counts]
    directive = {"Namespace": _namespace, "Dimensions": [["service"]], "Metrics": metrics}
    metadata = {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [directive]}
    print(json.dumps({"_aws": metadata, "service": _service, **_counts}, separators=(",", ":")))
    _counts.clear()


def log_unforeseen(message: str, **extra: object) -> None:
    """Log the exception being handled by type and place; its text may quote what a person wrote."""
    kind, _, trace = sys.exc_info()
    place = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(trace)[-6:]]
    count("UnforeseenError")
    logger.error(message, extra={"exception": kind.__name__ if kind else None, "at": place, **extra})
