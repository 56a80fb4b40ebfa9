"""Keys of the table's items. Partition keys carry a role, so that IAM can separate functions by it."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from ulid import ULID

DAY_SEC = 86_400
DECISION_TTL_SEC = 90 * DAY_SEC
EVENT_TTL_SEC = 35 * DAY_SEC
DEAD_LETTER_TTL_SEC = 30 * DAY_SEC

TOMBSTONE_TTL_SEC = 35 * DAY_SEC

LEARNING = "L"
DECISION_PREFIX = "D#"
WAIT_PREFIX = "W#"
ARMS = "A"
"""What was learned of a person's prompt versions, and the line on preferences; in the partition `generation`."""
PROFILE = "P"
"""Counts by day that profile features are computed from; in the partition `generation`."""
SHOWN_TEXT_PREFIX = "X#"
SHOWN_PREFIX = "V#"
BREAKERS = "C#BREAKER"
TIP_INDEX = "by-tip"
BRIDGE_HEALTH = ("C#HEALTH", "bridge")
CONFIGURATION = ("C#CONFIG", "current")
AUDIT = "C#AUDIT"
PRIORS = "C#PRIOR"
ERASED = "erased"


def user(user_id: str) -> str:
    return f"U#{user_id}"


def learning(user_id: str) -> tuple[str, str]:
    return user(user_id), LEARNING


def decision(decision_id: str) -> str:
    """Decision ids are ULIDs, so the items of one user sort by time."""
    return f"{DECISION_PREFIX}{decision_id}"


def wait(decision_id: str) -> str:
    """The marker whose removal by TTL says that a decision's reward wait is over."""
    return f"{WAIT_PREFIX}{decision_id}"


def tombstone(user_id: str) -> tuple[str, str]:
    """Says that this person was erased, without saying who: the partition key is a hash."""
    return f"T#{_digest(user_id)}", ERASED


def spending_of_erased(user_id: str, date: str) -> tuple[str, str]:
    """What somebody erased spends on a day, without saying who: the sort key is the tombstone's hash."""
    return cap(date), tombstone(user_id)[0]


def generation(user_id: str) -> str:
    """Partition of what `generate` keeps of a user."""
    return f"G#{user_id}"


def arms(user_id: str) -> tuple[str, str]:
    return generation(user_id), ARMS


def profile(user_id: str) -> tuple[str, str]:
    return generation(user_id), PROFILE


def generated(generation_id: str) -> str:
    """What was decided when tips were written; in the partition `generation`."""
    return f"N#{generation_id}"


def shown_text(decision_id: str) -> str:
    """What a tip said that a decision showed; in the partition `generation`."""
    return f"{SHOWN_TEXT_PREFIX}{decision_id}"


def spending(day: str) -> str:
    """Tokens and money of one person on one day (ISO date); in the partition `generation`."""
    return f"B#{day}"


def breaker(model: str) -> tuple[str, str]:
    return BREAKERS, model


def cap(day: str) -> str:
    """Partition of the blocks of one day's (ISO date) cap on what all people together use."""
    return f"C#CAP#{day}"


def prompt_counts(version: str, shard: int) -> tuple[str, str]:
    """One of the items that add up to what reactions say of a prompt version."""
    return f"C#PROMPTS#{shard:02}", version


def prompt_shown(version: str, decision_id: str, shard: int) -> tuple[str, str]:
    """A showing of a version's tip that is not yet among its counts."""
    return f"C#SHOWN#{shard:02}", f"{SHOWN_PREFIX}{version}#{decision_id}"


def event(event_id: str) -> str:
    """Marks a reaction as told."""
    return f"E#{_digest(event_id)}"


def showing(event_id: str) -> str:
    """Marks as counted that a tip was shown; apart from `event`, as one id may stand for a showing and its reaction."""
    return f"E#S#{_digest(event_id)}"


def source_sync(source: str) -> str:
    """When the tasks of one source were last synced."""
    return f"S#{source}"


def tip(tip_id: str, decision_id: str) -> str:
    """Sort key of the index by tip. The hash has one length, so no tip id can be a prefix of another's range."""
    return f"{_digest(tip_id)}#{decision_id}"


DEAD_LETTER_SHARDS = "0123456789abcdef"
"""First digits of letters' ids: each has a partition, so that none is hot."""


def dead_letter(letter_id: str) -> tuple[str, str]:
    """The head of a letter. Of an id's beginning: the partition, and what its sort key is not before."""
    return f"C#DLQ#{letter_id[0]}", f"{letter_id}#0000"


def dead_letter_part(letter_id: str, number: int) -> tuple[str, str]:
    """A part but the first of a letter, in a partition of the letter's own: who lists heads reads none."""
    return f"C#DLQ#{letter_id}", f"{letter_id}#{number:04}"


def last_ulid_at(at_us: int) -> str:
    """Return the greatest ULID of the millisecond that holds `at_us` (microseconds since 1970)."""
    milliseconds = max(0, at_us // 1000)
    return str(ULID.from_bytes(milliseconds.to_bytes(6, "big") + b"\xff" * 10))


@lru_cache(maxsize=256)
def decided_at_us(decision_id: str) -> int:
    """Return the time of a decision in microseconds since 1970; raises `ValueError` if the id is not a ULID."""
    return int.from_bytes(ULID.from_str(decision_id).bytes[:6], "big") * 1000


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
