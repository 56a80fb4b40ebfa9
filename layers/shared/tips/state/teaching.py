"""The one place where a decision's state and what it teaches change together.

What a decision teaches is a function of what is known of it: its reactions, when its wait began, whether the wait is
over. Whatever becomes known, in whatever order, the same transaction remembers it and moves the sums from what they
hold of this decision to what they should hold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tips.bandit.forgetting import half_life_us
from tips.bandit.learning import Lesson, Logged, UserLearning, taught
from tips.bandit.registry import POLICIES, present_schemas
from tips.state import keys, showing
from tips.state.decision_codec import RememberedDecision, prompt_value, reactions_value
from tips.state.learning import write

if TYPE_CHECKING:
    from tips.bandit.decision import Decision
    from tips.bandit.rewards import ReactionLog
    from tips.settings import Settings
    from tips.state.arms import Arms


@dataclass(frozen=True, slots=True)
class LearningRules:
    """How decisions teach. Score and consume must have the same. half_life: microseconds, 0 for no forgetting."""

    default_reward: float = 0.0
    half_life: int = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> LearningRules:
        return cls(settings.default_reward, half_life_us(settings.half_life_days))


def change(
    before: RememberedDecision,
    after: RememberedDecision,
    learning: UserLearning,
    arms: Arms | None,
    rules: LearningRules,
    now_us: int,
) -> tuple[list[dict[str, Any]], bool]:
    """Return the transaction that makes `before` into `after`, and whether it moves the sums.

    arms: what it may teach of prompt versions. The decision, and of the learning what changes, are written on condition
    that nobody has written them since they were read.
    """
    log = before.reactions
    reward, moves, prompt = None, False, log.prompt  # of an older epoch nothing is in the sums
    if belongs(before, learning):
        reward = after.reactions.reward(after.wait_ends_at, rules.default_reward)
        moves = reward != log.learned
        if arms is not None:
            prompt = arms.lesson(log.prompt, reward, after.reactions.counted(after.wait_ends_at) is not None)
    # The item's revision, not a clock, says what was learned before what.
    learned_in = log.learned_in if log.learned is not None else learning.revision + 1
    after = replace(after, reactions=replace(after.reactions, learned=reward, learned_in=learned_in, prompt=prompt))
    writes = [_decision_write(before, after), *showing.writes(before, after)]
    if after.activated_at is not None and after.activated_at != before.activated_at:
        writes.append({"Put": {"Item": wait_item(after)}})
    if moves:
        lesson = _lesson(after.decision, log, reward)
        learning = taught(learning, lesson, rules.half_life, now_us, present_schemas())
        writes.append(write(keys.learning(after.decision.user_id), learning))
    if arms is not None:
        writes += arms.writes(after.decision.user_id, log.prompt, prompt, learning, rules.half_life, now_us)
    return writes, moves


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


def belongs(remembered: RememberedDecision, learning: UserLearning) -> bool:
    """Whether the decision belongs to the learning's epoch. One taken blindly is placed by its time."""
    if remembered.epoch is None:
        return keys.decided_at_us(remembered.decision_id) >= learning.epoch_at
    return remembered.epoch == learning.epoch


def _lesson(decision: Decision, log: ReactionLog, reward: float | None) -> Lesson:
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


def _decision_write(before: RememberedDecision, after: RememberedDecision) -> dict[str, Any]:
    values = {
        "reactions": reactions_value(after.reactions),
        "prompt": prompt_value(after.reactions.prompt),
        "shown_at": None if after.shown_at is None else {"N": str(after.shown_at)},
        "activated_at": None if after.activated_at is None else {"N": str(after.activated_at)},
        "rev": {"N": str(before.revision + 1)},
    }
    present = {name: value for name, value in values.items() if value is not None}
    return {
        "Update": {
            "Key": {
                "pk": {"S": keys.user(before.decision.user_id)},
                "sk": {"S": keys.decision(before.decision_id)},
            },
            "UpdateExpression": "SET "
            + ", ".join(f"{name} = :{name}" for name in present)
            + (" REMOVE prompt" if values["prompt"] is None else ""),
            "ConditionExpression": "rev = :before",
            "ExpressionAttributeValues": {
                ":before": {"N": str(before.revision)},
                **{f":{name}": value for name, value in present.items()},
            },
        }
    }
