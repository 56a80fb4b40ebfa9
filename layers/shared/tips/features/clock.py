"""Hour and weekday of a person's clock."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from tips.errors import InvalidField

# Files among the zones that are none: the clock of this machine, and placeholders.
_NO_PLACES = frozenset({"localtime", "posixrules", "Factory"})


def _there(timezone: str, now: datetime) -> datetime:
    try:
        if timezone in _NO_PLACES:
            raise KeyError(timezone)
        return now.astimezone(ZoneInfo(timezone))
    except (KeyError, ValueError, OSError):
        raise InvalidField("must be an IANA time zone such as Europe/Berlin", field="context.timezone") from None


def hour_there(hour: float, timezone: str | None, now: datetime) -> float:
    """Return an hour of the day (UTC, 0 to 24) by the clock of a time zone, as that differs from UTC at `now`.

    Raises `InvalidField` for a time zone that does not exist.
    """
    offset = None if timezone is None else _there(timezone, now).utcoffset()
    return hour if offset is None else (hour + offset.total_seconds() / 3600) % 24


def local_time(
    hour_of_day: int | None, day_of_week: int | None, timezone: str | None, now: datetime
) -> tuple[int | None, int | None]:
    """Return hour (0..23) and weekday (Monday = 0): as given, else by the time zone at `now`, else not known.

    Raises `InvalidField` for a time zone that does not exist.
    """
    if timezone is None:
        return hour_of_day, day_of_week
    there = _there(timezone, now)
    return (
        there.hour if hour_of_day is None else hour_of_day,
        there.weekday() if day_of_week is None else day_of_week,
    )
