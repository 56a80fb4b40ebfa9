"""Structured logs and EMF metrics; neither ever carries what a person wrote or who they are."""

from __future__ import annotations

import logging
import os
import sys
import traceback

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit

# Mangum logs each request's path, and paths hold user ids.
logging.getLogger("mangum").setLevel(logging.CRITICAL)

_service = os.environ.get("POWERTOOLS_SERVICE_NAME", "tips")
logger = Logger(service=_service)
_metrics = Metrics(namespace=os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "oO/Tips"), service=_service)


def count(name: str, value: float = 1) -> None:
    """Add `value` to the metric `name`, which must come from a closed set, never from a request's text."""
    _metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)


def flush() -> None:
    """Print what was counted since the last call as one EMF line; call at the end of each invocation."""
    if _metrics.provider.metric_set:
        _metrics.flush_metrics()


def log_unforeseen(message: str, **extra: object) -> None:
    """Log the exception being handled by type and place; its text may quote what a person wrote."""
    kind, _, trace = sys.exc_info()
    place = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(trace)[-6:]]
    count("UnforeseenError")
    logger.error(message, extra={"exception": kind.__name__ if kind else None, "at": place, **extra})
