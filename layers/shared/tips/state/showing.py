"""What a decision leaves beside itself because its tip is shown: what it says, for `generate`, and a mark to count it.

What it says is kept as a signature, which is enough to tell whether another text is alike. It is no secret from who
can read the table: much of a text can be put together again from its trigrams. Both come with the decision, in its one
write; of a deferred one they come to count when it is activated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tips.features.similarity import Signature, pack_signature, signature, unpack_signature
from tips.state import keys, prompt_counts

if TYPE_CHECKING:
    from tips.state.decision_codec import RememberedDecision
    from tips.state.table import Item

_WAITING_SEC = 2 * keys.DAY_SEC
"""How long a deferred decision may wait and its tip still be known as shown; most are never shown."""
_WRITTEN = ("llm", "advice", "fallback")
"""Sources of tips that somebody wrote as tips; other sources are people's own tasks, which may come again."""


def items(remembered: RememberedDecision, content: str | None) -> list[Item]:
    """Return what is stored beside a new decision. content: of the tip that it chose."""
    marker = prompt_counts.shown_marker(remembered)
    found = [] if marker is None else [marker]
    if content and _is_written(remembered):
        text = _text_item(remembered) | {"signature": {"B": pack_signature(signature(content))}}
        if remembered.decision.deferred:
            text |= {"waiting": {"BOOL": True}, "ttl": _expiry(remembered, _WAITING_SEC)}
        found.append(text)
    return found


def writes(before: RememberedDecision, after: RememberedDecision) -> list[dict[str, Any]]:
    """Return the transaction's parts that follow from a change of what is known of a decision."""
    parts: list[dict[str, Any]] = []
    begins = before.wait_began_at is None and after.wait_began_at is not None
    learned = before.reactions.learned is None and after.reactions.learned is not None
    if begins and not learned:
        marker = prompt_counts.shown_marker(after)
        parts += [] if marker is None else [{"Put": {"Item": marker}}]
    elif learned and not begins:
        parts += prompt_counts.counted(after)
    if begins and _is_written(after):
        item = _text_item(after)
        parts.append(
            {
                "Update": {
                    "Key": {name: item[name] for name in ("pk", "sk")},
                    # The TTL, because the text may never have been there.
                    "UpdateExpression": "SET #ttl = :ttl REMOVE waiting",
                    "ExpressionAttributeNames": {"#ttl": "ttl"},
                    "ExpressionAttributeValues": {":ttl": item["ttl"]},
                }
            }
        )
    return parts


def shown_signature(item: Item) -> Signature | None:
    """Return what a tip said that was shown; None while it waits for its activation, or where no text was given."""
    if "waiting" in item or "signature" not in item:
        return None
    return unpack_signature(item["signature"]["B"])


def _is_written(remembered: RememberedDecision) -> bool:
    tip = remembered.decision.candidates[remembered.decision.chosen]
    return tip.get("generation_id") is not None or tip.get("source") in _WRITTEN


def _text_item(remembered: RememberedDecision) -> Item:
    return {
        "pk": {"S": keys.generation(remembered.decision.user_id)},
        "sk": {"S": keys.shown_text(remembered.decision_id)},
        "ttl": _expiry(remembered, keys.DECISION_TTL_SEC),
    }


def _expiry(remembered: RememberedDecision, seconds: int) -> Item:
    return {"N": str(keys.decided_at_us(remembered.decision_id) // 1_000_000 + seconds)}
