"""The configuration as a function that serves requests sees it: seldom read, never missing."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from tips import telemetry
from tips.contracts.configuration import Configuration
from tips.state import keys
from tips.state.configuration import read_configuration

if TYPE_CHECKING:
    from tips.state.table import Table

RETRY_SEC = 5.0
"""A table that is away costs its time-out at most this often, however short the cache's life."""


class ConfigurationCache:
    """Reads the configuration at most every `ttl_sec`, with the time-out that `table` brings.

    On any fault the one last read stays in force, at first the empty one, for another `ttl_sec`.
    """

    def __init__(self, table: Table, ttl_sec: float) -> None:
        self._table = table
        self._ttl_sec = ttl_sec
        self._last = Configuration()
        self._due = 0.0

    def current(self) -> Configuration:
        if monotonic() < self._due:
            return self._last
        pause = self._ttl_sec
        try:
            # Eventually consistent: half the price, and a change has up to `ttl_sec` anyway.
            item = self._table.get(*keys.CONFIGURATION, consistent=False)
            self._last = read_configuration(item).configuration
        except Exception as error:
            # Whatever is wrong with the configuration, no request fails for it.
            pause = max(pause, RETRY_SEC)
            telemetry.count("ConfigurationNotRead")
            telemetry.logger.warning("configuration not read", extra={"fault": type(error).__name__})
        self._due = monotonic() + pause
        return self._last
