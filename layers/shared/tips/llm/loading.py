"""When what takes seconds to import is imported: at init, and in a thread where somebody waits for the init to end."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

from tips import telemetry
from tips.llm import gateway, tracing

_thread: Thread | None = None


def load() -> None:
    """Import LiteLLM, and MLflow where traces are sent. What LiteLLM's import raises is raised."""
    gateway.load()
    if os.environ.get("MLFLOW_TRACKING_URI", "").strip():
        with suppress(ImportError):  # each trace that cannot be sent says so
            tracing.load()


def begin(then: Callable[[], None]) -> None:
    """Start to load in a thread, and to call `then`; should it fail, the next one to need LiteLLM tries again."""
    global _thread
    _thread = Thread(target=_load_in_thread, args=(then,), name="imports", daemon=True)
    _thread.start()


def done_within(seconds: float) -> bool:
    """Wait for the thread that loads; returns False where it needs longer, True also where there is none."""
    if _thread is None:
        return True
    _thread.join(max(0.0, seconds))
    return not _thread.is_alive()


def _load_in_thread(then: Callable[[], None]) -> None:
    try:
        load()
    except Exception:
        telemetry.log_unforeseen("a language model's client cannot be loaded")
    finally:
        then()
