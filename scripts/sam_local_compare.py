"""Whether an answer, or what a table holds, is the same after two runs of one event.

What differs by nature, and how it is compared:
- ids (ULIDs, and request ids) are made anew in every run: any one is as good as another;
- times (numbers of seconds, milliseconds or microseconds since 1970, and ISO text) are taken from the clock: those
  within a quarter of an hour of each other are the same, so that a time to live is still checked;
- how long something took (`took_us`, `took_ms`) is another figure each time: any from 0 to a minute is the same;
- the last digits of a float depend on the processor: ten digits count;
- the draw: which candidate is shown depends on the decision's id. It is not compared around: the caller repeats the
  run until the draw is the same.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from pydantic_core import to_jsonable_python

from tips.state import keys
from tips.state.floats import unpack_floats
from tips.state.learning import unpack_statistics

Run = tuple[Any, list[dict[str, Any]]]
"""An answer, and what the table holds then, as `readable` returns it."""
SLACK_SEC = 900
_ID = re.compile(r"\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_LONGEST = {"took_us": 60_000_000, "took_ms": 60_000}
_NOTHING = object()
_EARLIEST_SEC = 1_000_000_000  # 2001
_HEALTH = keys.BRIDGE_HEALTH[0]


def differences(one: Any, other: Any, at: str = "") -> list[str]:
    """Return where two JSON values differ, as `path: this / that`; none where they are the same."""
    if isinstance(one, str) and isinstance(other, str):
        return _of_texts(one, other, at)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        mine, theirs = ({_without_ids(key): value for key, value in each.items()} for each in (one, other))
        lines = []
        for key in sorted(mine.keys() | theirs.keys()):
            if key in _LONGEST and all(_is_duration(each.get(key), _LONGEST[key]) for each in (mine, theirs)):
                continue
            if key in mine and key in theirs:
                lines += differences(mine[key], theirs[key], f"{at}.{key}")
            else:
                lines.append(f"{at}.{key}: {_short(mine.get(key, _NOTHING))} / {_short(theirs.get(key, _NOTHING))}")
        return lines
    if _is_list(one) and _is_list(other):
        lines = [] if len(one) == len(other) else [f"{at}: {len(one)} / {len(other)} of them"]
        pairs = enumerate(zip(one, other, strict=False))
        return lines + [line for index, (a, b) in pairs for line in differences(a, b, f"{at}[{index}]")]
    same = (
        _same_number(one, other) if _is_number(one) and _is_number(other) else type(one) is type(other) and one == other
    )
    return [] if same else [f"{at}: {_short(one)} / {_short(other)}"]


def _of_texts(one: str, other: str, at: str) -> list[str]:
    if one == other:
        return []
    parsed = _parsed(one), _parsed(other)
    if None not in parsed:
        return differences(*parsed, at)
    times = _time_of(one), _time_of(other)
    if times[0] is not None and times[1] is not None and abs(times[0] - times[1]) <= SLACK_SEC:
        return []
    return [] if _without_ids(one) == _without_ids(other) else [f"{at}: {_short(one)} / {_short(other)}"]


def _parsed(text: str) -> Any:
    """JSON documents inside JSON are compared as such."""
    try:
        return json.loads(text) if text[:1] in ("{", "[") else None
    except ValueError:
        return None


def _without_ids(text: str) -> str:
    return _ID.sub("(id)", text)


def _time_of(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_duration(value: Any, longest: float) -> bool:
    return _is_number(value) and 0 <= value <= longest


def _same_number(one: float, other: float) -> bool:
    for unit in (1, 1_000, 1_000_000):
        # Of two powers of a thousand, a time from 2001 to 33658 has only one unit that fits.
        if all(_EARLIEST_SEC * unit <= value < 1_000 * _EARLIEST_SEC * unit for value in (one, other)):
            return abs(one - other) <= SLACK_SEC * unit
    return math.isclose(one, other, rel_tol=1e-10, abs_tol=1e-12)


def _short(value: Any) -> str:
    text = "nothing" if value is _NOTHING else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def readable(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a table's items in the order of their keys, typed attribute values as JSON, packed ones unpacked.

    The bridge's heartbeat is left out: it tells of the bridge's process.
    """
    plain = [{name: _plain(value) for name, value in item.items()} for item in items]
    return sorted((one for one in plain if one["pk"] != _HEALTH), key=lambda one: (one["pk"], one["sk"]))


def _plain(value: Mapping[str, Any]) -> Any:
    ((kind, content),) = value.items()
    match kind:
        case "N":
            return json.loads(content)
        case "M":
            return {name: _plain(inner) for name, inner in content.items()}
        case "L":
            return [_plain(inner) for inner in content]
        case "B":
            return _unpacked(bytes(content))
    return content


def _unpacked(data: bytes) -> Any:
    """Open a packed attribute: a decision, what was learned under a schema, a generation; others stay bytes in hex."""
    try:
        if data[:1] == b"\x01":  # a decision: its document with its length before it, then floats
            whole = zlib.decompress(data[1:])
            end = 4 + int.from_bytes(whole[:4], "little")
            return [json.loads(whole[4:end]), unpack_floats(whole[end:]).tolist()]
        if data[:1] == b"\x78":  # zlib's own first byte
            return json.loads(zlib.decompress(data))
        return to_jsonable_python(asdict(unpack_statistics(data)), fallback=lambda array: array.tolist())
    except (zlib.error, ValueError):
        return data.hex()


def opened(run: Run) -> dict[str, Any]:
    """Return a run as one JSON value: the body of an HTTP answer parsed, and no length, which last digits change."""
    answer, items = run
    if isinstance(answer, dict) and "body" in answer:
        headers = {name: value for name, value in answer.get("headers", {}).items() if name != "content-length"}
        answer = {**answer, "headers": headers, "body": json.loads(answer["body"])}
    return {"answer": answer, "table": items}


def draw(run: Mapping[str, Any]) -> Any:
    """Return which candidate was shown, None where none was."""
    body = run["answer"].get("body") if isinstance(run["answer"], dict) else None
    return body.get("tip_id") if isinstance(body, dict) else None
