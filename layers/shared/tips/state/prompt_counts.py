"""What reactions say of each prompt version, over all people: counts that move with what is learned.

A version's counts are the sum of `SHARDS` items, so that the reactions of a busy day do not queue for one; a person's
always move the same. Amounts are whole numbers, so what a revision takes out cancels exactly. A tip that was shown and
has taught nothing yet has a marker of its own, which goes when it is counted.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tips import telemetry
from tips.bandit.rewards import PromptLesson
from tips.state import keys

if TYPE_CHECKING:
    from tips.state.decision_codec import RememberedDecision
    from tips.state.table import Item, Table

SHARDS = 16
_AT_ONCE = 100
_LATE_SEC = 7 * keys.DAY_SEC
"""How long after the end of a reward wait TTL may still be on its way."""
_MAX_SHOWN = 100_000
_UNITS = 10**12
"""Of `total` and `squares`, to one: they are whole numbers, so that adding them is exact everywhere."""
AMOUNTS = ("settled", "reactions", "total", "squares")


@dataclass(frozen=True, slots=True)
class PromptCounts:
    """shown: tips shown; of them `settled` have a reaction or have had their time for one, `reactions` a reaction.

    total, squares: sums of the settled rewards and of their squares.
    """

    shown: int = 0
    settled: int = 0
    reactions: int = 0
    total: float = 0.0
    squares: float = 0.0


def _shard(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) % SHARDS


def difference(before: PromptLesson | None, after: PromptLesson | None) -> dict[str, int]:
    """Return by how much the counts move from what a decision had taught to what it teaches."""
    there, here = _amounts(before), _amounts(after)
    return {name: here[name] - there[name] for name in AMOUNTS}


def write(version: str, user_id: str, amounts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the transaction's part that moves a version's counts by these amounts, if there is anything to move."""
    changed = {name: amount for name, amount in amounts.items() if amount}
    if not changed:
        return []
    pk, sk = keys.prompt_counts(version, _shard(user_id))
    return [
        {
            "Update": {
                "Key": {"pk": {"S": pk}, "sk": {"S": sk}},
                "UpdateExpression": "ADD " + ", ".join(f"#{name} :{name}" for name in changed),
                "ExpressionAttributeNames": {f"#{name}": name for name in changed},
                "ExpressionAttributeValues": {f":{name}": {"N": str(amount)} for name, amount in changed.items()},
            }
        }
    ]


def _amounts(lesson: PromptLesson | None) -> dict[str, int]:
    if lesson is None:
        return dict.fromkeys(AMOUNTS, 0)
    reward = Decimal(repr(float(lesson.reward)))
    values = (1, int(lesson.reacted), round(reward * _UNITS), round(reward * reward * _UNITS))
    return dict(zip(AMOUNTS, values, strict=True))


def shown_marker(remembered: RememberedDecision) -> Item | None:
    """Return the marker of a showing that has taught nothing yet; None when the tip is of no prompt version."""
    key, ends_at = _marker_key(remembered), remembered.wait_ends_at
    if key is None or ends_at is None:
        return None
    pk, sk = key
    return {"pk": {"S": pk}, "sk": {"S": sk}, "ttl": {"N": str(ends_at // 1_000_000 + _LATE_SEC)}}


def counted(remembered: RememberedDecision) -> list[dict[str, Any]]:
    """Return the transaction's part that takes the marker away."""
    key = _marker_key(remembered)
    return [] if key is None else [{"Delete": {"Key": {"pk": {"S": key[0]}, "sk": {"S": key[1]}}}}]


def _marker_key(remembered: RememberedDecision) -> tuple[str, str] | None:
    tip = remembered.decision.candidates[remembered.decision.chosen]
    version = tip.get("prompt_version")
    if version is None or tip.get("generation_id") is None or tip.get("source") == "fallback":
        return None
    return keys.prompt_shown(version, remembered.decision_id, _shard(remembered.decision_id))


def read(table: Table, versions: Collection[str]) -> dict[str, PromptCounts]:
    """Return the counts of these versions; raises `TableUnavailable`."""
    wanted = [keys.prompt_counts(version, shard) for version in versions for shard in range(SHARDS)]
    sums = {version: dict.fromkeys(AMOUNTS, 0) for version in versions}
    for start in range(0, len(wanted), _AT_ONCE):
        batch = wanted[start : start + _AT_ONCE]
        for (_, version), item in zip(batch, table.get_all(batch), strict=True):
            try:
                amounts = {name: int(item[name]["N"]) for name in AMOUNTS if name in item} if item else {}
            except (LookupError, TypeError, ValueError):
                telemetry.count("PromptCountsUnreadable")  # the others can still be shown
                continue
            for name, amount in amounts.items():
                sums[version][name] += amount
    waiting: Counter[str] = Counter()
    for shard in range(SHARDS):
        pk, _ = keys.prompt_shown("", "", shard)
        for item in table.query(pk, keys.SHOWN_PREFIX, keys.SHOWN_PREFIX + "~", limit=_MAX_SHOWN):
            waiting[item["sk"]["S"].removeprefix(keys.SHOWN_PREFIX).rpartition("#")[0]] += 1
    return {
        version: PromptCounts(
            shown=counts["settled"] + waiting[version],
            settled=counts["settled"],
            reactions=counts["reactions"],
            total=counts["total"] / _UNITS,
            squares=counts["squares"] / _UNITS,
        )
        for version, counts in sums.items()
    }
