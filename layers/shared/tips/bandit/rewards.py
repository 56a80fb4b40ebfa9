"""Rewards of reactions, and the rule by which one decision teaches once however often it is told of a reaction."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tips.contracts.common import Action

MAX_EVENT_IDS = 16

_SECOND_MS = 1000
_MINUTE_MS = 60 * _SECOND_MS
_REWARDS: dict[Action, float] = {"dismiss": -1.0, "snooze": 0.1, "helpful": 0.5, "not_helpful": -0.5}


def reward_of(action: Action, dwell_ms: int | None) -> float:
    """Return the reward of an action, -1 to 1. A task `done` at once was done before; one that took long was heavy."""
    if action != "done":
        return _REWARDS[action]
    if dwell_ms is None:
        return 0.6
    if dwell_ms < 15 * _SECOND_MS:
        return -0.3
    if dwell_ms < 2 * _MINUTE_MS:
        return 1.0
    if dwell_ms <= 10 * _MINUTE_MS:
        return 0.6
    return 0.3


def derived_event_id(
    user_id: str, subject: str, action: Action | None, reward: float | None, dwell_ms: int | None
) -> str:
    """Return the id of a reaction that came without one: a hash of what it says. subject: decision or tip id."""
    text = json.dumps([user_id, subject, action, reward, dwell_ms])
    return "derived-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Reaction:
    """One reaction to a shown tip. occurred_at: microseconds since 1970, UTC."""

    reward: float
    occurred_at: int
    event_id: str
    action: Action | None = None
    dwell_ms: int | None = None


class Verdict(StrEnum):
    """What a reaction is to a decision that may have had others before."""

    COUNTS = "counts"
    DUPLICATE = "duplicate"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class ReactionLog:
    """The reaction that counts for a decision, the reward of it that is in the sums, and the ids seen, oldest first."""

    counted: Reaction | None = None
    learned_reward: float | None = None
    event_ids: tuple[str, ...] = ()

    def judge(self, reaction: Reaction) -> Verdict:
        """The reaction with the latest `occurred_at` counts, ties by `event_id`; a known id changes nothing."""
        if reaction.event_id in self.event_ids:
            return Verdict.DUPLICATE
        if self.counted is None:
            return Verdict.COUNTS
        if reaction.event_id == self.counted.event_id:
            return Verdict.DUPLICATE
        newer = (reaction.occurred_at, reaction.event_id) > (self.counted.occurred_at, self.counted.event_id)
        return Verdict.COUNTS if newer else Verdict.SUPERSEDED

    def record(self, reaction: Reaction, *, counts: bool, learned_reward: float | None) -> ReactionLog:
        """Return the log with the reaction's id remembered and, if it counts, with it as the counted one."""
        event_ids = (*self.event_ids, reaction.event_id)[-MAX_EVENT_IDS:]
        if counts:
            return ReactionLog(reaction, learned_reward, event_ids)
        return replace(self, event_ids=event_ids)
