"""What a decision teaches, as a function of what is known of it: its reactions, when its wait began, if it is over.

Whatever becomes known, in whatever order, the transaction that remembers it moves the sums from what they hold of this
decision to what they should hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tips.bandit.forgetting import half_life_us
from tips.bandit.learning import Lesson, Logged, UserLearning
from tips.bandit.registry import POLICIES
from tips.state import keys
from tips.state.decision_codec import prompt_value, reactions_value
from tips.state.profiles import counted_value

if TYPE_CHECKING:
    from tips.bandit.decision import Decision
    from tips.bandit.rewards import ReactionLog
    from tips.settings import Settings
    from tips.state.decision_codec import RememberedDecision


@dataclass(frozen=True, slots=True)
class LearningRules:
    """How decisions teach. Score and consume must have the same. half_life: microseconds, 0 for no forgetting."""

    default_reward: float = 0.0
    half_life: int = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> LearningRules:
        return cls(settings.default_reward, half_life_us(settings.half_life_days))


def belongs(remembered: RememberedDecision, learning: UserLearning) -> bool:
    """Whether the decision belongs to the learning's epoch. One taken blindly is placed by its time."""
    if remembered.epoch is None:
        return keys.decided_at_us(remembered.decision_id) >= learning.epoch_at
    return remembered.epoch == learning.epoch


def lesson_of(decision: Decision, log: ReactionLog, reward: float | None) -> Lesson:
    """Return the lesson by which what a decision taught, as its log says, becomes `reward`; None: nothing."""
    active = decision.active
    evaluations = [active, *(one for one in decision.evaluations.values() if one is not active)]
    policies = [POLICIES[one.policy] for one in evaluations if one.policy in POLICIES]
    return Lesson(
        at=keys.decided_at_us(decision.decision_id),
        logged={one.schema_hash: Logged(one.names, one.vector) for one in evaluations},
        counted=tuple(dict.fromkeys(policy.schema for policy in policies)),
        new=reward,
        old=log.learned,
        learned_in=None if log.learned is None else log.learned_in,
    )


def wait_item(remembered: RememberedDecision) -> dict[str, Any]:
    """Return the marker that TTL removes when the reward wait of a decision is over."""
    ends_at = remembered.wait_ends_at
    if ends_at is None:
        raise ValueError("the reward wait has not begun")
    return {
        "pk": {"S": keys.user(remembered.decision.user_id)},
        "sk": {"S": keys.wait(remembered.decision_id)},
        "ttl": {"N": str(-(-ends_at // 1_000_000))},
    }


def decision_write(before: RememberedDecision, after: RememberedDecision) -> dict[str, Any]:
    """Return the transaction's part that remembers what is known now, on condition that nobody has meanwhile."""
    log, was = after.reactions, before.reactions
    values: dict[str, dict[str, Any] | None] = {
        "rev": {"N": str(before.revision + 1)},
        "reactions": reactions_value(log),
    }
    if log.prompt != was.prompt:
        values["prompt"] = prompt_value(log.prompt)
    if after.counted != before.counted:
        values["counted"] = None if after.counted is None else counted_value(after.counted)
    for name, now, then in (
        ("shown_at", after.shown_at, before.shown_at),
        ("activated_at", after.activated_at, before.activated_at),
    ):
        if now != then and now is not None:
            values[name] = {"N": str(now)}
    present = {name: value for name, value in values.items() if value is not None}
    gone = [name for name, value in values.items() if value is None]
    return {
        "Update": {
            "Key": {
                "pk": {"S": keys.user(before.decision.user_id)},
                "sk": {"S": keys.decision(before.decision_id)},
            },
            "UpdateExpression": "SET "
            + ", ".join(f"{name} = :{name}" for name in present)
            + (f" REMOVE {', '.join(gone)}" if gone else ""),
            "ConditionExpression": "rev = :before",
            "ExpressionAttributeValues": {
                ":before": {"N": str(before.revision)},
                **{f":{name}": value for name, value in present.items()},
            },
        }
    }
