"""Rewards of reactions, and the rule by which one decision teaches once however often it is told of a reaction."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tips.contracts.common import Action

MAX_REACTIONS = 16

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

    @property
    def order(self) -> tuple[int, str]:
        """Of two reactions the one that is greater counts."""
        return self.occurred_at, self.event_id


@dataclass(frozen=True, slots=True)
class PromptLesson:
    """What a decision has taught of the prompt version that wrote its tip.

    reacted: whether the reward is a reaction's or the default; learned_in: as of `ReactionLog`, of that learning.
    """

    reward: float
    reacted: bool
    learned_in: int


@dataclass(frozen=True, slots=True)
class ReactionLog:
    """What is known of the reactions to one decision; what it teaches depends on nothing but this and its times.

    reactions: the last `MAX_REACTIONS` told, oldest telling first, one per event id, and always the one that counts.
    wait_over: whether the table has said that the reward wait has ended. learned: the reward that is in the sums,
    since revision learned_in of the learning. prompt: what was learned of the tip's prompt version, None if nothing.
    """

    reactions: tuple[Reaction, ...] = ()
    wait_over: bool = False
    learned: float | None = None
    learned_in: int | None = None
    prompt: PromptLesson | None = None

    def knows(self, event_id: str) -> bool:
        """A known id is never re-dated and changes nothing."""
        return any(one.event_id == event_id for one in self.reactions)

    def counted(self, last_us: int | None) -> Reaction | None:
        """Return the latest reaction up to `last_us`, the end of the reward wait (None: it has not begun)."""
        in_time = [one for one in self.reactions if last_us is not None and one.occurred_at <= last_us]
        return max(in_time, key=lambda one: one.order, default=None)

    def late(self, last_us: int | None) -> Reaction | None:
        """Return the latest reaction after the reward wait: kept for evaluation, never learned."""
        late = [one for one in self.reactions if last_us is not None and one.occurred_at > last_us]
        return max(late, key=lambda one: one.order, default=None)

    def reward(self, last_us: int | None, default_reward: float) -> float | None:
        """Return what the decision teaches: the counted reward, after the wait the default, else nothing yet."""
        if last_us is None:
            return None
        counted = self.counted(last_us)
        if counted is not None:
            return counted.reward
        return default_reward if self.wait_over else None

    def with_reaction(self, reaction: Reaction, last_us: int | None) -> ReactionLog:
        """Return the log with one reaction more; beyond the bound the oldest goes that neither counts nor is late."""
        reactions = [*self.reactions, reaction]
        if len(reactions) > MAX_REACTIONS:
            after = replace(self, reactions=tuple(reactions))
            kept = (after.counted(last_us), after.late(last_us))
            reactions.remove(next(one for one in reactions if one not in kept))
        return ReactionLog(tuple(reactions), self.wait_over, self.learned, self.learned_in, self.prompt)
